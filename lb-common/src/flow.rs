//! The memory of flows on moved slots: a 4-way set-associative table in a plain array, shared by all CPUs without locks.
//!
//! A flow's packets do not always meet the same CPU, so a memory for each would forget. An entry is two words, each written by one
//! store; the first one is the fingerprint XORed with the second (Hyatt and Mann, "A lock-less transposition table
//! implementation for parallel search", 2002), so that halves of two entries never pass for one.

use crate::{address::Address, assert_size, pod};

/// Entries in a set.
pub const FLOW_WAYS: usize = 4;

/// One remembered flow.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// The keyed flow hash XORed with the other word, see [`FlowEntry::fingerprint`].
    pub check: u64,
    /// Service id.
    pub service: u16,
    /// Backend id the flow belongs to.
    pub backend: u16,
    /// When a packet of the flow was last seen, in [`ticks`]; 0 where the entry is free. Valid only if not older than `since` of
    /// its service's and its backend's record.
    pub last_seen: u32,
}
assert_size!(FlowEntry, 16);

impl FlowEntry {
    /// An entry of a flow with this hash.
    #[inline(always)]
    pub const fn new(fingerprint: u64, service: u16, backend: u16, last_seen: u32) -> Self {
        let entry = Self { check: 0, service, backend, last_seen };
        Self { check: fingerprint ^ entry.data(), ..entry }
    }

    /// An entry from the two words it is stored as.
    #[inline(always)]
    pub const fn from_words(check: u64, data: u64) -> Self {
        Self {
            check,
            service: data as u16,
            backend: (data >> 16) as u16,
            last_seen: (data >> 32) as u32,
        }
    }

    /// The second word, as it lies in memory on a little-endian CPU.
    #[inline(always)]
    pub const fn data(&self) -> u64 {
        self.service as u64 | (self.backend as u64) << 16 | (self.last_seen as u64) << 32
    }

    /// The keyed flow hash. Its high half names the slot of the service's table, see [`hash::slot_index`](crate::hash::slot_index).
    /// Of an entry that was read half written it is a hash of no flow.
    #[inline(always)]
    pub const fn fingerprint(&self) -> u64 {
        self.check ^ self.data()
    }
}

/// Value of the `flow_memory` array: one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSet {
    /// Order has no meaning.
    pub entries: [FlowEntry; FLOW_WAYS],
}
assert_size!(FlowSet, 64);

/// Who a remembered flow is: written beside a new [`FlowEntry`], read by `sluice flows`, never by the data path.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTuple {
    /// The client.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// Client's port, network byte order.
    pub source_port_be: [u8; 2],
    /// VIP's port, network byte order.
    pub destination_port_be: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Explicit padding, zero.
    pub _pad: [u8; 3],
}
assert_size!(FlowTuple, 40);

/// Value of the `flow_tuples` array, index and order as in [`FlowSet`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTupleSet {
    /// One for each entry of the [`FlowSet`] at the same index.
    pub tuples: [FlowTuple; FLOW_WAYS],
}
assert_size!(FlowTupleSet, 160);

/// Key of the `fragments` map: what fragments of one packet share (RFC 791, section 3.2; RFC 8200, section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Identification: 16 bits for IPv4, 32 for IPv6, as on the wire.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Explicit padding, zero.
    pub _pad: [u8; 3],
}
assert_size!(FragmentKey, 40);

/// Value of the `fragments` map: what the first fragment was matched to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentRecord {
    /// Service id.
    pub service: u32,
    /// Backend id.
    pub backend: u32,
    /// When the first fragment was seen, in [`ticks`].
    pub seen: u32,
    /// Explicit padding, zero.
    pub _pad: u32,
}
assert_size!(FragmentRecord, 16);

pod!(FlowEntry, FlowSet, FlowTuple, FlowTupleSet, FragmentKey, FragmentRecord);

/// Converts nanoseconds of `CLOCK_MONOTONIC` to ticks of 2^30 ns (1.07 s): a shift is all the data path can afford. Never 0, which
/// marks free entries.
#[inline(always)]
pub const fn ticks(monotonic_ns: u64) -> u32 {
    (monotonic_ns >> 30) as u32 + 1
}

/// Seconds in a number of [`ticks`].
pub const fn ticks_to_seconds(ticks: u32) -> u64 {
    ((ticks as u64) << 30) / 1_000_000_000
}
