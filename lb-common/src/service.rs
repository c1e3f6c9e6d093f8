//! Services: the (VIP, port, protocol) table, the record of each service, and the slots of its Maglev table.

use crate::{address::Address, assert_size, pod};

/// IP protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

/// An IPv4 service in a bucket of the `services` map. The first eight bytes are the key and are compared as one word;
/// protocol 0 marks a free place.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEntryV4 {
    /// VIP, network byte order.
    pub vip: [u8; 4],
    /// Port, network byte order; 0 stands for every port that no other service names.
    pub port_be: [u8; 2],
    /// [`PROTOCOL_TCP`] or [`PROTOCOL_UDP`]; 0 where the place is free.
    pub protocol: u8,
    /// Explicit padding, zero (part of the compared word).
    pub _pad: u8,
    /// Index into `service_records`.
    pub service: u32,
    /// Explicit padding, zero.
    pub _pad2: u32,
}
assert_size!(ServiceEntryV4, 16);

impl ServiceEntryV4 {
    /// A place that matches no packet.
    pub const FREE: Self =
        Self { vip: [0; 4], port_be: [0; 2], protocol: 0, _pad: 0, service: 0, _pad2: 0 };

    /// The key as the one word the data path compares.
    #[inline(always)]
    pub const fn key(vip: [u8; 4], port_be: [u8; 2], protocol: u8) -> u64 {
        u64::from_ne_bytes([vip[0], vip[1], vip[2], vip[3], port_be[0], port_be[1], protocol, 0])
    }
}

/// Value of the `services` array: one cache line of four places. A service lives in one of the two buckets that
/// [`hash::service_buckets_v4`](crate::hash::service_buckets_v4) names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBucketV4 {
    /// The places; order has no meaning.
    pub entries: [ServiceEntryV4; 4],
}
assert_size!(ServiceBucketV4, 64);

/// An IPv6 service in a bucket of the `services_v6` map; protocol 0 marks a free place.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceEntryV6 {
    /// VIP.
    pub vip: Address,
    /// Port, network byte order; 0 stands for every port that no other service names.
    pub port_be: [u8; 2],
    /// [`PROTOCOL_TCP`] or [`PROTOCOL_UDP`]; 0 where the place is free.
    pub protocol: u8,
    /// Explicit padding, zero.
    pub _pad: u8,
    /// Index into `service_records`; published together with port and protocol in one 64-bit store.
    pub service: u32,
    /// Explicit padding, zero.
    pub _pad2: u64,
}
assert_size!(ServiceEntryV6, 32);

impl ServiceEntryV6 {
    /// A place that matches no packet.
    pub const FREE: Self = Self {
        vip: Address::UNSPECIFIED,
        port_be: [0; 2],
        protocol: 0,
        _pad: 0,
        service: 0,
        _pad2: 0,
    };

    /// Port and protocol as the one 32-bit word the data path compares.
    #[inline(always)]
    pub const fn key(port_be: [u8; 2], protocol: u8) -> u32 {
        u32::from_ne_bytes([port_be[0], port_be[1], protocol, 0])
    }
}

/// Value of the `services_v6` array: one cache line of two places, found like [`ServiceBucketV4`] through
/// [`hash::service_buckets_v6`](crate::hash::service_buckets_v6).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBucketV6 {
    /// The places; order has no meaning.
    pub entries: [ServiceEntryV6; 2],
}
assert_size!(ServiceBucketV6, 64);

/// Forward by rewriting the destination MAC address instead of tunnelling.
pub const SERVICE_L2: u32 = 1 << 0;
/// Hash the client's address only, so that all its connections reach one backend (session affinity `ClientIP`).
pub const SERVICE_AFFINITY_CLIENT_IP: u32 = 1 << 1;
/// Only sources found in `source_ranges` may use the service.
pub const SERVICE_SOURCE_RANGES: u32 = 1 << 2;
/// Without a backend, refuse (TCP RST, ICMP unreachable) instead of dropping silently.
pub const SERVICE_REJECT: u32 = 1 << 3;
/// Packets go to the kernel untouched: the service's endpoints are foreign, see `state: passed`.
pub const SERVICE_PASS: u32 = 1 << 4;
/// UDP flows without memory stay with the previous backend of a moved slot while that backend lives.
pub const SERVICE_STICKY_UDP: u32 = 1 << 5;

/// Value of the `service_records` array.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Where the Maglev table lies in `slots`: offset in the low, length in the high 32 bits, see [`table_word`]. Zero length:
    /// the service has no backend. Replaced by one 64-bit store, so that no packet sees half a change.
    pub table: u64,
    /// `SERVICE_*` bits.
    pub flags: u32,
    /// When this id was last given to a service, in [ticks](crate::flow::ticks).
    pub since: u32,
    /// VIP, for readers of map dumps; the data path finds records by id.
    pub vip: Address,
    /// Port, network byte order, for readers of map dumps.
    pub port_be: [u8; 2],
    /// IP protocol number, for readers of map dumps.
    pub protocol: u8,
    /// Explicit padding, zero.
    pub _pad: [u8; 29],
}
assert_size!(ServiceRecord, 64);

impl ServiceRecord {
    /// A record without service.
    pub const EMPTY: Self = Self {
        table: 0,
        flags: 0,
        since: 0,
        vip: Address::UNSPECIFIED,
        port_be: [0; 2],
        protocol: 0,
        _pad: [0; 29],
    };
}

/// Packs a table's place into the word stored in [`ServiceRecord::table`].
#[inline(always)]
pub const fn table_word(offset: u32, length: u32) -> u64 {
    offset as u64 | (length as u64) << 32
}

/// Unpacks [`ServiceRecord::table`] into (offset, length).
#[inline(always)]
pub const fn table_place(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// In [`Slot::previous`]: the slot moved, so flows on it must be looked up in `flow_memory`.
pub const SLOT_MOVED: u32 = 1 << 31;

/// Value of the `slots` array: one slot of a Maglev table, written by one 64-bit store.
///
/// While `current == previous` the slot answers by itself. Where it moved, `previous` carries [`SLOT_MOVED`] and the backend that
/// flows older than the move belong to.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Backend id for new flows.
    pub current: u32,
    /// Backend id for flows from before the move, with [`SLOT_MOVED`]; equal to `current` in a settled slot.
    pub previous: u32,
}
assert_size!(Slot, 8);

impl Slot {
    /// A slot that has not moved.
    #[inline(always)]
    pub const fn settled(backend: u32) -> Self {
        Self { current: backend, previous: backend }
    }

    /// A slot whose older flows belong to `previous`.
    #[inline(always)]
    pub const fn moved(current: u32, previous: u32) -> Self {
        Self { current, previous: previous | SLOT_MOVED }
    }

    /// Does the data path have to consult `flow_memory`?
    #[inline(always)]
    pub const fn is_moved(self) -> bool {
        self.previous & SLOT_MOVED != 0
    }

    /// The backend of flows from before the move (the current one in a settled slot).
    #[inline(always)]
    pub const fn previous_backend(self) -> u32 {
        self.previous & !SLOT_MOVED
    }
}

/// Data of a key of the `source_ranges` LPM trie. The prefix length counts all bits before the prefix too: 32 (service) plus 96 for
/// IPv4-mapped addresses plus the range's own length.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceRange {
    /// Service id, big-endian so that the trie matches it as a prefix.
    pub service_be: [u8; 4],
    /// Network address, as in [`Address`].
    pub address: [u8; 16],
}
assert_size!(SourceRange, 20);

/// Bits of a [`SourceRange`] before the address.
pub const SOURCE_RANGE_SERVICE_BITS: u32 = 32;

pod!(ServiceBucketV4, ServiceBucketV6, ServiceRecord, Slot, SourceRange);
