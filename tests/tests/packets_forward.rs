//! Promises about packets that reach their backend: what the tunnel adds, and that nothing else changes.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::{
    address::Address,
    counters::{Reason, TrafficCounter},
    hash,
};
use sluice_tests::{
    addresses::LAN,
    bpf::{Backend, EDGE, SERVER, World, tcp, traffic::*, udp},
    frame::{Frame, FrameBuilder, check, ethernet},
};

const WEB: u32 = 1;
const DNS: u32 = 2;
const BACKEND: u32 = 3;
const HOST: u8 = 21;

/// One backend serves TCP port 80 and UDP port 53 of both VIPs.
fn world(backend: Backend) -> World {
    World::new()
        .vip(VIP4)
        .vip(VIP6)
        .backend(BACKEND, backend)
        .service(WEB, tcp(VIP4, 80).to(&[BACKEND]))
        .service(DNS, udp(VIP4, 53).to(&[BACKEND]))
        .service(WEB + 10, tcp(VIP6, 80).to(&[BACKEND]))
        .service(DNS + 10, udp(VIP6, 53).to(&[BACKEND]))
}

/// Low 20 bits of the hash of a flow of the client.
fn label(frame: &Frame) -> u32 {
    let parts = frame.dissect();
    let tcp = if parts.tcp().is_some() { 6 } else { 17 };
    let (source, destination) = parts.ports().unwrap();
    let [a, b] = source.to_be_bytes();
    let [c, d] = destination.to_be_bytes();
    let ports = u32::from_ne_bytes([a, b, c, d]);
    let seed = World::settings().edge_seed;
    let words = |address| Address::from(IpAddr::V6(address)).words();
    let word = |address: std::net::Ipv4Addr| u32::from_ne_bytes(address.octets());
    let hash = if frame.bytes()[14] >> 4 == 6 {
        hash::flow_v6(seed, words(CLIENT6), words(VIP6), ports, tcp)
    } else {
        hash::flow_v4(seed, word(CLIENT4), word(VIP4), ports, tcp)
    };
    hash as u32 & 0xf_ffff
}

/// Every kind of packet of an IPv4 flow, each to be forwarded as it is.
fn requests4() -> Vec<FrameBuilder> {
    let options = [0x94, 4, 0, 0, 1, 1, 1, 0];
    vec![
        asks4().tcp(40000, 80).syn().mss(1460),
        asks4().tcp(40000, 80).ack(7).seq(9).psh().payload("GET / HTTP/1.1\r\n"),
        asks4().tcp(40000, 80).fin().ack(7),
        asks4().tcp(40000, 80).rst(),
        asks4().tcp(40000, 80).checksum(0xbad).payload("the server's to judge"),
        asks4().udp(40000, 53).payload("query"),
        asks4().udp(40000, 53).checksum(0),
        asks4().udp(40000, 53).payload([0x55; 1400]),
        asks4().ttl(2).dont_fragment().id(0x1234).tcp(40000, 80).syn(),
        asks4().ttl(255).ip_options(&options).tcp(40000, 80).syn(),
        asks4().ip_options(&[1; 40]).udp(40000, 53).payload("longest options"),
    ]
}

/// Likewise of an IPv6 flow.
fn requests6() -> Vec<FrameBuilder> {
    vec![
        asks6().tcp(40000, 80).syn().mss(1440),
        asks6().flow_label(0xabcde).tcp(40000, 80).ack(7).seq(9).psh().payload("GET /"),
        asks6().ttl(2).udp(40000, 53).payload("query"),
        asks6().udp(40000, 53).payload([0x55; 1400]),
        asks6().hop_by_hop().tcp(40000, 80).syn(),
        asks6().destination_options().udp(40000, 53).payload("x"),
        asks6().hop_by_hop().destination_options().destination_options().tcp(40000, 80).syn(),
        // A routing header that has reached its end.
        asks6().extension(43, &[0, 0, 0, 0, 0, 0]).tcp(40000, 80).syn(),
        // A fragment that is the whole packet.
        asks6().fragment_header(0, false, 77).udp(40000, 53).payload("atomic"),
    ]
}

#[test]
fn a_packet_reaches_an_ipv4_backend_in_an_ipv4_header_and_is_itself_unchanged() {
    let mut world = world(Backend::v4(HOST));
    for request in requests4().into_iter().chain(requests6()) {
        let request = request.build();
        let expected = tunnel4(HOST).around(&request).build();
        world.sends(&request, &expected);
    }
}

#[test]
fn a_packet_reaches_an_ipv6_backend_in_an_ipv6_header_labelled_by_its_flow() {
    let mut world = world(Backend::v6(HOST));
    for request in requests4().into_iter().chain(requests6()) {
        let request = request.build();
        let expected = tunnel6(HOST).flow_label(label(&request)).around(&request).build();
        world.sends(&request, &expected);
    }
}

/// A frame that opens a connection to port 80 of the VIP, on any link.
fn syn(link: FrameBuilder) -> Frame {
    link.ipv4(CLIENT4, VIP4).tcp(40000, 80).syn().build()
}

#[test]
fn the_authentication_header_is_looked_behind() {
    let mut request = asks6().extension(51, &[0; 14]).tcp(40000, 80).syn().build();
    // It counts words of four bytes, minus two.
    request.0[14 + 40 + 1] = 2;
    let expected = tunnel4(HOST).around(&request).build();
    world(Backend::v4(HOST)).sends(&request, &expected);
}

#[test]
fn the_outer_header_shows_the_inner_class_of_service() {
    let mut four = world(Backend::v4(HOST));
    let mut six = world(Backend::v6(HOST));
    for tos in [0, 0xb8, 0x02, 0x03, 0xff] {
        for request in [asks4(), asks6()] {
            let request = request.tos(tos).tcp(40000, 80).syn().build();
            four.sends(&request, &tunnel4(HOST).tos(tos).around(&request).build());
            let expected = tunnel6(HOST).tos(tos).flow_label(label(&request)).around(&request);
            six.sends(&request, &expected.build());
        }
    }
}

#[test]
fn the_pad_of_a_small_frame_is_not_counted_as_part_of_the_packet() {
    let request = asks4().tcp(40000, 80).ack(7).length(60).build();
    let expected = tunnel4(HOST).total_length(20 + 40).around(&request).build();
    world(Backend::v4(HOST)).sends(&request, &expected);
}

#[test]
fn a_jumbo_frame_is_forwarded_whole() {
    let request = asks4().udp(40000, 53).payload([0x77; 8000]).build();
    let expected = tunnel4(HOST).around(&request).build();
    world(Backend::v4(HOST).mtu(9000)).sends(&request, &expected);
}

#[test]
fn l2_forwarding_changes_mac_addresses_and_nothing_else() {
    // The backend's address may be of the other family.
    let mut worlds = [Backend::v4(HOST), Backend::v6(HOST)].map(|backend| {
        World::new()
            .vip(VIP4)
            .vip(VIP6)
            .backend(BACKEND, backend)
            .service(WEB, tcp(VIP4, 80).l2().to(&[BACKEND]))
            .service(WEB + 10, tcp(VIP6, 80).l2().to(&[BACKEND]))
    });
    let requests: [fn(FrameBuilder) -> FrameBuilder; 4] = [
        |link| link.ipv4(CLIENT4, VIP4).tos(0xb8).ttl(9).tcp(40000, 80).syn(),
        |link| link.ipv4(CLIENT4, VIP4).ip_options(&[1; 8]).tcp(40000, 80).ack(1),
        |link| link.ipv6(CLIENT6, VIP6).tos(0xb8).ttl(9).tcp(40000, 80).syn(),
        |link| link.ipv6(CLIENT6, VIP6).hop_by_hop().tcp(40000, 80).payload([0; 1400]),
    ];
    let links: [fn(FrameBuilder) -> FrameBuilder; 3] =
        [|link| link, |link| link.vlan(7), |link| link.service_vlan(7).vlan(42)];
    for request in requests {
        for link in links {
            let expected = request(link(ethernet(EDGE, SERVER))).build();
            for world in &mut worlds {
                world.sends(&request(link(from_router())).build(), &expected);
            }
        }
    }
}

#[test]
fn l2_forwarding_needs_a_backend_on_the_link() {
    let mut world = World::new()
        .vip(VIP4)
        .backend(BACKEND, Backend::v4(HOST).behind_router())
        .service(WEB, tcp(VIP4, 80).l2().to(&[BACKEND]));
    world.drops(&syn(from_router()), Reason::BackendNotOnLink);
}

#[test]
fn vlan_tags_stay_on_the_link_they_came_on() {
    let mut world = world(Backend::v4(HOST));
    let links: [fn(FrameBuilder) -> FrameBuilder; 4] = [
        |link| link.vlan(7),
        |link| link.vlan(0x6007),
        |link| link.service_vlan(7).vlan(42),
        |link| link.vlan(7).vlan(42),
    ];
    for link in links {
        let tunnel = link(ethernet(EDGE, SERVER)).ipv4(NODE4, LAN.v4(HOST)).dont_fragment();
        let expected = tunnel.around(&syn(from_router())).build();
        world.sends(&syn(link(from_router())), &expected);
    }
}

#[test]
fn a_backend_behind_a_vlan_gets_its_tag_in_place_of_others() {
    let mut world = world(Backend::v4(HOST).vlan(9));
    let tunnel = ethernet(EDGE, SERVER).vlan(9).ipv4(NODE4, LAN.v4(HOST)).dont_fragment();
    let expected = tunnel.around(&syn(from_router())).build();
    for link in [from_router(), from_router().vlan(7), from_router().service_vlan(7).vlan(42)] {
        world.sends(&syn(link), &expected);
    }
}

#[test]
fn l2_forwarding_takes_tags_away_where_the_backend_has_fewer() {
    let mut world = World::new()
        .vip(VIP4)
        .backend(BACKEND, Backend::v4(HOST).vlan(9))
        .service(WEB, tcp(VIP4, 80).l2().to(&[BACKEND]));
    let expected = syn(ethernet(EDGE, SERVER).vlan(9));
    for link in [from_router(), from_router().vlan(7), from_router().service_vlan(7).vlan(42)] {
        world.sends(&syn(link), &expected);
    }
}

#[test]
fn a_backend_behind_another_interface_gets_the_packet_there_without_the_tags_it_came_with() {
    const ELSEWHERE: u32 = 7;
    let mut world = world(Backend::v4(HOST).behind(ELSEWHERE)).redirect_port(ELSEWHERE);
    let expected = tunnel4(HOST).around(&syn(from_router())).build();
    for link in [from_router(), from_router().vlan(7), from_router().service_vlan(7).vlan(42)] {
        world.redirects(&syn(link), &expected);
    }
    let mut world = world.backend(BACKEND, Backend::v4(HOST).behind(ELSEWHERE).vlan(9));
    let tunnel = ethernet(EDGE, SERVER).vlan(9).ipv4(NODE4, LAN.v4(HOST)).dont_fragment();
    let expected = tunnel.around(&syn(from_router())).build();
    world.redirects(&syn(from_router().vlan(7)), &expected);
}

#[test]
fn a_packet_for_an_interface_that_is_not_there_is_dropped_and_not_counted_as_forwarded() {
    let mut world = world(Backend::v4(HOST).behind(7));
    world.drops(&syn(from_router()), Reason::BackendUnresolved);
    assert_eq!(world.backend_traffic(BACKEND).unwrap(), TrafficCounter::default());
}

#[test]
fn a_backend_whose_next_hop_is_not_known_gets_nothing() {
    let mut world = world(Backend::v4(HOST).unresolved());
    world.drops(&syn(from_router()), Reason::BackendUnresolved);
}

#[test]
fn packets_bytes_and_new_flows_are_counted_for_service_and_backend() {
    let mut world = world(Backend::v4(HOST));
    let syn = syn(from_router());
    world.sends(&syn, &tunnel4(HOST).around(&syn).build());
    let data = asks4().tcp(40000, 80).ack(1).payload([0; 100]).build();
    world.sends(&data, &tunnel4(HOST).around(&data).build());
    let expected = TrafficCounter { packets: 2, bytes: 40 + 140, new_flows: 1 };
    assert_eq!(world.service_traffic(WEB).unwrap(), expected);
    assert_eq!(world.backend_traffic(BACKEND).unwrap(), expected);

    let query = asks6().udp(40000, 53).payload("query").length(80).build();
    world.tunnels_to(&query);
    let expected = TrafficCounter { packets: 1, bytes: 48 + 5, new_flows: 0 };
    assert_eq!(world.service_traffic(DNS + 10).unwrap(), expected);
    assert_eq!(world.backend_traffic(BACKEND).unwrap().packets, 3);
}

#[test]
fn the_outer_source_can_vary_by_flow_within_its_prefix() {
    for backend in [Backend::v4(HOST), Backend::v6(HOST)] {
        let mut world = World::with(|settings| {
            settings.source_prefix_v4 = [10, 9, 0, 0];
            settings.source_mask_v4 = [0, 0, 0x0f, 0xff];
            settings.source_prefix_v6[0] = 0xfd;
            settings.source_mask_v6[15] = 0xff;
        })
        .vip(VIP4)
        .vip(VIP6)
        .backend(BACKEND, backend.vary_source())
        .service(WEB, tcp(VIP4, 80).to(&[BACKEND]))
        .service(WEB + 10, tcp(VIP6, 80).to(&[BACKEND]));
        for asks in [asks4, asks6] {
            let mut sources = BTreeSet::new();
            for port in 40000..40020 {
                let request =
                    |flags: fn(FrameBuilder) -> FrameBuilder| flags(asks().tcp(port, 80)).build();
                let first = world.run(&request(FrameBuilder::syn)).unwrap().frame;
                check(&first).unwrap();
                let source = first.dissect().addresses()[0].0;
                let within = match source {
                    IpAddr::V4(source) => u32::from(source) >> 12 == 0x0a09_0000 >> 12,
                    IpAddr::V6(source) => u128::from(source) >> 8 == 0xfd << 112,
                };
                assert!(within, "{source}");
                let second = world.run(&request(FrameBuilder::fin)).unwrap().frame;
                assert_eq!(second.dissect().addresses()[0].0, source);
                sources.insert(source);
            }
            assert!(sources.len() > 10, "{sources:?}");
        }
    }
}
