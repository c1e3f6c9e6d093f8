//! A flow as it is typed: `SRC[:PORT]` and `VIP:PORT[/tcp|udp]`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{admin::view::ExplainRequest, desired::Protocol};

/// The client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

/// The service's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

/// Why this is no flow, and what one looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FlowError {
    #[error("`{0}` is no IP address (names are not looked up)")]
    Address(String),
    #[error("`{0}` is no port: give a number from 1 to 65535")]
    Port(String),
    #[error("the port is missing: write {0}:PORT, for example {0}:443")]
    NoPort(String),
    #[error("an IPv6 address with a port is written in brackets: {}", suggestion(.0))]
    Brackets(String),
    #[error("the bracket of `{0}` is not closed: write [ADDRESS]:PORT")]
    Unclosed(String),
    #[error("brackets are for IPv6 addresses, `{0}` is none")]
    NotV6(String),
    #[error("`{0}` is no protocol: tcp or udp")]
    Protocol(String),
    #[error(
        "{client} and {vip} are of different address families: a client talks to a VIP of its own family"
    )]
    Families { client: IpAddr, vip: IpAddr },
}

/// What was probably meant by an IPv6 address without brackets.
fn suggestion(text: &str) -> String {
    match text.rsplit_once(':') {
        Some((address, port))
            if address.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() =>
        {
            format!("[{address}]:{port}")
        }
        _ => format!("[{text}]:443"),
    }
}

/// Splits `ADDRESS`, `ADDRESS:PORT`, `[V6]` or `[V6]:PORT`.
fn split(text: &str) -> Result<(IpAddr, Option<u16>), FlowError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) =
            rest.split_once(']').ok_or_else(|| FlowError::Unclosed(text.to_owned()))?;
        let address: IpAddr =
            address.parse().map_err(|_| FlowError::Address(address.to_owned()))?;
        if address.is_ipv4() {
            return Err(FlowError::NotV6(address.to_string()));
        }
        return match port.strip_prefix(':') {
            Some(port) => Ok((address, Some(parse_port(port)?))),
            None if port.is_empty() => Ok((address, None)),
            None => Err(FlowError::Port(port.to_owned())),
        };
    }
    if let Ok(address) = text.parse() {
        return Ok((address, None));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err(match text.rsplit_once(':') {
            // Eight groups and a port.
            Some((address, _)) if address.parse::<Ipv6Addr>().is_ok() => {
                FlowError::Brackets(text.to_owned())
            }
            _ => FlowError::Address(text.to_owned()),
        }),
        Some((address, port)) => {
            let address: Ipv4Addr =
                address.parse().map_err(|_| FlowError::Address(address.to_owned()))?;
            Ok((address.into(), Some(parse_port(port)?)))
        }
        None => Err(FlowError::Address(text.to_owned())),
    }
}

fn parse_port(text: &str) -> Result<u16, FlowError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(FlowError::Port(text.to_owned())),
    }
}

impl FromStr for Client {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let (address, port) = split(text)?;
        Ok(Self { address, port })
    }
}

impl FromStr for Destination {
    type Err = FlowError;

    fn from_str(text: &str) -> Result<Self, FlowError> {
        let (end, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((end, name)) if name.eq_ignore_ascii_case("tcp") => (end, Protocol::Tcp),
            Some((end, name)) if name.eq_ignore_ascii_case("udp") => (end, Protocol::Udp),
            Some((_, name)) => return Err(FlowError::Protocol(name.to_owned())),
        };
        match split(end)? {
            (address, Some(port)) => Ok(Self { address, port, protocol }),
            (IpAddr::V6(_), None) if !end.starts_with('[') => {
                Err(FlowError::Brackets(end.to_owned()))
            }
            (_, None) => Err(FlowError::NoPort(end.to_owned())),
        }
    }
}

/// The question for the agent.
pub(super) fn request(
    client: Client,
    destination: Destination,
) -> Result<ExplainRequest, FlowError> {
    let Destination { address: vip, port, protocol } = destination;
    if client.address.is_ipv4() != vip.is_ipv4() {
        return Err(FlowError::Families { client: client.address, vip });
    }
    Ok(ExplainRequest { client: client.address, client_port: client.port, vip, port, protocol })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> Result<(String, Option<u16>), String> {
        let client: Client = text.parse().map_err(|error: FlowError| error.to_string())?;
        Ok((client.address.to_string(), client.port))
    }

    fn destination(text: &str) -> Result<String, String> {
        let Destination { address, port, protocol } =
            text.parse().map_err(|error: FlowError| error.to_string())?;
        Ok(format!("{address} {port} {protocol}"))
    }

    #[test]
    fn a_client_may_leave_its_port_out() {
        let with = |address: &str, port| Ok((address.to_owned(), port));
        assert_eq!(client("203.0.113.7"), with("203.0.113.7", None));
        assert_eq!(client("203.0.113.7:40000"), with("203.0.113.7", Some(40000)));
        assert_eq!(client("2001:db8::7"), with("2001:db8::7", None));
        assert_eq!(client("[2001:db8::7]"), with("2001:db8::7", None));
        assert_eq!(client("[2001:db8::7]:40000"), with("2001:db8::7", Some(40000)));
    }

    #[test]
    fn a_destination_is_tcp_unless_it_says_udp() {
        for (text, expected) in [
            ("192.0.2.10:443", "192.0.2.10 443 TCP"),
            ("192.0.2.10:443/tcp", "192.0.2.10 443 TCP"),
            ("192.0.2.53:53/UDP", "192.0.2.53 53 UDP"),
            ("[2001:db8::10]:443", "2001:db8::10 443 TCP"),
            ("[2001:db8::10]:53/udp", "2001:db8::10 53 UDP"),
        ] {
            assert_eq!(destination(text), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_mistake_is_answered_with_what_would_be_right() {
        for (text, expected) in [
            (
                "192.0.2.10",
                "the port is missing: write 192.0.2.10:PORT, for example 192.0.2.10:443",
            ),
            (
                "[2001:db8::10]",
                "the port is missing: write [2001:db8::10]:PORT, for example [2001:db8::10]:443",
            ),
            (
                "2001:db8::10:443",
                "an IPv6 address with a port is written in brackets: [2001:db8::10]:443",
            ),
            (
                "2001:db8::beef",
                "an IPv6 address with a port is written in brackets: [2001:db8::beef]:443",
            ),
            (
                "1:2:3:4:5:6:7:8:443",
                "an IPv6 address with a port is written in brackets: [1:2:3:4:5:6:7:8]:443",
            ),
            (
                "[2001:db8::10:443",
                "the bracket of `[2001:db8::10:443` is not closed: write [ADDRESS]:PORT",
            ),
            ("[192.0.2.10]:80", "brackets are for IPv6 addresses, `192.0.2.10` is none"),
            ("[2001:db8::10]443", "`443` is no port: give a number from 1 to 65535"),
            ("192.0.2.10:0", "`0` is no port: give a number from 1 to 65535"),
            ("192.0.2.10:70000", "`70000` is no port: give a number from 1 to 65535"),
            ("192.0.2.10:+80", "`+80` is no port: give a number from 1 to 65535"),
            ("192.0.2.10:http", "`http` is no port: give a number from 1 to 65535"),
            ("shop.example:80", "`shop.example` is no IP address (names are not looked up)"),
            ("192.0.2.300:80", "`192.0.2.300` is no IP address (names are not looked up)"),
            ("::g:80", "`::g:80` is no IP address (names are not looked up)"),
            ("192.0.2.10:80/sctp", "`sctp` is no protocol: tcp or udp"),
        ] {
            assert_eq!(destination(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_client_of_the_other_family_is_refused() {
        let client = "203.0.113.7".parse().unwrap();
        let error = request(client, "[2001:db8::10]:80".parse().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("203.0.113.7 and 2001:db8::10 are of different"));
    }

    proptest! {
        #[test]
        fn every_socket_address_is_read_back(address: std::net::SocketAddr) {
            prop_assume!(address.port() != 0);
            let address = std::net::SocketAddr::new(address.ip(), address.port());
            let parsed: Destination = address.to_string().parse().unwrap();
            prop_assert_eq!((parsed.address, parsed.port), (address.ip(), address.port()));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f:.\\[\\]/tcpud]{0,24}") {
            let _ = text.parse::<Destination>().map_err(|error| error.to_string());
            let _ = text.parse::<Client>().map_err(|error| error.to_string());
        }
    }
}
