//! The builder: every method adds a layer, or changes the last one it applies to.
//!
//! Lengths, checksums and "what follows" fields are right unless set. A method that has nothing to
//! apply to panics: a test that says something impossible is to be mended, not to fail later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    Frame, ether_type,
    parts::{Ipv4, Ipv6, Part, Transport, ether_type_of, protocol_of},
    protocol,
};
use crate::mac::Mac;

/// A frame being described, from the outside in.
#[derive(Clone, Debug, Default)]
pub struct FrameBuilder {
    parts: Vec<Part>,
    length: Option<usize>,
}

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

const TCP_FLAGS: usize = 13;
const TCP_DATA_OFFSET: usize = 12;
const TCP_MINIMUM: usize = 20;

/// A frame from `source` to `destination`.
pub fn ethernet(source: Mac, destination: Mac) -> FrameBuilder {
    FrameBuilder::default().with(Part::Ethernet { source, destination, ether_type: None })
}

/// An IP packet without a frame: what an ICMP error quotes.
pub fn packet() -> FrameBuilder {
    FrameBuilder::default()
}

impl FrameBuilder {
    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// The last part `pick` accepts.
    #[track_caller]
    fn last<T>(&mut self, what: &str, pick: impl FnMut(&mut Part) -> Option<&mut T>) -> &mut T {
        let found = self.parts.iter_mut().rev().find_map(pick);
        found.unwrap_or_else(|| panic!("the frame has no {what} yet"))
    }

    #[track_caller]
    fn last_ipv4(&mut self) -> &mut Ipv4 {
        self.last("IPv4 header", |part| if let Part::Ipv4(ip) = part { Some(ip) } else { None })
    }

    #[track_caller]
    fn last_ipv6(&mut self) -> &mut Ipv6 {
        self.last("IPv6 header", |part| if let Part::Ipv6(ip) = part { Some(ip) } else { None })
    }

    #[track_caller]
    fn last_transport(&mut self, wanted: Option<u8>) -> &mut Transport {
        self.last("such transport header", |part| match part {
            Part::Transport(header) if wanted.is_none_or(|it| it == header.protocol) => {
                Some(header)
            }
            _ => None,
        })
    }

    /// Adds a customer VLAN tag.
    pub fn vlan(self, id: u16) -> Self {
        self.with(Part::Vlan { tpid: ether_type::VLAN, tci: id, ether_type: None })
    }

    /// Adds a service VLAN tag.
    pub fn service_vlan(self, id: u16) -> Self {
        self.with(Part::Vlan { tpid: ether_type::SERVICE_VLAN, tci: id, ether_type: None })
    }

    /// What the last Ethernet header or VLAN tag says follows.
    #[track_caller]
    pub fn ether_type(mut self, value: u16) -> Self {
        *self.last("Ethernet header", |part| match part {
            Part::Ethernet { ether_type, .. } | Part::Vlan { ether_type, .. } => Some(ether_type),
            _ => None,
        }) = Some(value);
        self
    }

    /// Asks who has `target`.
    pub fn arp_request(self, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Self {
        self.arp(1, sender, (Mac::default(), target))
    }

    /// Tells `target` who has the sender's address.
    pub fn arp_reply(self, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Self {
        self.arp(2, sender, target)
    }

    /// Any ARP packet for Ethernet and IPv4.
    pub fn arp(self, operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Self {
        // Ethernet, IPv4, and their addresses' lengths.
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(operation.to_be_bytes());
        for (mac, address) in [sender, target] {
            bytes.extend(mac.0);
            bytes.extend(address.octets());
        }
        self.with(Part::Bytes { ether_type: Some(ether_type::ARP), bytes })
    }

    /// Adds an IP header of the addresses' family.
    #[track_caller]
    pub fn ip(self, source: IpAddr, destination: IpAddr) -> Self {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source, destination),
            _ => panic!("{source} and {destination} are of different families"),
        }
    }

    /// Adds an IPv4 header: TTL 64, no flags.
    pub fn ipv4(self, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        self.with(Part::Ipv4(Ipv4 {
            source,
            destination,
            tos: 0,
            ttl: 64,
            id: 0,
            fragment: 0,
            options: Vec::new(),
            protocol: None,
            version: 4,
            header_words: None,
            total_length: None,
            checksum: None,
        }))
    }

    /// Adds an IPv6 header: hop limit 64.
    pub fn ipv6(self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        self.with(Part::Ipv6(Ipv6 {
            source,
            destination,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
            next_header: None,
            payload_length: None,
        }))
    }

    /// TTL or hop limit of the last IP header.
    #[track_caller]
    pub fn ttl(mut self, value: u8) -> Self {
        *self.last("IP header", |part| match part {
            Part::Ipv4(ip) => Some(&mut ip.ttl),
            Part::Ipv6(ip) => Some(&mut ip.hop_limit),
            _ => None,
        }) = value;
        self
    }

    /// Type of service or traffic class of the last IP header: DSCP and ECN.
    #[track_caller]
    pub fn tos(mut self, value: u8) -> Self {
        *self.last("IP header", |part| match part {
            Part::Ipv4(ip) => Some(&mut ip.tos),
            Part::Ipv6(ip) => Some(&mut ip.traffic_class),
            _ => None,
        }) = value;
        self
    }

    /// What the last IP header or extension header says follows.
    #[track_caller]
    pub fn next_protocol(mut self, value: u8) -> Self {
        *self.last("IP header", |part| match part {
            Part::Ipv4(ip) => Some(&mut ip.protocol),
            Part::Ipv6(ip) => Some(&mut ip.next_header),
            Part::Extension { next, .. } => Some(next),
            _ => None,
        }) = Some(value);
        self
    }

    /// Sets "don't fragment".
    #[track_caller]
    pub fn dont_fragment(mut self) -> Self {
        self.last_ipv4().fragment |= DONT_FRAGMENT;
        self
    }

    /// Sets "more fragments".
    #[track_caller]
    pub fn more_fragments(mut self) -> Self {
        self.last_ipv4().fragment |= MORE_FRAGMENTS;
        self
    }

    /// Sets the IPv4 fragment's offset, in units of 8 bytes.
    #[track_caller]
    pub fn fragment_offset(mut self, units: u16) -> Self {
        self.last_ipv4().fragment |= units;
        self
    }

    /// IPv4 identification.
    #[track_caller]
    pub fn id(mut self, value: u16) -> Self {
        self.last_ipv4().id = value;
        self
    }

    /// IPv4 options, a multiple of four bytes.
    #[track_caller]
    pub fn ip_options(mut self, bytes: &[u8]) -> Self {
        assert!(
            bytes.len().is_multiple_of(4) && bytes.len() <= 40,
            "options of {} bytes",
            bytes.len()
        );
        self.last_ipv4().options = bytes.to_vec();
        self
    }

    /// A version that may be wrong.
    #[track_caller]
    pub fn ip_version(mut self, value: u8) -> Self {
        self.last_ipv4().version = value;
        self
    }

    /// An IPv4 header length in words that may be wrong.
    #[track_caller]
    pub fn header_words(mut self, value: u8) -> Self {
        self.last_ipv4().header_words = Some(value);
        self
    }

    /// An IPv4 total length that may be wrong.
    #[track_caller]
    pub fn total_length(mut self, value: u16) -> Self {
        self.last_ipv4().total_length = Some(value);
        self
    }

    /// An IPv4 header checksum that may be wrong.
    #[track_caller]
    pub fn header_checksum(mut self, value: u16) -> Self {
        self.last_ipv4().checksum = Some(value);
        self
    }

    /// An IPv6 payload length that may be wrong.
    #[track_caller]
    pub fn payload_length(mut self, value: u16) -> Self {
        self.last_ipv6().payload_length = Some(value);
        self
    }

    /// IPv6 flow label.
    #[track_caller]
    pub fn flow_label(mut self, value: u32) -> Self {
        self.last_ipv6().flow_label = value & 0xf_ffff;
        self
    }

    /// Adds an IPv6 extension header; `body` is what comes after its length byte, 6 bytes and then
    /// multiples of 8.
    #[track_caller]
    pub fn extension(self, kind: u8, body: &[u8]) -> Self {
        assert!((body.len() + 2).is_multiple_of(8), "an extension of {} bytes", body.len() + 2);
        self.with(Part::Extension { kind, body: body.to_vec(), next: None })
    }

    /// Adds IPv6 hop-by-hop options: padding.
    pub fn hop_by_hop(self) -> Self {
        self.extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
    }

    /// Adds IPv6 destination options: padding.
    pub fn destination_options(self) -> Self {
        self.extension(protocol::DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0])
    }

    /// Adds an IPv6 fragment header; the offset is in units of 8 bytes.
    pub fn fragment_header(self, units: u16, more: bool, id: u32) -> Self {
        let mut body = (units << 3 | u16::from(more)).to_be_bytes().to_vec();
        body.extend(id.to_be_bytes());
        self.extension(protocol::FRAGMENT, &body)
    }

    fn transport(self, protocol: u8, header: Vec<u8>) -> Self {
        self.with(Part::Transport(Transport { protocol, header, checksum: None, length: None }))
    }

    /// Adds a TCP header without flags.
    pub fn tcp(self, source: u16, destination: u16) -> Self {
        let mut header = vec![0; TCP_MINIMUM];
        header[..2].copy_from_slice(&source.to_be_bytes());
        header[2..4].copy_from_slice(&destination.to_be_bytes());
        header[TCP_DATA_OFFSET] = 5 << 4;
        header[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        self.transport(protocol::TCP, header)
    }

    #[track_caller]
    fn flag(mut self, flag: u8) -> Self {
        self.last_transport(Some(protocol::TCP)).header[TCP_FLAGS] |= flag;
        self
    }

    /// Sets SYN.
    #[track_caller]
    pub fn syn(self) -> Self {
        self.flag(SYN)
    }

    /// Sets FIN.
    #[track_caller]
    pub fn fin(self) -> Self {
        self.flag(FIN)
    }

    /// Sets RST.
    #[track_caller]
    pub fn rst(self) -> Self {
        self.flag(RST)
    }

    /// Sets PSH.
    #[track_caller]
    pub fn psh(self) -> Self {
        self.flag(PSH)
    }

    /// Sets ACK and the acknowledged number.
    #[track_caller]
    pub fn ack(mut self, number: u32) -> Self {
        let header = &mut self.last_transport(Some(protocol::TCP)).header;
        header[8..12].copy_from_slice(&number.to_be_bytes());
        self.flag(ACK)
    }

    /// TCP sequence number.
    #[track_caller]
    pub fn seq(mut self, number: u32) -> Self {
        let header = &mut self.last_transport(Some(protocol::TCP)).header;
        header[4..8].copy_from_slice(&number.to_be_bytes());
        self
    }

    /// TCP window.
    #[track_caller]
    pub fn window(mut self, size: u16) -> Self {
        let header = &mut self.last_transport(Some(protocol::TCP)).header;
        header[14..16].copy_from_slice(&size.to_be_bytes());
        self
    }

    /// Appends TCP options, a multiple of four bytes.
    #[track_caller]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        assert!(bytes.len().is_multiple_of(4), "options of {} bytes", bytes.len());
        let header = &mut self.last_transport(Some(protocol::TCP)).header;
        header.extend(bytes);
        header[TCP_DATA_OFFSET] = ((header.len() / 4) << 4) as u8;
        self
    }

    /// Appends a TCP maximum segment size option.
    #[track_caller]
    pub fn mss(self, size: u16) -> Self {
        let [high, low] = size.to_be_bytes();
        self.tcp_options(&[2, 4, high, low])
    }

    /// A TCP data offset in words that may be wrong.
    #[track_caller]
    pub fn data_offset(mut self, words: u8) -> Self {
        self.last_transport(Some(protocol::TCP)).header[TCP_DATA_OFFSET] = words << 4;
        self
    }

    /// Adds a UDP header.
    pub fn udp(self, source: u16, destination: u16) -> Self {
        let header = [source, destination, 0, 0].map(u16::to_be_bytes).concat();
        self.transport(protocol::UDP, header)
    }

    /// A UDP length that may be wrong.
    #[track_caller]
    pub fn udp_length(mut self, value: u16) -> Self {
        self.last_transport(Some(protocol::UDP)).length = Some(value);
        self
    }

    /// A TCP, UDP, ICMP or ICMPv6 checksum that may be wrong. UDP over IPv4: 0 is none.
    #[track_caller]
    pub fn checksum(mut self, value: u16) -> Self {
        self.last_transport(None).checksum = Some(value);
        self
    }

    /// Adds an ICMP header; `rest` is its second word.
    pub fn icmp(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let header = [&[kind, code, 0, 0], &rest[..]].concat();
        self.transport(protocol::ICMP, header)
    }

    /// Adds an ICMPv6 header; `rest` is its second word.
    pub fn icmpv6(self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let header = [&[kind, code, 0, 0], &rest[..]].concat();
        self.transport(protocol::ICMPV6, header)
    }

    /// Adds an echo request of the last IP header's family.
    #[track_caller]
    pub fn echo_request(self, id: u16, seq: u16) -> Self {
        self.echo(8, 128, id, seq)
    }

    /// Adds an echo reply of the last IP header's family.
    #[track_caller]
    pub fn echo_reply(self, id: u16, seq: u16) -> Self {
        self.echo(0, 129, id, seq)
    }

    #[track_caller]
    fn echo(self, icmp: u8, icmpv6: u8, id: u16, seq: u16) -> Self {
        let rest = u32::from(id) << 16 | u32::from(seq);
        let rest = rest.to_be_bytes();
        match self.addresses_around(self.parts.len()) {
            Some((IpAddr::V4(_), _)) => self.icmp(icmp, 0, rest),
            Some((IpAddr::V6(_), _)) => self.icmpv6(icmpv6, 0, rest),
            None => panic!("the frame has no IP header yet"),
        }
    }

    /// Adds ICMP "fragmentation needed" with the next hop's MTU; the quoted packet is the payload.
    pub fn fragmentation_needed(self, mtu: u16) -> Self {
        self.icmp(3, 4, u32::from(mtu).to_be_bytes())
    }

    /// Adds ICMPv6 "packet too big" with the next hop's MTU; the quoted packet is the payload.
    pub fn packet_too_big(self, mtu: u32) -> Self {
        self.icmpv6(2, 0, mtu.to_be_bytes())
    }

    /// Adds a neighbour solicitation for `target`; with the sender's address, or without as in DAD.
    pub fn neighbour_solicitation(self, target: Ipv6Addr, source: Option<Mac>) -> Self {
        let option = source.map(|mac| [&[1, 1][..], &mac.0].concat()).unwrap_or_default();
        self.icmpv6(135, 0, [0; 4]).payload([&target.octets()[..], &option].concat())
    }

    /// Adds a neighbour advertisement for `target`; `flags` is the first byte: router 0x80,
    /// solicited 0x40, override 0x20.
    pub fn neighbour_advertisement(self, flags: u8, target: Ipv6Addr, mac: Mac) -> Self {
        self.icmpv6(136, 0, [flags, 0, 0, 0])
            .payload([&target.octets()[..], &[2, 1], &mac.0].concat())
    }

    /// Adds bytes.
    pub fn payload(self, bytes: impl AsRef<[u8]>) -> Self {
        self.with(Part::Bytes { ether_type: None, bytes: bytes.as_ref().to_vec() })
    }

    /// Cuts the finished frame to this length, or pads it with zeros.
    pub const fn length(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// The frame.
    pub fn build(self) -> Frame {
        let mut bytes = Vec::new();
        for (index, part) in self.parts.iter().enumerate().rev() {
            bytes = self.prepend(index, part, bytes);
        }
        if let Some(length) = self.length {
            bytes.resize(length, 0);
        }
        Frame(bytes)
    }

    fn prepend(&self, index: usize, part: &Part, payload: Vec<u8>) -> Vec<u8> {
        let next = self.parts.get(index + 1);
        let mut header = match part {
            Part::Ethernet { source, destination, ether_type } => {
                let ether_type = ether_type.unwrap_or_else(|| ether_type_of(next));
                [&destination.0[..], &source.0, &ether_type.to_be_bytes()].concat()
            }
            Part::Vlan { tci, ether_type, .. } => {
                let ether_type = ether_type.unwrap_or_else(|| ether_type_of(next));
                [tci.to_be_bytes(), ether_type.to_be_bytes()].concat()
            }
            Part::Ipv4(ip) => ip.header(next, payload.len()),
            Part::Ipv6(ip) => ip.header(next, payload.len()),
            Part::Extension { kind, body, next: set } => {
                let following = set.unwrap_or_else(|| protocol_of(next));
                // A fragment header has no length: the byte is reserved.
                let fragment = *kind == protocol::FRAGMENT;
                let units = if fragment { 0 } else { ((body.len() + 2) / 8 - 1) as u8 };
                [&[following, units][..], body].concat()
            }
            Part::Transport(transport) => transport.header(self.addresses_around(index), &payload),
            Part::Bytes { bytes, .. } => bytes.clone(),
        };
        header.extend(payload);
        header
    }

    /// The addresses of the IP header that encloses part `index`, for its pseudo header.
    fn addresses_around(&self, index: usize) -> Option<(IpAddr, IpAddr)> {
        self.parts[..index].iter().rev().find_map(|part| match part {
            Part::Ipv4(ip) => Some((ip.source.into(), ip.destination.into())),
            Part::Ipv6(ip) => Some((ip.source.into(), ip.destination.into())),
            _ => None,
        })
    }
}
