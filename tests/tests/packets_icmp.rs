//! Promises about ICMP for a VIP: pings are answered, and errors find the backend of the flow they are about.

use std::collections::BTreeSet;

use lb_common::{counters::Reason, service::Slot};
use sluice_tests::{
    addresses::CLIENT,
    bpf::{Backend, EDGE, ROUTER, World, tcp, traffic::*, udp},
    frame::{Frame, FrameBuilder, ethernet, packet, protocol},
};

const BACKENDS: u32 = 8;

/// Services whose flows spread over eight backends.
fn world() -> World {
    let slots: Vec<_> = (0..101).map(|slot| Slot::settled(1 + slot % BACKENDS)).collect();
    let world = World::new()
        .vip(VIP4)
        .vip(VIP6)
        .service(1, tcp(VIP4, 80).slots(slots.clone()))
        .service(2, udp(VIP4, 53).slots(slots.clone()))
        .service(3, tcp(VIP6, 80).slots(slots.clone()))
        .service(4, udp(VIP6, 53).slots(slots));
    (1..=BACKENDS).fold(world, |world, id| world.backend(id, Backend::v4(20 + id as u8)))
}

const LINKS: [fn(FrameBuilder) -> FrameBuilder; 3] =
    [|link| link, |link| link.vlan(7), |link| link.service_vlan(7).vlan(42)];

#[test]
fn pings_are_answered_in_the_vips_name() {
    let mut world = World::new().silent_vip(VIP4).silent_vip(VIP6);
    for link in LINKS {
        let (there, back) = (link(from_router()), link(ethernet(EDGE, ROUTER)));
        for payload in [&b""[..], b"odd", &[0xff; 1400], &[7; 8000]] {
            for ttl in [1, 64, 255] {
                let asks = there.clone().ipv4(CLIENT4, VIP4).ttl(ttl).tos(0xb8).id(9);
                let asks = asks.echo_request(0x1234, 7).payload(payload).build();
                let answer = back.clone().ipv4(VIP4, CLIENT4).ttl(64).tos(0xb8).id(9);
                world.sends(&asks, &answer.echo_reply(0x1234, 7).payload(payload).build());

                let asks = there.clone().ipv6(CLIENT6, VIP6).ttl(ttl);
                let asks = asks.echo_request(0x1234, 7).payload(payload).build();
                let answer = back.clone().ipv6(VIP6, CLIENT6).ttl(64);
                world.sends(&asks, &answer.echo_reply(0x1234, 7).payload(payload).build());
            }
        }
    }
}

#[test]
fn every_checksum_of_a_ping_is_turned_into_its_answers() {
    let mut world = World::new().vip(VIP4).vip(VIP6);
    for id in 0..=u8::MAX {
        let id = u16::from(id) * 257;
        let payload = id.to_be_bytes();
        let asks = asks4().id(id).echo_request(id, !id).payload(payload).build();
        world.sends(&asks, &answers4().id(id).echo_reply(id, !id).payload(payload).build());
        let asks = asks6().echo_request(id, !id).payload(payload).build();
        world.sends(&asks, &answers6().echo_reply(id, !id).payload(payload).build());
    }
}

#[test]
fn a_broken_ping_gets_a_broken_answer() {
    let mut world = World::new().vip(VIP4);
    let right = answers4().echo_reply(1, 1).payload("ping").build();
    let mut asks = asks4().echo_request(1, 1).payload("ping").build();
    asks.0[14 + 20 + 8] ^= 1;
    let answer = world.run(&asks).unwrap().frame;
    assert_eq!(answer.bytes()[36..38], right.bytes()[36..38]);
    assert_ne!(answer, right);
}

#[test]
fn a_ping_with_ip_options_or_extension_headers_is_answered() {
    let mut world = World::new().vip(VIP4).vip(VIP6);
    let asks = asks4().ip_options(&[1; 8]).echo_request(1, 1).build();
    world.sends(&asks, &answers4().ip_options(&[1; 8]).echo_reply(1, 1).build());
    let asks = asks6().destination_options().echo_request(1, 1).build();
    world.sends(&asks, &answers6().destination_options().echo_reply(1, 1).build());
}

#[test]
fn every_fragment_of_a_large_ping_is_answered() {
    let mut world = World::new().vip(VIP4).vip(VIP6);
    // The whole ping's checksum, in its first fragment.
    let whole = [[0x11; 1024], [0x22; 1024]].concat();
    let (first, later) = whole.split_at(1024);
    let sum = |frame: Frame, at: usize| u16::from_be_bytes([frame.0[at + 2], frame.0[at + 3]]);
    let asked = sum(asks4().echo_request(1, 1).payload(&whole).build(), 34);
    let answered = sum(answers4().echo_reply(1, 1).payload(&whole).build(), 34);
    let asks = asks4().more_fragments().id(7).echo_request(1, 1).checksum(asked).payload(first);
    let answer = answers4().more_fragments().id(7).echo_reply(1, 1).checksum(answered);
    world.sends(&asks.build(), &answer.payload(first).build());
    // 8 bytes of header, 1024 of payload.
    let rest = |ip: FrameBuilder| {
        ip.fragment_offset(129).id(7).next_protocol(protocol::ICMP).payload(later).build()
    };
    world.sends(&rest(asks4()), &rest(answers4()));

    let asked = sum(asks6().echo_request(1, 1).payload(&whole).build(), 54);
    let answered = sum(answers6().echo_reply(1, 1).payload(&whole).build(), 54);
    let asks = asks6().fragment_header(0, true, 7).echo_request(1, 1).checksum(asked);
    let answer = answers6().fragment_header(0, true, 7).echo_reply(1, 1).checksum(answered);
    world.sends(&asks.payload(first).build(), &answer.payload(first).build());
    let rest = |ip: FrameBuilder| {
        ip.fragment_header(129, false, 7).next_protocol(protocol::ICMPV6).payload(later).build()
    };
    world.sends(&rest(asks6()), &rest(answers6()));
}

#[test]
fn a_later_fragment_of_no_ping_is_dropped() {
    let mut world = world();
    let later = asks4().fragment_offset(9).id(7).next_protocol(protocol::ICMP).payload([0; 64]);
    world.drops(&later.build(), Reason::FragmentWithoutFirst);
    let later = asks6().fragment_header(9, false, 7).next_protocol(protocol::ICMPV6);
    world.drops(&later.payload([0; 64]).build(), Reason::FragmentWithoutFirst);
}

/// The router that sends errors; it need not be the client.
fn router4() -> FrameBuilder {
    from_router().ipv4(CLIENT.v4(1), VIP4)
}

fn router6() -> FrameBuilder {
    from_router().ipv6(CLIENT.v6(1), VIP6)
}

#[test]
fn errors_about_a_reply_go_to_the_backend_of_the_flow() {
    let mut world = world();
    let mut seen = BTreeSet::new();
    for port in 40000..40030 {
        let web = world.tunnels_to(&asks4().tcp(port, 80).syn().build());
        let dns = world.tunnels_to(&asks4().udp(port, 53).build());
        for (quoted, backend) in [
            (reply4().tcp(80, port).ack(1).payload([0; 500]), web),
            (reply4().ttl(1).ip_options(&[1; 4]).tcp(80, port), web),
            (reply4().udp(53, port).payload("answer"), dns),
            // No more than the eight bytes that every error has to quote.
            (reply4().tcp(80, port).payload([0; 500]).length(20 + 8), web),
        ] {
            let quoted = quoted.build();
            for error in [
                router4().fragmentation_needed(1400),
                router4().icmp(3, 1, [0; 4]),
                router4().icmp(11, 0, [0; 4]),
                router4().icmp(12, 0, [0; 4]),
                asks4().ip_options(&[1; 8]).icmp(3, 3, [0; 4]),
            ] {
                assert_eq!(world.tunnels_to(&error.payload(quoted.bytes()).build()), backend);
            }
        }
        let web = world.tunnels_to(&asks6().tcp(port, 80).syn().build());
        let dns = world.tunnels_to(&asks6().udp(port, 53).build());
        for (quoted, backend) in
            [(reply6().tcp(80, port).ack(1).payload([0; 500]), web), (reply6().udp(53, port), dns)]
        {
            let quoted = quoted.build();
            for error in [
                router6().packet_too_big(1400),
                router6().icmpv6(1, 0, [0; 4]),
                router6().icmpv6(3, 0, [0; 4]),
                router6().icmpv6(4, 1, [0; 4]),
                asks6().hop_by_hop().icmpv6(1, 4, [0; 4]),
            ] {
                assert_eq!(world.tunnels_to(&error.payload(quoted.bytes()).build()), backend);
            }
        }
        seen.extend([web, dns]);
    }
    assert_eq!(seen.len(), BACKENDS as usize);
}

#[test]
fn an_error_is_tunnelled_as_it_is() {
    let mut world =
        World::new().vip(VIP4).backend(1, Backend::v4(21)).service(1, tcp(VIP4, 80).to(&[1]));
    let quoted = reply4().tcp(80, 40000).build();
    let error = router4().ttl(1).fragmentation_needed(1400).payload(quoted.bytes()).build();
    world.sends(&error, &tunnel4(21).around(&error).build());
    // It is no new flow.
    assert_eq!(world.service_traffic(1).unwrap().new_flows, 0);
    assert_eq!(world.service_traffic(1).unwrap().packets, 1);
}

#[test]
fn an_error_is_judged_by_the_flow_it_is_about_not_by_who_sends_it() {
    let slots: Vec<_> = (0..101).map(|slot| Slot::settled(1 + slot % BACKENDS)).collect();
    let mut world = world()
        .service(1, tcp(VIP4, 80).slots(slots.clone()).only_from(&["10.1.0.10/32"]))
        .service(3, tcp(VIP6, 80).slots(slots).affinity());
    let quoted = reply4().tcp(80, 40000).build();
    let error = router4().fragmentation_needed(1400).payload(quoted.bytes()).build();
    let backend = world.tunnels_to(&asks4().tcp(40000, 80).syn().build());
    assert_eq!(world.tunnels_to(&error), backend);
    let quoted = packet().ipv4(VIP4, CLIENT.v4(1)).tcp(80, 40000).build();
    let error = router4().fragmentation_needed(1400).payload(quoted.bytes()).build();
    world.drops(&error, Reason::SourceNotAllowed);

    let backend = world.tunnels_to(&asks6().tcp(1, 80).syn().build());
    let quoted = reply6().tcp(80, 40000).build();
    let error = router6().packet_too_big(1400).payload(quoted.bytes()).build();
    assert_eq!(world.tunnels_to(&error), backend);
}

#[test]
fn errors_that_quote_nothing_of_a_service_are_dropped() {
    let mut world = world();
    for quoted in [
        // Somebody else's packet, the client's own one, another protocol, no first fragment, no packet.
        packet().ipv4(NODE4, CLIENT4).tcp(80, 40000),
        packet().ipv4(CLIENT4, VIP4).tcp(40000, 80),
        reply4().echo_reply(1, 1),
        reply4().fragment_offset(9).next_protocol(protocol::UDP).payload([0; 8]),
        reply4().ip_version(6).tcp(80, 40000),
        reply4().header_words(4).tcp(80, 40000),
        packet().payload([0; 40]),
    ] {
        let quoted = quoted.build();
        let error = router4().fragmentation_needed(1400).payload(quoted.bytes()).build();
        world.drops(&error, Reason::IcmpUnrelated);
    }
    for quoted in [
        packet().ipv6(NODE6, CLIENT6).tcp(80, 40000),
        packet().ipv6(CLIENT6, VIP6).tcp(40000, 80),
        reply6().echo_reply(1, 1),
        packet().payload([0; 60]),
    ] {
        let quoted = quoted.build();
        let error = router6().packet_too_big(1400).payload(quoted.bytes()).build();
        world.drops(&error, Reason::IcmpUnrelated);
    }
}

#[test]
fn errors_about_a_port_without_service_are_not_answered() {
    let mut world = world();
    let quoted = reply4().tcp(81, 40000).build();
    let error = router4().fragmentation_needed(1400).payload(quoted.bytes()).build();
    world.drops(&error, Reason::NoServiceSilent);
    let quoted = reply6().udp(81, 40000).build();
    let error = router6().packet_too_big(1400).payload(quoted.bytes()).build();
    world.drops(&error, Reason::NoServiceSilent);
}

#[test]
fn errors_that_quote_too_little_are_dropped() {
    let mut world = world();
    let quoted = reply4().tcp(80, 40000).build();
    for length in 0..24 {
        let error = router4().fragmentation_needed(1400).payload(&quoted.bytes()[..length]);
        world.drops(&error.build(), Reason::Truncated);
    }
    let quoted = reply6().tcp(80, 40000).build();
    for length in 0..44 {
        let error = router6().packet_too_big(1400).payload(&quoted.bytes()[..length]);
        world.drops(&error.build(), Reason::Truncated);
    }
}

#[test]
fn what_lies_behind_the_packet_is_not_taken_for_what_it_quotes() {
    let mut world = world();
    let quoted = reply4().tcp(80, 40000).build();
    let error = router4().total_length(28).fragmentation_needed(1400).payload(quoted.bytes());
    world.drops(&error.build(), Reason::Truncated);
}

#[test]
fn other_icmp_is_dropped() {
    let mut world = world();
    for kind in [0, 4, 5, 9, 10, 13, 15, 17, 30, 40, 255] {
        let message = asks4().icmp(kind, 0, [0; 4]).payload([0; 28]);
        world.drops(&message.build(), Reason::IcmpUnrelated);
    }
    for kind in [0, 5, 100, 127, 129, 130, 133, 134, 136, 137, 143, 255] {
        let message = asks6().icmpv6(kind, 0, [0; 4]).payload([0; 28]);
        world.drops(&message.build(), Reason::IcmpUnrelated);
    }
}
