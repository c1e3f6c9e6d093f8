//! Sluice's data path. Entry points and, on one screen, the way of a packet; each stage has a file of its own.
//!
//! A stage returns what the next one needs, or the verdict that ends the packet's way. Only this file turns verdicts into
//! XDP actions and counts them.
#![no_std]
#![no_main]
#![cfg_attr(
    not(target_arch = "bpf"),
    expect(
        clippy::needless_borrows_for_generic_args,
        reason = "by value, a map key is copied on the stack once more, and there are 512 bytes of it"
    )
)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod arp;
mod counters;
mod flow_memory;
mod forward;
mod fragment;
mod icmp;
mod link;
mod maps;
mod ndp;
mod packet;
mod parse;
mod reply;
mod select;
mod service;
mod tunnel;
mod verdict;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    macros::xdp,
    programs::XdpContext,
};
use lb_common::{counters::Reason, settings::SETTING_EDGE, vip::VIP_REJECT};

use crate::{
    counters::count_reason,
    flow_memory::Begin,
    maps::setting,
    packet::Packet,
    parse::{
        ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, ICMPV6, IPIP, IPV6_IN_IP, Ip, TCP, UDP,
    },
    reply::Answer,
    select::{Choice, Family, Flow, choose},
    verdict::{Action, OrVerdict, Outcome, Refusal, Stage, Verdict, unpack},
};

/// The XDP program of every agent; what it does with a packet follows from the maps.
///
/// # Minimum kernel version
///
/// 5.18, for multi-buffer packets (jumbo frames).
#[xdp(frags)]
#[inline(always)]
pub fn sluice_xdp(context: XdpContext) -> u32 {
    let mut packet = Packet::new(context.ctx);
    match run(&mut packet) {
        Ok(action) => action.code(),
        Err(verdict) => settle(verdict),
    }
}

#[inline(always)]
fn run(packet: &mut Packet) -> Stage<Action> {
    let frame = parse::ethernet(packet)?;
    match frame.ether_type {
        ETHERTYPE_IPV4 => ipv4(packet, frame.l3),
        ETHERTYPE_IPV6 => ipv6(packet, frame.l3),
        ETHERTYPE_ARP => end(arp::sluice_arp(packet.context(), frame.l3 as u32)),
        _ => Err(Verdict::Pass),
    }
}

/// The outcome of a stage that always ends the packet's way.
#[inline(always)]
fn end(outcome: Outcome) -> Stage<Action> {
    unpack(outcome).and(Err(Verdict::Pass))
}

/// Turns a verdict into an action, and counts it.
#[inline(always)]
fn settle(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => XDP_PASS,
        Verdict::Answer => XDP_TX,
        Verdict::Leave(reason) => {
            count_reason(reason);
            XDP_PASS
        }
        Verdict::Drop(reason) => {
            count_reason(reason);
            XDP_DROP
        }
        // Both were turned into one of the above where the packet's family is known.
        Verdict::Refuse(_) | Verdict::TooBig { .. } => XDP_DROP,
    }
}

#[inline(always)]
fn ipv4(packet: &mut Packet, l3: usize) -> Stage<Action> {
    let vip: u32 = packet.load(l3 + 16).or_pass()?;
    if !service::filter_v4(vip) {
        return tunnel::v4(packet, l3);
    }
    if setting!(flags) & SETTING_EDGE == 0 {
        return leave(tunnel::v4(packet, l3), vip);
    }
    link::addressed_to_us(packet)?;
    let ip = parse::ipv4(packet, l3);
    let result = match &ip {
        Ok(ip) => balance_v4(packet, ip, vip),
        Err(verdict) => Err(*verdict),
    };
    match result {
        Ok(action) => Ok(action),
        Err(verdict) => {
            conclude(packet, verdict, vip, ip.ok(), reply::sluice_answer_v4, tunnel::v4)
        }
    }
}

#[inline(always)]
fn ipv6(packet: &mut Packet, l3: usize) -> Stage<Action> {
    let [next_header, _]: [u8; 2] = packet.load(l3 + 6).or_pass()?;
    if next_header == ICMPV6 && ndp::is_solicitation(packet, l3) {
        return end(ndp::sluice_ndp(packet.context(), l3 as u32));
    }
    let vip: [u64; 2] = packet.load(l3 + 24).or_pass()?;
    if !service::filter_v6(vip) {
        return tunnel::v6(packet, l3);
    }
    if setting!(flags) & SETTING_EDGE == 0 {
        return leave(tunnel::v6(packet, l3), vip);
    }
    link::addressed_to_us(packet)?;
    let ip = parse::ipv6(packet, l3);
    let result = match &ip {
        Ok(ip) => balance_v6(packet, ip, vip),
        Err(verdict) => Err(*verdict),
    };
    match result {
        Ok(action) => Ok(action),
        Err(verdict) => {
            conclude(packet, verdict, vip, ip.ok(), reply::sluice_answer_v6, tunnel::v6)
        }
    }
}

/// A packet for an IPv4 VIP, from its validated header to its backend.
#[inline(always)]
fn balance_v4(packet: &mut Packet, ip: &Ip, vip: u32) -> Stage<Action> {
    let client: u32 = packet.load(ip.l3 + 12).or_drop(Reason::Truncated)?;
    // Multicast and class E begin with 111; 0 and 127 are no hosts either (RFC 1122, section 3.2.1.3).
    let first = client as u8;
    if first >= 224 || first == 0 || first == 127 || client == vip {
        return Err(Verdict::Drop(Reason::BadSource));
    }
    let mut flow = Flow::unknown(client, vip);
    if ip.protocol == ICMP {
        quoted(packet, ip, &mut flow, icmp::sluice_icmp_v4)?;
    } else if let Some(choice) = identify(packet, ip, &mut flow)? {
        return forward::forward(packet, ip, IPIP, &choice);
    }
    let service = service::find_v4(vip, flow.port_be(), flow.protocol as u8).or_refuse()?;
    let choice = select(ip, client, service, &flow)?;
    forward::forward(packet, ip, IPIP, &choice)
}

/// A packet for an IPv6 VIP, from its validated header to its backend.
#[inline(always)]
fn balance_v6(packet: &mut Packet, ip: &Ip, vip: [u64; 2]) -> Stage<Action> {
    let client: [u64; 2] = packet.load(ip.l3 + 8).or_drop(Reason::Truncated)?;
    // Multicast, unspecified and loopback are no hosts (RFC 4291, sections 2.5.2, 2.5.3 and 2.7).
    let no_host = client[0] == 0 && (client[1] == 0 || client[1] == 1u64.to_be());
    if client[0] as u8 == 0xff || no_host || client == vip {
        return Err(Verdict::Drop(Reason::BadSource));
    }
    let mut flow = Flow::unknown(client, vip);
    if ip.protocol == ICMPV6 {
        quoted(packet, ip, &mut flow, icmp::sluice_icmp_v6)?;
    } else if let Some(choice) = identify(packet, ip, &mut flow)? {
        return forward::forward(packet, ip, IPV6_IN_IP, &choice);
    }
    let service = service::find_v6(vip, flow.port_be(), flow.protocol as u8).or_refuse()?;
    let choice = select(ip, client, service, &flow)?;
    forward::forward(packet, ip, IPV6_IN_IP, &choice)
}

type IcmpStage<A> = unsafe extern "C" fn(*mut xdp_md, u64, u32, *mut Flow<A>) -> Outcome;

/// An ICMP error belongs to the flow it quotes.
#[inline(always)]
fn quoted<A: Family>(
    packet: &mut Packet,
    ip: &Ip,
    flow: &mut Flow<A>,
    stage: IcmpStage<A>,
) -> Stage<()> {
    // Fragments are dealt with here rather than one call deeper: the stack is short.
    let (client, vip) = (flow.client, flow.vip);
    if ip.later_fragment {
        fragment::of_echo(client, vip, ip)?;
    }
    // SAFETY: a reference is valid.
    let outcome = unsafe { stage(packet.context(), ip.pack(), ip.identification, flow) };
    packet.refresh();
    let result = unpack(outcome);
    if ip.fragment && !ip.later_fragment && matches!(result, Err(Verdict::Answer)) {
        fragment::remember(client, vip, ip, fragment::ECHO, 0);
    }
    result.map(|_| ())
}

/// Only edges balance; elsewhere a packet for a VIP is the kernel's, unless a tunnel ends at an address that looks like one.
#[inline(always)]
fn leave<A: Family>(result: Stage<Action>, vip: A) -> Stage<Action> {
    match result {
        Err(Verdict::Pass) if service::vip(&vip.address()).is_some() => {
            Err(Verdict::Leave(Reason::NotAnEdge))
        }
        other => other,
    }
}

/// The flow of a TCP or UDP packet from its transport header; or, for a later fragment, what its first fragment was matched to.
#[inline(always)]
fn identify<A: Family>(packet: &Packet, ip: &Ip, flow: &mut Flow<A>) -> Stage<Option<Choice>> {
    if ip.protocol != TCP && ip.protocol != UDP {
        return Err(Verdict::Drop(Reason::UnsupportedProtocol));
    }
    if ip.ttl <= 1 {
        return Err(Verdict::Drop(Reason::TtlExpired));
    }
    if ip.later_fragment {
        return fragment::recall(flow.client, flow.vip, ip).map(Some);
    }
    let transport = parse::transport(packet, ip)?;
    flow.ports = transport.ports;
    flow.protocol = ip.protocol.into();
    flow.begin = match (ip.protocol, transport.opens) {
        (TCP, true) => Begin::Now,
        (TCP, false) => Begin::Earlier,
        _ => Begin::Unknown,
    };
    Ok(None)
}

/// From the service to the chosen backend.
#[inline(always)]
fn select<A: Family>(ip: &Ip, client: A, service: u32, flow: &Flow<A>) -> Stage<Choice> {
    let choice = choose(service, flow)?;
    if ip.fragment {
        fragment::remember(client, flow.vip, ip, service, choice.backend);
    }
    Ok(choice)
}

/// Ends the way of a packet that looked like one for a VIP. The filter may have erred: whatever is for no VIP passes untouched.
#[inline(always)]
fn conclude<A: Family>(
    packet: &mut Packet,
    verdict: Verdict,
    vip: A,
    ip: Option<Ip>,
    answer: extern "C" fn(*mut xdp_md, u64, u32) -> Outcome,
    tunnel: fn(&mut Packet, usize) -> Stage<Action>,
) -> Stage<Action> {
    if matches!(verdict, Verdict::Answer | Verdict::Pass) {
        return Err(verdict);
    }
    let Some(vip) = service::vip(&vip.address()) else {
        // A tunnel may end at such an address.
        let ip = ip.or_pass()?;
        return tunnel(packet, ip.l3);
    };
    let Some(ip) = ip else { return Err(verdict) };
    let (reply, told) = match verdict {
        Verdict::Refuse(refusal) => {
            // Where a service was found, it has spoken for itself already.
            let silent = matches!(refusal, Refusal::NoService) && vip.flags & VIP_REJECT == 0;
            if silent || !reply::refusable(packet, &ip) {
                return Err(Verdict::Drop(refusal.silent()));
            }
            if !reply::allowed() {
                return Err(Verdict::Drop(Reason::RefusalRateLimited));
            }
            (Answer::Refusal, refusal.told())
        }
        Verdict::TooBig { mtu } => {
            let about_error = ip.protocol == ICMP || ip.protocol == ICMPV6;
            if ip.later_fragment || about_error || !reply::allowed() {
                return Err(Verdict::Drop(Reason::TooBigRateLimited));
            }
            (Answer::TooBig(mtu), Reason::TooBig)
        }
        other => return Err(other),
    };
    unpack(answer(packet.context(), ip.pack(), reply.mtu()))?;
    count_reason(told);
    Err(Verdict::Answer)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The licence the kernel asks for: helpers reserved for GPL-compatible programs are used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
