//! Promises about services: which one a packet is for, who may use it, and that a flow stays together.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::{counters::Reason, flow::ticks, service::Slot};
use sluice_tests::{
    addresses::{CLIENT, FAR, LAN},
    bpf::{Backend, Service, World, monotonic_ns, tcp, traffic::*, udp},
    frame::{Frame, FrameBuilder, protocol},
};

/// Backend `n` is host `20 + n`.
fn host(backend: u32) -> IpAddr {
    LAN.v4(20 + backend as u8).into()
}

const BACKENDS: u32 = 8;

/// A world of eight backends.
fn world() -> World {
    (1..=BACKENDS).fold(World::new().vip(VIP4).vip(VIP6), |world, id| {
        world.backend(id, Backend::v4(20 + id as u8))
    })
}

/// A table that spreads flows over all backends.
fn spread(service: Service) -> Service {
    service.slots((0..101).map(|slot| Slot::settled(1 + slot % BACKENDS)).collect())
}

fn syn(ip: FrameBuilder, port: u16) -> Frame {
    ip.tcp(40000, port).syn().build()
}

#[test]
fn the_port_and_protocol_choose_the_service() {
    let mut world = world()
        .service(1, tcp(VIP4, 80).to(&[1]))
        .service(2, tcp(VIP4, 443).to(&[2]))
        .service(3, udp(VIP4, 443).to(&[3]))
        .service(4, tcp(VIP6, 80).to(&[4]))
        .service(5, udp(VIP6, 443).to(&[5]));
    assert_eq!(world.tunnels_to(&syn(asks4(), 80)), host(1));
    assert_eq!(world.tunnels_to(&syn(asks4(), 443)), host(2));
    assert_eq!(world.tunnels_to(&asks4().udp(40000, 443).build()), host(3));
    assert_eq!(world.tunnels_to(&syn(asks6(), 80)), host(4));
    assert_eq!(world.tunnels_to(&asks6().udp(40000, 443).build()), host(5));
    world.answers(&asks4().udp(40000, 80).build(), Reason::NoService);
    world.answers(&syn(asks6(), 443), Reason::NoService);
}

#[test]
fn a_named_port_wins_over_the_service_of_every_port() {
    let mut world = world()
        .service(1, tcp(VIP4, 0).to(&[1]))
        .service(2, tcp(VIP4, 80).to(&[2]))
        .service(3, tcp(VIP6, 0).to(&[3]))
        .service(4, tcp(VIP6, 80).to(&[4]));
    for port in [1, 79, 443, 8080, u16::MAX] {
        assert_eq!(world.tunnels_to(&syn(asks4(), port)), host(1));
        assert_eq!(world.tunnels_to(&syn(asks6(), port)), host(3));
    }
    assert_eq!(world.tunnels_to(&syn(asks4(), 80)), host(2));
    assert_eq!(world.tunnels_to(&syn(asks6(), 80)), host(4));
    // Every port is every port of that protocol.
    world.answers(&asks4().udp(40000, 443).build(), Reason::NoService);
}

#[test]
fn a_named_port_without_backend_does_not_fall_back_to_the_service_of_every_port() {
    let mut world = world().service(1, tcp(VIP4, 0).to(&[1])).service(2, tcp(VIP4, 80).to(&[]));
    world.answers(&syn(asks4(), 80), Reason::NoBackend);
}

#[test]
fn only_allowed_sources_may_use_a_service() {
    let mut world = world()
        .service(1, tcp(VIP4, 80).to(&[1]).only_from(&["10.1.0.0/25", "10.30.0.21/32"]))
        .service(2, tcp(VIP4, 443).to(&[2]).only_from(&["10.10.0.0/16"]))
        .service(3, tcp(VIP6, 80).to(&[3]).only_from(&["fd00:1::/120", "fd00:30::21/128"]))
        .service(4, tcp(VIP4, 8080).to(&[4]).only_from(&["0.0.0.0/0"]))
        .service(5, tcp(VIP6, 443).to(&[5]).only_from(&[]));
    let four = |source| from_router().ipv4(source, VIP4);
    let six = |source| from_router().ipv6(source, VIP6);
    for source in [CLIENT.v4(1), CLIENT.v4(127), FAR.v4(21)] {
        assert_eq!(world.tunnels_to(&syn(four(source), 80)), host(1));
    }
    for source in [CLIENT.v4(128), FAR.v4(22), LAN.v4(1)] {
        world.drops(&syn(four(source), 80), Reason::SourceNotAllowed);
        world.drops(&four(source).tcp(40000, 80).ack(1).build(), Reason::SourceNotAllowed);
        assert_eq!(world.tunnels_to(&syn(four(source), 8080)), host(4));
    }
    // Each service has its own.
    world.drops(&syn(four(CLIENT.v4(1)), 443), Reason::SourceNotAllowed);
    assert_eq!(world.tunnels_to(&syn(four(LAN.v4(1)), 443)), host(2));
    for source in [CLIENT.v6(1), FAR.v6(21)] {
        assert_eq!(world.tunnels_to(&syn(six(source), 80)), host(3));
    }
    world.drops(&syn(six(FAR.v6(22)), 80), Reason::SourceNotAllowed);
    world.drops(&syn(six("fd00:1::1:0".parse().unwrap()), 80), Reason::SourceNotAllowed);
    // No range at all means that nobody may, once ranges are asked for; a service without any asks for none.
    assert_eq!(world.tunnels_to(&syn(six(FAR.v6(22)), 443)), host(5));
}

#[test]
fn flows_spread_over_backends_and_every_packet_of_one_goes_to_the_same() {
    let mut world = world()
        .service(1, spread(tcp(VIP4, 80)))
        .service(2, spread(udp(VIP4, 53)))
        .service(3, spread(tcp(VIP6, 80)))
        .service(4, spread(udp(VIP6, 53)));
    for asks in [asks4, asks6] {
        for kinds in [
            [
                (|ip, port| ip.tcp(port, 80).syn()) as fn(FrameBuilder, u16) -> FrameBuilder,
                |ip, port| ip.ttl(9).tos(0xb8).tcp(port, 80).ack(77).payload("data"),
                |ip, port| ip.tcp(port, 80).rst(),
            ],
            [
                |ip, port| ip.udp(port, 53),
                |ip, port| ip.ttl(3).udp(port, 53).payload("query"),
                |ip, port| ip.udp(port, 53).payload([9; 1200]),
            ],
        ] {
            let mut seen = BTreeSet::new();
            for port in 40000..40050 {
                let backends: BTreeSet<_> = kinds
                    .iter()
                    .map(|kind| world.tunnels_to(&kind(asks(), port).build()))
                    .collect();
                assert_eq!(backends.len(), 1);
                seen.extend(backends);
            }
            assert_eq!(seen.len(), BACKENDS as usize);
        }
    }
}

#[test]
fn with_session_affinity_all_flows_of_a_client_go_to_one_backend() {
    let mut world = world()
        .service(1, spread(tcp(VIP4, 80)).affinity())
        .service(2, spread(tcp(VIP6, 80)).affinity())
        .service(3, spread(udp(VIP4, 80)).affinity());
    let mut of_clients = BTreeSet::new();
    for client in 10..60 {
        let four = from_router().ipv4(CLIENT.v4(client), VIP4);
        let six = from_router().ipv6(CLIENT.v6(client), VIP6);
        let mut backends = [BTreeSet::new(), BTreeSet::new()];
        for port in [1024, 40000, 40001, 65535] {
            backends[0].insert(world.tunnels_to(&four.clone().tcp(port, 80).syn().build()));
            backends[0].insert(world.tunnels_to(&four.clone().udp(port, 80).build()));
            backends[1].insert(world.tunnels_to(&six.clone().tcp(port, 80).syn().build()));
        }
        assert!(backends.iter().all(|backends| backends.len() == 1), "{backends:?}");
        of_clients.extend(backends.into_iter().flatten());
    }
    assert_eq!(of_clients.len(), BACKENDS as usize);
}

#[test]
fn a_service_with_foreign_endpoints_is_left_to_the_kernel() {
    let mut world =
        world().service(1, tcp(VIP4, 80).passed().to(&[1])).service(2, udp(VIP6, 53).passed());
    world.leaves(&syn(asks4(), 80), Reason::ServicePassed);
    world.leaves(&asks6().udp(40000, 53).build(), Reason::ServicePassed);
}

#[test]
fn a_node_that_is_no_edge_leaves_vips_to_the_kernel() {
    let mut world = World::with(|settings| settings.flags = 0)
        .vip(VIP4)
        .vip(VIP6)
        .backend(1, Backend::v4(21))
        .service(1, tcp(VIP4, 80).to(&[1]));
    world.leaves(&syn(asks4(), 80), Reason::NotAnEdge);
    world.leaves(&syn(asks4(), 81), Reason::NotAnEdge);
    world.leaves(&asks6().udp(40000, 53).build(), Reason::NotAnEdge);
    let later = asks4().fragment_offset(9).next_protocol(protocol::UDP).payload([0; 64]);
    world.leaves(&later.build(), Reason::NotAnEdge);
    world.passes(&from_router().ipv4(CLIENT4, NODE4).tcp(40000, 80).build());
}

#[test]
fn a_node_that_is_no_edge_does_not_answer_for_vips_what_its_kernel_would_accept() {
    let mut world = World::with(|settings| settings.flags = 0).vip(VIP4).vip(VIP6);
    let quoted = reply4().tcp(80, 40000).build();
    let error = asks4().fragmentation_needed(1400).payload(quoted.bytes()).build();
    world.leaves(&error, Reason::NotAnEdge);
    for ip in [asks4(), asks6()] {
        world.leaves(&syn(ip.clone().ttl(1), 80), Reason::NotAnEdge);
        world.leaves(&ip.echo_request(1, 1).build(), Reason::NotAnEdge);
    }
}

/// The first fragment of an IPv4 datagram, and a later one, which has no ports.
fn fragments4(id: u16, port: u16) -> [Frame; 2] {
    let ip = asks4().id(id);
    let first = ip.clone().more_fragments().udp(port, 53).udp_length(8 + 64 + 32).payload([1; 64]);
    let later = ip.fragment_offset(9).next_protocol(protocol::UDP).payload([2; 32]);
    [first.build(), later.build()]
}

fn fragments6(id: u32, port: u16) -> [Frame; 2] {
    let first = asks6().fragment_header(0, true, id).udp(port, 53).udp_length(8 + 64 + 32);
    let later = asks6().fragment_header(9, false, id).next_protocol(protocol::UDP);
    [first.payload([1; 64]).build(), later.payload([2; 32]).build()]
}

#[test]
fn fragments_follow_their_first_one() {
    let mut world = world().service(1, spread(udp(VIP4, 53))).service(2, spread(udp(VIP6, 53)));
    let mut seen = BTreeSet::new();
    for number in 0..40u16 {
        for [first, later] in
            [fragments4(number, 40000 + number), fragments6(number.into(), 40000 + number)]
        {
            let backend = world.tunnels_to(&first);
            assert_eq!(world.tunnels_to(&later), backend);
            assert_eq!(world.tunnels_to(&later), backend);
            seen.insert(backend);
        }
    }
    assert_eq!(seen.len(), BACKENDS as usize);
}

#[test]
fn fragments_are_tunnelled_as_they_are() {
    let mut world = world().service(1, udp(VIP4, 53).to(&[1])).service(2, udp(VIP6, 53).to(&[1]));
    for frames in [fragments4(1, 40000), fragments6(1, 40000)] {
        for frame in frames {
            world.sends(&frame, &tunnel4(21).around(&frame).build());
        }
    }
    assert_eq!(world.service_traffic(1).unwrap().packets, 2);
}

#[test]
fn a_later_fragment_without_its_first_is_dropped() {
    let mut world = world().service(1, udp(VIP4, 53).to(&[1])).service(2, udp(VIP6, 53).to(&[1]));
    world.tunnels_to(&fragments4(1, 40000)[0]);
    world.tunnels_to(&fragments6(1, 40000)[0]);
    world.drops(&fragments4(2, 40000)[1], Reason::FragmentWithoutFirst);
    world.drops(&fragments6(2, 40000)[1], Reason::FragmentWithoutFirst);
    // Identification alone does not tell: another protocol, another client.
    let tcp = asks4().id(1).fragment_offset(9).next_protocol(protocol::TCP).payload([2; 32]);
    world.drops(&tcp.build(), Reason::FragmentWithoutFirst);
    let other = from_router().ipv4(CLIENT.v4(11), VIP4).id(1).fragment_offset(9);
    world.drops(
        &other.next_protocol(protocol::UDP).payload([2; 32]).build(),
        Reason::FragmentWithoutFirst,
    );
}

#[test]
fn a_first_fragment_is_remembered_for_a_minute() {
    let now = ticks(monotonic_ns());
    let mut world = world().service(1, udp(VIP4, 53).to(&[1]));
    let [first, later] = fragments4(1, 40000);
    world.tunnels_to(&first);
    let mut world = world.fragments_seen(now.saturating_sub(40).max(1));
    world.tunnels_to(&later);
    // In ticks before the machine's start, too: they wrap.
    let mut world = world.fragments_seen(now.wrapping_sub(60));
    world.drops(&later, Reason::FragmentWithoutFirst);
}
