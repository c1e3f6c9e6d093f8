//! Virtual addresses: who answers ARP and NDP for them, and the bitmap that lets other traffic pass quickly.

use crate::{assert_size, pod};

/// The agent of this node owns the VIP and answers ARP/NDP for it while the lease lasts.
pub const VIP_OWNED: u32 = 1 << 0;
/// Packets for ports of this VIP that no service has are refused (TCP RST, ICMP unreachable) instead of dropped.
pub const VIP_REJECT: u32 = 1 << 1;

/// Value of the `vips` hash map; its key is an [`Address`](crate::address::Address).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VipRecord {
    /// Until when ARP and NDP may be answered, in nanoseconds of `CLOCK_MONOTONIC`.
    pub lease_deadline_ns: u64,
    /// Interface on which the VIP is announced.
    pub ifindex: u32,
    /// `VIP_*` bits.
    pub flags: u32,
    /// Ethernet address the VIP is announced with.
    pub mac: [u8; 6],
    /// Explicit padding, zero.
    pub _pad: [u8; 2],
}
assert_size!(VipRecord, 24);
pod!(VipRecord);
