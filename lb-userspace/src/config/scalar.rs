//! Single values: each reader returns the typed value, or a message that says what is wrong and what would be right.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::{
    problem::{nearest, quote},
    yaml::{Content, Node},
};

/// Does the value stand for nothing?
pub(super) fn is_null(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar { text, plain: true }
        if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
}

/// The text of a scalar, whatever it looks like; `expected` tells what should be here.
fn scalar<'a>(node: &'a Node, expected: &str) -> Result<&'a str, String> {
    match &node.content {
        _ if is_null(node) => Err(format!("must be {expected}, not nothing")),
        Content::Scalar { text, .. } => Ok(text),
        Content::Sequence(_) => Err(format!("must be {expected}, not a list")),
        Content::Mapping(_) => Err(format!(
            "must be {expected}, not a mapping; put quotes around a text with a colon in it"
        )),
    }
}

/// Text; what YAML takes for a number or a boolean has to be quoted.
fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, String> {
    let text = scalar(node, expected)?;
    let plain = matches!(node.content, Content::Scalar { plain: true, .. });
    let other_type = text.parse::<f64>().is_ok_and(f64::is_finite) || parse_bool(text).is_some();
    if plain && other_type {
        return Err(format!("must be {expected}, not {text}; quote it if it is meant as text"));
    }
    Ok(text)
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node) -> Result<bool, String> {
    let text = scalar(node, "true or false")?;
    match parse_bool(text) {
        Some(value) if matches!(node.content, Content::Scalar { plain: true, .. }) => Ok(value),
        _ => Err(format!("must be true or false (without quotes), not {}", quote(text))),
    }
}

/// A whole number from `least` to `most`; `meaning` names it.
pub(super) fn integer(node: &Node, meaning: &str, least: u32, most: u32) -> Result<u32, String> {
    let expected = format!("{meaning}, a whole number from {least} to {most}");
    let text = scalar(node, &expected)?;
    let plain = matches!(node.content, Content::Scalar { plain: true, .. });
    // A leading zero reads as octal to some and as decimal to others.
    let leading_zero = text.len() > 1 && text.starts_with('0');
    text.parse()
        .ok()
        .filter(|number| plain && !leading_zero && (least..=most).contains(number))
        .ok_or_else(|| format!("must be {expected}, not {}", quote(text)))
}

/// A port of a service or endpoint; 0 where that has a meaning.
pub(super) fn port(node: &Node, least: u16) -> Result<u16, String> {
    let meaning = if least == 0 { "a port or 0 for every port" } else { "a port" };
    integer(node, meaning, u32::from(least), u32::from(u16::MAX)).map(|port| port as u16)
}

/// One of a few words.
pub(super) fn word<T: Copy>(node: &Node, words: &[(&str, T)]) -> Result<T, String> {
    let names = || words.iter().map(|(name, _)| *name);
    let list = names().collect::<Vec<_>>().join(", ");
    let expected = format!("one of {list}");
    let text = scalar(node, &expected)?;
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let advice = nearest(text, names()).map(|name| format!("; did you mean {name}?"));
    Err(format!("must be {expected}, not {}{}", quote(text), advice.unwrap_or_default()))
}

/// A name without white space or control characters.
pub(super) fn name(node: &Node) -> Result<String, String> {
    const LONGEST: usize = 253;
    let text = text(node, "a name")?;
    let unfit = |c: char| c.is_whitespace() || c.is_control();
    match text {
        "" => Err("must be a name, not empty".into()),
        _ if text.contains(unfit) => {
            Err(format!("must be a name without white space, not {}", quote(text)))
        }
        _ if text.len() > LONGEST => {
            Err(format!("must have at most {LONGEST} bytes, not {}", text.len()))
        }
        _ => Ok(text.to_owned()),
    }
}

/// A network interface's name as the kernel allows it.
pub(super) fn interface(node: &Node) -> Result<String, String> {
    const LONGEST: usize = 15;
    let name = name(node)?;
    if name.len() > LONGEST {
        return Err(format!(
            "{} has {} bytes; an interface's name has at most {LONGEST}",
            quote(&name),
            name.len()
        ));
    }
    if name.contains(['/', ':']) || name == "." || name == ".." {
        return Err(format!("{} cannot be an interface's name; see ip link", quote(&name)));
    }
    Ok(name)
}

/// An absolute path.
pub(super) fn path(node: &Node) -> Result<PathBuf, String> {
    let text = text(node, "an absolute path")?;
    if !text.starts_with('/') || text.contains('\0') {
        return Err(format!("must be an absolute path, not {}", quote(text)));
    }
    Ok(PathBuf::from(text))
}

/// An absolute path short enough for a Unix socket.
pub(super) fn socket_path(node: &Node) -> Result<PathBuf, String> {
    const LONGEST: usize = 107;
    let path = path(node)?;
    match path.as_os_str().len() {
        0..=LONGEST => Ok(path),
        length => {
            Err(format!("has {length} bytes; the path of a Unix socket has at most {LONGEST}"))
        }
    }
}

/// An IP address, alone.
pub(super) fn address(node: &Node) -> Result<IpAddr, String> {
    let text = text(node, "an IP address")?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let advice = if let Some((alone, _)) = text.split_once('/')
            && alone.parse::<IpAddr>().is_ok()
        {
            format!("; leave out the prefix length: {alone}")
        } else if let Ok(socket) = text.parse::<SocketAddr>() {
            format!("; leave out the port: {}", socket.ip())
        } else if text.contains('%') {
            "; an address with a zone cannot be used".into()
        } else {
            String::new()
        };
        return Err(format!("must be an IP address, not {}{advice}", quote(text)));
    };
    unmapped(address)
}

/// IPv4 addresses are written as such: the two ways of writing would be two addresses.
fn unmapped(address: IpAddr) -> Result<IpAddr, String> {
    match address.to_canonical() {
        canonical if canonical == address => Ok(address),
        canonical => Err(format!("{address} is an IPv4 address in IPv6 dress; write {canonical}")),
    }
}

/// The address of a single host that packets can be sent to.
pub(super) fn host_address(node: &Node) -> Result<IpAddr, String> {
    let address = address(node)?;
    match why_not_a_host(address) {
        Some(reason) => Err(format!("{address} is {reason}; give the address of one host")),
        None if is_link_local_v6(address) => Err(format!(
            "{address} is a link-local address, which does not tell the interface; give a routable one"
        )),
        None => Ok(address),
    }
}

/// An address that a load balancer can own.
pub(super) fn vip(node: &Node) -> Result<IpAddr, String> {
    let address = address(node)?;
    let link_local_v4 = matches!(address, IpAddr::V4(v4) if v4.is_link_local());
    let reason = why_not_a_host(address)
        .or_else(|| (link_local_v4 || is_link_local_v6(address)).then_some("a link-local address"));
    match reason {
        Some(reason) => Err(format!(
            "{address} is {reason}; a VIP is a unicast address that routers forward to"
        )),
        None => Ok(address),
    }
}

fn why_not_a_host(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("the broadcast address")
    } else if matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0) {
        Some("no host's address (RFC 1122)")
    } else {
        None
    }
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// A network in CIDR notation, without host bits.
pub(super) fn network(node: &Node) -> Result<IpNet, String> {
    let text = text(node, "a network such as 10.0.0.0/8")?;
    let network = text.parse::<IpNet>().map_err(|_| match text.parse::<IpAddr>() {
        Ok(address) => format!(
            "must be a network, not an address alone; for this one address write {}",
            IpNet::from(address)
        ),
        Err(_) => format!("must be a network such as 10.0.0.0/8, not {}", quote(text)),
    })?;
    unmapped(network.addr())?;
    if network.trunc() != network {
        return Err(format!("{network} has bits beyond its length; write {}", network.trunc()));
    }
    Ok(network)
}

/// A prefix that outer source addresses may vary in.
pub(super) fn source_prefix(node: &Node) -> Result<IpNet, String> {
    let network = network(node)?;
    let lengths = if network.addr().is_ipv4() { 8..=31 } else { 32..=127 };
    if !lengths.contains(&network.prefix_len()) {
        return Err(format!(
            "{network} must have a length from {} to {}, so that some bits vary and not too many",
            lengths.start(),
            lengths.end()
        ));
    }
    match why_not_a_host(network.addr()) {
        Some(reason) => Err(format!("{} is {reason}; give a unicast prefix", network.addr())),
        None => Ok(network),
    }
}

/// An address and port to listen on or send to; `anywhere`: may be the unspecified address.
pub(super) fn socket_address(node: &Node, anywhere: bool) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "ADDRESS:PORT, such as 10.0.0.1:7373 or \"[2001:db8::1]:7373\"";
    let text = text(node, EXPECTED)?;
    let socket: SocketAddr =
        text.parse().map_err(|_| format!("must be {EXPECTED}, not {}", quote(text)))?;
    unmapped(socket.ip())?;
    match (socket.port(), why_not_a_socket(socket.ip(), anywhere)) {
        (0, _) => Err(format!("{socket} needs a port from 1 to 65535")),
        (_, Some(reason)) => Err(format!("{} is {reason}; give a unicast address", socket.ip())),
        _ => Ok(socket),
    }
}

fn why_not_a_socket(address: IpAddr, anywhere: bool) -> Option<&'static str> {
    if address.is_loopback() || (anywhere && address.is_unspecified()) {
        return None;
    }
    why_not_a_host(address)
}

/// A duration with its unit, more than nothing and at most an hour.
pub(super) fn duration(node: &Node) -> Result<Duration, String> {
    const EXPECTED: &str = "a duration with its unit, such as 500ms or 1s";
    let text = scalar(node, EXPECTED)?;
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("must be {EXPECTED}, not {}", quote(text)))?;
    if duration.is_zero() || duration > Duration::from_secs(3600) {
        return Err(format!("must be more than 0s and at most 1h, not {}", quote(text)));
    }
    Ok(duration)
}
