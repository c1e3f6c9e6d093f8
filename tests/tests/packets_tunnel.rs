//! Promises about the tunnel's far end: packets of edges come out as they went in, others do not come out.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::{counters::Reason, settings::SETTING_DECAPSULATE_ANY};
use sluice_tests::{
    addresses::LAN,
    bpf::{EDGE, OTHER, ROUTER, World, traffic::*},
    frame::{Frame, FrameBuilder, check, ethernet, packet, protocol},
};

/// An edge whose packets this node accepts.
const EDGE4: Ipv4Addr = LAN.v4(12);
const EDGE6: Ipv6Addr = LAN.v6(12);
/// Somebody else.
const STRANGER4: Ipv4Addr = LAN.v4(13);
const STRANGER6: Ipv6Addr = LAN.v6(13);

fn with_tunnels(world: World) -> World {
    world.tunnel(EDGE4, NODE4).tunnel(EDGE6, NODE6)
}

/// A backend with an agent: it knows the VIPs.
fn backend() -> World {
    with_tunnels(World::with(|settings| settings.flags = 0)).vip(VIP4).vip(VIP6)
}

/// A plain server: it knows edges only.
fn server() -> World {
    with_tunnels(World::with(|settings| settings.flags = SETTING_DECAPSULATE_ANY))
}

fn from_edge4() -> FrameBuilder {
    from_router().ipv4(EDGE4, NODE4).dont_fragment()
}

fn from_edge6() -> FrameBuilder {
    from_router().ipv6(EDGE6, NODE6).flow_label(0xabcde)
}

fn packets() -> Vec<Frame> {
    [
        asks4().ttl(3).tos(0xb8).id(7).tcp(40000, 80).syn().mss(1460),
        asks4().ip_options(&[1; 8]).udp(40000, 53).payload([7; 1200]),
        asks4().fragment_offset(9).next_protocol(protocol::UDP).payload([0; 64]),
        asks6().ttl(3).flow_label(0x12345).tcp(40000, 80).syn(),
        asks6().hop_by_hop().udp(40000, 53).payload([7; 1200]),
        asks6().echo_request(1, 1),
    ]
    .map(FrameBuilder::build)
    .into()
}

#[test]
fn packets_of_edges_come_out_as_they_went_in() {
    for mut world in [backend(), server()] {
        for inner in packets() {
            for outer in [from_edge4(), from_edge6()] {
                world.delivers(&outer.around(&inner).build(), &inner);
            }
        }
    }
}

#[test]
fn what_an_edge_sends_is_what_comes_out() {
    use sluice_tests::bpf::{Backend, tcp};
    for to in [Backend::v4(11), Backend::v6(11)] {
        let mut edge = World::new()
            .vip(VIP4)
            .vip(VIP6)
            .backend(1, to.next_hop(EDGE))
            .service(1, tcp(VIP4, 80).to(&[1]))
            .service(2, tcp(VIP6, 80).to(&[1]));
        // The edge has the backend's own address here, and is its own peer.
        let mut backend =
            World::new().vip(VIP4).vip(VIP6).tunnel(NODE4, NODE4).tunnel(NODE6, NODE6);
        for asks in [asks4(), asks6()] {
            let request = asks.tos(0xb8).tcp(40000, 80).syn().payload("data").build();
            let tunnelled = edge.run(&request).unwrap().frame;
            let out = backend.run(&tunnelled).unwrap().frame;
            assert_eq!(out.bytes()[14..], request.bytes()[14..]);
        }
    }
}

#[test]
fn tags_stay_on_a_packet_that_comes_out() {
    let mut world = backend();
    let links: [fn(FrameBuilder) -> FrameBuilder; 2] =
        [|link| link.vlan(7), |link| link.service_vlan(7).vlan(42)];
    for link in links {
        for ip in [
            (|link: FrameBuilder| link.ipv4(CLIENT4, VIP4)) as fn(FrameBuilder) -> FrameBuilder,
            |link| link.ipv6(CLIENT6, VIP6),
        ] {
            let inner = ip(from_router()).tcp(40000, 80).syn().build();
            let expected = ip(link(from_router())).tcp(40000, 80).syn().build();
            let outer = link(from_router()).ipv4(EDGE4, NODE4).around(&inner).build();
            world.delivers(&outer, &expected);
            let outer = link(from_router()).ipv6(EDGE6, NODE6).around(&inner).build();
            world.delivers(&outer, &expected);
        }
    }
}

#[test]
fn an_outer_header_with_options_is_taken_off_whole() {
    let mut world = backend();
    for inner in packets() {
        let outer = from_edge4().ip_options(&[1; 12]).around(&inner).build();
        world.delivers(&outer, &inner);
    }
}

#[test]
fn a_strangers_packet_for_a_vip_is_dropped() {
    for mut world in [backend(), server()] {
        for inner in packets() {
            for outer in
                [from_router().ipv4(STRANGER4, NODE4), from_router().ipv6(STRANGER6, NODE6)]
            {
                world.drops(&outer.around(&inner).build(), Reason::TunnelStranger);
            }
        }
    }
}

#[test]
fn other_tunnels_of_the_node_pass() {
    let mut world = backend();
    let inner4 = from_router().ipv4(LAN.v4(50), LAN.v4(51)).tcp(1, 2).build();
    let inner6 = from_router().ipv6(LAN.v6(50), LAN.v6(51)).tcp(1, 2).build();
    for inner in [inner4, inner6] {
        for outer in [
            // Between our own tunnel's ends, from strangers, and to elsewhere.
            from_edge4(),
            from_edge6(),
            from_router().ipv4(STRANGER4, NODE4),
            from_router().ipv6(STRANGER6, NODE6),
        ] {
            world.passes(&outer.around(&inner).build());
        }
    }
    let inner = asks4().tcp(40000, 80).syn().build();
    for outer in [from_router().ipv4(EDGE4, LAN.v4(14)), from_router().ipv6(EDGE6, LAN.v6(14))] {
        world.passes(&outer.around(&inner).build());
    }
}

#[test]
fn a_plain_server_accepts_whatever_edges_send() {
    let mut world = server();
    let inner4 = from_router().ipv4(CLIENT4, LAN.v4(51)).tcp(1, 2).build();
    let inner6 = from_router().ipv6(CLIENT6, LAN.v6(51)).tcp(1, 2).build();
    for inner in [inner4, inner6] {
        for outer in [from_edge4(), from_edge6()] {
            world.delivers(&outer.around(&inner).build(), &inner);
        }
    }
}

#[test]
fn an_inner_packet_of_the_wrong_kind_is_dropped() {
    let mut world = server();
    for outer in [from_edge4(), from_edge6()] {
        for (number, inner) in [
            (protocol::IPIP, packet().ipv6(CLIENT6, VIP6).udp(1, 2).build()),
            (protocol::IPV6, packet().ipv4(CLIENT4, VIP4).udp(1, 2).payload([0; 40]).build()),
            (protocol::IPIP, Frame(vec![0x45; 19])),
            (protocol::IPV6, Frame(vec![0x60; 39])),
            (protocol::IPIP, Frame(vec![0; 60])),
            (protocol::IPIP, Frame(Vec::new())),
        ] {
            let frame = outer.clone().next_protocol(number).payload(inner.bytes()).build();
            world.drops(&frame, Reason::TunnelMalformed);
        }
    }
}

#[test]
fn what_lies_behind_the_outer_packet_is_not_taken_for_the_inner_one() {
    let inner = asks4().tcp(40000, 80).syn().build();
    let frame = from_edge4().total_length(20 + 12).around(&inner).build();
    server().drops(&frame, Reason::TunnelMalformed);
}

#[test]
fn fragments_of_a_tunnel_and_broken_outer_headers_are_left_to_the_kernel() {
    let mut world = backend();
    let inner = asks4().tcp(40000, 80).syn().build();
    for outer in [
        from_edge4().more_fragments(),
        from_edge4().fragment_offset(9),
        from_edge4().header_checksum(0xbad),
        from_edge4().total_length(999),
        from_edge4().header_words(4),
        from_edge6().payload_length(999),
        from_edge6().fragment_header(0, true, 1),
        // An encapsulation limit (RFC 2473, section 4.1.1), which no edge puts in.
        from_edge6().extension(protocol::DESTINATION_OPTIONS, &[4, 1, 4, 1, 1, 0]),
    ] {
        world.passes(&outer.around(&inner).build());
    }
}

#[test]
fn tunnel_packets_for_another_interface_are_nobodys_business() {
    let inner = asks4().tcp(40000, 80).syn().build();
    let outer = ethernet(ROUTER, OTHER).ipv4(EDGE4, NODE4).around(&inner).build();
    backend().passes(&outer);
}

#[test]
fn a_mark_of_congestion_on_the_tunnel_reaches_the_inner_packet() {
    const DSCP: u8 = 0xb8;
    const CAPABLE: [u8; 2] = [1, 2];
    const CONGESTED: u8 = 3;
    let mut world = backend();
    let outers = || [from_edge4(), from_edge6()];
    for asks in [asks4, asks6] {
        let inner = |ecn| asks().tos(DSCP | ecn).udp(40000, 53).payload("data").build();
        for outer in outers() {
            for ecn in CAPABLE.into_iter().chain([CONGESTED]) {
                let frame = outer.clone().tos(DSCP | CONGESTED).around(&inner(ecn)).build();
                world.delivers(&frame, &inner(CONGESTED));
                check(&inner(CONGESTED)).unwrap();
            }
            for ecn in 0..=CONGESTED {
                // Whatever else the outer header says stays outside.
                let frame = outer.clone().tos(0).around(&inner(ecn)).build();
                world.delivers(&frame, &inner(ecn));
                let frame = outer.clone().tos(0x20).around(&inner(ecn)).build();
                world.delivers(&frame, &inner(ecn));
            }
        }
    }
}

#[test]
fn a_frame_cut_anywhere_is_delivered_by_nobody() {
    let mut world = backend();
    let inner = asks6().tcp(40000, 80).syn().build();
    for outer in [from_edge4(), from_edge6()] {
        let whole = outer.around(&inner);
        for length in 14..whole.clone().build().bytes().len() {
            world.passes(&whole.clone().length(length).build());
        }
    }
}

#[test]
fn a_jumbo_packet_comes_out_whole() {
    let inner = asks4().udp(40000, 53).payload([0x77; 8000]).build();
    backend().delivers(&from_edge6().around(&inner).build(), &inner);
}
