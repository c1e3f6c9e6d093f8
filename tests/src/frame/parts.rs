//! The parts a frame is built of, and the bytes of each header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;

use super::{ether_type, protocol, verify};
use crate::mac::Mac;

/// Protocol number of a payload nobody described: "for experiments", RFC 3692.
const EXPERIMENT: u8 = 253;

#[derive(Clone, Debug)]
pub(super) enum Part {
    Ethernet { source: Mac, destination: Mac, ether_type: Option<u16> },
    Vlan { tpid: u16, tci: u16, ether_type: Option<u16> },
    Ipv4(Ipv4),
    Ipv6(Ipv6),
    Extension { kind: u8, body: Vec<u8>, next: Option<u8> },
    Transport(Transport),
    Bytes { ether_type: Option<u16>, bytes: Vec<u8> },
}

#[derive(Clone, Debug)]
pub(super) struct Ipv4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) id: u16,
    /// Flags and offset, as in the header.
    pub(super) fragment: u16,
    pub(super) options: Vec<u8>,
    pub(super) protocol: Option<u8>,
    pub(super) version: u8,
    pub(super) header_words: Option<u8>,
    pub(super) total_length: Option<u16>,
    pub(super) checksum: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) struct Ipv6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) traffic_class: u8,
    pub(super) flow_label: u32,
    pub(super) hop_limit: u8,
    pub(super) next_header: Option<u8>,
    pub(super) payload_length: Option<u16>,
}

/// TCP, UDP, ICMP and ICMPv6 differ by where their checksum is and what it covers.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) protocol: u8,
    pub(super) header: Vec<u8>,
    pub(super) checksum: Option<u16>,
    pub(super) length: Option<u16>,
}

impl Ipv4 {
    pub(super) fn header(&self, next: Option<&Part>, payload: usize) -> Vec<u8> {
        let length = 20 + self.options.len();
        let words = self.header_words.unwrap_or((length / 4) as u8);
        let total = self.total_length.unwrap_or((length + payload) as u16);
        let mut header = vec![self.version << 4 | words, self.tos];
        header.extend([total, self.id, self.fragment].map(u16::to_be_bytes).concat());
        header.extend([self.ttl, self.protocol.unwrap_or_else(|| protocol_of(next)), 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header.extend(&self.options);
        let sum = || Sum16BitWords::new().add_slice(&header).ones_complement();
        // The library sums in memory order.
        let checksum = self.checksum.map_or_else(|| sum().to_ne_bytes(), u16::to_be_bytes);
        header[10..12].copy_from_slice(&checksum);
        header
    }
}

impl Ipv6 {
    pub(super) fn header(&self, next: Option<&Part>, payload: usize) -> Vec<u8> {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label;
        let mut header = first.to_be_bytes().to_vec();
        header.extend(self.payload_length.unwrap_or(payload as u16).to_be_bytes());
        header.extend([self.next_header.unwrap_or_else(|| protocol_of(next)), self.hop_limit]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        header
    }
}

impl Transport {
    pub(super) fn header(&self, addresses: Option<(IpAddr, IpAddr)>, payload: &[u8]) -> Vec<u8> {
        let mut header = self.header.clone();
        if self.protocol == protocol::UDP {
            let length = self.length.unwrap_or((header.len() + payload.len()) as u16);
            header[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let sum = || {
            let whole = [&header[..], payload].concat();
            verify::transport_checksum(self.protocol, addresses, &whole)
        };
        let checksum = self.checksum.unwrap_or_else(sum);
        let at = verify::checksum_offset(self.protocol);
        header[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        header
    }
}

pub(super) fn ether_type_of(next: Option<&Part>) -> u16 {
    match next {
        Some(Part::Vlan { tpid, .. }) => *tpid,
        Some(Part::Ipv4(_)) => ether_type::IPV4,
        Some(Part::Ipv6(_)) => ether_type::IPV6,
        Some(Part::Bytes { ether_type: Some(ether_type), .. }) => *ether_type,
        // "Local experimental", IEEE 802.
        _ => 0x88b5,
    }
}

pub(super) fn protocol_of(next: Option<&Part>) -> u8 {
    match next {
        Some(Part::Ipv4(_)) => protocol::IPIP,
        Some(Part::Ipv6(_)) => protocol::IPV6,
        Some(Part::Extension { kind, .. }) => *kind,
        Some(Part::Transport(transport)) => transport.protocol,
        Some(_) => EXPERIMENT,
        None => protocol::NONE,
    }
}
