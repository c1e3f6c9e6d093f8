//! Reading the kernel's answers about routes, links and addresses into the way to a backend.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{
        InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType,
        LinkMessage,
    },
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteType, RouteVia,
    },
};

use super::Unresolved;
use crate::ownership::frames::Mac;

/// A network interface, as far as forwarding cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// Its MAC address, if it is an Ethernet.
    pub(crate) mac: Option<Mac>,
    /// Largest IP packet, in bytes.
    pub(crate) mtu: u32,
    /// Administratively up and with carrier.
    pub(crate) up: bool,
    /// VLAN id and the interface below, if it is a VLAN device.
    pub(crate) vlan: Option<(u16, u32)>,
    /// The kind of virtual device, such as `veth`.
    pub(crate) kind: Option<InfoKind>,
}

impl Link {
    /// Index and properties from a link message; `None` if it lacks a name.
    pub(crate) fn read(message: LinkMessage) -> Option<(u32, Self)> {
        let flags = message.header.flags;
        let (mut name, mut hardware, mut mtu, mut below) = (None, None, 0, None);
        let (mut kind, mut vlan_id) = (None, None);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(value) => name = Some(value),
                LinkAttribute::Address(value) => hardware = Mac::try_from(value.as_slice()).ok(),
                LinkAttribute::Mtu(value) => mtu = value,
                LinkAttribute::Link(value) => below = Some(value),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(value) => kind = Some(value),
                            LinkInfo::Data(InfoData::Vlan(values)) => {
                                vlan_id = values.iter().find_map(|value| match value {
                                    InfoVlan::Id(id) => Some(*id),
                                    _ => None,
                                });
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        let link = Self {
            name: name?,
            mac: hardware.filter(|_| ethernet),
            mtu,
            up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            vlan: vlan_id.zip(below),
            kind,
        };
        Some((message.header.index, link))
    }
}

/// Interface index and address with its prefix; `None` for an address that may not be used (yet).
pub(crate) fn read_address(message: AddressMessage) -> Option<(u32, IpNet)> {
    let unusable = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
    if message.header.flags.intersects(unusable) {
        return None;
    }
    let (mut peer, mut local) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Local(address) => local = Some(*address),
            _ => {}
        }
    }
    let net = IpNet::new(local.or(peer)?, message.header.prefix_len).ok()?;
    Some((message.header.index, net))
}

/// All interfaces and their usable addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    pub(super) links: BTreeMap<u32, Link>,
    pub(super) addresses: BTreeMap<u32, Vec<IpNet>>,
}

/// The way to a backend, up to the next hop's MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// Interface the route names: where the next hop is asked for. A VLAN device, perhaps.
    pub(super) link: u32,
    /// Interface that frames leave by.
    pub(super) ifindex: u32,
    pub(super) interface: String,
    pub(super) vlan: u16,
    pub(super) source: IpAddr,
    /// Source address of probes; `None` while the interface has none of the next hop's family.
    pub(super) probe_source: Option<IpAddr>,
    pub(super) gateway: IpAddr,
    pub(super) on_link: bool,
    pub(super) source_mac: Mac,
    pub(super) mtu: u32,
}

/// The request for the route to one address.
pub(super) fn lookup(backend: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, length) = match backend {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header = RouteHeader {
        address_family: family,
        destination_prefix_length: length,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Destination(backend.into()));
    message
}

/// Why the kernel refused a lookup; `errno` is positive.
pub(super) fn refusal(errno: i32) -> Unresolved {
    match errno {
        libc::ENETUNREACH | libc::ESRCH => Unresolved::NoRoute,
        // The errors of unreachable, prohibit and blackhole routes.
        libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL => Unresolved::Unreachable,
        other => Unresolved::Lookup(std::io::Error::from_raw_os_error(other).to_string()),
    }
}

/// The way to `backend` by the route the kernel chose.
pub(super) fn path(
    backend: IpAddr,
    route: &RouteMessage,
    topology: &Topology,
) -> Result<Path, Unresolved> {
    match route.header.kind {
        RouteType::Local => return Err(Unresolved::Local),
        RouteType::Unicast => {}
        _ => return Err(Unresolved::Unreachable),
    }
    let (mut oif, mut gateway, mut source, mut mtu) = (None, None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => oif = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some((*address).into()),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Metrics(metrics) => {
                mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(value) => Some(*value),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let index = oif.ok_or(Unresolved::NoRoute)?;
    let link = topology.links.get(&index).ok_or(Unresolved::NoRoute)?;
    let interface = || link.name.clone();
    if !link.up {
        return Err(Unresolved::LinkDown { interface: interface() });
    }
    let source_mac = link.mac.ok_or_else(|| Unresolved::NotEthernet { interface: interface() })?;
    let source = source.ok_or_else(|| Unresolved::NoSource { interface: interface() })?;
    let (ifindex, vlan, name) = match link.vlan {
        None => (index, 0, interface()),
        Some((id, below)) => {
            let parent = topology.links.get(&below).filter(|parent| parent.vlan.is_none());
            let parent =
                parent.ok_or_else(|| Unresolved::StackedVlans { interface: interface() })?;
            (below, id, parent.name.clone())
        }
    };
    let on_link = gateway.is_none();
    let gateway = gateway.unwrap_or(backend);
    let addresses = topology.addresses.get(&index).map_or(&[][..], Vec::as_slice);
    Ok(Path {
        link: index,
        ifindex,
        interface: name,
        vlan,
        source,
        probe_source: probe_source(gateway, addresses, source),
        gateway,
        on_link,
        source_mac,
        mtu: mtu.filter(|mtu| *mtu > 0).map_or(link.mtu, |mtu| mtu.min(link.mtu)),
    })
}

/// The address to ask for `next_hop` from: the interface's in the same subnet, else its link-local one, else the route's.
fn probe_source(next_hop: IpAddr, addresses: &[IpNet], preferred: IpAddr) -> Option<IpAddr> {
    let link_local =
        |net: &&IpNet| matches!(net.addr(), IpAddr::V6(address) if is_link_local(address));
    addresses
        .iter()
        .find(|net| net.contains(&next_hop))
        .or_else(|| addresses.iter().find(link_local).filter(|_| next_hop.is_ipv6()))
        .map(IpNet::addr)
        .or(Some(preferred).filter(|address| address.is_ipv6() == next_hop.is_ipv6()))
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    fn link(name: &str) -> Link {
        Link { name: name.into(), mac: Some(MAC), mtu: 1500, up: true, vlan: None, kind: None }
    }

    fn topology(links: impl IntoIterator<Item = (u32, Link)>) -> Topology {
        let addresses = BTreeMap::from([(2, vec!["10.0.0.1/24".parse().unwrap()])]);
        Topology { links: links.into_iter().collect(), addresses }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        message.attributes.push(RouteAttribute::PrefSource(address("10.0.0.1").into()));
        message
    }

    fn through(attributes: Vec<RouteAttribute>, topology: &Topology) -> Result<Path, Unresolved> {
        path(address("10.0.0.9"), &route(attributes), topology)
    }

    #[test]
    fn without_a_gateway_the_backend_is_its_own_next_hop() {
        let path = through(vec![RouteAttribute::Oif(2)], &topology([(2, link("eth0"))])).unwrap();
        assert_eq!((path.gateway, path.on_link), (address("10.0.0.9"), true));
        assert_eq!((path.ifindex, path.vlan, path.mtu), (2, 0, 1500));
    }

    #[test]
    fn the_smaller_mtu_of_route_and_device_counts() {
        for (metric, expected) in [(1400, 1400), (9000, 1500), (0, 1500)] {
            let metrics = RouteAttribute::Metrics(vec![RouteMetric::Mtu(metric)]);
            let path =
                through(vec![RouteAttribute::Oif(2), metrics], &topology([(2, link("eth0"))]));
            assert_eq!(path.unwrap().mtu, expected);
        }
    }

    #[test]
    fn a_vlan_device_means_its_parent_and_a_tag() {
        let vlan = Link { vlan: Some((42, 5)), mtu: 1496, ..link("eth0.42") };
        let path = through(vec![RouteAttribute::Oif(2)], &topology([(2, vlan), (5, link("eth0"))]));
        let path = path.unwrap();
        assert_eq!((path.link, path.ifindex, path.vlan, path.mtu), (2, 5, 42, 1496));
        assert_eq!(path.interface, "eth0");
    }

    #[test]
    fn a_vlan_within_a_vlan_is_refused() {
        let outer = Link { vlan: Some((7, 6)), ..link("eth0.7") };
        let inner = Link { vlan: Some((42, 5)), ..link("eth0.7.42") };
        let refused = through(
            vec![RouteAttribute::Oif(2)],
            &topology([(2, inner), (5, outer), (6, link("eth0"))]),
        );
        assert_eq!(refused, Err(Unresolved::StackedVlans { interface: "eth0.7.42".into() }));
    }

    #[test]
    fn a_link_without_carrier_leads_nowhere() {
        let down = Link { up: false, ..link("eth0") };
        let refused = through(vec![RouteAttribute::Oif(2)], &topology([(2, down)]));
        assert_eq!(refused, Err(Unresolved::LinkDown { interface: "eth0".into() }));
    }

    #[test]
    fn a_device_without_mac_is_refused() {
        let tunnel = Link { mac: None, ..link("wg0") };
        let refused = through(vec![RouteAttribute::Oif(2)], &topology([(2, tunnel)]));
        assert_eq!(refused, Err(Unresolved::NotEthernet { interface: "wg0".into() }));
    }

    #[test]
    fn an_ipv4_route_may_lead_through_an_ipv6_gateway() {
        let gateway: Ipv6Addr = "fe80::9".parse().unwrap();
        let mut topology = topology([(2, link("eth0"))]);
        topology.addresses.entry(2).or_default().push("fe80::1/64".parse().unwrap());
        let via = RouteAttribute::Via(RouteVia::Inet6(gateway));
        let path = through(vec![RouteAttribute::Oif(2), via], &topology).unwrap();
        assert_eq!((path.gateway, path.on_link), (gateway.into(), false));
        assert_eq!(path.probe_source, Some(address("fe80::1")));
        assert_eq!(path.source, address("10.0.0.1"));
    }

    #[test]
    fn probes_come_from_the_next_hops_subnet_or_the_link() {
        let nets = ["10.0.0.1/24", "10.1.0.1/24", "fe80::1/64", "fd00::1/64"]
            .map(|net| net.parse().unwrap());
        let preferred = address("192.0.2.1");
        let source = |next_hop| probe_source(address(next_hop), &nets, preferred);
        assert_eq!(source("10.1.0.9"), Some(address("10.1.0.1")));
        assert_eq!(source("10.2.0.9"), Some(preferred));
        assert_eq!(source("fd00::9"), Some(address("fd00::1")));
        assert_eq!(source("2001:db8::9"), Some(address("fe80::1")));
        assert_eq!(probe_source(address("fd00::9"), &[], preferred), None);
    }
}
