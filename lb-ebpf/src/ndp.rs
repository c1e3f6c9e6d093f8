//! Neighbour discovery (RFC 4861): solicitations for VIPs are answered here, by the owner and by nobody else.

use aya_ebpf::bindings::xdp_md;
use lb_common::{address::Address, checksum, counters::Reason};

use crate::{
    arp::{mac_halves, owned_here},
    link::{self, Tags},
    packet::Packet,
    parse::{ETHERTYPE_IPV6, ICMPV6, IPV6, bounded_l3},
    select::Family,
    service,
    verdict::{OrVerdict, Outcome, Stage, Verdict, pack},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Bytes of an advertisement with the target link-layer address option.
const ADVERTISEMENT_LENGTH: usize = 32;
/// Solicited and override flags (section 4.4).
const SOLICITED: u32 = 1 << 30;
const OVERRIDE: u32 = 1 << 29;

/// Is this an ICMPv6 neighbour solicitation? Looks at fixed places only: no valid one has extension headers that matter here.
#[inline(always)]
pub fn is_solicitation(packet: &Packet, l3: usize) -> bool {
    packet.load::<[u8; 2]>(l3 + IPV6) == Some([SOLICITATION, 0])
}

/// Handles a neighbour solicitation, see [`answer`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_ndp(context: *mut xdp_md, l3: u32) -> Outcome {
    let Some(mut packet) = Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    pack(answer(&mut packet, bounded_l3(l3)))
}

/// Answers a solicitation for a VIP this node owns on this interface, with or without source link-layer option, unicast, multicast or
/// from a node that probes for duplicates; drops one for a VIP it does not own; passes everything else.
#[inline(always)]
fn answer(packet: &mut Packet, l3: usize) -> Stage<u32> {
    link::asked_of_us(packet)?;
    let ifindex = packet.ingress_ifindex();
    let window = packet.window::<{ IPV6 + 24 }>(l3).or_pass()?;
    let target: [u64; 2] = [window.get::<{ IPV6 + 8 }, u64>(), window.get::<{ IPV6 + 16 }, u64>()];
    if !service::filter_v6(target) {
        return Err(Verdict::Pass);
    }
    let vip = service::vip(&target.address()).or_pass()?;
    // Section 7.1.1: hop limit 255 proves a neighbour, code is 0.
    if window.get::<7, u8>() != 255 || window.get::<{ IPV6 + 1 }, u8>() != 0 {
        return Err(Verdict::Drop(Reason::Malformed));
    }
    if !owned_here(vip, ifindex) {
        return Err(Verdict::Drop(Reason::NdpNotOwner));
    }
    let asker: [u64; 2] = [window.get::<8, u64>(), window.get::<16, u64>()];
    let own = mac_halves(&vip.mac);
    let mut asker_mac: [u16; 3] = packet.load(6).or_pass()?;
    let mut destination = asker;
    let mut flags = SOLICITED | OVERRIDE;
    if asker == [0; 2] {
        // Duplicate address detection: to all nodes, not solicited (section 7.2.4).
        destination = ALL_NODES;
        asker_mac = ALL_NODES_MAC;
        flags = OVERRIDE;
    }
    packet.truncate(l3 + IPV6 + ADVERTISEMENT_LENGTH).or_drop(Reason::Truncated)?;
    if packet.linear_length() < l3 + IPV6 + ADVERTISEMENT_LENGTH {
        // Without options there was no room for ours.
        extend(packet, l3)?;
    }
    packet.store(0, asker_mac).or_pass()?;
    packet.store(6, own).or_pass()?;
    let mut out =
        packet.window::<{ IPV6 + ADVERTISEMENT_LENGTH }>(l3).or_drop(Reason::Truncated)?;
    out.put::<0, u32>((6u32 << 28).to_be());
    out.put::<4, u32>(
        u32::from((ADVERTISEMENT_LENGTH as u16).to_be()) | u32::from(ICMPV6) << 16 | 255 << 24,
    );
    out.put::<8, u64>(target[0]);
    out.put::<16, u64>(target[1]);
    out.put::<24, u64>(destination[0]);
    out.put::<32, u64>(destination[1]);
    out.put::<{ IPV6 + 4 }, u32>(flags.to_be());
    out.put::<{ IPV6 + 8 }, u64>(target[0]);
    out.put::<{ IPV6 + 16 }, u64>(target[1]);
    // Target link-layer address option: type 2, length 1 (times 8 bytes).
    out.put::<{ IPV6 + 24 }, u16>(u16::from_ne_bytes([2, 1]));
    out.put::<{ IPV6 + 26 }, [u16; 3]>(own);
    let mut sum = pseudo_header(target, destination, ADVERTISEMENT_LENGTH as u32);
    sum += u64::from(ADVERTISEMENT) + u64::from(flags.to_be());
    sum = add_words(add_words(sum, target[0]), target[1]);
    sum += u64::from(u16::from_ne_bytes([2, 1]))
        + u64::from(own[0])
        + u64::from(own[1])
        + u64::from(own[2]);
    out.put::<IPV6, u32>(u32::from(ADVERTISEMENT) | u32::from(checksum::finish(sum)) << 16);
    Err(Verdict::Answer)
}

const ALL_NODES: [u64; 2] =
    Address::from_v6([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).words();
const ALL_NODES_MAC: [u16; 3] = [u16::from_ne_bytes([0x33, 0x33]), 0, u16::from_ne_bytes([0, 1])];

/// Makes room behind a solicitation without options, by moving the headers' start: everything is rewritten anyway.
#[inline(always)]
fn extend(packet: &mut Packet, l3: usize) -> Stage<()> {
    let missing = l3 + IPV6 + ADVERTISEMENT_LENGTH - packet.linear_length();
    let tags = Tags::of(packet, l3).or_drop(Reason::Truncated)?;
    if missing > 8 {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    packet.grow_head(missing).or_drop(Reason::NoHeadroom)?;
    tags.write(packet, ETHERTYPE_IPV6).or_drop(Reason::Truncated)
}

/// Sum of the ICMPv6 pseudo header (RFC 8200, section 8.1).
#[inline(always)]
pub fn pseudo_header(source: [u64; 2], destination: [u64; 2], length: u32) -> u64 {
    let sum = u64::from(length.to_be()) + u64::from(u32::from(ICMPV6).to_be());
    let sum = add_words(add_words(sum, source[0]), source[1]);
    add_words(add_words(sum, destination[0]), destination[1])
}

#[inline(always)]
fn add_words(sum: u64, word: u64) -> u64 {
    sum + (word & 0xffff_ffff) + (word >> 32)
}
