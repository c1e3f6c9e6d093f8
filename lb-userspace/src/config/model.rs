//! The configuration as typed values: what [`parse`](super::parse) makes of the file.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

pub use crate::desired::Endpoint;
use crate::desired::{Forwarding, Protocol, SessionAffinity};

/// A whole configuration file, valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What an agent takes from the file once, when it starts.
    pub agent: AgentConfig,
    /// `edges`: whose tunnel packets this node accepts; `None`: those of the membership.
    pub edges: Option<Vec<IpAddr>>,
    /// `nodes`: backends that run an agent.
    pub nodes: Vec<Node>,
    /// `services`.
    pub services: Vec<Service>,
}

/// The part that needs a restart to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// `node`: this agent's name, by default the host's.
    pub node: String,
    /// `edge`: may own VIPs and balance.
    pub edge: bool,
    /// `interfaces`: where programs are attached; one at least.
    pub interfaces: Vec<String>,
    /// `pinDirectory`: where maps and links are pinned.
    pub pin_directory: PathBuf,
    /// `socket`: where the read commands find the agent.
    pub socket: PathBuf,
    /// `xdpMode`.
    pub xdp_mode: XdpMode,
    /// `tunnelSource`: outer source addresses, at most one of each family; a family without one uses the address on the
    /// route to the backend.
    pub tunnel_source: Vec<IpAddr>,
    /// `tunnelSourcePrefix`: networks that outer source addresses vary in, at most one of each family.
    pub tunnel_source_prefix: Vec<IpNet>,
    /// `seedFile`: the hash seed that the group shares; `None`: the agent is alone.
    pub seed_file: Option<PathBuf>,
    /// `membership`; `None`: a single edge that owns every VIP.
    pub membership: Option<Membership>,
    /// `metrics`; `None`: no HTTP server.
    pub metrics: Option<Metrics>,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Native where the driver can, else generic.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's network stack.
    Generic,
}

/// The group of agents that share the VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Where this agent listens, UDP.
    pub bind: SocketAddr,
    /// The others.
    pub peers: Vec<SocketAddr>,
    /// Keys of the group, see [`read_keys`](super::read_keys).
    pub key_file: PathBuf,
}

/// The HTTP server for `/metrics`, `/healthz` and `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where it listens, TCP.
    pub listen: SocketAddr,
}

/// A backend that runs an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, as in its own `node`.
    pub name: String,
    /// Where its tunnel packets go.
    pub address: IpAddr,
}

/// One entry of `services`: every port on every VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, unique in the file.
    pub name: String,
    /// One at least.
    pub vips: Vec<IpAddr>,
    /// How packets travel.
    pub forwarding: Forwarding,
    /// One at least.
    pub ports: Vec<ServicePort>,
    /// Which flows of a client stay together.
    pub session_affinity: SessionAffinity,
    /// Clients that may use it; empty: all.
    pub source_ranges: Vec<IpNet>,
    /// Refuse what cannot be served (else drop it silently); its own `reject` or the file's.
    pub reject: bool,
    /// Who serves; may be empty.
    pub endpoints: Vec<Endpoint>,
    /// Checked when read, not acted upon yet.
    pub health_check: Option<HealthCheck>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The port; 0: every port of the protocol that no other service of the VIP names.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// How a service's endpoints are to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub kind: HealthCheckKind,
    /// From one try to the next.
    pub interval: Duration,
    /// How long a try may take; not more than the interval.
    pub timeout: Duration,
    /// Successes in a row that make an endpoint healthy.
    pub rise: u32,
    /// Failures in a row that make it unhealthy.
    pub fall: u32,
}

/// What a health check tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// Opens a TCP connection.
    Tcp,
    /// Makes an HTTP request.
    Http,
    /// Makes an HTTPS request.
    Https,
    /// Asks a DNS question.
    Dns,
    /// Sends a UDP datagram.
    Udp,
    /// Sends an ICMP echo.
    Ping,
    /// Runs a command.
    Exec,
}

impl AgentConfig {
    /// Names of the fields that differ from `other`, as written in the file.
    pub fn changed_fields(&self, other: &Self) -> Vec<&'static str> {
        // Taken apart by name, so that a new field cannot be forgotten here.
        let Self {
            node,
            edge,
            interfaces,
            pin_directory,
            socket,
            xdp_mode,
            tunnel_source,
            tunnel_source_prefix,
            seed_file,
            membership,
            metrics,
        } = self;
        [
            ("node", *node != other.node),
            ("edge", *edge != other.edge),
            ("interfaces", *interfaces != other.interfaces),
            ("pinDirectory", *pin_directory != other.pin_directory),
            ("socket", *socket != other.socket),
            ("xdpMode", *xdp_mode != other.xdp_mode),
            ("tunnelSource", *tunnel_source != other.tunnel_source),
            ("tunnelSourcePrefix", *tunnel_source_prefix != other.tunnel_source_prefix),
            ("seedFile", *seed_file != other.seed_file),
            ("membership", *membership != other.membership),
            ("metrics", *metrics != other.metrics),
        ]
        .into_iter()
        .filter_map(|(name, changed)| changed.then_some(name))
        .collect()
    }
}
