//! Promises to everybody else: what is not for a VIP goes to the kernel, untouched and uncounted.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::{address::Address, hash};
use sluice_tests::{
    addresses::{LAN, ROUTED_VIPS},
    bpf::{Backend, EDGE, OTHER, ROUTER, World, tcp, traffic::*, udp},
    frame::{FrameBuilder, ethernet, packet, protocol},
    mac::Mac,
};

/// VIPs, services, tunnels: all that could take interest in a packet.
fn world() -> World {
    World::new()
        .owned_vip(VIP4)
        .owned_vip(VIP6)
        .tunnel(LAN.v4(12), NODE4)
        .tunnel(LAN.v6(12), NODE6)
        .backend(1, Backend::v4(21))
        .service(1, tcp(VIP4, 0).to(&[1]))
        .service(2, udp(VIP4, 0).to(&[1]))
        .service(3, tcp(VIP6, 0).to(&[1]))
        .service(4, udp(VIP6, 0).to(&[1]))
}

fn all_pass(world: &mut World, frames: impl IntoIterator<Item = FrameBuilder>) {
    for frame in frames {
        world.passes(&frame.build());
    }
}

/// Every kind of IPv4 packet there is, good or bad, between two addresses.
fn every_kind4(ip: FrameBuilder) -> Vec<FrameBuilder> {
    let quoted = packet().ipv4(NODE4, CLIENT4).tcp(80, 40000).build();
    vec![
        ip.clone().tcp(40000, 80).syn().mss(1460),
        ip.clone().tcp(40000, 80).ack(1).payload("data"),
        ip.clone().tcp(40000, 80).data_offset(2),
        ip.clone().udp(40000, 53).payload("query"),
        ip.clone().udp(40000, 53).udp_length(7),
        ip.clone().ttl(1).udp(33434, 33434),
        ip.clone().ttl(0).tcp(40000, 80).syn(),
        ip.clone().ip_options(&[0x94, 4, 0, 0]).next_protocol(2).payload([0x16; 8]),
        ip.clone().more_fragments().id(5).udp(40000, 53).payload([0; 64]),
        ip.clone().fragment_offset(9).id(5).next_protocol(protocol::UDP).payload([0; 64]),
        ip.clone().echo_request(1, 1).payload("ping"),
        ip.clone().echo_reply(1, 1).payload("pong"),
        ip.clone().fragment_offset(9).next_protocol(protocol::ICMP).payload([0; 64]),
        ip.clone().fragmentation_needed(1400).payload(quoted.bytes()),
        ip.clone().next_protocol(89).payload([2; 44]),
        ip.clone().header_checksum(0xbad).tcp(40000, 80),
        ip.clone().header_words(4).tcp(40000, 80),
        ip.clone().header_words(15).tcp(40000, 80),
        ip.clone().ip_version(7).tcp(40000, 80),
        ip.clone().total_length(3).tcp(40000, 80),
        ip.clone().total_length(9999).tcp(40000, 80),
        ip,
    ]
}

/// Every kind of IPv6 packet there is.
fn every_kind6(ip: FrameBuilder) -> Vec<FrameBuilder> {
    let quoted = packet().ipv6(NODE6, CLIENT6).tcp(80, 40000).build();
    vec![
        ip.clone().tcp(40000, 80).syn(),
        ip.clone().tcp(40000, 80).ack(1).payload("data"),
        ip.clone().udp(40000, 53).payload("query"),
        ip.clone().ttl(0).udp(40000, 53),
        ip.clone().ttl(1).tcp(40000, 80).syn(),
        ip.clone().hop_by_hop().destination_options().udp(40000, 53),
        ip.clone().extension(protocol::ROUTING, &[0, 9, 0, 0, 0, 0]).tcp(40000, 80),
        ip.clone().fragment_header(0, true, 5).udp(40000, 53).payload([0; 64]),
        ip.clone().fragment_header(9, false, 5).next_protocol(protocol::UDP).payload([0; 64]),
        ip.clone().echo_request(1, 1).payload("ping"),
        ip.clone().echo_reply(1, 1).payload("pong"),
        ip.clone().packet_too_big(1400).payload(quoted.bytes()),
        ip.clone().next_protocol(protocol::NONE),
        ip.clone().payload_length(9999).tcp(40000, 80),
        ip.clone().payload_length(3).tcp(40000, 80),
        ip,
    ]
}

#[test]
fn packets_for_other_addresses() {
    let mut world = world();
    let node = (from_router().ipv4(CLIENT4, NODE4), from_router().ipv6(CLIENT6, NODE6));
    // What the node itself would route, or a packet of a VIP on its way to a client.
    let routed = (
        from_router().ipv4(CLIENT4, ROUTED_VIPS.v4(101)),
        from_router().ipv6(CLIENT6, ROUTED_VIPS.v6(101)),
    );
    let replies = (from_router().ipv4(VIP4, CLIENT4), from_router().ipv6(VIP6, CLIENT6));
    for (four, six) in [node, routed, replies] {
        all_pass(&mut world, every_kind4(four).into_iter().chain(every_kind6(six)));
    }
}

#[test]
fn tagged_packets_for_other_addresses() {
    let mut world = world();
    for link in [from_router().vlan(7), from_router().service_vlan(7).vlan(42)] {
        all_pass(&mut world, every_kind4(link.clone().ipv4(CLIENT4, NODE4)));
        all_pass(&mut world, every_kind6(link.clone().ipv6(CLIENT6, NODE6)));
        // Three tags are more than anybody looks behind.
        all_pass(&mut world, [link.vlan(1).vlan(2).ipv4(CLIENT4, VIP4).tcp(40000, 80).syn()]);
    }
}

#[test]
fn multicast_and_broadcast() {
    let mut world = world();
    let group = Mac([1, 0, 0x5e, 0, 0, 251]);
    let group6 = Mac([0x33, 0x33, 0, 0, 0, 0xfb]);
    let mdns = "224.0.0.251".parse().unwrap();
    let mdns6 = "ff02::fb".parse().unwrap();
    let everybody = Ipv4Addr::BROADCAST;
    all_pass(
        &mut world,
        [
            ethernet(ROUTER, group).ipv4(CLIENT4, mdns).udp(5353, 5353),
            ethernet(ROUTER, group)
                .ipv4(CLIENT4, mdns)
                .ttl(1)
                .next_protocol(112)
                .payload([0x21; 20]),
            ethernet(ROUTER, group6).ipv6(CLIENT6, mdns6).udp(5353, 5353),
            ethernet(ROUTER, Mac::BROADCAST).ipv4(Ipv4Addr::UNSPECIFIED, everybody).udp(68, 67),
            ethernet(ROUTER, Mac::BROADCAST).ipv4(CLIENT4, LAN.v4(255)).udp(137, 137),
        ],
    );
}

#[test]
fn frames_for_other_interfaces_even_if_they_are_for_a_vip() {
    let mut world = world();
    let group = Mac([1, 0, 0x5e, 0, 0, 1]);
    for destination in [OTHER, ROUTER, group, Mac::BROADCAST, Mac([2, 0, 0, 0, 1, 0x0e])] {
        let link = ethernet(ROUTER, destination);
        all_pass(&mut world, every_kind4(link.clone().ipv4(CLIENT4, VIP4)));
        all_pass(&mut world, every_kind6(link.clone().ipv6(CLIENT6, VIP6)));
        all_pass(&mut world, [link.vlan(7).ipv4(CLIENT4, VIP4).tcp(40000, 80).syn()]);
    }
}

#[test]
fn other_peoples_arp() {
    let mut world = world();
    let everybody = Mac::BROADCAST;
    let (router, other) = ((ROUTER, LAN.v4(1)), (OTHER, LAN.v4(9)));
    all_pass(
        &mut world,
        [
            ethernet(ROUTER, everybody).arp_request(router, NODE4),
            ethernet(ROUTER, everybody).arp_request(router, LAN.v4(9)),
            ethernet(OTHER, everybody).arp_request((OTHER, Ipv4Addr::UNSPECIFIED), LAN.v4(9)),
            ethernet(OTHER, EDGE).arp_reply(other, (EDGE, NODE4)),
            ethernet(OTHER, everybody).arp(1, other, (Mac::default(), LAN.v4(9))),
            ethernet(OTHER, everybody).arp_request(other, NODE4).length(14 + 27),
            ethernet(OTHER, everybody).arp_request(other, NODE4).length(14),
        ],
    );
}

#[test]
fn other_peoples_neighbour_discovery() {
    let mut world = world();
    let group = Mac([0x33, 0x33, 0xff, 0, 0, 0x11]);
    let solicited = "ff02::1:ff00:11".parse().unwrap();
    let routers = "ff02::2".parse().unwrap();
    let asks = |source| ethernet(ROUTER, group).ipv6(source, solicited).ttl(255);
    all_pass(
        &mut world,
        [
            asks(LAN.v6(1)).neighbour_solicitation(NODE6, Some(ROUTER)),
            asks(LAN.v6(1)).neighbour_solicitation(NODE6, None),
            asks(Ipv6Addr::UNSPECIFIED).neighbour_solicitation(NODE6, None),
            asks(LAN.v6(1)).ttl(64).neighbour_solicitation(NODE6, None),
            asks(LAN.v6(1)).neighbour_solicitation(NODE6, None).length(14 + 40 + 20),
            from_router().ipv6(LAN.v6(1), NODE6).ttl(255).neighbour_solicitation(NODE6, None),
            from_router()
                .ipv6(LAN.v6(9), NODE6)
                .ttl(255)
                .neighbour_advertisement(0x60, NODE6, OTHER),
            from_router().ipv6(LAN.v6(1), routers).ttl(255).icmpv6(133, 0, [0; 4]),
            from_router().ipv6(LAN.v6(1), routers).ttl(255).icmpv6(134, 0, [0; 4]).payload([0; 8]),
        ],
    );
}

#[test]
fn other_protocols_of_the_link() {
    let mut world = world();
    all_pass(
        &mut world,
        [
            ethernet(ROUTER, Mac([1, 0x80, 0xc2, 0, 0, 0])).ether_type(39).payload([0x42; 40]),
            ethernet(ROUTER, EDGE).ether_type(0x88cc).payload([2; 60]),
            ethernet(ROUTER, EDGE).ether_type(0x8847).payload([0; 60]),
            ethernet(ROUTER, EDGE).ether_type(0x9100).payload([0; 60]),
            ethernet(ROUTER, EDGE).ether_type(0),
        ],
    );
}

#[test]
fn frames_cut_anywhere() {
    let frames = [
        from_router().ipv4(CLIENT4, NODE4).tcp(40000, 80),
        from_router().vlan(7).ipv4(CLIENT4, NODE4).tcp(40000, 80),
        from_router().service_vlan(7).vlan(42).ipv6(CLIENT6, NODE6).hop_by_hop().udp(1, 2),
        from_router().arp_request((ROUTER, LAN.v4(1)), VIP4).length(14 + 27),
    ];
    let mut world = world();
    for frame in frames {
        for length in 14..frame.clone().build().bytes().len() {
            world.passes(&frame.clone().length(length).build());
        }
    }
}

#[test]
fn tunnels_of_others() {
    let mut world = world();
    let inner = packet().ipv4(CLIENT4, LAN.v4(33)).tcp(40000, 80).build();
    let inner6 = packet().ipv6(CLIENT6, LAN.v6(33)).tcp(40000, 80).build();
    for (edge, here) in [(12, 11), (13, 11), (12, 14), (13, 14)] {
        let four = from_router().ipv4(LAN.v4(edge), LAN.v4(here));
        let six = from_router().ipv6(LAN.v6(edge), LAN.v6(here));
        for outer in [four, six] {
            all_pass(
                &mut world,
                [
                    // A CNI's tunnel, perhaps between the very addresses of ours.
                    outer.clone().next_protocol(protocol::IPIP).payload(inner.bytes()),
                    outer.clone().next_protocol(protocol::IPV6).payload(inner6.bytes()),
                    outer.clone().next_protocol(protocol::IPIP).payload([0x45; 7]),
                    outer.clone().next_protocol(47).payload([0; 40]),
                    outer.udp(4789, 4789).payload([8; 60]),
                ],
            );
        }
    }
}

/// An IPv4 address that shares the VIP's bit in the filter.
fn collides4() -> Ipv4Addr {
    let vip = hash::filter_bit_v4(u32::from_ne_bytes(VIP4.octets()));
    let collides = |word: &u32| hash::filter_bit_v4(u32::from_ne_bytes(word.to_be_bytes())) == vip;
    // In 11.0.0.0/8, where there are a few dozen.
    Ipv4Addr::from((0x0b00_0000..0x0c00_0000).find(collides).unwrap())
}

/// An IPv6 address that shares the VIP's bit in the filter.
fn collides6() -> Ipv6Addr {
    let bit = |address: Ipv6Addr| hash::filter_bit_v6(Address::from_v6(address.octets()).words());
    let first = u128::from(LAN.v6(0));
    let mut addresses = (1..1 << 26).map(|host| Ipv6Addr::from(first + host));
    addresses.find(|address| bit(*address) == bit(VIP6)).unwrap()
}

#[test]
fn packets_whose_address_only_looks_like_a_vip_in_the_filter() {
    let mut world = world();
    let (four, six) = (collides4(), collides6());
    all_pass(&mut world, every_kind4(from_router().ipv4(CLIENT4, four)));
    all_pass(&mut world, every_kind6(from_router().ipv6(CLIENT6, six)));
    all_pass(&mut world, every_kind4(from_router().vlan(7).ipv4(four, four)));
    let router = (ROUTER, LAN.v4(1));
    all_pass(
        &mut world,
        [
            ethernet(ROUTER, Mac::BROADCAST).arp_request(router, four),
            from_router().ipv6(LAN.v6(1), six).ttl(255).neighbour_solicitation(six, None),
            from_router().ipv6(LAN.v6(1), six).ttl(64).neighbour_solicitation(six, None),
        ],
    );
}

#[test]
fn a_tunnel_ends_also_at_an_address_that_looks_like_a_vip_in_the_filter() {
    let (four, six) = (collides4(), collides6());
    let inner = asks4().tcp(40000, 80).syn().build();
    // An edge that is a backend as well, and a backend alone.
    for world in [world(), World::with(|settings| settings.flags = 0).vip(VIP4).vip(VIP6)] {
        let mut world = world.tunnel(LAN.v4(12), four).tunnel(LAN.v6(12), six);
        for outer in [from_router().ipv4(LAN.v4(12), four), from_router().ipv6(LAN.v6(12), six)] {
            world.delivers(&outer.around(&inner).build(), &inner);
        }
    }
}
