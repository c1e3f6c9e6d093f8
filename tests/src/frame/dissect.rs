//! The decoder: a frame's layers, tunnelled ones included, each with a line to print.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

use super::{ether_type, protocol};
use crate::mac::Mac;

/// A frame taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dissection {
    /// Its layers, from the outside in.
    pub layers: Vec<Placed>,
}

/// A layer and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it is.
    pub layer: Layer,
    /// Where it begins in the frame.
    pub start: usize,
    /// Where its payload ends: what the enclosing IP header does not count is not part of it.
    pub end: usize,
}

/// A layer of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    Ethernet {
        /// Who sent it.
        source: Mac,
        /// Who is to get it.
        destination: Mac,
    },
    /// A VLAN tag.
    Vlan {
        /// Kind of tag, an Ethernet type.
        tpid: u16,
        /// Number of the VLAN.
        id: u16,
    },
    /// An ARP packet for Ethernet and IPv4.
    Arp(Arp),
    /// An IPv4 header.
    Ipv4(Ipv4Header),
    /// An IPv6 header.
    Ipv6(Ipv6Header),
    /// An IPv6 extension header.
    Extension {
        /// Its own number.
        kind: u8,
        /// All of it.
        bytes: Vec<u8>,
    },
    /// A TCP header.
    Tcp(TcpHeader),
    /// A UDP header.
    Udp(UdpHeader),
    /// An ICMP header.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The second word.
        rest: [u8; 4],
    },
    /// An ICMPv6 header.
    Icmpv6 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The second word.
        rest: [u8; 4],
    },
    /// What is carried.
    Payload(Vec<u8>),
    /// What cannot be read, and why.
    Malformed(String),
}

/// An ARP packet for Ethernet and IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1: request, 2: reply.
    pub operation: u16,
    /// Who speaks.
    pub sender: (Mac, Ipv4Addr),
    /// About whom, or to whom.
    pub target: (Mac, Ipv4Addr),
}

impl Dissection {
    /// Takes a frame apart.
    pub fn of_frame(bytes: &[u8]) -> Self {
        let mut walk = Walk { bytes, at: 0, end: bytes.len(), layers: Vec::new() };
        if let Err(why) = walk.ethernet() {
            walk.push(Layer::Malformed(why), 0);
        }
        Self { layers: walk.layers }
    }

    /// Takes an IP packet apart: what an ICMP error quotes, which may be cut short.
    pub fn of_packet(bytes: &[u8]) -> Self {
        let mut walk = Walk { bytes, at: 0, end: bytes.len(), layers: Vec::new() };
        let version = bytes.first().map_or(0, |first| first >> 4);
        let ether_type = if version == 6 { ether_type::IPV6 } else { ether_type::IPV4 };
        if let Err(why) = walk.network(ether_type) {
            walk.push(Layer::Malformed(why), 0);
        }
        Self { layers: walk.layers }
    }

    fn find<T>(&self, pick: impl FnMut(&Layer) -> Option<T>) -> Option<T> {
        self.layers.iter().map(|placed| &placed.layer).find_map(pick)
    }

    /// Source and destination of the Ethernet header.
    pub fn ethernet(&self) -> Option<(Mac, Mac)> {
        self.find(|layer| match layer {
            Layer::Ethernet { source, destination } => Some((*source, *destination)),
            _ => None,
        })
    }

    /// VLAN numbers, from the outside in.
    pub fn vlans(&self) -> Vec<u16> {
        let layers = self.layers.iter().map(|placed| &placed.layer);
        layers
            .filter_map(|layer| if let Layer::Vlan { id, .. } = layer { Some(*id) } else { None })
            .collect()
    }

    /// Source and destination of every IP header, from the outside in.
    pub fn addresses(&self) -> Vec<(IpAddr, IpAddr)> {
        let layers = self.layers.iter().map(|placed| &placed.layer);
        layers
            .filter_map(|layer| match layer {
                Layer::Ipv4(ip) => Some((ip.source.into(), ip.destination.into())),
                Layer::Ipv6(ip) => Some((ip.source.into(), ip.destination.into())),
                _ => None,
            })
            .collect()
    }

    /// Source and destination of the innermost IP header.
    pub fn innermost(&self) -> Option<(IpAddr, IpAddr)> {
        self.addresses().last().copied()
    }

    /// TTLs and hop limits, from the outside in.
    pub fn ttls(&self) -> Vec<u8> {
        let layers = self.layers.iter().map(|placed| &placed.layer);
        layers
            .filter_map(|layer| match layer {
                Layer::Ipv4(ip) => Some(ip.time_to_live),
                Layer::Ipv6(ip) => Some(ip.hop_limit),
                _ => None,
            })
            .collect()
    }

    /// Source and destination port.
    pub fn ports(&self) -> Option<(u16, u16)> {
        self.find(|layer| match layer {
            Layer::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Layer::Udp(udp) => Some((udp.source_port, udp.destination_port)),
            _ => None,
        })
    }

    /// The TCP header.
    pub fn tcp(&self) -> Option<&TcpHeader> {
        self.layers
            .iter()
            .find_map(|at| if let Layer::Tcp(tcp) = &at.layer { Some(tcp) } else { None })
    }

    /// Type and code of the ICMP or ICMPv6 header.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        self.find(|layer| match layer {
            Layer::Icmp { kind, code, .. } | Layer::Icmpv6 { kind, code, .. } => {
                Some((*kind, *code))
            }
            _ => None,
        })
    }

    /// The MTU that an ICMP "fragmentation needed" or ICMPv6 "packet too big" tells.
    pub fn told_mtu(&self) -> Option<u32> {
        self.find(|layer| match layer {
            Layer::Icmp { kind: 3, code: 4, rest } | Layer::Icmpv6 { kind: 2, rest, .. } => {
                Some(u32::from_be_bytes(*rest))
            }
            _ => None,
        })
    }

    /// The ARP packet.
    pub fn arp(&self) -> Option<Arp> {
        self.find(|layer| if let Layer::Arp(arp) = layer { Some(*arp) } else { None })
    }

    /// What is carried in the end.
    pub fn payload(&self) -> &[u8] {
        self.layers
            .iter()
            .find_map(
                |at| if let Layer::Payload(bytes) = &at.layer { Some(&bytes[..]) } else { None },
            )
            .unwrap_or_default()
    }

    /// The packet that an ICMP error quotes.
    pub fn quoted(&self) -> Self {
        Self::of_packet(self.payload())
    }

    /// Why it cannot be read, if so.
    pub fn malformed(&self) -> Option<&str> {
        self.layers.iter().find_map(|at| {
            if let Layer::Malformed(why) = &at.layer { Some(&why[..]) } else { None }
        })
    }
}

impl Layer {
    /// The IP protocol number of a layer that has ports or is ICMP.
    pub(super) const fn transport_protocol(&self) -> Option<u8> {
        match self {
            Self::Tcp(_) => Some(protocol::TCP),
            Self::Udp(_) => Some(protocol::UDP),
            Self::Icmp { .. } => Some(protocol::ICMP),
            Self::Icmpv6 { .. } => Some(protocol::ICMPV6),
            _ => None,
        }
    }
}

/// A walk from the outside in.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    layers: Vec<Placed>,
}

type Step = Result<(), String>;

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    fn push(&mut self, layer: Layer, length: usize) {
        self.layers.push(Placed { layer, start: self.at, end: self.end });
        self.at += length;
    }

    fn array<const N: usize>(&self, offset: usize, what: &str) -> Result<[u8; N], String> {
        let field = self.rest().get(offset..offset + N);
        field
            .and_then(|field| field.try_into().ok())
            .ok_or_else(|| format!("{what} is cut short: {} bytes left", self.rest().len()))
    }

    fn ethernet(&mut self) -> Step {
        let destination = Mac(self.array(0, "Ethernet")?);
        let source = Mac(self.array(6, "Ethernet")?);
        let mut ether_type = u16::from_be_bytes(self.array(12, "Ethernet")?);
        self.push(Layer::Ethernet { source, destination }, 14);
        while matches!(ether_type, ether_type::VLAN | ether_type::SERVICE_VLAN) {
            let tci = u16::from_be_bytes(self.array(0, "VLAN tag")?);
            let next = u16::from_be_bytes(self.array(2, "VLAN tag")?);
            self.push(Layer::Vlan { tpid: ether_type, id: tci & 0xfff }, 4);
            ether_type = next;
        }
        self.network(ether_type)
    }

    fn network(&mut self, ether_type: u16) -> Step {
        match ether_type {
            ether_type::IPV4 => self.ipv4(),
            ether_type::IPV6 => self.ipv6(),
            ether_type::ARP => self.arp(),
            _ => self.payload(),
        }
    }

    fn arp(&mut self) -> Step {
        let operation = u16::from_be_bytes(self.array(6, "ARP")?);
        let side = |offset| -> Result<_, String> {
            let address: [u8; 4] = self.array(offset + 6, "ARP")?;
            Ok((Mac(self.array(offset, "ARP")?), address.into()))
        };
        let (sender, target) = (side(8)?, side(18)?);
        self.push(Layer::Arp(Arp { operation, sender, target }), 28);
        Ok(())
    }

    fn ipv4(&mut self) -> Step {
        let (header, _) = Ipv4Header::from_slice(self.rest()).map_err(|error| error.to_string())?;
        let length = header.header_len();
        let total = usize::from(header.total_len);
        self.end = self.end.min(self.at + total.max(length));
        let protocol = header.protocol.0;
        let later_fragment = header.fragment_offset.value() > 0;
        self.push(Layer::Ipv4(header), length);
        if later_fragment { self.payload() } else { self.transport(protocol) }
    }

    fn ipv6(&mut self) -> Step {
        let (header, _) = Ipv6Header::from_slice(self.rest()).map_err(|error| error.to_string())?;
        self.end = self.end.min(self.at + Ipv6Header::LEN + usize::from(header.payload_length));
        let mut next = header.next_header.0;
        self.push(Layer::Ipv6(header), Ipv6Header::LEN);
        while let protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::FRAGMENT
        | protocol::DESTINATION_OPTIONS = next
        {
            let [following, units, high, low] = self.array(0, "extension header")?;
            let is_fragment = next == protocol::FRAGMENT;
            let length = if is_fragment { 8 } else { (usize::from(units) + 1) * 8 };
            let bytes = self.rest().get(..length).ok_or("extension header is cut short")?.to_vec();
            self.push(Layer::Extension { kind: next, bytes }, length);
            if is_fragment && u16::from_be_bytes([high, low]) >> 3 > 0 {
                return self.payload();
            }
            next = following;
        }
        self.transport(next)
    }

    fn transport(&mut self, protocol: u8) -> Step {
        match protocol {
            protocol::IPIP => return self.ipv4(),
            protocol::IPV6 => return self.ipv6(),
            protocol::TCP => {
                let (header, _) =
                    TcpHeader::from_slice(self.rest()).map_err(|error| error.to_string())?;
                let length = header.header_len();
                self.push(Layer::Tcp(header), length);
            }
            protocol::UDP => {
                let (header, _) =
                    UdpHeader::from_slice(self.rest()).map_err(|error| error.to_string())?;
                self.push(Layer::Udp(header), UdpHeader::LEN);
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code, _, _] = self.array(0, "ICMP")?;
                let rest = self.array(4, "ICMP")?;
                let layer = if protocol == protocol::ICMP {
                    Layer::Icmp { kind, code, rest }
                } else {
                    Layer::Icmpv6 { kind, code, rest }
                };
                self.push(layer, 8);
            }
            _ => {}
        }
        self.payload()
    }

    fn payload(&mut self) -> Step {
        let bytes = self.rest().to_vec();
        let length = bytes.len();
        if length > 0 {
            self.push(Layer::Payload(bytes), length);
        }
        Ok(())
    }
}
