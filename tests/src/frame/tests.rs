//! Builder and decoder against each other and against bytes from elsewhere.

use super::*;
use crate::{addresses::LAN, mac::Mac};

const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
const EDGE: Mac = Mac([2, 0, 0, 0, 0, 2]);

fn tunnelled() -> FrameBuilder {
    ethernet(CLIENT, EDGE)
        .service_vlan(7)
        .vlan(42)
        .ipv6(LAN.v6(11), LAN.v6(21))
        .ttl(63)
        .ipv4(LAN.v4(10), LAN.v4(100))
        .tos(0xb8)
        .dont_fragment()
        .tcp(40000, 80)
        .syn()
        .seq(7)
        .mss(1460)
        .payload("hello")
}

#[test]
fn what_is_built_is_taken_apart_again() {
    let frame = tunnelled().build();
    let parts = frame.dissect();
    assert_eq!(parts.ethernet(), Some((CLIENT, EDGE)));
    assert_eq!(parts.vlans(), [7, 42]);
    assert_eq!(
        parts.addresses(),
        [(LAN.v6(11).into(), LAN.v6(21).into()), (LAN.v4(10).into(), LAN.v4(100).into())]
    );
    assert_eq!(parts.ttls(), [63, 64]);
    assert_eq!(parts.ports(), Some((40000, 80)));
    let tcp = parts.tcp().unwrap();
    assert!(tcp.syn && !tcp.ack && tcp.sequence_number == 7);
    assert_eq!(parts.payload(), b"hello");
    check(&frame).unwrap();
}

#[test]
fn any_flipped_bit_of_header_or_payload_is_noticed() {
    let frame = ethernet(CLIENT, EDGE)
        .ipv4(LAN.v4(10), LAN.v4(100))
        .udp(40000, 53)
        .payload("hello")
        .build();
    check(&frame).unwrap();
    // From the TTL on; before, a flipped bit changes what the packet is.
    for byte in 14 + 8..frame.0.len() {
        // The protocol and UDP's length, likewise.
        if byte == 14 + 9 {
            continue;
        }
        let mut broken = frame.clone();
        broken.0[byte] ^= 1;
        assert!(check(&broken).is_err(), "byte {byte} of {broken:?}");
    }
}

#[test]
fn wrong_values_stay_as_they_are_asked_for() {
    let frame = ethernet(CLIENT, EDGE)
        .ipv4(LAN.v4(10), LAN.v4(100))
        .header_checksum(0x1234)
        .total_length(999)
        .udp(1, 2)
        .udp_length(3)
        .checksum(0x5678)
        .build();
    let text = format!("{frame:?}");
    assert!(text.contains("length 999 checksum 0x1234"), "{text}");
    assert!(text.contains("length 3 checksum 0x5678"), "{text}");
}

#[test]
fn a_well_known_packet_has_its_well_known_checksum() {
    // The example of RFC 1071's readers: an IPv4 header whose checksum is 0xb861.
    let frame = packet()
        .ipv4("192.168.0.1".parse().unwrap(), "192.168.0.199".parse().unwrap())
        .dont_fragment()
        .next_protocol(protocol::UDP)
        .total_length(0x73)
        .build();
    assert_eq!(frame.0[10..12], [0xb8, 0x61]);
}

#[test]
fn every_kind_of_packet_has_right_checksums() {
    let mac = Some(CLIENT);
    let (v4, v6) = ((LAN.v4(10), LAN.v4(100)), (LAN.v6(10), LAN.v6(100)));
    let start = || ethernet(CLIENT, EDGE);
    for frame in [
        start().ipv4(v4.0, v4.1).echo_request(1, 2).payload("odd"),
        start().ipv6(v6.0, v6.1).echo_reply(1, 2).payload("odd"),
        start().ipv6(v6.0, v6.1).hop_by_hop().destination_options().udp(1, 2).payload("x"),
        start().ipv6(v6.0, v6.1).neighbour_solicitation(v6.1, mac),
        start().ipv6(v6.0, v6.1).neighbour_advertisement(0x60, v6.1, EDGE),
        start().ipv4(v4.0, v4.1).ip_options(&[1, 1, 1, 0]).tcp(1, 2).rst(),
    ] {
        let frame = frame.build();
        check(&frame).unwrap();
        assert_eq!(frame.dissect().malformed(), None);
    }
}

#[test]
fn an_error_quotes_a_packet() {
    let quoted = packet().ipv4(LAN.v4(100), LAN.v4(10)).tcp(80, 40000).build();
    let error = ethernet(CLIENT, EDGE)
        .ipv4(LAN.v4(1), LAN.v4(100))
        .fragmentation_needed(1400)
        .payload(&quoted.0[..28])
        .build();
    let parts = error.dissect();
    assert_eq!(parts.icmp(), Some((3, 4)));
    assert_eq!(parts.told_mtu(), Some(1400));
    assert_eq!(parts.quoted().addresses(), [(LAN.v4(100).into(), LAN.v4(10).into())]);
}

#[test]
fn arp_is_read_as_it_was_written() {
    let (sender, target) = ((CLIENT, LAN.v4(1)), LAN.v4(100));
    let frame = ethernet(CLIENT, Mac::BROADCAST).arp_request(sender, target).build();
    let arp = Arp { operation: 1, sender, target: (Mac::default(), target) };
    assert_eq!(frame.dissect().arp(), Some(arp));
}

#[test]
fn a_truncated_frame_is_called_malformed_at_every_length() {
    let whole = tunnelled().build();
    for length in 0..whole.0.len() - 5 {
        let cut = tunnelled().length(length).build();
        assert!(cut.dissect().malformed().is_some(), "{cut:?}");
    }
}
