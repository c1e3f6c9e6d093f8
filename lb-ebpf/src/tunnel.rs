//! The backend's end of a tunnel: packets of known edges are decapsulated and left to the kernel, which has the VIP on `lo`.

use aya_ebpf::bindings::xdp_md;
use lb_common::{
    address::Address, checksum, counters::Reason, settings::SETTING_DECAPSULATE_ANY,
    tunnel::TunnelKey,
};

use crate::{
    link::{self, Tags},
    maps::{TUNNELS, setting},
    packet::Packet,
    parse::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPIP, IPV4, IPV6, IPV6_IN_IP, Ip, bounded_l3},
    select::Family,
    service,
    verdict::{Action, OrVerdict, Outcome, Stage, Verdict, pack, unpack},
};

/// Handles an IPv4 packet that is for no VIP: a tunnel packet if its protocol says so, else none of our business.
#[inline(always)]
pub fn v4(packet: &mut Packet, l3: usize) -> Stage<Action> {
    let [_, protocol]: [u8; 2] = packet.load(l3 + 8).or_pass()?;
    if protocol != IPIP && protocol != IPV6_IN_IP {
        return Err(Verdict::Pass);
    }
    unpack(sluice_tunnel_v4(packet.context(), l3 as u32)).map(|_| Action::Deliver)
}

/// Handles an IPv6 packet that is for no VIP, like [`v4`].
#[inline(always)]
pub fn v6(packet: &mut Packet, l3: usize) -> Stage<Action> {
    let [protocol, _]: [u8; 2] = packet.load(l3 + 6).or_pass()?;
    if protocol != IPIP && protocol != IPV6_IN_IP {
        return Err(Verdict::Pass);
    }
    unpack(sluice_tunnel_v6(packet.context(), l3 as u32)).map(|_| Action::Deliver)
}

/// Handles a tunnel packet whose outer header is IPv4. `Ok`: it was decapsulated.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_tunnel_v4(context: *mut xdp_md, l3: u32) -> Outcome {
    let Some(mut packet) = Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    pack(outer_v4(&mut packet, bounded_l3(l3)))
}

/// Handles a tunnel packet whose outer header is IPv6. `Ok`: it was decapsulated.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_tunnel_v6(context: *mut xdp_md, l3: u32) -> Outcome {
    let Some(mut packet) = Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    pack(outer_v6(&mut packet, bounded_l3(l3)))
}

#[inline(always)]
fn outer_v4(packet: &mut Packet, l3: usize) -> Stage<u32> {
    let addresses: [u32; 2] = packet.load(l3 + 12).or_pass()?;
    let origin = origin(addresses[0], addresses[1])?;
    link::addressed_to_us(packet)?;
    let Ok(ip) = parse::ipv4(packet, l3) else { return Err(Verdict::Pass) };
    accept(packet, &ip, origin)
}

#[inline(always)]
fn outer_v6(packet: &mut Packet, l3: usize) -> Stage<u32> {
    let source: [u64; 2] = packet.load(l3 + 8).or_pass()?;
    let destination: [u64; 2] = packet.load(l3 + 24).or_pass()?;
    let origin = origin(source, destination)?;
    link::addressed_to_us(packet)?;
    let Ok(ip) = parse::ipv6(packet, l3) else { return Err(Verdict::Pass) };
    accept(packet, &ip, origin)
}

/// Who sent a tunnel packet that ends here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Edge,
    Stranger,
}

/// Looks the outer addresses up; a tunnel that does not end here passes.
#[inline(always)]
fn origin<A: Family>(source: A, destination: A) -> Stage<Origin> {
    let mut key = TunnelKey { source: source.address(), destination: destination.address() };
    // SAFETY: only presence matters.
    if unsafe { TUNNELS.get(&key) }.is_some() {
        return Ok(Origin::Edge);
    }
    key.source = Address::UNSPECIFIED;
    // SAFETY: as above.
    unsafe { TUNNELS.get(&key) }.or_pass()?;
    Ok(Origin::Stranger)
}

/// Decapsulates the packet if an edge sent it for a VIP. Other tunnels of the node (its CNI may run one between the same addresses)
/// pass; a stranger's packet for a VIP is dropped.
#[inline(always)]
fn accept(packet: &mut Packet, outer: &Ip, origin: Origin) -> Stage<u32> {
    if outer.fragment {
        return Err(Verdict::Pass);
    }
    let any = setting!(flags) & SETTING_DECAPSULATE_ANY != 0;
    if !any && !inner_for_vip(packet, outer)? {
        return Err(Verdict::Pass);
    }
    if origin == Origin::Stranger {
        return Err(Verdict::Drop(Reason::TunnelStranger));
    }
    let (inner_version, header, ether_type) =
        if outer.protocol == IPIP { (4, IPV4, ETHERTYPE_IPV4) } else { (6, IPV6, ETHERTYPE_IPV6) };
    let [version, _]: [u8; 2] = packet.load(outer.l4).or_drop(Reason::TunnelMalformed)?;
    let inner_length = outer.l3 + outer.length - outer.l4;
    if version >> 4 != inner_version || inner_length < header {
        return Err(Verdict::Drop(Reason::TunnelMalformed));
    }
    mark_congestion(packet, outer)?;
    strip(packet, outer, ether_type)?;
    Ok(0)
}

#[inline(always)]
fn inner_for_vip(packet: &Packet, outer: &Ip) -> Stage<bool> {
    let vip = if outer.protocol == IPIP {
        let destination: u32 = packet.load(outer.l4 + 16).or_pass()?;
        if !service::filter_v4(destination) {
            return Ok(false);
        }
        destination.address()
    } else {
        let destination: [u64; 2] = packet.load(outer.l4 + 24).or_pass()?;
        if !service::filter_v6(destination) {
            return Ok(false);
        }
        destination.address()
    };
    Ok(service::vip(&vip).is_some())
}

/// Explicit congestion notification (RFC 2474's two low bits): not capable, and congestion experienced.
const ECN_MASK: u8 = 3;

/// Carries a congestion mark from the outer to the inner header (RFC 6040, section 4.2).
#[inline(always)]
fn mark_congestion(packet: &mut Packet, outer: &Ip) -> Stage<()> {
    if outer.tos & ECN_MASK != ECN_MASK {
        return Ok(());
    }
    if outer.protocol == IPIP {
        let mut inner = packet.window::<IPV4>(outer.l4).or_drop(Reason::TunnelMalformed)?;
        let old = inner.get::<0, u16>();
        let [version, tos] = old.to_ne_bytes();
        if tos & ECN_MASK != 0 {
            let new = u16::from_ne_bytes([version, tos | ECN_MASK]);
            let sum = checksum::update(inner.get::<10, u16>(), old, new);
            inner.put::<0, u16>(new);
            inner.put::<10, u16>(sum);
        }
    } else {
        let mut inner = packet.window::<2>(outer.l4).or_drop(Reason::TunnelMalformed)?;
        // Traffic class straddles the first two bytes; its ECN bits are in the second one's high half.
        let class = inner.get::<1, u8>();
        if class & (ECN_MASK << 4) != 0 {
            inner.put::<1, u8>(class | ECN_MASK << 4);
        }
    }
    Ok(())
}

/// Removes the outer header: the link header moves to the inner one, with the inner EtherType.
#[inline(always)]
fn strip(packet: &mut Packet, outer: &Ip, ether_type: u16) -> Stage<()> {
    let outer_length = outer.l4 - outer.l3;
    let tags = Tags::of(packet, outer.l3).or_drop(Reason::TunnelMalformed)?;
    let macs: [u32; 3] = packet.load(0).or_drop(Reason::TunnelMalformed)?;
    packet.shrink_head(outer_length).or_drop(Reason::TunnelMalformed)?;
    packet.store(0, macs).or_drop(Reason::TunnelMalformed)?;
    tags.write(packet, ether_type).or_drop(Reason::TunnelMalformed)
}
