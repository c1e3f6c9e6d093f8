//! Ethernet with up to two VLAN tags, and the transport header's place behind IPv4 options or IPv6 extension headers.

use aya_ebpf::bindings::xdp_md;
use lb_common::{checksum, counters::Reason};

use crate::{
    packet::Packet,
    verdict::{OrVerdict, Stage, Verdict},
};

/// EtherTypes, as they lie in the packet.
pub const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
pub const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
pub const ETHERTYPE_ARP: u16 = 0x0806u16.to_be();
const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();

/// IP protocol numbers.
pub const ICMP: u8 = 1;
pub const IPIP: u8 = 4;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const IPV6_IN_IP: u8 = 41;
pub const ICMPV6: u8 = 58;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of a VLAN tag.
pub const VLAN_TAG: usize = 4;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub const IPV6: usize = 40;

/// Where the network header starts, and its EtherType as it lies in the packet.
#[derive(Clone, Copy)]
pub struct Frame {
    pub l3: usize,
    pub ether_type: u16,
}

/// Parses Ethernet and up to two tags. What is too short for that passes.
#[inline(always)]
pub fn ethernet(packet: &Packet) -> Stage<Frame> {
    let ether_type: u16 = packet.load(12).or_pass()?;
    if !is_tag(ether_type) {
        return Ok(Frame { l3: ETHERNET, ether_type });
    }
    let ether_type: u16 = packet.load(12 + VLAN_TAG).or_pass()?;
    if !is_tag(ether_type) {
        return Ok(Frame { l3: ETHERNET + VLAN_TAG, ether_type });
    }
    let ether_type: u16 = packet.load(12 + 2 * VLAN_TAG).or_pass()?;
    Ok(Frame { l3: ETHERNET + 2 * VLAN_TAG, ether_type })
}

#[inline(always)]
fn is_tag(ether_type: u16) -> bool {
    ether_type == ETHERTYPE_VLAN || ether_type == ETHERTYPE_QINQ
}

/// What the data path needs of an IP packet, whatever its version.
#[derive(Clone, Copy)]
pub struct Ip {
    /// Where the network header starts.
    pub l3: usize,
    /// Where the transport header starts.
    pub l4: usize,
    /// Bytes of the IP packet, header included.
    pub length: usize,
    /// Protocol of the transport header.
    pub protocol: u8,
    /// Type of service / traffic class.
    pub tos: u8,
    /// Time to live / hop limit.
    pub ttl: u8,
    /// Set for every fragment, the first one included.
    pub fragment: bool,
    /// Not the first fragment: there is no transport header.
    pub later_fragment: bool,
    /// Identification that fragments of one packet share, as it lies in the packet.
    pub identification: u32,
}

impl Ip {
    /// As one word, for functions that are verified by themselves; identification, `tos` and `ttl` are left out.
    #[inline(always)]
    pub fn pack(&self) -> u64 {
        self.l3 as u64
            | ((self.l4 - self.l3) as u64) << 8
            | (self.length as u64) << 24
            | u64::from(self.protocol) << 44
            | u64::from(self.fragment) << 52
            | u64::from(self.later_fragment) << 53
    }

    /// Unpacks what [`Ip::pack`] packed.
    #[inline(always)]
    pub fn unpack(word: u64, identification: u32) -> Self {
        let l3 = bounded_l3(word as u32);
        Self {
            l3,
            l4: l3 + (word >> 8) as usize % 0x1000,
            length: (word >> 24) as usize & 0xf_ffff,
            protocol: (word >> 44) as u8,
            tos: 0,
            ttl: 0,
            fragment: word >> 52 & 1 != 0,
            later_fragment: word >> 53 & 1 != 0,
            identification,
        }
    }
}

/// Validates an IPv4 header (RFC 791; RFC 1812, section 5.2.2) in front of a packet for a VIP.
#[inline(always)]
pub fn ipv4(packet: &Packet, l3: usize) -> Stage<Ip> {
    let words: [u32; 5] = packet.load(l3).or_drop(Reason::Truncated)?;
    let version_and_length = words[0] as u8;
    let mut sum = u64::from(words[0])
        + u64::from(words[1])
        + u64::from(words[2])
        + u64::from(words[3])
        + u64::from(words[4]);
    let mut header = IPV4;
    if version_and_length != 0x45 {
        if version_and_length >> 4 != 4 || version_and_length & 0xf < 5 {
            return Err(Verdict::Drop(Reason::Malformed));
        }
        header = usize::from(version_and_length & 0xf) * 4;
        let options = sluice_ipv4_options(packet.context(), l3 as u32, header as u32);
        if options == TRUNCATED {
            return Err(Verdict::Drop(Reason::Truncated));
        }
        sum += options;
    }
    let length = usize::from(u16::from_be((words[0] >> 16) as u16));
    if length < header {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    if !packet.holds(l3 + length) {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    if checksum::fold(sum) != 0xffff {
        return Err(Verdict::Drop(Reason::BadChecksum));
    }
    let offset_and_flags = u16::from_be((words[1] >> 16) as u16);
    Ok(Ip {
        l3,
        l4: l3 + header,
        length,
        protocol: (words[2] >> 8) as u8,
        tos: (words[0] >> 8) as u8,
        ttl: words[2] as u8,
        fragment: offset_and_flags & 0x3fff != 0,
        later_fragment: offset_and_flags & 0x1fff != 0,
        identification: words[1] & 0xffff,
    })
}

/// Sums the words of IPv4 options between the fixed header and `header` bytes, or returns [`TRUNCATED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_ipv4_options(context: *mut xdp_md, l3: u32, header: u32) -> u64 {
    let packet = Packet::new(context);
    let l3 = bounded_l3(l3);
    let mut sum = 0;
    let mut option = IPV4;
    while option < 60 {
        if option >= header as usize {
            break;
        }
        match packet.load::<u32>(l3 + option) {
            Some(word) => sum += u64::from(word),
            None => return TRUNCATED,
        }
        option += 4;
    }
    sum
}

/// No sum of 32-bit words and no [`sluice_ipv6_extensions`] is this.
const TRUNCATED: u64 = u64::MAX;
/// Header fields contradict each other.
const MALFORMED: u64 = u64::MAX - 1;

/// The place of the network header as the verifier of a function by itself can believe it.
#[inline(always)]
pub fn bounded_l3(l3: u32) -> usize {
    l3 as usize & 0x1f
}

/// Extension headers looked behind before giving up; more are dropped for a VIP.
const MAX_EXTENSIONS: usize = 8;

/// Validates an IPv6 header and walks its extension headers (RFC 8200, section 4) in front of a packet for a VIP.
#[inline(always)]
pub fn ipv6(packet: &Packet, l3: usize) -> Stage<Ip> {
    let first: u32 = packet.load(l3).or_drop(Reason::Truncated)?;
    if first as u8 >> 4 != 6 {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    let second: u32 = packet.load(l3 + 4).or_drop(Reason::Truncated)?;
    let length = IPV6 + usize::from(u16::from_be(second as u16));
    if !packet.holds(l3 + length) {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    let mut ip = Ip {
        l3,
        l4: l3 + IPV6,
        length,
        protocol: (second >> 16) as u8,
        tos: (u32::from_be(first) >> 20) as u8,
        ttl: (second >> 24) as u8,
        fragment: false,
        later_fragment: false,
        identification: 0,
    };
    if !is_extension(ip.protocol) {
        return Ok(ip);
    }
    let walked = sluice_ipv6_extensions(packet.context(), l3 as u32, u32::from(ip.protocol));
    match walked {
        TRUNCATED => return Err(Verdict::Drop(Reason::Truncated)),
        MALFORMED => return Err(Verdict::Drop(Reason::Malformed)),
        _ => {}
    }
    ip.l4 = l3 + (walked as usize & 0xfff);
    ip.protocol = (walked >> 16) as u8;
    ip.fragment = walked & WALKED_FRAGMENT != 0;
    ip.later_fragment = walked & WALKED_LATER_FRAGMENT != 0;
    ip.identification = (walked >> 32) as u32;
    if ip.l4 > l3 + length {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    Ok(ip)
}

const WALKED_FRAGMENT: u64 = 1 << 24;
const WALKED_LATER_FRAGMENT: u64 = 1 << 25;

/// Walks extension headers. Returns the offset of the transport header from `l3` in 12 bits, its protocol from bit 16, the
/// `WALKED_*` bits and the fragment identification in the high half; or [`TRUNCATED`] or [`MALFORMED`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_ipv6_extensions(context: *mut xdp_md, l3: u32, protocol: u32) -> u64 {
    let packet = Packet::new(context);
    let l3 = bounded_l3(l3);
    let mut protocol = protocol as u8;
    let mut offset = IPV6;
    let mut found = 0;
    for _ in 0..MAX_EXTENSIONS {
        let at = l3 + (offset & 0xfff);
        let Some(header) = packet.load::<[u8; 4]>(at) else { return TRUNCATED };
        let size = match protocol {
            FRAGMENT => {
                let place = u16::from_be_bytes([header[2], header[3]]);
                // An atomic fragment (RFC 6946) is a whole packet.
                if place & 0xfff9 != 0 {
                    found |= WALKED_FRAGMENT;
                }
                if place & 0xfff8 != 0 {
                    found |= WALKED_LATER_FRAGMENT;
                }
                let Some(identification) = packet.load::<u32>(at + 4) else { return TRUNCATED };
                found |= u64::from(identification) << 32;
                8
            }
            // RFC 4302, section 2.2: in 4-octet units, minus 2.
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            // Segments left: the destination is not the last one (RFC 8200, section 4.4).
            ROUTING if header[3] != 0 => return MALFORMED,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        protocol = header[0];
        offset += size;
        if found & WALKED_LATER_FRAGMENT != 0 || !is_extension(protocol) {
            if offset > 0xfff {
                return MALFORMED;
            }
            return found | u64::from(protocol) << 16 | offset as u64;
        }
    }
    MALFORMED
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// The ports (source first, as they lie in the packet) of a TCP or UDP header that was found sound.
#[derive(Clone, Copy)]
pub struct Transport {
    pub ports: u32,
    /// TCP: SYN without ACK.
    pub opens: bool,
}

/// TCP flags (RFC 9293, section 3.1).
pub const TCP_FIN: u8 = 1;
pub const TCP_SYN: u8 = 2;
pub const TCP_RST: u8 = 4;
pub const TCP_ACK: u8 = 16;

/// Validates the TCP or UDP header in front of a packet for a VIP.
#[inline(always)]
pub fn transport(packet: &Packet, ip: &Ip) -> Stage<Transport> {
    let ports: u32 = packet.load(ip.l4).or_drop(Reason::Truncated)?;
    let payload = ip.l3 + ip.length - ip.l4;
    if ip.protocol == TCP {
        let offset_and_flags: [u8; 2] = packet.load(ip.l4 + 12).or_drop(Reason::Truncated)?;
        let header = usize::from(offset_and_flags[0] >> 4) * 4;
        if header < 20 || (header > payload && !ip.fragment) || payload < 20 {
            return Err(Verdict::Drop(Reason::Malformed));
        }
        let flags = offset_and_flags[1];
        return Ok(Transport { ports, opens: flags & (TCP_SYN | TCP_ACK) == TCP_SYN });
    }
    let length = usize::from(u16::from_be(packet.load(ip.l4 + 4).or_drop(Reason::Truncated)?));
    if length < 8 || payload < 8 || (length > payload && !ip.fragment) {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    Ok(Transport { ports, opens: false })
}
