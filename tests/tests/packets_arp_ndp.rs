//! Promises about ARP and neighbour discovery: the owner answers for its VIPs, and nobody else does.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::{
    counters::Reason,
    vip::{VIP_OWNED, VIP_REJECT, VipRecord},
};
use sluice_tests::{
    addresses::LAN,
    bpf::{EDGE, INTERFACE, OTHER, ROUTER, World, monotonic_ns, traffic::*},
    frame::{FrameBuilder, check, ethernet},
    mac::Mac,
};

const ROUTER4: Ipv4Addr = LAN.v4(1);
const ROUTER6: Ipv6Addr = LAN.v6(1);
/// The MAC address the VIPs are announced with, which need not be the interface's.
const ANNOUNCED: Mac = Mac([2, 0, 0, 0, 0x11, 0x22]);

fn with_vips(change: fn(&mut VipRecord)) -> World {
    World::new().vip_record(VIP4, change).vip_record(VIP6, change)
}

fn owner() -> World {
    with_vips(|record| (record.flags, record.mac) = (VIP_OWNED, ANNOUNCED.0))
}

/// VIPs that this node must not answer for, and why.
fn not_owners() -> [World; 4] {
    [
        with_vips(|record| record.flags = VIP_REJECT),
        with_vips(|record| (record.flags, record.ifindex) = (VIP_OWNED, INTERFACE + 1)),
        with_vips(|record| (record.flags, record.lease_deadline_ns) = (VIP_OWNED, 0)),
        with_vips(|record| {
            (record.flags, record.lease_deadline_ns) = (VIP_OWNED, monotonic_ns() - 1);
        }),
    ]
}

/// Links that frames come on: untagged, tagged, tagged twice.
const LINKS: [fn(FrameBuilder) -> FrameBuilder; 3] =
    [|link| link, |link| link.vlan(7), |link| link.service_vlan(7).vlan(42)];

#[test]
fn the_owner_answers_arp_requests() {
    let mut world = owner();
    for link in LINKS {
        for destination in [Mac::BROADCAST, EDGE] {
            let asks = link(ethernet(ROUTER, destination)).arp_request((ROUTER, ROUTER4), VIP4);
            let answer = link(ethernet(ANNOUNCED, ROUTER))
                .arp_reply((ANNOUNCED, VIP4), (ROUTER, ROUTER4))
                .build();
            world.sends(&asks.build(), &answer);
        }
    }
}

#[test]
fn an_arp_answer_keeps_the_frames_pad() {
    let asks = ethernet(ROUTER, Mac::BROADCAST).arp_request((ROUTER, ROUTER4), VIP4).length(60);
    let answer = ethernet(ANNOUNCED, ROUTER).arp_reply((ANNOUNCED, VIP4), (ROUTER, ROUTER4));
    owner().sends(&asks.build(), &answer.length(60).build());
}

#[test]
fn an_arp_answer_goes_to_the_asker_that_the_request_names() {
    // Sent by a switch or proxy on behalf of somebody else.
    let asks = ethernet(OTHER, Mac::BROADCAST).arp_request((ROUTER, ROUTER4), VIP4);
    let answer = ethernet(ANNOUNCED, ROUTER).arp_reply((ANNOUNCED, VIP4), (ROUTER, ROUTER4));
    owner().sends(&asks.build(), &answer.build());
}

#[test]
fn who_probes_whether_the_vip_is_taken_is_told() {
    let probe = (OTHER, Ipv4Addr::UNSPECIFIED);
    let asks = ethernet(OTHER, Mac::BROADCAST).arp_request(probe, VIP4);
    let answer = ethernet(ANNOUNCED, OTHER).arp_reply((ANNOUNCED, VIP4), probe);
    owner().sends(&asks.build(), &answer.build());
}

#[test]
fn who_does_not_own_the_vip_is_silent_and_so_is_its_kernel() {
    for mut world in not_owners() {
        for link in LINKS {
            let asks = link(ethernet(ROUTER, Mac::BROADCAST));
            let asks = asks.arp_request((ROUTER, ROUTER4), VIP4);
            world.drops(&asks.build(), Reason::ArpNotOwner);
            let probe = (OTHER, Ipv4Addr::UNSPECIFIED);
            let asks = link(ethernet(OTHER, Mac::BROADCAST)).arp_request(probe, VIP4);
            world.drops(&asks.build(), Reason::ArpNotOwner);
        }
    }
}

#[test]
fn announcements_and_replies_about_the_vip_reach_the_agent() {
    for mut world in not_owners().into_iter().chain([owner()]) {
        for frame in [
            ethernet(OTHER, Mac::BROADCAST).arp_request((OTHER, VIP4), VIP4),
            ethernet(OTHER, Mac::BROADCAST).arp(2, (OTHER, VIP4), (Mac::BROADCAST, VIP4)),
            ethernet(OTHER, EDGE).arp_reply((OTHER, VIP4), (EDGE, NODE4)),
            ethernet(OTHER, EDGE).arp(3, (OTHER, VIP4), (EDGE, VIP4)),
        ] {
            world.passes(&frame.build());
        }
    }
}

#[test]
fn arp_of_another_kind_passes() {
    let asks = ethernet(ROUTER, Mac::BROADCAST).arp_request((ROUTER, ROUTER4), VIP4).build();
    let mut world = owner();
    // Hardware type, protocol type, and both lengths.
    for (byte, value) in [(0, 1), (1, 6), (2, 9), (3, 1), (4, 8), (5, 16)] {
        let mut frame = asks.clone();
        frame.0[14 + byte] = value;
        world.passes(&frame);
    }
    for length in 14..14 + 28 {
        world.passes(&(&asks.bytes()[..length]).into());
    }
}

#[test]
fn arp_requests_to_another_interface_are_nobodys_business() {
    let asks = ethernet(ROUTER, OTHER).arp_request((ROUTER, ROUTER4), VIP4).build();
    owner().passes(&asks);
    with_vips(|record| record.flags = 0).passes(&asks);
}

/// The solicited-node group of the VIP and its Ethernet address (RFC 4291, section 2.7.1; RFC 2464, section 7).
fn group() -> (Mac, Ipv6Addr) {
    let [.., a, b, c] = VIP6.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    (Mac([0x33, 0x33, 0xff, a, b, c]), group)
}

/// A solicitation's headers up to IPv6, sent to the group.
fn asks_group(link: FrameBuilder, source: Ipv6Addr) -> FrameBuilder {
    link.ipv6(source, group().1).ttl(255)
}

fn advertises(link: FrameBuilder, destination: Ipv6Addr, flags: u8) -> FrameBuilder {
    link.ipv6(VIP6, destination).ttl(255).neighbour_advertisement(flags, VIP6, ANNOUNCED)
}

const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

#[test]
fn the_owner_answers_solicitations_with_and_without_the_askers_address() {
    let mut world = owner();
    for link in LINKS {
        let answer =
            advertises(link(ethernet(ANNOUNCED, ROUTER)), ROUTER6, SOLICITED | OVERRIDE).build();
        check(&answer).unwrap();
        for source in [Some(ROUTER), None] {
            let asks = asks_group(link(ethernet(ROUTER, group().0)), ROUTER6);
            world.sends(&asks.neighbour_solicitation(VIP6, source).build(), &answer);
            // To the VIP itself: is it still there?
            let asks = link(ethernet(ROUTER, EDGE)).ipv6(ROUTER6, VIP6).ttl(255);
            world.sends(&asks.neighbour_solicitation(VIP6, source).build(), &answer);
        }
    }
}

#[test]
fn a_solicitations_further_options_and_pad_are_left_out_of_the_answer() {
    let mut world = owner();
    let answer = advertises(ethernet(ANNOUNCED, ROUTER), ROUTER6, SOLICITED | OVERRIDE).build();
    let asks = || asks_group(ethernet(ROUTER, group().0), ROUTER6);
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let target = VIP6.octets();
    let with_nonce = [&target[..], &[1, 1], &ROUTER.0, &nonce].concat();
    for frame in [
        asks().icmpv6(135, 0, [0; 4]).payload(with_nonce),
        asks().icmpv6(135, 0, [0; 4]).payload([&target[..], &nonce].concat()),
        asks().neighbour_solicitation(VIP6, None).length(14 + 40 + 24 + 4),
        asks().neighbour_solicitation(VIP6, Some(ROUTER)).length(200),
    ] {
        world.sends(&frame.build(), &answer);
    }
}

#[test]
fn who_checks_for_a_duplicate_of_the_vip_is_told_with_everybody() {
    let everybody = (Mac([0x33, 0x33, 0, 0, 0, 1]), "ff02::1".parse().unwrap());
    let mut world = owner();
    let nonce = [&VIP6.octets()[..], &[14, 1, 1, 2, 3, 4, 5, 6]].concat();
    for link in LINKS {
        let answer =
            advertises(link(ethernet(ANNOUNCED, everybody.0)), everybody.1, OVERRIDE).build();
        let asks = || asks_group(link(ethernet(OTHER, group().0)), Ipv6Addr::UNSPECIFIED);
        world.sends(&asks().neighbour_solicitation(VIP6, None).build(), &answer);
        world.sends(&asks().icmpv6(135, 0, [0; 4]).payload(&nonce).build(), &answer);
    }
}

#[test]
fn who_does_not_own_the_vip_solicits_no_answer() {
    for mut world in not_owners() {
        for link in LINKS {
            for source in [ROUTER6, Ipv6Addr::UNSPECIFIED] {
                let asks = asks_group(link(ethernet(ROUTER, group().0)), source);
                let asks = asks.neighbour_solicitation(VIP6, None).build();
                world.drops(&asks, Reason::NdpNotOwner);
            }
        }
    }
}

#[test]
fn a_solicitation_from_beyond_the_link_is_not_answered() {
    let mut world = owner();
    for hops in [0, 1, 64, 254] {
        let asks = asks_group(ethernet(ROUTER, group().0), ROUTER6).ttl(hops);
        world.drops(&asks.neighbour_solicitation(VIP6, None).build(), Reason::Malformed);
    }
}

#[test]
fn a_solicitation_to_another_interface_is_nobodys_business() {
    let asks = ethernet(ROUTER, OTHER).ipv6(ROUTER6, VIP6).ttl(255);
    let asks = asks.neighbour_solicitation(VIP6, Some(ROUTER)).build();
    owner().passes(&asks);
    with_vips(|record| record.flags = 0).passes(&asks);
}

#[test]
fn advertisements_about_the_vip_reach_the_agent() {
    let everybody = (Mac([0x33, 0x33, 0, 0, 0, 1]), "ff02::1".parse().unwrap());
    let mut world = owner();
    let frame = ethernet(OTHER, everybody.0).ipv6(VIP6, everybody.1).ttl(255);
    world.passes(&frame.neighbour_advertisement(OVERRIDE, VIP6, OTHER).build());
    let frame = ethernet(OTHER, EDGE).ipv6(LAN.v6(9), NODE6).ttl(255);
    world.passes(&frame.neighbour_advertisement(SOLICITED, VIP6, OTHER).build());
}

#[test]
fn a_node_that_is_no_edge_does_not_answer_for_vips_either() {
    let mut world = World::with(|settings| settings.flags = 0).vip(VIP4).vip(VIP6);
    let asks = ethernet(ROUTER, Mac::BROADCAST).arp_request((ROUTER, ROUTER4), VIP4).build();
    world.drops(&asks, Reason::ArpNotOwner);
    let asks = asks_group(ethernet(ROUTER, group().0), ROUTER6).neighbour_solicitation(VIP6, None);
    world.drops(&asks.build(), Reason::NdpNotOwner);
}
