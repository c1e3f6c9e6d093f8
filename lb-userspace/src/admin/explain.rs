//! The question and the answer of `sluice explain`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::desired::Protocol;

/// Which flow to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainRequest {
    /// The client's address, of the VIP's family.
    pub client: IpAddr,
    /// The client's port; `None`: not known, so that the answer tells only what holds for every port.
    pub client_port: Option<u16>,
    /// Destination address: not necessarily a VIP.
    pub vip: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// `sluice explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainView {
    /// The steps of the data path in their order, up to the one that decides.
    pub steps: Vec<ExplainStep>,
    /// What happens to a packet of the flow.
    pub verdict: ExplainVerdict,
    /// The backend that gets the flow.
    pub backend: Option<IpAddr>,
    /// The endpoint that gets the flow, if this node delivers it.
    pub endpoint: Option<SocketAddr>,
}

/// One step of the data path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainStep {
    /// What is looked at, such as `service` or `slot`.
    pub stage: String,
    /// What came out.
    pub result: String,
    /// Why, in a sentence.
    pub why: String,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExplainVerdict {
    /// Sent to a backend.
    Forward,
    /// Delivered to an endpoint of this node.
    Deliver,
    /// Dropped silently.
    Drop,
    /// Left to the kernel.
    Pass,
    /// Answered with a TCP RST or an ICMP error.
    Refuse,
    /// A new flow's backend depends on the client's port, which was not given.
    Depends,
}
