//! Promises to clients that cannot be served: they are told, in the VIP's name, and not too often.

use lb_common::counters::Reason;
use sluice_tests::{
    bpf::{Backend, EDGE, ROUTER, World, tcp, traffic::*, udp},
    frame::{Frame, FrameBuilder, ethernet, protocol},
};

/// Two VIPs with nothing on them but an empty service on port 80.
fn world() -> World {
    World::new()
        .vip(VIP4)
        .vip(VIP6)
        .service(1, tcp(VIP4, 80))
        .service(2, udp(VIP4, 80))
        .service(3, tcp(VIP6, 80))
        .service(4, udp(VIP6, 80))
}

/// A port nobody serves and one that nobody serves now, and what refusals for them are counted as.
const REFUSED: [(u16, Reason); 2] = [(81, Reason::NoService), (80, Reason::NoBackend)];

/// A refusal as it lies behind the answer's IP header.
fn reset(ip: FrameBuilder, port: u16) -> FrameBuilder {
    ip.tcp(port, 40000).rst().window(0)
}

#[test]
fn a_syn_is_reset_and_acknowledged() {
    let mut world = world();
    for (port, reason) in REFUSED {
        for (asks, answers) in [(asks4(), answers4()), (asks6(), answers6())] {
            let syn = asks.tcp(40000, port).syn().seq(1000).mss(1460);
            let expected = reset(answers, port).seq(0).ack(1001);
            world.refuses(&syn.build(), reason, &expected.build());
        }
    }
}

#[test]
fn what_has_an_ack_is_reset_at_the_number_it_acknowledges() {
    let mut world = world();
    for (port, reason) in REFUSED {
        for (asks, answers) in [(asks4(), answers4()), (asks6(), answers6())] {
            let segment = |ip: &FrameBuilder| ip.clone().tcp(40000, port).seq(7).ack(4242);
            let expected = reset(answers, port).seq(4242).build();
            for segment in [
                segment(&asks),
                segment(&asks).psh().payload("GET / HTTP/1.1\r\n"),
                segment(&asks).fin(),
                segment(&asks).syn(),
                segment(&asks).tcp_options(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
            ] {
                world.refuses(&segment.build(), reason, &expected);
            }
        }
    }
}

#[test]
fn what_has_no_ack_is_acknowledged_with_all_it_occupies() {
    let mut world = world();
    for (asks, answers) in [(asks4(), answers4()), (asks6(), answers6())] {
        let tcp = asks.tcp(40000, 81).seq(u32::MAX);
        for (segment, end) in [
            (tcp.clone().payload("five!"), 4),
            (tcp.clone().fin(), 0),
            (tcp.clone().syn().payload("fast open"), 9),
            (tcp.clone().syn().fin().mss(1400).payload("x"), 2),
        ] {
            let expected = reset(answers.clone(), 81).seq(0).ack(end).build();
            world.refuses(&segment.build(), Reason::NoService, &expected);
        }
    }
}

#[test]
fn a_reset_is_never_answered() {
    let mut world = world();
    for ip in [asks4(), asks6()] {
        world.drops(&ip.clone().tcp(40000, 81).rst().build(), Reason::NoServiceSilent);
        world.drops(&ip.clone().tcp(40000, 81).rst().ack(1).build(), Reason::NoServiceSilent);
        world.drops(&ip.tcp(40000, 80).rst().build(), Reason::NoBackendSilent);
    }
}

#[test]
fn a_reset_has_neither_options_nor_tags_too_many_nor_padding() {
    let mut world = world();
    let expected = reset(answers4(), 81).seq(5).build();
    for frame in [
        asks4().ip_options(&[1; 12]).tcp(40000, 81).ack(5).payload([0; 999]),
        asks4().tos(0xb8).id(99).dont_fragment().ttl(3).tcp(40000, 81).ack(5).length(60),
    ] {
        world.refuses(&frame.build(), Reason::NoService, &expected);
    }
    let frame = asks6().hop_by_hop().destination_options().tcp(40000, 81).ack(5).build();
    world.refuses(&frame, Reason::NoService, &reset(answers6(), 81).seq(5).build());
    for tag in
        [|link: FrameBuilder| link.vlan(7), |link: FrameBuilder| link.service_vlan(7).vlan(42)]
    {
        let frame = tag(from_router()).ipv4(CLIENT4, VIP4).tcp(40000, 81).ack(5).build();
        let expected = reset(tag(ethernet(EDGE, ROUTER)).ipv4(VIP4, CLIENT4), 81).seq(5);
        world.refuses(&frame, Reason::NoService, &expected.build());
    }
}

#[test]
fn a_large_segment_is_reset_too() {
    let mut world = world();
    let frame = asks4().tcp(40000, 81).ack(5).payload([0; 8000]).build();
    world.refuses(&frame, Reason::NoService, &reset(answers4(), 81).seq(5).build());
}

/// A frame's packet without its link header, whole words of it, `most` bytes at most.
fn quote(frame: &Frame, link: usize, most: usize) -> Vec<u8> {
    let packet = &frame.bytes()[link..];
    packet[..packet.len().min(most) / 4 * 4].to_vec()
}

const MOST_V4: usize = 576 - 28;
const MOST_V6: usize = 1280 - 48;

#[test]
fn udp_is_answered_with_port_unreachable_that_quotes_it() {
    let mut world = world();
    for (port, reason) in REFUSED {
        for payload in [0, 1, 3, 4, 100, 519, 520, 521, 1400, 8000] {
            let payload = vec![0x5a; payload];
            for ip in [asks4(), asks4().ip_options(&[1; 8]).tos(0xb8).id(9)] {
                let frame = ip.udp(40000, port).payload(&payload).build();
                let expected =
                    answers4().icmp(3, 3, [0; 4]).payload(quote(&frame, 14, MOST_V4)).build();
                world.refuses(&frame, reason, &expected);
            }
            for ip in [asks6(), asks6().hop_by_hop()] {
                let frame = ip.udp(40000, port).payload(&payload).build();
                let expected =
                    answers6().icmpv6(1, 4, [0; 4]).payload(quote(&frame, 14, MOST_V6)).build();
                world.refuses(&frame, reason, &expected);
            }
        }
    }
}

#[test]
fn port_unreachable_keeps_the_tags_and_leaves_the_pad() {
    let mut world = world();
    let frame = from_router().vlan(7).ipv4(CLIENT4, VIP4).udp(40000, 81).length(64).build();
    let quoted = &frame.bytes()[18..18 + 28];
    let link = ethernet(EDGE, ROUTER).vlan(7);
    let expected = link.ipv4(VIP4, CLIENT4).icmp(3, 3, [0; 4]).payload(quoted).build();
    world.refuses(&frame, Reason::NoService, &expected);

    let tags = |link: FrameBuilder| link.service_vlan(7).vlan(42);
    let frame = tags(from_router()).ipv6(CLIENT6, VIP6).udp(40000, 81).payload("x").build();
    let link = tags(ethernet(EDGE, ROUTER)).ipv6(VIP6, CLIENT6);
    let expected = link.icmpv6(1, 4, [0; 4]).payload(quote(&frame, 22, MOST_V6)).build();
    world.refuses(&frame, Reason::NoService, &expected);
}

#[test]
fn a_first_fragment_is_refused_and_a_later_one_is_not() {
    let mut world = world();
    let first = asks4().more_fragments().id(1).udp(40000, 81).udp_length(2000).payload([0; 64]);
    let first = first.build();
    let expected = answers4().icmp(3, 3, [0; 4]).payload(quote(&first, 14, MOST_V4)).build();
    world.refuses(&first, Reason::NoService, &expected);
    let later = asks4().fragment_offset(9).id(1).next_protocol(protocol::UDP).payload([0; 64]);
    world.drops(&later.build(), Reason::FragmentWithoutFirst);
}

#[test]
fn a_vip_can_be_silent() {
    let mut world = World::new().silent_vip(VIP4).silent_vip(VIP6);
    for ip in [asks4(), asks6()] {
        world.drops(&ip.clone().tcp(40000, 81).syn().build(), Reason::NoServiceSilent);
        world.drops(&ip.clone().udp(40000, 81).build(), Reason::NoServiceSilent);
    }
}

#[test]
fn an_empty_service_can_be_silent() {
    let mut world = World::new()
        .vip(VIP4)
        .vip(VIP6)
        .service(1, tcp(VIP4, 80).silent())
        .service(2, udp(VIP6, 80).silent());
    world.drops(&asks4().tcp(40000, 80).syn().build(), Reason::NoBackendSilent);
    world.drops(&asks6().udp(40000, 80).build(), Reason::NoBackendSilent);
}

#[test]
fn an_empty_service_refuses_also_on_a_silent_vip() {
    let mut world = World::new().silent_vip(VIP4).service(1, tcp(VIP4, 80));
    let syn = asks4().tcp(40000, 80).syn().seq(8).build();
    world.refuses(&syn, Reason::NoBackend, &reset(answers4(), 80).ack(9).build());
}

#[test]
fn refusals_are_limited() {
    let mut world = World::with(|settings| settings.refusals_per_second = 1).vip(VIP4).vip(VIP6);
    let syn = asks4().tcp(40000, 81).syn().build();
    world.answers(&syn, Reason::NoService);
    for frame in [asks4(), asks6()].map(|ip| ip.udp(40000, 81).build()) {
        world.drops(&frame, Reason::RefusalRateLimited);
    }
    world.drops(&syn, Reason::RefusalRateLimited);

    let mut world = World::with(|settings| settings.refusals_per_second = 0).vip(VIP4);
    world.drops(&syn, Reason::RefusalRateLimited);
}

#[test]
fn refusals_saved_up_are_no_more_than_a_seconds() {
    let syn = asks4().tcp(40000, 81).syn().build();
    let sent = |world: &mut World| {
        let refused = |_: &u32| world.run(&syn).unwrap().reasons == [Reason::NoService];
        (0..100).take_while(refused).count()
    };
    const SECOND: u64 = 1_000_000_000;
    let mut world = World::with(|settings| settings.refusals_per_second = 10).vip(VIP4);
    assert_eq!(sent(&mut world), 10);
    let mut world = world.since_last_refusal(SECOND * 35 / 100);
    assert_eq!(sent(&mut world), 3);
    let mut world = world.since_last_refusal(20 * SECOND);
    assert_eq!(sent(&mut world), 10);
}

#[test]
fn packets_too_big_for_the_tunnel_are_answered_with_the_size_that_fits() {
    for (backend, fits) in [(Backend::v4(21), 1480), (Backend::v6(21), 1460)] {
        let mut world = World::new()
            .vip(VIP4)
            .vip(VIP6)
            .backend(1, backend)
            .service(1, tcp(VIP4, 80).to(&[1]))
            .service(2, tcp(VIP6, 80).to(&[1]));
        for size in [fits + 1, 1500, 3000, 8000] {
            let frame = asks4().dont_fragment().tcp(40000, 80).ack(1).payload(vec![7; size - 40]);
            let frame = frame.build();
            let expected = answers4().fragmentation_needed(fits as u16);
            let expected = expected.payload(quote(&frame, 14, MOST_V4)).build();
            world.refuses(&frame, Reason::TooBig, &expected);

            let frame = asks6().tcp(40000, 80).ack(1).payload(vec![7; size - 60]).build();
            let expected = answers6().packet_too_big(fits as u32);
            let expected = expected.payload(quote(&frame, 14, MOST_V6)).build();
            world.refuses(&frame, Reason::TooBig, &expected);
        }
        world.tunnels_to(&asks4().tcp(40000, 80).payload(vec![7; fits - 40]).build());
        world.tunnels_to(&asks6().tcp(40000, 80).payload(vec![7; fits - 60]).build());
    }
}

#[test]
fn l2_forwarding_takes_packets_as_large_as_the_link() {
    let mut world = World::new()
        .vip(VIP4)
        .backend(1, Backend::v4(21).mtu(1400))
        .service(1, udp(VIP4, 80).l2().to(&[1]));
    let sized = |size: usize| asks4().dont_fragment().udp(40000, 80).payload(vec![7; size - 28]);
    let frame = sized(1401).build();
    let expected = answers4().fragmentation_needed(1400).payload(quote(&frame, 14, MOST_V4));
    world.refuses(&frame, Reason::TooBig, &expected.build());
    assert_eq!(world.backend_traffic(1).unwrap().packets, 0);
    world.run(&sized(1400).build()).unwrap();
    assert_eq!(world.backend_traffic(1).unwrap().packets, 1);
}

#[test]
fn sizes_are_told_at_the_limited_rate() {
    let mut world = World::with(|settings| settings.refusals_per_second = 1)
        .silent_vip(VIP4)
        .backend(1, Backend::v4(21))
        .service(1, tcp(VIP4, 80).to(&[1]));
    let frame = asks4().dont_fragment().tcp(40000, 80).payload([7; 1460]).build();
    world.answers(&frame, Reason::TooBig);
    world.drops(&frame, Reason::TooBigRateLimited);
}

#[test]
fn an_error_about_an_error_is_never_sent() {
    let mut world = World::new()
        .vip(VIP4)
        .backend(1, Backend::v4(21).mtu(100))
        .service(1, tcp(VIP4, 80).to(&[1]));
    let quoted = reply4().tcp(80, 40000).payload([0; 200]).build();
    let error = asks4().fragmentation_needed(1400).payload(quoted.bytes()).build();
    world.drops(&error, Reason::TooBigRateLimited);
}
