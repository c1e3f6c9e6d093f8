//! What the agent tells about itself: the JSON contract of the read commands.
//!
//! Field names are stable: fields may be added, none is renamed or removed. What is unknown is `null`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use lb_common::counters::{Disposition, Reason};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use super::{
    explain::{ExplainRequest, ExplainStep, ExplainVerdict, ExplainView},
    status::{Counts, InterfaceStatus, Member, SourceState, SourceStatus, StatusView, XdpMode},
};
use crate::desired::{Forwarding, Protocol};

/// A moment, in JSON an RFC 3339 string in UTC with whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// How long ago this was; zero if the clock was set back meanwhile.
    pub fn age(self, now: SystemTime) -> Duration {
        now.duration_since(self.0).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self).map_err(de::Error::custom)
    }
}

/// `sluice vips`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipsView {
    /// Every VIP.
    pub vips: Vec<Vip>,
}

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// Name of the node that answers for it.
    pub owner: Option<String>,
    /// Owned by the agent asked.
    pub owned: bool,
    /// Interface on which it is announced.
    pub interface: Option<String>,
    /// What the agent asked does about it.
    pub state: VipState,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// Who else answers for it: a MAC address or a node's name.
    pub conflict_with: Option<String>,
}

/// What an agent does about a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VipState {
    /// Answers for it.
    Owned,
    /// Another agent answers for it.
    Standby,
    /// A stranger answers for it.
    Conflict,
    /// Not decided yet, or no interface fits.
    Pending,
}

/// `sluice services`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesView {
    /// Every service.
    pub services: Vec<ServiceRow>,
}

/// One port of a VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// The user's name for it, `namespace/name` in Kubernetes.
    pub name: String,
    /// The user's name of the port.
    pub port_name: Option<String>,
    /// Virtual address.
    pub vip: IpAddr,
    /// Port; 0: every port of the protocol that no other service of the VIP names.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// How packets travel.
    pub forwarding: Forwarding,
    /// What happens to its packets.
    pub state: ServiceState,
    /// How many backends take new flows.
    pub backends: u64,
    /// Length of its Maglev table.
    pub slots: u64,
    /// Slots whose flows are looked up in the flow memory.
    pub moved_slots: u64,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes of those packets, the tunnel not counted.
    pub bytes: u64,
    /// Flows begun.
    pub new_flows: u64,
}

/// What happens to a service's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Balanced.
    Ready,
    /// Refused: there is no backend.
    Empty,
    /// Left to the kernel.
    Passed,
}

/// `sluice backends`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendsView {
    /// Every backend.
    pub backends: Vec<BackendRow>,
}

/// A host that receives forwarded packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRow {
    /// Its address.
    pub address: IpAddr,
    /// Its node's name; `null` for a plain server.
    pub node: Option<String>,
    /// Node with an agent, or plain server.
    pub kind: BackendKind,
    /// How packets travel to it.
    pub forwarding: BackendForwarding,
    /// Whether it takes flows.
    pub state: BackendState,
    /// Why it is not `up`.
    pub reason: Option<String>,
    /// Its weight, summed over the services that use it.
    pub weight: u64,
    /// The neighbour its packets are sent to.
    pub next_hop: NextHop,
    /// Packets forwarded to it.
    pub packets: u64,
    /// Bytes of those packets, the tunnel not counted.
    pub bytes: u64,
    /// Flows begun.
    pub new_flows: u64,
}

/// What kind of host a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Runs an agent that delivers to local endpoints.
    Node,
    /// Holds the VIP itself.
    Server,
}

/// How packets travel to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendForwarding {
    /// IP-in-IP.
    Ipip,
    /// Destination MAC address rewritten.
    L2,
    /// Some of its services use the one, some the other.
    Mixed,
}

impl From<Forwarding> for BackendForwarding {
    fn from(forwarding: Forwarding) -> Self {
        match forwarding {
            Forwarding::Ipip => Self::Ipip,
            Forwarding::L2 => Self::L2,
        }
    }
}

impl BackendForwarding {
    /// What to say of a backend that is also used with `other`.
    #[must_use]
    pub fn and(self, other: Forwarding) -> Self {
        if self == Self::from(other) { self } else { Self::Mixed }
    }
}

/// Whether a backend takes flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// Takes new flows.
    Up,
    /// Keeps its flows and gets no new ones.
    Draining,
    /// Gets nothing.
    Down,
}

/// The neighbour a backend's packets are sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHop {
    /// Interface that leads there; `null` without a route.
    pub interface: Option<String>,
    /// Its MAC address; `null` until the neighbour answers.
    pub mac: Option<String>,
}

/// `sluice flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsView {
    /// Flows the data path remembers.
    pub flows: Vec<FlowRow>,
}

/// A flow the data path remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRow {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The VIP and its port.
    pub vip: SocketAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where an edge sends it; `null` on level `node`.
    pub backend: Option<IpAddr>,
    /// Where a backend delivers it; `null` on level `edge`.
    pub endpoint: Option<SocketAddr>,
    /// Which of the two balancing steps remembers it.
    pub level: FlowLevel,
    /// Seconds since its last packet.
    pub idle_seconds: u64,
}

/// Which balancing step remembers a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowLevel {
    /// The edge: it chose the backend.
    Edge,
    /// The backend's node: it chose the endpoint.
    Node,
}

/// `sluice drops`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsView {
    /// Every reason, those without a packet too.
    pub drops: Vec<DropRow>,
}

impl DropsView {
    /// The view of these counts.
    pub fn new(counts: impl IntoIterator<Item = (Reason, u64)>) -> Self {
        let row = |(reason, packets): (Reason, u64)| DropRow {
            reason: reason.name().to_owned(),
            packets,
            verdict: reason.disposition().into(),
        };
        Self { drops: counts.into_iter().map(row).collect() }
    }
}

/// Packets that were not forwarded, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropRow {
    /// The reason.
    pub reason: String,
    /// How many packets.
    pub packets: u64,
    /// What became of them.
    pub verdict: DropVerdict,
}

/// What became of a packet that was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DropVerdict {
    /// Dropped silently.
    Drop,
    /// Left to the kernel.
    Pass,
    /// Answered with a TCP RST or an ICMP error.
    Refuse,
}

impl From<Disposition> for DropVerdict {
    fn from(disposition: Disposition) -> Self {
        match disposition {
            Disposition::Drop => Self::Drop,
            Disposition::Pass => Self::Pass,
            Disposition::Refuse => Self::Refuse,
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
