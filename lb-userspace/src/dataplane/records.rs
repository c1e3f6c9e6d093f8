//! Backend records: where a packet is sent, from what the planner and the kernel's routes say. Pure.

use std::net::IpAddr;

use lb_common::{
    address::Address,
    backend::{
        BACKEND_ON_LINK, BACKEND_OUTER_V6, BACKEND_RESOLVED, BACKEND_VARY_SOURCE, BackendRecord,
    },
    checksum,
};

use super::neighbours::NextHop;

/// TTL of outer headers, as the data path writes it.
const OUTER_TTL: u8 = 64;
/// IP protocol number of IPv4 in IP, which the precomputed sum speaks of.
const IPIP: u8 = 4;

/// Where outer headers come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelSources {
    /// Configured sources, at most one for each family; otherwise the address on the route is taken.
    pub fixed: Vec<IpAddr>,
    /// Families whose source varies by flow within a prefix.
    pub vary_v4: bool,
    /// As `vary_v4`.
    pub vary_v6: bool,
}

impl TunnelSources {
    fn source(&self, next_hop: &NextHop, family_of: IpAddr) -> IpAddr {
        let fixed = self.fixed.iter().find(|source| source.is_ipv4() == family_of.is_ipv4());
        fixed.copied().unwrap_or(next_hop.source)
    }
}

/// The record of the backend at `address`: unresolved without next hop. `flags` are the planner's.
pub fn backend_record(
    address: IpAddr,
    flags: u32,
    since: u32,
    next_hop: Option<&NextHop>,
    sources: &TunnelSources,
) -> BackendRecord {
    let family = if address.is_ipv6() { BACKEND_OUTER_V6 } else { 0 };
    let unresolved = BackendRecord {
        flags: flags | family,
        since,
        outer_destination: address.into(),
        ..BackendRecord::EMPTY
    };
    let Some(next_hop) = next_hop else { return unresolved };
    let source = sources.source(next_hop, address);
    let mut flags = unresolved.flags | BACKEND_RESOLVED;
    if next_hop.on_link {
        flags |= BACKEND_ON_LINK;
    }
    if if address.is_ipv4() { sources.vary_v4 } else { sources.vary_v6 } {
        flags |= BACKEND_VARY_SOURCE;
    }
    let outer_sum = match (source, address) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum::outer_v4_base(source.octets(), destination.octets(), OUTER_TTL, IPIP)
        }
        _ => 0,
    };
    BackendRecord {
        next_hop_mac: next_hop.mac,
        vlan: next_hop.vlan,
        source_mac: next_hop.source_mac,
        mtu: u16::try_from(next_hop.mtu).unwrap_or(u16::MAX),
        flags,
        ifindex: next_hop.ifindex,
        outer_sum,
        outer_source: Address::from(source),
        ..unresolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_hop() -> NextHop {
        NextHop {
            ifindex: 7,
            interface: "eth0".into(),
            vlan: 0,
            source: "10.0.0.1".parse().unwrap(),
            gateway: "10.0.0.2".parse().unwrap(),
            on_link: true,
            mac: [2, 0, 0, 0, 0, 2],
            source_mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
        }
    }

    #[test]
    fn without_next_hop_nothing_is_sent() {
        let address = "10.0.0.2".parse().unwrap();
        let record = backend_record(address, 0, 5, None, &TunnelSources::default());
        assert_eq!(record.flags & BACKEND_RESOLVED, 0);
        assert_eq!(record.since, 5);
    }

    #[test]
    fn the_outer_family_is_that_of_the_backend() {
        let record = |address: &str| {
            let address = address.parse().unwrap();
            backend_record(address, 0, 0, Some(&next_hop()), &TunnelSources::default())
        };
        assert_eq!(record("10.0.0.2").flags & BACKEND_OUTER_V6, 0);
        assert_eq!(record("fd00::2").flags & BACKEND_OUTER_V6, BACKEND_OUTER_V6);
    }

    #[test]
    fn a_configured_source_replaces_the_route_s() {
        let sources =
            TunnelSources { fixed: vec!["10.9.9.9".parse().unwrap()], ..Default::default() };
        let address: IpAddr = "10.0.0.2".parse().unwrap();
        let record = backend_record(address, 0, 0, Some(&next_hop()), &sources);
        assert_eq!(IpAddr::from(record.outer_source), sources.fixed[0]);
        assert_eq!(
            record.outer_sum,
            checksum::outer_v4_base([10, 9, 9, 9], [10, 0, 0, 2], OUTER_TTL, IPIP)
        );
    }
}
