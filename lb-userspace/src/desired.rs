//! The desired state: what a source wants the data plane to do. It knows nothing of maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything one source wants, complete: what is not in here is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Services by what a packet is matched against.
    pub services: BTreeMap<ServiceKey, Service>,
    /// Backends that any service names, by address.
    pub backends: BTreeMap<IpAddr, Backend>,
}

/// What a packet is matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The virtual address.
    pub vip: IpAddr,
    /// Destination port; 0 stands for every port of the protocol that no other service of the VIP names.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.vip, self.port), self.protocol)
    }
}

/// Transport protocol of a service.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[default]
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl Protocol {
    /// IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => lb_common::service::PROTOCOL_TCP,
            Self::Udp => lb_common::service::PROTOCOL_UDP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// How packets travel to a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forwarding {
    /// IP-in-IP; the outer family is that of the backend's address.
    #[default]
    Ipip,
    /// The destination MAC address is rewritten; the backend is on the same L2 segment.
    L2,
}

/// Which flows of a client stay together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionAffinity {
    /// Every flow is placed by itself.
    #[default]
    None,
    /// All flows of one client address to a VIP go to one backend.
    #[serde(rename = "ClientIP")]
    ClientIp,
}

/// One service: a port of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The user's name for it, `namespace/name` in Kubernetes.
    pub name: String,
    /// The user's name of the port, if any.
    pub port_name: Option<String>,
    /// How packets travel.
    pub forwarding: Forwarding,
    /// Session affinity.
    pub affinity: SessionAffinity,
    /// Clients that may use it; empty: all.
    pub source_ranges: BTreeSet<IpNet>,
    /// Refuse (rather than silently drop) when there is no backend, and for ports of the VIP without a service.
    pub reject: bool,
    /// Backends that take new flows, by address, with their weights (1 or more).
    pub backends: BTreeMap<IpAddr, u32>,
    /// Endpoints as the source named them: who serves in the end, and on which backend.
    pub endpoints: Vec<Endpoint>,
}

/// A process that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None`: the packet's own.
    pub port: Option<u16>,
    /// The node whose agent delivers to it; `None`: a plain server that has the VIP itself.
    pub node: Option<String>,
    /// Share of new flows relative to others; 0 takes none.
    pub weight: u32,
    /// As in an EndpointSlice: takes new flows.
    pub ready: bool,
    /// As in an EndpointSlice: still answers.
    pub serving: bool,
    /// As in an EndpointSlice: about to go.
    pub terminating: bool,
}

/// A host that receives forwarded packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Kind, and the node's name.
    pub kind: BackendKind,
    /// Drained by an operator: keeps its flows, gets no new ones.
    pub draining: bool,
}

/// What kind of host a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// A node that runs an agent, by name.
    Node(String),
    /// A plain server that has the VIP itself.
    Server,
}
