//! Promises about packets for a VIP that no sound host sends: each is dropped for its reason, none gets out.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::counters::Reason;
use sluice_tests::{
    bpf::{Action, Backend, World, tcp, traffic::*, udp},
    frame::{Frame, FrameBuilder, protocol},
};

/// TCP and UDP on every port of both VIPs.
fn world() -> World {
    World::new()
        .vip(VIP4)
        .vip(VIP6)
        .backend(1, Backend::v4(21))
        .service(1, tcp(VIP4, 0).to(&[1]))
        .service(2, udp(VIP4, 0).to(&[1]))
        .service(3, tcp(VIP6, 0).to(&[1]))
        .service(4, udp(VIP6, 0).to(&[1]))
}

fn tcp_syn(ip: FrameBuilder) -> FrameBuilder {
    ip.tcp(40000, 80).syn()
}

fn all_are_dropped(reason: Reason, frames: impl IntoIterator<Item = FrameBuilder>) {
    let mut world = world();
    for frame in frames {
        world.drops(&frame.build(), reason);
    }
}

#[test]
fn ipv4_headers_that_contradict_themselves() {
    all_are_dropped(
        Reason::Malformed,
        [
            tcp_syn(asks4().ip_version(5)),
            tcp_syn(asks4().ip_version(6)),
            tcp_syn(asks4().header_words(0)),
            tcp_syn(asks4().header_words(4)),
            tcp_syn(asks4().total_length(19)),
            tcp_syn(asks4().total_length(0)),
            tcp_syn(asks4().ip_options(&[1; 8]).total_length(27)),
        ],
    );
}

#[test]
fn ipv4_packets_longer_than_their_frame() {
    all_are_dropped(
        Reason::Truncated,
        [
            tcp_syn(asks4().total_length(41)),
            tcp_syn(asks4().total_length(u16::MAX)),
            asks4().header_words(15).udp(40000, 53),
            // A jumbo frame's length is that of all its buffers.
            asks4().total_length(9000).udp(40000, 53).payload([0; 8000]),
        ],
    );
}

#[test]
fn wrong_ipv4_header_checksums() {
    all_are_dropped(
        Reason::BadChecksum,
        [
            tcp_syn(asks4().header_checksum(0)),
            tcp_syn(asks4().header_checksum(0xffff)),
            tcp_syn(asks4().header_checksum(0x1234)),
            tcp_syn(asks4().ip_options(&[1; 8]).header_checksum(0x1234)),
        ],
    );
}

#[test]
fn packets_at_the_end_of_their_life() {
    all_are_dropped(
        Reason::TtlExpired,
        [0, 1].into_iter().flat_map(|ttl| {
            [
                tcp_syn(asks4().ttl(ttl)),
                asks4().ttl(ttl).udp(40000, 53),
                tcp_syn(asks6().ttl(ttl)),
                asks6().ttl(ttl).udp(40000, 53),
            ]
        }),
    );
}

#[test]
fn sources_that_no_client_can_have() {
    let four = ["224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3"]
        .into_iter()
        .chain(["127.0.0.1", "127.255.0.1"])
        .map(|source| source.parse::<Ipv4Addr>().unwrap())
        .chain([VIP4]);
    let six = ["ff02::1", "ff0e::5", "::", "::1"]
        .into_iter()
        .map(|source| source.parse::<Ipv6Addr>().unwrap())
        .chain([VIP6]);
    let four = four.map(|source| from_router().ipv4(source, VIP4));
    let six = six.map(|source| from_router().ipv6(source, VIP6));
    all_are_dropped(
        Reason::BadSource,
        four.chain(six)
            .flat_map(|ip| [tcp_syn(ip.clone()), ip.clone().udp(40000, 53), ip.echo_request(1, 1)]),
    );
}

#[test]
fn neighbours_of_impossible_sources_are_clients() {
    let mut world = world();
    for source in ["223.255.255.255", "1.0.0.1", "126.0.0.1", "128.0.0.1"] {
        let syn = tcp_syn(from_router().ipv4(source.parse().unwrap(), VIP4)).build();
        world.sends(&syn, &tunnel4(21).around(&syn).build());
    }
    for source in ["fe80::1", "::2", "0:0:0:1::"] {
        let syn = tcp_syn(from_router().ipv6(source.parse().unwrap(), VIP6)).build();
        world.sends(&syn, &tunnel4(21).around(&syn).build());
    }
}

#[test]
fn tcp_headers_that_do_not_fit() {
    all_are_dropped(
        Reason::Malformed,
        [asks4(), asks6()].into_iter().flat_map(|ip| {
            [
                tcp_syn(ip.clone()).data_offset(0),
                tcp_syn(ip.clone()).data_offset(4),
                tcp_syn(ip.clone()).data_offset(6),
                tcp_syn(ip).data_offset(15).payload([0; 39]),
            ]
        }),
    );
}

#[test]
fn udp_headers_that_do_not_fit() {
    all_are_dropped(
        Reason::Malformed,
        [asks4(), asks6()].into_iter().flat_map(|ip| {
            [
                ip.clone().udp(40000, 53).udp_length(0),
                ip.clone().udp(40000, 53).udp_length(7).payload("x"),
                ip.clone().udp(40000, 53).udp_length(9),
                ip.udp(40000, 53).udp_length(u16::MAX).payload("x"),
            ]
        }),
    );
}

#[test]
fn transport_headers_that_the_ip_packet_does_not_hold() {
    all_are_dropped(
        Reason::Malformed,
        [
            tcp_syn(asks4().total_length(20 + 19)),
            asks4().total_length(20 + 7).udp(40000, 53),
            asks4().total_length(20).udp(40000, 53),
            tcp_syn(asks6().payload_length(19)),
            tcp_syn(asks6().payload_length(0)),
            asks6().payload_length(7).udp(40000, 53),
        ],
    );
}

#[test]
fn ipv6_headers_that_contradict_themselves() {
    let mut world = world();
    let mut frame = tcp_syn(asks6()).build();
    for version in [0x40, 0x50, 0x70, 0xf0] {
        frame.0[14] = version;
        world.drops(&frame, Reason::Malformed);
    }
}

#[test]
fn ipv6_packets_longer_than_their_frame() {
    all_are_dropped(
        Reason::Truncated,
        [
            tcp_syn(asks6().payload_length(21)),
            tcp_syn(asks6().payload_length(u16::MAX)),
            asks6().next_protocol(protocol::HOP_BY_HOP).payload_length(1).payload([0]),
        ],
    );
}

#[test]
fn a_routing_header_that_leads_further() {
    let routed = |left| asks6().extension(protocol::ROUTING, &[0, left, 0, 0, 0, 0]);
    all_are_dropped(Reason::Malformed, [tcp_syn(routed(1)), tcp_syn(routed(255))]);
}

#[test]
fn more_extension_headers_than_anybody_needs() {
    let mut world = world();
    let with = |count| tcp_syn((0..count).fold(asks6(), |ip, _| ip.destination_options())).build();
    let eight = with(8);
    world.sends(&eight, &tunnel4(21).around(&eight).build());
    world.drops(&with(9), Reason::Malformed);
}

#[test]
fn extension_headers_that_run_past_the_packet() {
    let mut world = world();
    // 256 times eight bytes where there are eight: no matter what lies behind the packet.
    for behind in [0, 3000] {
        let mut frame = asks6()
            .payload_length(28)
            .destination_options()
            .tcp(40000, 80)
            .payload(vec![0; behind])
            .build();
        frame.0[14 + 40 + 1] = 255;
        world.drops(&frame, Reason::Malformed);
    }
}

#[test]
fn protocols_that_cannot_be_balanced() {
    let protocols = [2, protocol::IPIP, protocol::IPV6, 47, 50, 132, 136, 255];
    all_are_dropped(
        Reason::UnsupportedProtocol,
        protocols
            .into_iter()
            .flat_map(|number| {
                [asks4(), asks6()].map(|ip| ip.next_protocol(number).payload([0x45; 40]))
            })
            .chain([
                asks4().next_protocol(protocol::ICMPV6).payload([128, 0, 0, 0, 0, 0, 0, 0]),
                asks6().next_protocol(protocol::ICMP).payload([8, 0, 0, 0, 0, 0, 0, 0]),
                asks6().next_protocol(protocol::NONE).payload([0; 8]),
            ]),
    );
}

#[test]
fn a_packet_cut_anywhere_is_dropped_once_it_names_the_vip() {
    let mut world = world();
    for (whole, names_vip_at) in [
        (tcp_syn(asks4()).mss(1460).payload("data"), 14 + 20),
        (tcp_syn(asks4().ip_options(&[1; 8])), 14 + 20),
        (asks4().udp(40000, 53).payload("data"), 14 + 20),
        (asks4().echo_request(1, 1).payload("data"), 14 + 20),
        (tcp_syn(asks6().hop_by_hop()), 14 + 40),
        (asks6().udp(40000, 53).payload("data"), 14 + 40),
        (tcp_syn(from_router().vlan(7).ipv4(CLIENT4, VIP4)), 18 + 20),
    ] {
        for length in 14..whole.clone().build().bytes().len() {
            let cut = whole.clone().length(length).build();
            if length < names_vip_at {
                world.passes(&cut);
            } else {
                world.drops(&cut, Reason::Truncated);
            }
        }
    }
}

#[test]
fn flipped_bits_never_make_the_data_path_abort_or_grow_a_packet_beyond_its_tunnel() {
    let mut world = world();
    for whole in [
        tcp_syn(asks4().ip_options(&[1; 4])).mss(1460).build(),
        asks4().udp(40000, 53).payload("data").build(),
        asks6().hop_by_hop().fragment_header(0, true, 5).udp(40000, 53).payload("data").build(),
        tcp_syn(from_router().vlan(7).ipv6(CLIENT6, VIP6)).build(),
    ] {
        for bit in 0..whole.bytes().len() * 8 {
            let mut broken: Frame = whole.clone();
            broken.0[bit / 8] ^= 1 << (bit % 8);
            let outcome = world.run(&broken).unwrap();
            assert_ne!(outcome.action, Action::Aborted, "{broken:?}");
            let grown = outcome.frame.bytes().len().saturating_sub(broken.bytes().len());
            assert!(grown <= 48, "{broken:?} became {outcome:?}");
        }
    }
}
