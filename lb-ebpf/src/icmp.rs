//! ICMP and ICMPv6 for a VIP: echo is answered here, errors go to the backend of the flow they quote (RFC 792, RFC 4443).

use aya_ebpf::bindings::xdp_md;
use lb_common::{checksum, counters::Reason};

use crate::{
    flow_memory::Begin,
    link,
    packet::Packet,
    parse::{IPV4, IPV6, Ip, TCP, UDP},
    select::{Family, Flow},
    service,
    verdict::{OrVerdict, Outcome, Stage, Verdict, pack},
};

/// Bytes of an ICMP header in front of the quoted packet.
const ICMP_HEADER: usize = 8;
/// TTL of answers.
const TTL: u8 = 64;

const V4_ECHO_REPLY: u8 = 0;
const V4_UNREACHABLE: u8 = 3;
const V4_ECHO: u8 = 8;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_PARAMETER_PROBLEM: u8 = 12;

const V6_UNREACHABLE: u8 = 1;
const V6_PARAMETER_PROBLEM: u8 = 4;
const V6_ECHO: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

/// Handles an ICMP message for an IPv4 VIP. `Ok`: it quotes a flow, which is written to `flow`;
/// otherwise it has become its own answer, or is dropped. `ip` is [`Ip::pack`]ed.
///
/// # Safety
///
/// `flow` must be null or valid; the verifier checks every caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn sluice_icmp_v4(
    context: *mut xdp_md,
    ip: u64,
    identification: u32,
    flow: *mut Flow<u32>,
) -> Outcome {
    let Some(packet) = &mut Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    let ip = &Ip::unpack(ip, identification);
    // SAFETY: as required above.
    let Some(flow) = (unsafe { flow.as_mut() }) else { return 0 };
    let addresses = packet.load::<[u32; 2]>(ip.l3 + 12).or_drop(Reason::Truncated);
    pack(addresses.and_then(|[source, vip]| v4(packet, ip, source, vip)).map(|found| {
        *flow = found;
        0
    }))
}

/// Handles an ICMPv6 message for an IPv6 VIP, like [`sluice_icmp_v4`].
///
/// # Safety
///
/// As for [`sluice_icmp_v4`].
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn sluice_icmp_v6(
    context: *mut xdp_md,
    ip: u64,
    identification: u32,
    flow: *mut Flow<[u64; 2]>,
) -> Outcome {
    let Some(packet) = &mut Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    let ip = &Ip::unpack(ip, identification);
    // SAFETY: as required above.
    let Some(flow) = (unsafe { flow.as_mut() }) else { return 0 };
    let addresses = packet.load::<[[u64; 2]; 2]>(ip.l3 + 8).or_drop(Reason::Truncated);
    pack(addresses.and_then(|[source, vip]| v6(packet, ip, source, vip)).map(|found| {
        *flow = found;
        0
    }))
}

#[inline(always)]
fn v4(packet: &mut Packet, ip: &Ip, source: u32, vip: u32) -> Stage<Flow<u32>> {
    if ip.later_fragment {
        // Of an echo request: the caller knows.
        return answer_v4(packet, ip, source, vip);
    }
    let [kind, _]: [u8; 2] = packet.load(ip.l4).or_drop(Reason::Truncated)?;
    match kind {
        V4_ECHO => {
            service::vip(&vip.address()).or_pass()?;
            set_type(packet, ip.l4, V4_ECHO, V4_ECHO_REPLY)?;
            answer_v4(packet, ip, source, vip)
        }
        V4_UNREACHABLE | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM => quoted_v4(packet, ip, vip),
        _ => Err(Verdict::Drop(Reason::IcmpUnrelated)),
    }
}

/// Solicitations were answered before.
#[inline(always)]
fn v6(packet: &mut Packet, ip: &Ip, source: [u64; 2], vip: [u64; 2]) -> Stage<Flow<[u64; 2]>> {
    if ip.later_fragment {
        // Of an echo request: the caller knows.
        return answer_v6(packet, ip, source, vip);
    }
    let [kind, _]: [u8; 2] = packet.load(ip.l4).or_drop(Reason::Truncated)?;
    match kind {
        V6_ECHO => {
            service::vip(&vip.address()).or_pass()?;
            set_type(packet, ip.l4, V6_ECHO, V6_ECHO_REPLY)?;
            answer_v6(packet, ip, source, vip)
        }
        V6_UNREACHABLE..=V6_PARAMETER_PROBLEM => quoted_v6(packet, ip, vip),
        _ => Err(Verdict::Drop(Reason::IcmpUnrelated)),
    }
}

/// Changes the type and corrects the checksum; a wrong one stays wrong, so that the asker notices.
#[inline(always)]
fn set_type(packet: &mut Packet, l4: usize, old: u8, new: u8) -> Stage<()> {
    let mut header = packet.window::<4>(l4).or_drop(Reason::Truncated)?;
    let code = header.get::<1, u8>();
    let sum = header.get::<2, u16>();
    let updated =
        checksum::update(sum, u16::from_ne_bytes([old, code]), u16::from_ne_bytes([new, code]));
    header.put::<0, u8>(new);
    header.put::<2, u16>(updated);
    Ok(())
}

#[inline(always)]
fn answer_v4(packet: &mut Packet, ip: &Ip, source: u32, vip: u32) -> Stage<Flow<u32>> {
    let mut header = packet.window::<IPV4>(ip.l3).or_drop(Reason::Truncated)?;
    let old = header.get::<8, u16>();
    let [_, protocol] = old.to_ne_bytes();
    let new = u16::from_ne_bytes([TTL, protocol]);
    let sum = checksum::update(header.get::<10, u16>(), old, new);
    header.put::<8, u16>(new);
    header.put::<10, u16>(sum);
    header.put::<12, u32>(vip);
    header.put::<16, u32>(source);
    link::turn_round(packet).or_drop(Reason::Truncated)?;
    Err(Verdict::Answer)
}

#[inline(always)]
fn answer_v6(
    packet: &mut Packet,
    ip: &Ip,
    source: [u64; 2],
    vip: [u64; 2],
) -> Stage<Flow<[u64; 2]>> {
    let mut header = packet.window::<IPV6>(ip.l3).or_drop(Reason::Truncated)?;
    header.put::<7, u8>(TTL);
    header.put::<8, [u64; 2]>(vip);
    header.put::<24, [u64; 2]>(source);
    link::turn_round(packet).or_drop(Reason::Truncated)?;
    Err(Verdict::Answer)
}

/// The flow whose reply is quoted: the VIP is the quoted source.
#[inline(always)]
fn quoted_v4(packet: &Packet, ip: &Ip, vip: u32) -> Stage<Flow<u32>> {
    let at = ip.l4 + ICMP_HEADER;
    let words: [u32; 5] = packet.load(at).or_drop(Reason::Truncated)?;
    let header = usize::from(words[0] as u8 & 0xf) * 4;
    let protocol = (words[2] >> 8) as u8;
    let fragment_offset = words[1] >> 16 & u32::from(0x1fffu16.to_be());
    let about_reply = words[0] as u8 >> 4 == 4
        && header >= IPV4
        && words[3] == vip
        && fragment_offset == 0
        && (protocol == TCP || protocol == UDP);
    if !about_reply {
        return Err(Verdict::Drop(Reason::IcmpUnrelated));
    }
    quote_holds(ip, header + PORTS)?;
    let ports = packet.load(at + header).or_drop(Reason::Truncated)?;
    Ok(as_asked(words[4], vip, ports, protocol))
}

/// Like [`quoted_v4`], for IPv6 without extension headers, which is what replies of services are.
#[inline(always)]
fn quoted_v6(packet: &Packet, ip: &Ip, vip: [u64; 2]) -> Stage<Flow<[u64; 2]>> {
    let at = ip.l4 + ICMP_HEADER;
    let fixed: [u32; 2] = packet.load(at).or_drop(Reason::Truncated)?;
    let source: [u64; 2] = packet.load(at + 8).or_drop(Reason::Truncated)?;
    let client: [u64; 2] = packet.load(at + 24).or_drop(Reason::Truncated)?;
    let protocol = (fixed[1] >> 16) as u8;
    if fixed[0] as u8 >> 4 != 6 || source != vip || (protocol != TCP && protocol != UDP) {
        return Err(Verdict::Drop(Reason::IcmpUnrelated));
    }
    quote_holds(ip, IPV6 + PORTS)?;
    let ports = packet.load(at + IPV6).or_drop(Reason::Truncated)?;
    Ok(as_asked(client, vip, ports, protocol))
}

/// Bytes of the two ports.
const PORTS: usize = 4;

/// Is so much quoted, or does the frame's pad begin before?
#[inline(always)]
fn quote_holds(ip: &Ip, bytes: usize) -> Stage<()> {
    if ip.l4 + ICMP_HEADER + bytes > ip.l3 + ip.length {
        return Err(Verdict::Drop(Reason::Truncated));
    }
    Ok(())
}

/// The flow as the client's own packets show it: the quoted ports are those of the reply, so they are swapped.
#[inline(always)]
fn as_asked<A>(client: A, vip: A, reply_ports: u32, protocol: u8) -> Flow<A> {
    let begin = if protocol == TCP { Begin::Earlier } else { Begin::Unknown };
    Flow { client, vip, ports: reply_ports.rotate_left(16), protocol: protocol.into(), begin }
}
