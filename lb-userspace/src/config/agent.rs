//! Reading the agent's own part: names, places, interfaces, tunnels, membership, nodes.

use std::{collections::HashMap, io, net::IpAddr, path::Path};

use super::{
    AgentConfig, Membership, Metrics, Node, SecretError, XdpMode,
    problem::Problems,
    read_keys, read_seed, scalar,
    value::{Fields, Value},
    yaml,
};

const PIN_DIRECTORY: &str = "/sys/fs/bpf/sluice";
const SOCKET: &str = "/run/sluice/sluice.sock";

/// Reads what needs a restart to change. `None` if something that has no default could not be read.
pub(super) fn read_agent(
    fields: &mut Fields<'_>,
    problems: &mut Problems,
    host_name: &str,
) -> Option<AgentConfig> {
    let node = fields.optional("node", problems, scalar::name);
    let edge = fields.optional("edge", problems, scalar::boolean).unwrap_or(true);
    let meaning = "the interfaces to attach to, such as [eth0]";
    let interfaces = fields.need("interfaces", meaning).map(|list| {
        list.refuse_empty(problems, "an interface");
        distinct(&list, problems, "interface", scalar::interface)
    });
    let pin_directory = fields.optional("pinDirectory", problems, scalar::path);
    let socket = fields.optional("socket", problems, scalar::socket_path);
    let modes =
        [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
    let xdp_mode = fields.optional("xdpMode", problems, |node| scalar::word(node, &modes));
    let tunnel_source = fields.get("tunnelSource");
    let tunnel_source = tunnel_source.map(|value| {
        one_per_family(&value, problems, scalar::host_address, |address| address.is_ipv4())
    });
    let prefix = fields.get("tunnelSourcePrefix");
    let prefix = prefix.map(|value| {
        one_per_family(&value, problems, scalar::source_prefix, |prefix| prefix.addr().is_ipv4())
    });
    let seed_file = fields.get("seedFile").and_then(|value| {
        let path = value.read(problems, scalar::path)?;
        check_secret(&value, &path, read_seed(&path).err(), problems);
        Some(path)
    });
    let membership = fields.get("membership");
    let membership = membership.and_then(|value| read_membership(&value, problems));
    let metrics = fields.get("metrics").and_then(|value| {
        let mut fields = value.fields(problems)?;
        let listen =
            fields.required("listen", "where to listen, such as 0.0.0.0:9473", problems, |node| {
                scalar::socket_address(node, true)
            });
        fields.close(problems);
        Some(Metrics { listen: listen? })
    });
    Some(AgentConfig {
        node: node.unwrap_or_else(|| host_name.to_owned()),
        edge,
        interfaces: interfaces?,
        pin_directory: pin_directory.unwrap_or_else(|| PIN_DIRECTORY.into()),
        socket: socket.unwrap_or_else(|| SOCKET.into()),
        xdp_mode: xdp_mode.unwrap_or_default(),
        tunnel_source: tunnel_source.unwrap_or_default(),
        tunnel_source_prefix: prefix.unwrap_or_default(),
        seed_file,
        membership,
        metrics,
    })
}

/// Reads `nodes`, each name and each address once.
pub(super) fn read_nodes(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Node> {
    let (mut names, mut addresses) = (HashMap::new(), HashMap::new());
    let Some(list) = fields.get("nodes") else { return Vec::new() };
    let mut nodes = Vec::new();
    for item in list.items(problems) {
        let Some(mut fields) = item.fields(problems) else { continue };
        let name = fields.need("name", "the node's name").and_then(|value| {
            let name = value.read(problems, scalar::name)?;
            unique(&value, name, &mut names, problems, |name| format!("a node named {name}"))
        });
        let meaning = "the address its tunnel packets go to";
        let address = fields.need("address", meaning).and_then(|value| {
            let address = value.read(problems, scalar::host_address)?;
            unique(&value, address, &mut addresses, problems, |address| {
                format!("a node with address {address}")
            })
        });
        fields.close(problems);
        if let (Some(name), Some(address)) = (name, address) {
            nodes.push(Node { name, address });
        }
    }
    nodes
}

/// Reads `edges`.
pub(super) fn read_edges(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Vec<IpAddr>> {
    let list = fields.get("edges")?;
    Some(distinct(&list, problems, "edge", scalar::host_address))
}

fn read_membership(value: &Value<'_>, problems: &mut Problems) -> Option<Membership> {
    let mut fields = value.fields(problems)?;
    let meaning = "the address and port to listen on, such as 10.0.0.1:7373";
    let bind =
        fields.required("bind", meaning, problems, |node| scalar::socket_address(node, false));
    let mut peers = Vec::new();
    if let Some(list) = fields.get("peers") {
        let mut seen = HashMap::new();
        for item in list.items(problems) {
            let reader = |node: &yaml::Node| scalar::socket_address(node, false);
            let Some(peer) = item.read(problems, reader) else { continue };
            let Some(peer) =
                unique(&item, peer, &mut seen, problems, |peer| format!("peer {peer}"))
            else {
                continue;
            };
            match bind {
                Some(bind) if bind == peer => {
                    let message = format!("{peer} is this agent's own bind; name only the others");
                    problems.error(&item.place, message);
                }
                Some(bind) if bind.is_ipv4() != peer.is_ipv4() => problems.error(
                    &item.place,
                    format!("{peer} cannot be reached from {bind}; use addresses of one family"),
                ),
                _ => peers.push(peer),
            }
        }
        if peers.is_empty() {
            problems.warn(&list.place, "names nobody: this agent is a group of one");
        }
    }
    let key_file = fields.need("keyFile", "the file with the group's keys");
    let key_file = key_file.and_then(|value| {
        let path = value.read(problems, scalar::path)?;
        check_secret(&value, &path, read_keys(&path).err(), problems);
        Some(path)
    });
    fields.close(problems);
    Some(Membership { bind: bind?, peers, key_file: key_file? })
}

/// A secret that is there has to be right. One that is not there is no fault of the configuration: it may be checked on
/// another machine, or by somebody who must not read it. The agent itself does not start without.
fn check_secret(
    value: &Value<'_>,
    path: &Path,
    error: Option<SecretError>,
    problems: &mut Problems,
) {
    match error {
        None => {}
        Some(SecretError::Unreadable(error)) if error.kind() != io::ErrorKind::InvalidData => {
            let message = format!("{} cannot be read ({error}); an agent needs it", path.display());
            problems.warn(&value.place, message);
        }
        Some(error) => problems.error(&value.place, format!("{}: {error}", path.display())),
    }
}

/// Refuses `key` if it was seen before in this list, naming the line.
pub(super) fn unique<T: Clone + Eq + std::hash::Hash>(
    value: &Value<'_>,
    key: T,
    seen: &mut HashMap<T, usize>,
    problems: &mut Problems,
    describe: impl FnOnce(&T) -> String,
) -> Option<T> {
    if let Some(line) = seen.get(&key) {
        let message = format!("{} is already in line {line}; name each once", describe(&key));
        problems.error(&value.place, message);
        return None;
    }
    seen.insert(key.clone(), value.place.position().line);
    Some(key)
}

/// The items of a list, each once.
pub(super) fn distinct<T: Clone + Eq + std::hash::Hash + std::fmt::Display>(
    list: &Value<'_>,
    problems: &mut Problems,
    kind: &str,
    reader: impl Fn(&yaml::Node) -> Result<T, String>,
) -> Vec<T> {
    let mut seen = HashMap::new();
    let mut result = Vec::new();
    for item in list.items(problems) {
        let read = item.read(problems, &reader);
        let read = read.and_then(|read| {
            unique(&item, read, &mut seen, problems, |read| format!("{kind} {read}"))
        });
        result.extend(read);
    }
    result
}

/// One value, or a list with one of each family.
fn one_per_family<T: std::fmt::Display>(
    value: &Value<'_>,
    problems: &mut Problems,
    reader: impl Fn(&yaml::Node) -> Result<T, String>,
    is_v4: impl Fn(&T) -> bool,
) -> Vec<T> {
    if !matches!(value.node.content, yaml::Content::Sequence(_)) {
        return value.read(problems, reader).into_iter().collect();
    }
    let mut result: Vec<T> = Vec::new();
    for item in value.items(problems) {
        let Some(read) = item.read(problems, &reader) else { continue };
        match result.iter().find(|other| is_v4(other) == is_v4(&read)) {
            Some(other) => problems.error(
                &item.place,
                format!("{read} and {other} are of one family; give at most one of each"),
            ),
            None => result.push(read),
        }
    }
    result
}
