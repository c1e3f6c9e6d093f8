//! ARP and NDP frames as bytes: what the announcer sends for VIPs and the prober sends to next hops.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::checksum;

/// A MAC address, first byte on the wire first.
pub type Mac = [u8; 6];

/// An ARP packet in Ethernet, without padding or check sequence.
pub type ArpFrame = [u8; 42];

/// A neighbour solicitation or advertisement with one link-layer address option, in IPv6 in Ethernet.
pub type NdpFrame = [u8; 86];

/// The Ethernet broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE_LINK_LAYER: u8 = 1;
const OPTION_TARGET_LINK_LAYER: u8 = 2;
const FLAG_OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A gratuitous ARP request (RFC 5227, section 2.3): sender and target are the VIP, target MAC zero, broadcast.
pub fn gratuitous_arp_request(vip: Ipv4Addr, mac: Mac) -> ArpFrame {
    arp(BROADCAST, ARP_REQUEST, (mac, vip), ([0; 6], vip))
}

/// A gratuitous ARP reply: sender and target are the VIP and its MAC, broadcast. Some hosts heed only this form.
pub fn gratuitous_arp_reply(vip: Ipv4Addr, mac: Mac) -> ArpFrame {
    arp(BROADCAST, ARP_REPLY, (mac, vip), (mac, vip))
}

/// An ARP probe (RFC 5227, section 2.1.1): does anybody hold `address`? Its sender address is zero, so no cache learns from it.
pub fn arp_probe(address: Ipv4Addr, mac: Mac) -> ArpFrame {
    arp(BROADCAST, ARP_REQUEST, (mac, Ipv4Addr::UNSPECIFIED), ([0; 6], address))
}

/// An ARP request for `target` to the MAC `destination`: [`BROADCAST`], or the known one to confirm it (RFC 1122, section 2.3.2.1).
pub fn arp_request(
    source: Ipv4Addr,
    source_mac: Mac,
    target: Ipv4Addr,
    destination: Mac,
) -> ArpFrame {
    arp(destination, ARP_REQUEST, (source_mac, source), ([0; 6], target))
}

/// An unsolicited neighbour advertisement (RFC 4861, section 7.2.6) to all nodes: override, with the target's MAC.
pub fn unsolicited_advertisement(vip: Ipv6Addr, mac: Mac) -> NdpFrame {
    ndp(Ndp {
        destination_mac: multicast_mac(ALL_NODES),
        source_mac: mac,
        source: vip,
        destination: ALL_NODES,
        kind: NEIGHBOUR_ADVERTISEMENT,
        flags: FLAG_OVERRIDE,
        target: vip,
        option: OPTION_TARGET_LINK_LAYER,
    })
}

/// A neighbour solicitation for `target` (RFC 4861, section 4.3), to its solicited-node group, or to `known` to confirm that MAC.
pub fn neighbour_solicitation(
    source: Ipv6Addr,
    source_mac: Mac,
    target: Ipv6Addr,
    known: Option<Mac>,
) -> NdpFrame {
    let group = solicited_node(target);
    ndp(Ndp {
        destination_mac: known.unwrap_or(multicast_mac(group)),
        source_mac,
        source,
        destination: if known.is_some() { target } else { group },
        kind: NEIGHBOUR_SOLICITATION,
        flags: 0,
        target,
        option: OPTION_SOURCE_LINK_LAYER,
    })
}

/// The solicited-node multicast group of an address (RFC 4291, section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The MAC address of an IPv6 multicast group (RFC 2464, section 7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

fn arp(
    destination: Mac,
    operation: u8,
    sender: (Mac, Ipv4Addr),
    target: (Mac, Ipv4Addr),
) -> ArpFrame {
    let mut frame = [0; 42];
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&sender.0);
    // EtherType ARP; hardware Ethernet, protocol IPv4, address lengths 6 and 4; operation.
    frame[12..22].copy_from_slice(&[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    frame[22..28].copy_from_slice(&sender.0);
    frame[28..32].copy_from_slice(&sender.1.octets());
    frame[32..38].copy_from_slice(&target.0);
    frame[38..42].copy_from_slice(&target.1.octets());
    frame
}

struct Ndp {
    destination_mac: Mac,
    source_mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: u8,
}

fn ndp(ndp: Ndp) -> NdpFrame {
    const ICMP_LENGTH: u8 = 32;
    const ICMPV6: u8 = 58;
    let mut frame = [0; 86];
    frame[..6].copy_from_slice(&ndp.destination_mac);
    frame[6..12].copy_from_slice(&ndp.source_mac);
    // EtherType IPv6; version 6; payload length; next header; hop limit 255, which proves that no router forwarded it.
    frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, ICMP_LENGTH, ICMPV6, 255]);
    frame[22..38].copy_from_slice(&ndp.source.octets());
    frame[38..54].copy_from_slice(&ndp.destination.octets());
    frame[54] = ndp.kind;
    frame[58] = ndp.flags;
    frame[62..78].copy_from_slice(&ndp.target.octets());
    // The option's length counts units of 8 bytes.
    frame[78..80].copy_from_slice(&[ndp.option, 1]);
    frame[80..86].copy_from_slice(&ndp.source_mac);

    let pseudo = checksum::add_bytes(0, &frame[22..54]);
    let pseudo = checksum::add_bytes(pseudo, &[0, ICMP_LENGTH, 0, ICMPV6]);
    let sum = checksum::finish(checksum::add_bytes(pseudo, &frame[54..]));
    frame[56..58].copy_from_slice(&sum.to_ne_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];
    const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    /// The whole packet's sum, word by word in network order: zero if the checksum field is right.
    fn icmp_residue(frame: &NdpFrame) -> u16 {
        let words = frame[22..].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let mut sum: u32 = words.sum::<u32>() + 32 + 58;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn a_gratuitous_request_names_the_vip_twice_and_no_target_mac() {
        assert_eq!(
            gratuitous_arp_request(VIP, MAC).to_vec(),
            bytes(
                "ffffffffffff 02aabbccddee 0806 0001 0800 06 04 0001
                 02aabbccddee c000020a 000000000000 c000020a"
            )
        );
    }

    #[test]
    fn a_gratuitous_reply_is_a_broadcast_reply_to_itself() {
        assert_eq!(
            gratuitous_arp_reply(VIP, MAC).to_vec(),
            bytes(
                "ffffffffffff 02aabbccddee 0806 0001 0800 06 04 0002
                 02aabbccddee c000020a 02aabbccddee c000020a"
            )
        );
    }

    #[test]
    fn an_arp_probe_has_no_sender_address() {
        assert_eq!(
            arp_probe(VIP, MAC).to_vec(),
            bytes(
                "ffffffffffff 02aabbccddee 0806 0001 0800 06 04 0001
                 02aabbccddee 00000000 000000000000 c000020a"
            )
        );
    }

    #[test]
    fn an_arp_request_can_confirm_a_known_mac() {
        let source = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(
            arp_request(source, MAC, VIP, [2, 0, 0, 0, 0, 9]).to_vec(),
            bytes(
                "020000000009 02aabbccddee 0806 0001 0800 06 04 0001
                 02aabbccddee c0000201 000000000000 c000020a"
            )
        );
    }

    #[test]
    fn an_unsolicited_advertisement_overrides_what_all_nodes_know() {
        let frame = unsolicited_advertisement("2001:db8::a".parse().unwrap(), MAC);
        let mut expected = bytes(
            "333300000001 02aabbccddee 86dd 60000000 0020 3a ff
             20010db800000000000000000000000a ff020000000000000000000000000001
             88 00 0000 20000000 20010db800000000000000000000000a 02 01 02aabbccddee",
        );
        expected[56..58].copy_from_slice(&frame[56..58]);
        assert_eq!(frame.to_vec(), expected);
        assert_eq!(icmp_residue(&frame), 0);
    }

    #[test]
    fn a_solicitation_goes_to_the_solicited_node_group() {
        let target = "2001:db8::1:2:aabb:ccdd".parse().unwrap();
        let frame = neighbour_solicitation("fe80::1".parse().unwrap(), MAC, target, None);
        let mut expected = bytes(
            "3333ffbbccdd 02aabbccddee 86dd 60000000 0020 3a ff
             fe800000000000000000000000000001 ff0200000000000000000001ffbbccdd
             87 00 0000 00000000 20010db8000000000001 0002aabbccdd 01 01 02aabbccddee",
        );
        expected[62..78].copy_from_slice(&target.octets());
        expected[56..58].copy_from_slice(&frame[56..58]);
        assert_eq!(frame.to_vec(), expected);
        assert_eq!(icmp_residue(&frame), 0);
    }

    #[test]
    fn a_solicitation_to_a_known_mac_is_unicast() {
        let target: Ipv6Addr = "2001:db8::a".parse().unwrap();
        let known = [2, 0, 0, 0, 0, 9];
        let frame = neighbour_solicitation("fe80::1".parse().unwrap(), MAC, target, Some(known));
        assert_eq!((&frame[..6], &frame[38..54]), (&known[..], &target.octets()[..]));
        assert_eq!(icmp_residue(&frame), 0);
    }

    proptest! {
        #[test]
        fn checksums_are_right_whatever_the_addresses(a in any::<[u8; 16]>(), b in any::<[u8; 16]>(), mac in any::<Mac>(), known in any::<Option<Mac>>()) {
            prop_assert_eq!(icmp_residue(&unsolicited_advertisement(a.into(), mac)), 0);
            prop_assert_eq!(icmp_residue(&neighbour_solicitation(a.into(), mac, b.into(), known)), 0);
        }
    }
}
