//! Backends, described as a test reads.

use std::net::IpAddr;

use lb_common::{
    backend::{
        BACKEND_DOWN, BACKEND_ON_LINK, BACKEND_OUTER_V6, BACKEND_RESOLVED, BACKEND_VARY_SOURCE,
        BackendRecord,
    },
    checksum,
};

use super::{EDGE, INTERFACE, SERVER};
use crate::{addresses::LAN, mac::Mac};

/// TTL of outer headers and protocol number of IPv4 inside, which the prepared checksum covers.
const OUTER: (u8, u8) = (64, 4);

/// A backend's record in the making.
#[derive(Clone, Copy, Debug)]
pub struct Backend(BackendRecord);

impl Backend {
    /// A backend with this number in the LAN, on the link, up, tunnelled to by IPv4.
    pub fn v4(host: u8) -> Self {
        Self::at(LAN.v4(11).into(), LAN.v4(host).into())
    }

    /// Likewise, tunnelled to by IPv6.
    pub fn v6(host: u8) -> Self {
        Self::at(LAN.v6(11).into(), LAN.v6(host).into())
    }

    fn at(source: IpAddr, destination: IpAddr) -> Self {
        let mut flags = BACKEND_RESOLVED | BACKEND_ON_LINK;
        let mut outer_sum = 0;
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (ttl, protocol) = OUTER;
                let ends = (source.octets(), destination.octets());
                outer_sum = checksum::outer_v4_base(ends.0, ends.1, ttl, protocol);
            }
            _ => flags |= BACKEND_OUTER_V6,
        }
        Self(BackendRecord {
            next_hop_mac: SERVER.0,
            source_mac: EDGE.0,
            mtu: 1500,
            flags,
            ifindex: INTERFACE,
            outer_sum,
            outer_source: source.into(),
            outer_destination: destination.into(),
            ..BackendRecord::EMPTY
        })
    }

    /// Its next hop.
    pub const fn next_hop(mut self, mac: Mac) -> Self {
        self.0.next_hop_mac = mac.0;
        self
    }

    /// Largest IP packet, outer header included, that the way there takes.
    pub const fn mtu(mut self, bytes: u16) -> Self {
        self.0.mtu = bytes;
        self
    }

    /// It is behind this VLAN.
    pub const fn vlan(mut self, id: u16) -> Self {
        self.0.vlan = id;
        self
    }

    /// It is behind this interface.
    pub const fn behind(mut self, ifindex: u32) -> Self {
        self.0.ifindex = ifindex;
        self
    }

    /// Its next hop is not known.
    pub const fn unresolved(mut self) -> Self {
        self.0.flags &= !BACKEND_RESOLVED;
        self
    }

    /// It is behind a router.
    pub const fn behind_router(mut self) -> Self {
        self.0.flags &= !BACKEND_ON_LINK;
        self
    }

    /// It is declared dead.
    pub const fn down(mut self) -> Self {
        self.0.flags |= BACKEND_DOWN;
        self
    }

    /// The outer source varies by flow within the settings' prefix.
    pub const fn vary_source(mut self) -> Self {
        self.0.flags |= BACKEND_VARY_SOURCE;
        self
    }

    /// When its id was last given away, in ticks.
    pub const fn since(mut self, ticks: u32) -> Self {
        self.0.since = ticks;
        self
    }

    /// The record.
    pub const fn record(self) -> BackendRecord {
        self.0
    }
}
