//! The agent's configuration as a value, written as the YAML a user would write.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::host::Host;

/// A configuration file. What is not set is left out, so that the agent's default holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// This node's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether it may own VIPs and balance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<bool>,
    /// Where XDP attaches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
    /// Where maps are pinned; [`crate::agent::Agent::start`] picks one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_directory: Option<PathBuf>,
    /// The agent's socket; picked likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// `auto`, `native` or `generic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xdp_mode: Option<String>,
    /// Outer source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_source: Option<IpAddr>,
    /// Edges whose tunnel packets it takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<IpAddr>,
    /// File with the hash seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_file: Option<PathBuf>,
    /// Where metrics are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// Backends that run an agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// What is balanced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Any other field.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Where metrics are served.
#[derive(Clone, Debug, Serialize)]
pub struct Metrics {
    /// Address and port.
    pub listen: String,
}

/// A backend that runs an agent.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// A service.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name, `namespace/name`.
    pub name: String,
    /// Its virtual addresses.
    pub vips: Vec<IpAddr>,
    /// `ipip` or `l2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<String>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// `None` or `ClientIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<String>,
    /// Who may use it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source_ranges: Vec<String>,
    /// Whether what has no backend is refused rather than dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject: Option<bool>,
    /// Who serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Any other field.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// A port of a service.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// Its number; 0 is every port no other service of the VIP names.
    pub port: u16,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
}

/// Who serves.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port, if it is not the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The node that delivers to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its share of new flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Any other field.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl Config {
    /// An edge on all interfaces of `host`.
    pub fn edge(host: &Host) -> Self {
        Self {
            node: Some(host.name.clone()),
            interfaces: host.interfaces.iter().map(|interface| interface.name.clone()).collect(),
            ..Self::default()
        }
    }

    /// A plain server: `host` only takes tunnel packets of `edges` apart, in whichever family they come.
    pub fn decapsulator<'a>(host: &Host, edges: impl IntoIterator<Item = &'a Host>) -> Self {
        let addresses = edges.into_iter().flat_map(|edge| {
            edge.interfaces.iter().flat_map(|at| [IpAddr::V4(at.v4), IpAddr::V6(at.v6)])
        });
        Self { edge: Some(false), edges: addresses.collect(), ..Self::edge(host) }
    }

    /// Adds a service.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }

    /// The text of the file.
    ///
    /// # Errors
    /// When an extra field cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String> {
        Ok(serde_yaml_ng::to_string(self)?)
    }
}

impl Service {
    /// A service with this name and nothing else.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds a VIP.
    #[must_use]
    pub fn vip(mut self, vip: IpAddr) -> Self {
        self.vips.push(vip);
        self
    }

    /// Adds a TCP port.
    #[must_use]
    pub fn tcp(mut self, port: u16) -> Self {
        self.ports.push(Port { port, protocol: "TCP" });
        self
    }

    /// Adds a UDP port.
    #[must_use]
    pub fn udp(mut self, port: u16) -> Self {
        self.ports.push(Port { port, protocol: "UDP" });
        self
    }

    /// Packets travel in IP-in-IP.
    #[must_use]
    pub fn ipip(mut self) -> Self {
        self.forwarding = Some("ipip".to_owned());
        self
    }

    /// Packets travel with the backend's MAC address.
    #[must_use]
    pub fn l2(mut self) -> Self {
        self.forwarding = Some("l2".to_owned());
        self
    }

    /// Adds a plain server.
    #[must_use]
    pub fn server(mut self, address: IpAddr) -> Self {
        self.endpoints.push(Endpoint::server(address));
        self
    }

    /// Adds plain servers.
    #[must_use]
    pub fn servers(self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        addresses.into_iter().fold(self, Self::server)
    }

    /// Adds a plain server with a weight.
    #[must_use]
    pub fn weighted(mut self, address: IpAddr, weight: u32) -> Self {
        self.endpoints.push(Endpoint { weight: Some(weight), ..Endpoint::server(address) });
        self
    }
}

impl Endpoint {
    /// A plain server.
    pub const fn server(address: IpAddr) -> Self {
        Self { address, port: None, node: None, weight: None, extra: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses::{LAN, vip4, vip6};

    #[test]
    fn what_is_not_set_is_not_written() {
        let config = Config { node: Some("edge-1".into()), ..Config::default() }.service(
            Service::named("shop/web")
                .vip(vip4(0))
                .vip(vip6(0))
                .tcp(80)
                .weighted(LAN.v4(21).into(), 3),
        );
        assert_eq!(
            config.to_yaml().unwrap(),
            "\
node: edge-1
services:
- name: shop/web
  vips:
  - 10.10.0.100
  - fd00:10::100
  ports:
  - port: 80
    protocol: TCP
  endpoints:
  - address: 10.10.0.21
    weight: 3
"
        );
    }
}
