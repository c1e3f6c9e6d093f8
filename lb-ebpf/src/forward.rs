//! Sending a packet to its backend: IP-in-IP (RFC 2003, RFC 2473, RFC 4213) or a rewritten MAC address.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    backend::{
        BACKEND_ON_LINK, BACKEND_OUTER_V6, BACKEND_RESOLVED, BACKEND_VARY_SOURCE, BackendRecord,
    },
    checksum,
    counters::Reason,
    service::SERVICE_L2,
};

use crate::{
    counters,
    link::Tags,
    maps::{BACKENDS, REDIRECT_PORTS, setting},
    packet::Packet,
    parse::{
        ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPIP, IPV4, IPV6, IPV6_IN_IP, Ip, bounded_l3,
    },
    select::Choice,
    verdict::{Action, OrVerdict, Outcome, Stage, Verdict, pack, unpack},
};

/// TTL and hop limit of outer headers.
const OUTER_TTL: u8 = 64;

/// Sends the packet to the chosen backend and counts it. `inner_protocol` is [`IPIP`] or [`IPV6_IN_IP`].
#[inline(always)]
pub fn forward(packet: &mut Packet, ip: &Ip, inner_protocol: u8, choice: &Choice) -> Stage<Action> {
    let backend = BACKENDS.get(choice.backend).or_drop(Reason::BackendUnresolved)?;
    let flags = backend.flags;
    if flags & BACKEND_RESOLVED == 0 {
        return Err(Verdict::Drop(Reason::BackendUnresolved));
    }
    let outer = if choice.service_flags & SERVICE_L2 != 0 {
        if flags & BACKEND_ON_LINK == 0 {
            return Err(Verdict::Drop(Reason::BackendNotOnLink));
        }
        0
    } else if flags & BACKEND_OUTER_V6 != 0 {
        IPV6
    } else {
        IPV4
    };
    let mtu = usize::from(backend.mtu);
    if ip.length + outer > mtu {
        return Err(Verdict::TooBig { mtu: (mtu - outer) as u32 });
    }
    let ether_type = if outer == IPV4 || (outer == 0 && inner_protocol == IPIP) {
        ETHERTYPE_IPV4
    } else {
        ETHERTYPE_IPV6
    };
    let link = Link { l3: ip.l3, outer, ether_type };
    let l3 = link_header(packet, &link, choice.backend, backend)?;
    match outer {
        IPV4 => outer_v4(packet, l3, ip, inner_protocol, backend, choice.hash)?,
        IPV6 => outer_v6(packet, l3, ip, inner_protocol, backend, choice.hash)?,
        _ => {}
    }
    let action = leave_through(packet, backend.ifindex)?;
    counters::count_forwarded(choice.service, choice.backend, ip.length as u32, choice.new_flow);
    Ok(action)
}

/// Transmits where the packet came in, else redirects.
#[inline(always)]
fn leave_through(packet: &Packet, ifindex: u32) -> Stage<Action> {
    if ifindex == packet.ingress_ifindex() {
        return Ok(Action::Transmit);
    }
    match REDIRECT_PORTS.redirect(ifindex, 0) {
        Ok(code) => Ok(Action::Redirect(code)),
        Err(_) => Err(Verdict::Drop(Reason::BackendUnresolved)),
    }
}

/// The link header to write: in front of `outer` bytes for an outer header and of what now starts at `l3`.
struct Link {
    l3: usize,
    outer: usize,
    ether_type: u16,
}

impl Link {
    #[inline(always)]
    fn pack(&self) -> u64 {
        self.l3 as u64 | (self.outer as u64) << 8 | u64::from(self.ether_type) << 16
    }

    #[inline(always)]
    fn unpack(word: u64) -> Self {
        Self {
            l3: bounded_l3(word as u32),
            outer: (word >> 8) as usize & 0x3f,
            ether_type: (word >> 16) as u16,
        }
    }
}

/// Makes room for the outer header behind a new link header and writes that one. Returns where the network header now starts.
#[inline(always)]
fn link_header(
    packet: &mut Packet,
    link: &Link,
    backend_id: u32,
    backend: &BackendRecord,
) -> Stage<usize> {
    let &Link { l3, outer, ether_type } = link;
    if l3 != ETHERNET || backend.vlan != 0 {
        let outcome = sluice_tagged_link(packet.context(), link.pack(), backend_id);
        packet.refresh();
        return Ok(bounded_l3(unpack(outcome)?));
    }
    if outer != 0 {
        packet.grow_head(outer).or_drop(Reason::NoHeadroom)?;
    }
    let mut link = packet.window::<ETHERNET>(0).or_drop(Reason::Truncated)?;
    let (destination, source) = mac_words(backend);
    link.put::<0, u64>((destination & MAC_MASK) | source << 48);
    link.put::<8, u32>((source >> 16) as u32);
    link.put::<12, u16>(ether_type);
    Ok(ETHERNET)
}

const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// The two words of the record that begin with a MAC address each, loaded as the agent stores them.
#[inline(always)]
fn mac_words(backend: &BackendRecord) -> (u64, u64) {
    let words = core::ptr::from_ref(backend).cast::<u64>();
    // SAFETY: the record is eight-byte aligned and begins with two such words.
    unsafe { (core::ptr::read_volatile(words), core::ptr::read_volatile(words.add(1))) }
}

/// The general case: tags are kept where the packet leaves where it came in, set where the backend is behind a VLAN, else gone.
/// `link` is [`Link::pack`]ed. The outcome is where the network header now starts.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_tagged_link(context: *mut xdp_md, link: u64, backend: u32) -> Outcome {
    let Some(mut packet) = Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    pack(tagged_link_header(&mut packet, &Link::unpack(link), backend))
}

#[inline(always)]
fn tagged_link_header(packet: &mut Packet, link: &Link, backend: u32) -> Stage<u32> {
    let backend = BACKENDS.get(backend).or_drop(Reason::BackendUnresolved)?;
    let tags = if backend.vlan != 0 {
        Tags::vlan(backend.vlan)
    } else if backend.ifindex == packet.ingress_ifindex() {
        Tags::of(packet, link.l3).or_drop(Reason::Truncated)?
    } else {
        Tags::NONE
    };
    let needed = link.outer + tags.link_header();
    if needed > link.l3 {
        packet.grow_head(needed - link.l3).or_drop(Reason::NoHeadroom)?;
    } else if needed < link.l3 {
        packet.shrink_head(link.l3 - needed).or_drop(Reason::NoHeadroom)?;
    }
    let (destination, source) = mac_words(backend);
    packet.store::<u64>(0, (destination & MAC_MASK) | source << 48).or_drop(Reason::Truncated)?;
    packet.store::<u32>(8, (source >> 16) as u32).or_drop(Reason::Truncated)?;
    tags.write(packet, link.ether_type).or_drop(Reason::Truncated)?;
    Ok(tags.link_header() as u32)
}

/// Writes the outer IPv4 header: DF set and identification 0 (RFC 6864, section 4.1), type of service copied.
#[inline(always)]
fn outer_v4(
    packet: &mut Packet,
    l3: usize,
    ip: &Ip,
    inner_protocol: u8,
    backend: &BackendRecord,
    hash: u64,
) -> Stage<()> {
    let mut header = packet.window::<IPV4>(l3).or_drop(Reason::Truncated)?;
    let first =
        0x45 | u32::from(ip.tos) << 8 | u32::from(((ip.length + IPV4) as u16).to_be()) << 16;
    let mut source = u32_at(&backend.outer_source.bytes);
    let mut sum = u64::from(backend.outer_sum)
        // The base speaks of IPv4 inside; one's-complement sums take corrections.
        + if inner_protocol == IPIP { 0 } else { u64::from(u16::from_ne_bytes([0, IPV6_IN_IP - IPIP])) }
        + u64::from((first >> 16) as u16)
        + u64::from(first & 0xff00);
    if backend.flags & BACKEND_VARY_SOURCE != 0 {
        let varied = vary_v4(hash);
        sum += u64::from(!source) + u64::from(varied);
        source = varied;
    }
    header.put::<0, u32>(first);
    header.put::<4, u32>(u32::from_ne_bytes([0, 0, 0x40, 0]));
    header.put::<8, u32>(
        u32::from(OUTER_TTL)
            | u32::from(inner_protocol) << 8
            | u32::from(checksum::finish(sum)) << 16,
    );
    header.put::<12, u32>(source);
    header.put::<16, u32>(u32_at(&backend.outer_destination.bytes));
    Ok(())
}

#[inline(always)]
fn u32_at(bytes: &[u8; 16]) -> u32 {
    // The IPv4 address within an IPv4-mapped one; the array is eight-byte aligned in the record.
    // SAFETY: four bytes from offset 12 of sixteen.
    unsafe { *bytes.as_ptr().add(12).cast::<u32>() }
}

#[inline(always)]
fn vary_v4(hash: u64) -> u32 {
    let mask = u32::from_ne_bytes(setting!(source_mask_v4));
    u32::from_ne_bytes(setting!(source_prefix_v4)) | (hash as u32 & mask)
}

/// Writes the outer IPv6 header: traffic class copied, flow label from the flow's hash (RFC 6438).
#[inline(always)]
fn outer_v6(
    packet: &mut Packet,
    l3: usize,
    ip: &Ip,
    inner_protocol: u8,
    backend: &BackendRecord,
    hash: u64,
) -> Stage<()> {
    let mut header = packet.window::<IPV6>(l3).or_drop(Reason::Truncated)?;
    let label = hash as u32 & 0xf_ffff;
    header.put::<0, u32>((6 << 28 | u32::from(ip.tos) << 20 | label).to_be());
    header.put::<4, u32>(
        u32::from((ip.length as u16).to_be())
            | u32::from(inner_protocol) << 16
            | u32::from(OUTER_TTL) << 24,
    );
    let mut source = backend.outer_source.words();
    if backend.flags & BACKEND_VARY_SOURCE != 0 {
        let low = u64::from_ne_bytes(low_half(&setting!(source_mask_v6)));
        let prefix = setting!(source_prefix_v6);
        source = [
            u64::from_ne_bytes(high_half(&prefix)),
            u64::from_ne_bytes(low_half(&prefix)) | (hash & low),
        ];
    }
    let destination = backend.outer_destination.words();
    header.put::<8, u64>(source[0]);
    header.put::<16, u64>(source[1]);
    header.put::<24, u64>(destination[0]);
    header.put::<32, u64>(destination[1]);
    Ok(())
}

#[inline(always)]
fn high_half(bytes: &[u8; 16]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    [a, b, c, d, e, f, g, h]
}

#[inline(always)]
fn low_half(bytes: &[u8; 16]) -> [u8; 8] {
    let [.., a, b, c, d, e, f, g, h] = *bytes;
    [a, b, c, d, e, f, g, h]
}
