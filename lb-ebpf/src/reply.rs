//! Answers on behalf of a VIP: TCP RST, ICMP port unreachable, and the size that fits. The packet is turned into its answer.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_ktime_get_ns};
use lb_common::{checksum, counters::Reason};

use crate::{
    link,
    maps::{REFUSAL_TOKENS, setting},
    ndp::pseudo_header,
    packet::Packet,
    parse::{ICMP, ICMPV6, IPV4, IPV6, Ip, TCP, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, UDP},
    verdict::{OrVerdict, Outcome, Stage, Verdict, pack},
};

/// TTL and hop limit of answers.
const TTL: u8 = 64;
/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
/// Bytes of an ICMP header in front of the quoted packet.
const ICMP_HEADER: usize = 8;
/// An ICMP error does not exceed 576 bytes (RFC 1812, section 4.3.2.3).
const QUOTE_V4: usize = 576 - IPV4 - ICMP_HEADER;
/// An ICMPv6 error does not exceed 1280 bytes (RFC 4443, section 3.1).
const QUOTE_V6: usize = 1280 - IPV6 - ICMP_HEADER;

/// An answer to send.
#[derive(Clone, Copy)]
pub enum Answer {
    /// TCP RST or ICMP port unreachable.
    Refusal,
    /// Fragmentation needed or packet too big: the largest IP packet that fits, in bytes.
    TooBig(u32),
}

impl Answer {
    #[inline(always)]
    fn from_mtu(mtu: u32) -> Self {
        if mtu == 0 { Self::Refusal } else { Self::TooBig(mtu) }
    }

    /// The MTU to tell, 0 for a refusal.
    #[inline(always)]
    pub fn mtu(self) -> u32 {
        match self {
            Self::Refusal => 0,
            Self::TooBig(mtu) => mtu,
        }
    }
}

/// Turns a packet for an IPv4 VIP into an [`Answer`]; `ip` is [`Ip::pack`]ed, `mtu` is [`Answer::mtu`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_answer_v4(context: *mut xdp_md, ip: u64, mtu: u32) -> Outcome {
    let Some(packet) = &mut Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    let ip = &Ip::unpack(ip, 0);
    pack(
        match Answer::from_mtu(mtu) {
            Answer::Refusal => refuse_v4(packet, ip),
            Answer::TooBig(mtu) => too_big_v4(packet, ip, mtu),
        }
        .map(|()| 0),
    )
}

/// Turns a packet for an IPv6 VIP into an [`Answer`], like [`sluice_answer_v4`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_answer_v6(context: *mut xdp_md, ip: u64, mtu: u32) -> Outcome {
    let Some(packet) = &mut Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    let ip = &Ip::unpack(ip, 0);
    pack(
        match Answer::from_mtu(mtu) {
            Answer::Refusal => refuse_v6(packet, ip),
            Answer::TooBig(mtu) => too_big_v6(packet, ip, mtu),
        }
        .map(|()| 0),
    )
}

/// May another answer be sent? A token bucket per CPU that fills at the configured rate and holds one second's worth.
#[inline(always)]
pub fn allowed() -> bool {
    let Some(bucket) = REFUSAL_TOKENS.get_ptr_mut(0) else { return false };
    // SAFETY: this CPU's own copy; the helper takes no arguments.
    let (bucket, now) = unsafe { (&mut *bucket, bpf_ktime_get_ns()) };
    let rate = u64::from(setting!(refusals_per_second));
    let elapsed = now - bucket.refilled_ns;
    let full = rate * 1_000_000_000;
    let tokens = if elapsed >= 1_000_000_000 {
        full
    } else {
        let filled = bucket.nano_tokens + elapsed * rate;
        if filled > full { full } else { filled }
    };
    bucket.refilled_ns = now;
    if tokens < 1_000_000_000 {
        bucket.nano_tokens = tokens;
        return false;
    }
    bucket.nano_tokens = tokens - 1_000_000_000;
    true
}

/// May this packet be refused at all? Never a RST, an ICMP message or a fragment without ports (RFC 9293, section 3.10.7.1;
/// RFC 1122, section 3.2.2).
#[inline(always)]
pub fn refusable(packet: &Packet, ip: &Ip) -> bool {
    if ip.later_fragment {
        return false;
    }
    match ip.protocol {
        TCP => match packet.load::<[u8; 2]>(ip.l4 + 12) {
            Some([_, flags]) => flags & TCP_RST == 0,
            None => false,
        },
        UDP => true,
        _ => false,
    }
}

/// The TCP header of a reset (RFC 9293, section 3.10.7.1, state CLOSED), without its checksum.
struct Reset {
    ports: u32,
    sequence: u32,
    acknowledgment: u32,
    /// Data offset and flags as they lie in the packet.
    flags: u32,
}

#[inline(always)]
fn reset(packet: &Packet, ip: &Ip) -> Stage<Reset> {
    let words: [u32; 4] = packet.load(ip.l4).or_drop(Reason::Truncated)?;
    let [offset, flags, ..] = words[3].to_ne_bytes();
    let data = (ip.l3 + ip.length - ip.l4) as u32 - u32::from(offset >> 4) * 4;
    let ports = words[0].rotate_left(16);
    if flags & TCP_ACK != 0 {
        let flags = u32::from_ne_bytes([5 << 4, TCP_RST, 0, 0]);
        return Ok(Reset { ports, sequence: words[2], acknowledgment: 0, flags });
    }
    let occupied = data + u32::from(flags & TCP_SYN != 0) + u32::from(flags & TCP_FIN != 0);
    Ok(Reset {
        ports,
        sequence: 0,
        acknowledgment: u32::from_be(words[1]).wrapping_add(occupied).to_be(),
        flags: u32::from_ne_bytes([5 << 4, TCP_RST | TCP_ACK, 0, 0]),
    })
}

/// Writes the reset at `l4`, its checksum finished with the pseudo header's sum.
#[inline(always)]
fn write_reset(packet: &mut Packet, l4: usize, reset: &Reset, pseudo: u64) -> Stage<()> {
    let sum = pseudo
        + u64::from(reset.ports)
        + u64::from(reset.sequence)
        + u64::from(reset.acknowledgment)
        + u64::from(reset.flags);
    let mut tcp = packet.window::<TCP_HEADER>(l4).or_drop(Reason::Truncated)?;
    tcp.put::<0, u32>(reset.ports);
    tcp.put::<4, u32>(reset.sequence);
    tcp.put::<8, u32>(reset.acknowledgment);
    tcp.put::<12, u32>(reset.flags);
    tcp.put::<16, u32>(u32::from(checksum::finish(sum)));
    Ok(())
}

/// Turns a packet for an IPv4 VIP into its refusal.
#[inline(always)]
fn refuse_v4(packet: &mut Packet, ip: &Ip) -> Stage<()> {
    if ip.protocol != TCP {
        return icmp_error_v4(packet, ip, u32::from_ne_bytes([3, 3, 0, 0]), 0);
    }
    let reset = reset(packet, ip)?;
    let addresses: [u32; 2] = packet.load(ip.l3 + 12).or_drop(Reason::Truncated)?;
    packet.truncate(ip.l3 + IPV4 + TCP_HEADER).or_drop(Reason::Truncated)?;
    let pseudo = u64::from(addresses[0])
        + u64::from(addresses[1])
        + u64::from(u16::from_ne_bytes([0, TCP]))
        + u64::from((TCP_HEADER as u16).to_be());
    header_v4(packet, ip.l3, TCP_HEADER, TCP, addresses[1], addresses[0])?;
    write_reset(packet, ip.l3 + IPV4, &reset, pseudo)?;
    link::turn_round(packet).or_drop(Reason::Truncated)
}

/// Turns a packet for an IPv6 VIP into its refusal.
#[inline(always)]
fn refuse_v6(packet: &mut Packet, ip: &Ip) -> Stage<()> {
    if ip.protocol != TCP {
        return icmp_error_v6(packet, ip, u32::from_ne_bytes([1, 4, 0, 0]), 0);
    }
    let reset = reset(packet, ip)?;
    let source: [u64; 2] = packet.load(ip.l3 + 8).or_drop(Reason::Truncated)?;
    let vip: [u64; 2] = packet.load(ip.l3 + 24).or_drop(Reason::Truncated)?;
    packet.truncate(ip.l3 + IPV6 + TCP_HEADER).or_drop(Reason::Truncated)?;
    // The pseudo header's sum speaks of ICMPv6; exchange the protocol.
    let pseudo = pseudo_header(source, vip, TCP_HEADER as u32)
        + u64::from(!u32::from(ICMPV6).to_be())
        + u64::from(u32::from(TCP).to_be());
    header_v6(packet, ip.l3, TCP_HEADER, TCP, vip, source)?;
    write_reset(packet, ip.l3 + IPV6, &reset, pseudo)?;
    link::turn_round(packet).or_drop(Reason::Truncated)
}

/// Tells the sender the largest IPv4 packet that fits (RFC 1191, section 4).
#[inline(always)]
fn too_big_v4(packet: &mut Packet, ip: &Ip, mtu: u32) -> Stage<()> {
    icmp_error_v4(packet, ip, u32::from_ne_bytes([3, 4, 0, 0]), (mtu & 0xffff).to_be())
}

/// Tells the sender the largest IPv6 packet that fits (RFC 4443, section 3.2).
#[inline(always)]
fn too_big_v6(packet: &mut Packet, ip: &Ip, mtu: u32) -> Stage<()> {
    icmp_error_v6(packet, ip, u32::from_ne_bytes([2, 0, 0, 0]), mtu.to_be())
}

/// Puts an IPv4 and an ICMP header in front of the packet, quoting as much of it as is allowed.
#[inline(always)]
fn icmp_error_v4(packet: &mut Packet, ip: &Ip, kind: u32, rest: u32) -> Stage<()> {
    let addresses: [u32; 2] = packet.load(ip.l3 + 12).or_drop(Reason::Truncated)?;
    let quote = quoted(ip.length, QUOTE_V4);
    prepend(packet, ip.l3, quote, IPV4 + ICMP_HEADER)?;
    let l4 = ip.l3 + IPV4;
    let sum = sum_words::<QUOTE_V4>(packet, l4 + ICMP_HEADER, quote);
    let sum = u64::from(kind) + u64::from(rest) + sum;
    packet
        .store(l4, [kind | u32::from(checksum::finish(sum)) << 16, rest])
        .or_drop(Reason::Truncated)?;
    header_v4(packet, ip.l3, ICMP_HEADER + quote, ICMP, addresses[1], addresses[0])
}

/// Puts an IPv6 and an ICMPv6 header in front of the packet, quoting as much of it as is allowed.
#[inline(always)]
fn icmp_error_v6(packet: &mut Packet, ip: &Ip, kind: u32, rest: u32) -> Stage<()> {
    let source: [u64; 2] = packet.load(ip.l3 + 8).or_drop(Reason::Truncated)?;
    let vip: [u64; 2] = packet.load(ip.l3 + 24).or_drop(Reason::Truncated)?;
    let quote = quoted(ip.length, QUOTE_V6);
    prepend(packet, ip.l3, quote, IPV6 + ICMP_HEADER)?;
    let l4 = ip.l3 + IPV6;
    let sum = sum_words::<QUOTE_V6>(packet, l4 + ICMP_HEADER, quote);
    let sum = pseudo_header(vip, source, (ICMP_HEADER + quote) as u32)
        + u64::from(kind)
        + u64::from(rest)
        + sum;
    packet
        .store(l4, [kind | u32::from(checksum::finish(sum)) << 16, rest])
        .or_drop(Reason::Truncated)?;
    header_v6(packet, ip.l3, ICMP_HEADER + quote, ICMPV6, vip, source)
}

/// How much to quote: whole words, which is all that matters of what is longer than the headers.
#[inline(always)]
fn quoted(length: usize, most: usize) -> usize {
    (if length < most { length } else { most }) & !3
}

/// Cuts the packet behind what is quoted, makes room in front, and copies the link header there, turned round.
#[inline(always)]
fn prepend(packet: &mut Packet, l3: usize, quote: usize, headers: usize) -> Stage<()> {
    link::turn_round(packet).or_drop(Reason::Truncated)?;
    packet.truncate(l3 + quote).or_drop(Reason::Truncated)?;
    packet.grow_head(headers).or_drop(Reason::NoHeadroom)?;
    // Tagged or not, the link header is one of three lengths of whole 16-bit words, and does not overlap its copy.
    let mut at = 0;
    while at < 22 {
        if at >= l3 {
            break;
        }
        let half: u16 = packet.load(headers + at).or_drop(Reason::Truncated)?;
        packet.store(at, half).or_drop(Reason::Truncated)?;
        at += 2;
    }
    Ok(())
}

/// Sums `length` bytes (whole words, `MOST` at most) from `start`.
#[inline(always)]
fn sum_words<const MOST: usize>(packet: &Packet, start: usize, length: usize) -> u64 {
    let mut sum = 0;
    let mut at = 0;
    while at < MOST {
        if at >= length {
            break;
        }
        match packet.load::<u32>(start + at) {
            Some(word) => sum += u64::from(word),
            None => break,
        }
        at += 4;
    }
    sum
}

/// Writes an IPv4 header without options in front of `payload` bytes.
#[inline(always)]
fn header_v4(
    packet: &mut Packet,
    l3: usize,
    payload: usize,
    protocol: u8,
    source: u32,
    destination: u32,
) -> Stage<()> {
    let first = 0x45 | u32::from(((IPV4 + payload) as u16).to_be()) << 16;
    let third = u32::from(TTL) | u32::from(protocol) << 8;
    let sum = u64::from(first) + u64::from(third) + u64::from(source) + u64::from(destination);
    let mut header = packet.window::<IPV4>(l3).or_drop(Reason::Truncated)?;
    header.put::<0, u32>(first);
    // No DF: an answer small enough to need none, and one that may pass a narrow hop.
    header.put::<4, u32>(0);
    header.put::<8, u32>(third | u32::from(checksum::finish(sum)) << 16);
    header.put::<12, u32>(source);
    header.put::<16, u32>(destination);
    Ok(())
}

/// Writes an IPv6 header in front of `payload` bytes.
#[inline(always)]
fn header_v6(
    packet: &mut Packet,
    l3: usize,
    payload: usize,
    protocol: u8,
    source: [u64; 2],
    destination: [u64; 2],
) -> Stage<()> {
    let mut header = packet.window::<IPV6>(l3).or_drop(Reason::Truncated)?;
    header.put::<0, u32>((6u32 << 28).to_be());
    header.put::<4, u32>(
        u32::from((payload as u16).to_be()) | u32::from(protocol) << 16 | u32::from(TTL) << 24,
    );
    header.put::<8, [u64; 2]>(source);
    header.put::<24, [u64; 2]>(destination);
    Ok(())
}
