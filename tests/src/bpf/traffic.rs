//! The frames that most tables of packets begin with.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{EDGE, ROUTER, SERVER};
use crate::{
    addresses::{CLIENT, LAN, ROUTED_VIPS},
    frame::{Frame, FrameBuilder, ethernet, packet, protocol},
};

/// A client.
pub const CLIENT4: Ipv4Addr = CLIENT.v4(10);
/// A client.
pub const CLIENT6: Ipv6Addr = CLIENT.v6(10);
/// A VIP.
pub const VIP4: Ipv4Addr = ROUTED_VIPS.v4(100);
/// A VIP.
pub const VIP6: Ipv6Addr = ROUTED_VIPS.v6(100);
/// The node's own address, where its tunnels begin and end.
pub const NODE4: Ipv4Addr = LAN.v4(11);
/// The node's own address, where its tunnels begin and end.
pub const NODE6: Ipv6Addr = LAN.v6(11);

/// A frame that the router sends to the edge.
pub fn from_router() -> FrameBuilder {
    ethernet(ROUTER, EDGE)
}

/// What the client sends to [`VIP4`].
pub fn asks4() -> FrameBuilder {
    from_router().ipv4(CLIENT4, VIP4)
}

/// What the client sends to [`VIP6`].
pub fn asks6() -> FrameBuilder {
    from_router().ipv6(CLIENT6, VIP6)
}

/// An answer to the client from [`VIP4`], back through the router.
pub fn answers4() -> FrameBuilder {
    ethernet(EDGE, ROUTER).ipv4(VIP4, CLIENT4)
}

/// An answer to the client from [`VIP6`], back through the router.
pub fn answers6() -> FrameBuilder {
    ethernet(EDGE, ROUTER).ipv6(VIP6, CLIENT6)
}

/// A reply of a server to the client, as an ICMP error quotes it.
pub fn reply4() -> FrameBuilder {
    packet().ipv4(VIP4, CLIENT4)
}

/// A reply of a server to the client, as an ICMP error quotes it.
pub fn reply6() -> FrameBuilder {
    packet().ipv6(VIP6, CLIENT6)
}

/// The outer header of an IPv4 tunnel to the backend with this number: not to be fragmented, TTL 64.
pub fn tunnel4(host: u8) -> FrameBuilder {
    ethernet(EDGE, SERVER).ipv4(NODE4, LAN.v4(host)).dont_fragment().ttl(64)
}

/// The outer header of an IPv6 tunnel to the backend with this number: hop limit 64.
pub fn tunnel6(host: u8) -> FrameBuilder {
    ethernet(EDGE, SERVER).ipv6(NODE6, LAN.v6(host)).ttl(64)
}

impl FrameBuilder {
    /// Puts the packet of an untagged frame into the tunnel that begins with the last IP header.
    pub fn around(self, frame: &Frame) -> Self {
        /// Bytes of an Ethernet header.
        const LINK: usize = 14;
        let packet = &frame.bytes()[LINK..];
        let inside = if packet[0] >> 4 == 6 { protocol::IPV6 } else { protocol::IPIP };
        self.next_protocol(inside).payload(packet)
    }
}
