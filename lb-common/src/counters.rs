//! Per-CPU counters: traffic of services and backends, and what happened to packets that were not forwarded.

use crate::{assert_size, pod};

/// Value of `service_counters` and `backend_counters`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounter {
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes of those packets, from the client's IP header on, the tunnel not counted.
    pub bytes: u64,
    /// TCP connections begun (SYN seen) and, on moved slots, UDP flows first seen.
    pub new_flows: u64,
}
assert_size!(TrafficCounter, 24);
pod!(TrafficCounter);

/// Value of `interfaces`: what the data path knows of an attached interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceRecord {
    /// Its MAC address; frames to other unicast addresses pass.
    pub mac: [u8; 6],
    /// 1 where attached.
    pub attached: u8,
    /// Explicit padding, zero.
    pub _pad: u8,
}
assert_size!(InterfaceRecord, 8);
pod!(InterfaceRecord);

/// Value of `refusal_tokens`: a token bucket, one per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// When tokens were last added, nanoseconds of `CLOCK_MONOTONIC`.
    pub refilled_ns: u64,
    /// Tokens left, in billionths of one.
    pub nano_tokens: u64,
}
assert_size!(TokenBucket, 16);
pod!(TokenBucket);

/// What becomes of a packet that a [`Reason`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Dropped silently.
    Drop,
    /// Left to the kernel.
    Pass,
    /// Answered with a TCP RST or an ICMP error.
    Refuse,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $disposition:ident;)+) => {
        /// Why a packet for a VIP (or a tunnel packet) was not forwarded. The discriminant indexes the `drops` map.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the `drops` map.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason at an index of the `drops` map.
            #[inline(always)]
            pub const fn from_index(index: u32) -> Option<Self> {
                match index {
                    $(index if index == Self::$name as u32 => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// The name in metrics and `sluice drops`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What became of the packet.
            pub const fn disposition(self) -> Disposition {
                match self { $(Self::$name => Disposition::$disposition,)+ }
            }
        }
    };
}

reasons! {
    /// Header fields contradict each other or the packet's length.
    Malformed = "malformed", Drop;
    /// The packet ends before its headers do.
    Truncated = "truncated", Drop;
    /// The IPv4 header checksum is wrong.
    BadChecksum = "bad_checksum", Drop;
    /// TTL or hop limit 0 or 1.
    TtlExpired = "ttl_expired", Drop;
    /// A source no client can have: multicast, loopback, unspecified, or the VIP itself.
    BadSource = "bad_source", Drop;
    /// A fragment whose first fragment was not seen.
    FragmentWithoutFirst = "fragment_without_first", Drop;
    /// Neither TCP, UDP nor an ICMP message that concerns a VIP.
    UnsupportedProtocol = "unsupported_protocol", Drop;
    /// An ICMP error that quotes no packet of a service.
    IcmpUnrelated = "icmp_unrelated", Drop;
    /// The client is not in the service's source ranges.
    SourceNotAllowed = "source_not_allowed", Drop;
    /// No service has this port; the client was told.
    NoService = "no_service", Refuse;
    /// No service has this port; dropped as configured or because a refusal would answer a refusal.
    NoServiceSilent = "no_service_silent", Drop;
    /// The service has no backend; the client was told.
    NoBackend = "no_backend", Refuse;
    /// The service has no backend; dropped as configured or because a refusal would answer a refusal.
    NoBackendSilent = "no_backend_silent", Drop;
    /// A refusal was due but the rate limit was reached.
    RefusalRateLimited = "refusal_rate_limited", Drop;
    /// The backend's next hop is not known yet.
    BackendUnresolved = "backend_unresolved", Drop;
    /// L2 forwarding to a backend that is not on the link.
    BackendNotOnLink = "backend_not_on_link", Drop;
    /// Too big for the way to the backend; the client was told the size that fits.
    TooBig = "too_big", Refuse;
    /// Too big, and the rate limit was reached.
    TooBigRateLimited = "too_big_rate_limited", Drop;
    /// The driver left no room for the tunnel header.
    NoHeadroom = "no_headroom", Drop;
    /// A tunnel packet whose source is no known edge.
    TunnelStranger = "tunnel_stranger", Drop;
    /// A tunnel packet whose inner packet is malformed.
    TunnelMalformed = "tunnel_malformed", Drop;
    /// An ARP request for a VIP that this node does not own here and now; the kernel must not answer.
    ArpNotOwner = "arp_not_owner", Drop;
    /// A neighbour solicitation for a VIP that this node does not own here and now; the kernel must not answer.
    NdpNotOwner = "ndp_not_owner", Drop;
    /// Endpoints of the service are foreign: the kernel delivers.
    ServicePassed = "service_passed", Pass;
    /// A packet for a VIP on a node that does not balance.
    NotAnEdge = "not_an_edge", Pass;
}

/// Entries of the `drops` map; more than there are reasons, so that adding one keeps the layout.
pub const DROP_REASONS: u32 = 64;
const _: () = assert!(Reason::ALL.len() <= DROP_REASONS as usize);
