//! The answer of `sluice status`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::view::Timestamp;

/// `sluice status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// Version of the agent.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Whether this agent may own VIPs and balance.
    pub edge: bool,
    /// Seconds since the agent started.
    pub uptime_seconds: u64,
    /// Why the agent is not ready yet; `null` once it is attached and has applied the first state.
    pub not_ready: Option<String>,
    /// Interfaces named in the configuration.
    pub interfaces: Vec<InterfaceStatus>,
    /// Where the desired state comes from.
    pub source: SourceStatus,
    /// Agents of the group that this one knows, itself included.
    pub members: Vec<Member>,
    /// How much there is of everything.
    pub counts: Counts,
}

/// An interface named in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// How the XDP program is attached; `null`: it is not.
    pub xdp_mode: Option<XdpMode>,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the network stack, because the driver cannot.
    Generic,
}

/// Where the desired state comes from and how that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Kind of source: `file`.
    pub kind: String,
    /// Whether what the source says is applied.
    pub state: SourceState,
    /// When a state of the source was last applied.
    pub last_applied: Option<Timestamp>,
    /// Why the newest state was refused, one sentence each.
    pub errors: Vec<String>,
}

/// Whether what the source says is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceState {
    /// Nothing has been applied yet.
    Pending,
    /// The newest state is applied.
    Synced,
    /// The newest state is invalid or could not be applied; the last good one stays.
    Refused,
}

/// An agent of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its node.
    pub node: String,
    /// Where it is reached; `null` for a single agent.
    pub address: Option<SocketAddr>,
    /// `alive`, `suspect` or `dead`.
    pub state: String,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Virtual addresses.
    pub vips: u64,
    /// Virtual addresses this agent owns.
    pub owned_vips: u64,
    /// Services: ports of VIPs.
    pub services: u64,
    /// Backends.
    pub backends: u64,
    /// Slots whose flows are looked up in the flow memory.
    pub moved_slots: u64,
}
