//! Backends: all that the data path needs to send a packet to one, in a single cache line.

use crate::{address::Address, assert_size, pod};

/// The next hop is known: MAC addresses, interface and MTU are valid.
pub const BACKEND_RESOLVED: u32 = 1 << 0;
/// The backend is declared dead: flows that remember it go to the slot's current backend at once.
pub const BACKEND_DOWN: u32 = 1 << 1;
/// The outer header is IPv6.
pub const BACKEND_OUTER_V6: u32 = 1 << 2;
/// The backend itself is the next hop, so L2 forwarding reaches it.
pub const BACKEND_ON_LINK: u32 = 1 << 3;
/// The outer source address varies by flow within the tunnel source prefix.
pub const BACKEND_VARY_SOURCE: u32 = 1 << 4;
/// Keeps its flows but gets no new ones (shown to people; the tables already leave it out).
pub const BACKEND_DRAINING: u32 = 1 << 5;

/// Value of the `backends` array.
///
/// Each MAC address shares a 64-bit word with a small field, so that the agent replaces it in one store.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendRecord {
    /// MAC address of the next hop.
    pub next_hop_mac: [u8; 6],
    /// VLAN id to send with, host order; 0: the tag the packet came with if it leaves where it came in, else none.
    pub vlan: u16,
    /// MAC address of the interface that leads there.
    pub source_mac: [u8; 6],
    /// Largest IP packet (outer header included) the way there takes, in bytes.
    pub mtu: u16,
    /// `BACKEND_*` bits.
    pub flags: u32,
    /// Interface that leads there.
    pub ifindex: u32,
    /// When this id was last given to a backend, in [ticks](crate::flow::ticks).
    pub since: u32,
    /// One's-complement sum of the outer IPv4 header without length and type of service, folded to 16 bits, memory byte order,
    /// not complemented; see [`checksum::outer_v4_base`](crate::checksum::outer_v4_base).
    pub outer_sum: u16,
    /// Explicit padding, zero.
    pub _pad: u16,
    /// Source of the outer header.
    pub outer_source: Address,
    /// Destination of the outer header: the backend.
    pub outer_destination: Address,
}
assert_size!(BackendRecord, 64);
pod!(BackendRecord);

impl BackendRecord {
    /// A record without backend: not resolved, so that nothing is sent to it.
    pub const EMPTY: Self = Self {
        next_hop_mac: [0; 6],
        vlan: 0,
        source_mac: [0; 6],
        mtu: 0,
        flags: 0,
        ifindex: 0,
        since: 0,
        outer_sum: 0,
        _pad: 0,
        outer_source: Address::UNSPECIFIED,
        outer_destination: Address::UNSPECIFIED,
    };
}
