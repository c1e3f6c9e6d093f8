//! Reading the answers: which address a received ARP or neighbour advertisement says is at which MAC.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ownership::frames::Mac;

/// `address` is at `mac`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) address: IpAddr,
    pub(super) mac: Mac,
    /// May replace another MAC that is known to work (RFC 4861, section 7.2.5).
    pub(super) overrides: bool,
}

/// What a frame answers, if it is a sound ARP packet or neighbour advertisement.
pub(super) fn parse(frame: &[u8]) -> Option<Answer> {
    let answer = match frame.get(12..14)? {
        [0x08, 0x06] => arp(frame.get(14..42)?),
        [0x86, 0xdd] => advertisement(frame.get(14..)?),
        _ => None,
    }?;
    // A multicast address belongs to no single neighbour.
    (answer.mac[0] & 1 == 0 && answer.mac != [0; 6]).then_some(answer)
}

/// Requests count as well as replies: whoever asks says where it is.
fn arp(packet: &[u8]) -> Option<Answer> {
    let ethernet_and_ipv4 = packet.starts_with(&[0, 1, 0x08, 0x00, 6, 4]);
    let mac = packet[8..14].try_into().ok()?;
    let sender: [u8; 4] = packet[14..18].try_into().ok()?;
    let address = Ipv4Addr::from(sender);
    // A zero sender is a probe (RFC 5227): it claims nothing.
    (ethernet_and_ipv4 && !address.is_unspecified()).then_some(Answer {
        address: address.into(),
        mac,
        overrides: true,
    })
}

fn advertisement(packet: &[u8]) -> Option<Answer> {
    const HEADER: usize = 40;
    let (next_header, hop_limit) = (*packet.get(6)?, *packet.get(7)?);
    let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
    let icmp = packet.get(HEADER..HEADER + length)?;
    // Anything below 255 has crossed a router and is no neighbour's word (RFC 4861, section 7.1.2).
    if next_header != 58 || hop_limit != 255 || *icmp.first()? != 136 {
        return None;
    }
    let overrides = icmp.get(4)? & 0x20 != 0;
    let target: [u8; 16] = icmp.get(8..24)?.try_into().ok()?;
    let mut options = icmp.get(24..)?;
    while let [kind, units, ..] = *options {
        let option = options.get(..usize::from(units) * 8).filter(|option| !option.is_empty())?;
        if kind == 2 && units == 1 {
            let mac = option[2..8].try_into().ok()?;
            return Some(Answer { address: Ipv6Addr::from(target).into(), mac, overrides });
        }
        options = &options[option.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::frames;
    use proptest::prelude::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn any_arp_says_where_its_sender_is() {
        let sender = Ipv4Addr::new(10, 0, 0, 7);
        let request = frames::arp_request(sender, MAC, Ipv4Addr::LOCALHOST, frames::BROADCAST);
        let expected = Some(Answer { address: sender.into(), mac: MAC, overrides: true });
        assert_eq!(parse(&request), expected);
        assert_eq!(parse(&frames::gratuitous_arp_reply(sender, MAC)), expected);
    }

    #[test]
    fn an_arp_probe_claims_nothing() {
        assert_eq!(parse(&frames::arp_probe(Ipv4Addr::new(10, 0, 0, 7), MAC)), None);
    }

    #[test]
    fn an_advertisement_says_where_its_target_is() {
        let target: Ipv6Addr = "fd00::7".parse().unwrap();
        let mut frame = frames::unsolicited_advertisement(target, MAC);
        let answer = Answer { address: target.into(), mac: MAC, overrides: true };
        assert_eq!(parse(&frame), Some(answer));
        frame[58] = 0;
        assert_eq!(parse(&frame), Some(Answer { overrides: false, ..answer }));
    }

    #[test]
    fn a_routed_advertisement_is_no_neighbours_word() {
        let mut frame = frames::unsolicited_advertisement("fd00::7".parse().unwrap(), MAC);
        frame[21] = 254;
        assert_eq!(parse(&frame), None);
    }

    #[test]
    fn a_multicast_mac_is_nobodys() {
        assert_eq!(
            parse(&frames::gratuitous_arp_reply(Ipv4Addr::LOCALHOST, [1, 0, 0, 0, 0, 7])),
            None
        );
    }

    proptest! {
        #[test]
        fn no_frame_makes_the_parser_stumble(mut frame in proptest::collection::vec(any::<u8>(), 0..120), arp in any::<bool>()) {
            if frame.len() >= 22 {
                frame[12..14].copy_from_slice(if arp { &[0x08, 0x06] } else { &[0x86, 0xdd] });
                frame[20..22].copy_from_slice(&[58, 255]);
            }
            let _ = parse(&frame);
        }
    }
}
