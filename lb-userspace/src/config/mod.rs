//! The configuration file: typed, checked, with every error at once.

mod agent;
mod desired;
mod endpoints;
mod health_check;
mod model;
mod problem;
mod scalar;
mod seed;
mod services;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::{fs, path::Path};

use lb_common::limits;

pub use self::{
    model::{
        AgentConfig, Config, Endpoint, HealthCheck, HealthCheckKind, Membership, Metrics, Node,
        Service, ServicePort, XdpMode,
    },
    problem::{ConfigError, ErrorPlace},
    seed::{Secret, SecretError, generate, read_keys, read_seed},
};
use self::{
    problem::{Problems, quote},
    services::Services,
    value::{Fields, Place, Value},
    yaml::Position,
};

/// A valid configuration, and what is probably not meant in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, in the order of the file.
    pub warnings: Vec<ConfigError>,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file; never empty.
pub fn load(file: &Path) -> Result<Loaded, Vec<ConfigError>> {
    let bytes = fs::read(file).map_err(|error| vec![ConfigError::unreadable(file, &error)])?;
    parse(file, &bytes)
}

/// Checks a file's content; `file` is only named in messages.
///
/// Secrets that the configuration refers to are looked at too, if they can be read.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file; never empty.
pub fn parse(file: &Path, content: &[u8]) -> Result<Loaded, Vec<ConfigError>> {
    let text = as_text(content).map_err(|(position, message)| {
        vec![ConfigError::at(file, position, "document".into(), message)]
    })?;
    let root = yaml::parse(text)
        .map_err(|error| vec![ConfigError::at(file, error.position, error.path, error.message)])?;
    let mut problems = Problems::default();
    let config = match &root {
        Some(root) => Value::root(root)
            .fields(&mut problems)
            .and_then(|mut fields| read(&mut fields, &mut problems)),
        None => {
            problems.error(
                &Place::Root(Position::START),
                "is empty; give at least interfaces, such as interfaces: [eth0]",
            );
            None
        }
    };
    let (errors, warnings) = problems.into_lists(file);
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
        _ => Err(errors),
    }
}

fn as_text(content: &[u8]) -> Result<&str, (Position, String)> {
    std::str::from_utf8(content).map_err(|error| {
        let valid = String::from_utf8_lossy(&content[..error.valid_up_to()]);
        let line = valid.matches('\n').count() + 1;
        let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (Position { line, column }, "is not text in UTF-8 from here on; save it as UTF-8".into())
    })
}

fn read(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Config> {
    let agent = agent::read_agent(fields, problems, &host_name());
    let edges = agent::read_edges(fields, problems);
    let before = problems.count();
    let nodes = agent::read_nodes(fields, problems);
    let nodes_complete = problems.count() == before;
    let reject = fields.optional("reject", problems, scalar::boolean).unwrap_or(true);
    let mut found = Services::new(&nodes, nodes_complete, reject);
    let mut services = Vec::new();
    if let Some(list) = fields.get("services") {
        for item in list.items(problems) {
            services.extend(found.read(&item, problems));
        }
        check_limits(&list.place, &services, problems);
    }
    fields.close(problems);
    check_vips(found, agent.as_ref(), edges.as_deref(), problems);
    let config = Config { agent: agent?, edges, nodes, services };
    check_role(&config, fields.place(), problems);
    Some(config)
}

/// Without a name of its own an agent is known by its host's.
fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".into())
}

/// A VIP is nobody else's address.
fn check_vips(
    mut found: Services<'_>,
    agent: Option<&AgentConfig>,
    edges: Option<&[std::net::IpAddr]>,
    problems: &mut Problems,
) {
    let membership = agent.and_then(|agent| agent.membership.as_ref());
    let others = agent
        .into_iter()
        .flat_map(|agent| agent.tunnel_source.iter().map(|address| (*address, "tunnelSource")))
        .chain(edges.into_iter().flatten().map(|address| (*address, "an edge")))
        .chain(membership.map(|membership| (membership.bind.ip(), "membership.bind")))
        .chain(
            membership
                .into_iter()
                .flat_map(|membership| &membership.peers)
                .map(|peer| (peer.ip(), "a peer")),
        );
    for (address, whose) in others {
        found.hosts.entry(address).or_insert_with(|| whose.to_owned());
    }
    for (vip, spot) in &found.vips {
        if let Some(host) = found.hosts.get(vip) {
            let message = format!("{vip} is the address of {host}; a VIP belongs to no host");
            problems.error_at(spot, message);
        }
        let prefixes = agent.into_iter().flat_map(|agent| &agent.tunnel_source_prefix);
        for prefix in prefixes.filter(|prefix| prefix.contains(vip)) {
            let message = format!(
                "{vip} lies in tunnelSourcePrefix {prefix}; keep the prefix for the tunnel"
            );
            problems.error_at(spot, message);
        }
    }
}

/// What the maps have room for.
fn check_limits(place: &Place<'_>, services: &[Service], problems: &mut Problems) {
    use std::collections::HashSet;

    let expanded: usize = services.iter().map(|one| one.vips.len() * one.ports.len()).sum();
    let vips: HashSet<_> = services.iter().flat_map(|one| &one.vips).collect();
    let endpoints = services.iter().flat_map(|one| &one.endpoints);
    let nodes: HashSet<_> = endpoints.clone().filter_map(|one| one.node.as_ref()).collect();
    let servers: HashSet<_> =
        endpoints.filter(|one| one.node.is_none()).map(|one| one.address).collect();
    let ranges: usize =
        services.iter().map(|one| one.source_ranges.len() * one.vips.len() * one.ports.len()).sum();
    for (what, count, limit) in [
        ("services (VIPs times ports)", expanded, limits::MAX_SERVICES),
        ("VIPs", vips.len(), limits::MAX_VIPS),
        ("backends", nodes.len() + servers.len(), limits::MAX_BACKENDS),
        ("source ranges (times VIPs and ports)", ranges, limits::MAX_SOURCE_RANGES),
    ] {
        if count > limit as usize {
            problems.error(place, format!("has {count} {what}; there is room for {limit}"));
        }
    }
}

/// An agent that is valid but would do nothing.
fn check_role(config: &Config, place: &Place<'_>, problems: &mut Problems) {
    let agent = &config.agent;
    if agent.edge {
        return;
    }
    if config.edges.is_none() && agent.membership.is_none() {
        problems.warn(
            &place.field("edge", place.position()),
            "is false, but without edges or membership no tunnel packet is accepted",
        );
    }
    let known = config.nodes.iter().any(|node| node.name == agent.node);
    if !config.nodes.is_empty() && !known {
        let message = format!(
            "no entry of nodes is named {}: this agent delivers to no endpoint",
            quote(&agent.node)
        );
        problems.warn(&place.field("node", place.position()), message);
    }
}
