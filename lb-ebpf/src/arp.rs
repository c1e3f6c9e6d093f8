//! ARP (RFC 826): requests for VIPs are answered here, by the owner and by nobody else.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_ktime_get_ns};
use lb_common::{
    address::Address,
    counters::Reason,
    vip::{VIP_OWNED, VipRecord},
};

use crate::{
    link,
    packet::Packet,
    parse::{ETHERTYPE_IPV4, bounded_l3},
    service,
    verdict::{OrVerdict, Outcome, Stage, Verdict, pack},
};

const HARDWARE_ETHERNET: u16 = 1u16.to_be();
const REQUEST: u16 = 1u16.to_be();
const REPLY: u16 = 2u16.to_be();

/// ```text
///  0                   1                   2                   3
/// +-------------------------------+-------------------------------+
/// | hardware type            0    | protocol type            2    |
/// +---------------+---------------+-------------------------------+
/// | hw len   4    | proto len  5  | operation                6    |
/// +---------------+---------------+-------------------------------+
/// | sender hardware address 8 (6) | sender protocol address 14 (4)|
/// +-------------------------------+-------------------------------+
/// | target hardware address 18 (6)| target protocol address 24 (4)|
/// +-------------------------------+-------------------------------+
/// ```
const ARP: usize = 28;

/// Handles an ARP packet, see [`answer`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sluice_arp(context: *mut xdp_md, l3: u32) -> Outcome {
    let Some(mut packet) = Packet::of_frame(context) else { return pack(Err(Verdict::Pass)) };
    pack(answer(&mut packet, bounded_l3(l3)))
}

/// Answers an ARP request for a VIP this node owns on this interface; drops one for a VIP it does not own, so that the kernel, which
/// may have the address on `lo`, stays silent; passes everything else.
#[inline(always)]
fn answer(packet: &mut Packet, l3: usize) -> Stage<u32> {
    link::asked_of_us(packet)?;
    let ifindex = packet.ingress_ifindex();
    let mut arp = packet.window::<ARP>(l3).or_pass()?;
    let fixed =
        (arp.get::<0, u16>(), arp.get::<2, u16>(), arp.get::<4, u16>(), arp.get::<6, u16>());
    if fixed != (HARDWARE_ETHERNET, ETHERTYPE_IPV4, u16::from_ne_bytes([6, 4]), REQUEST) {
        return Err(Verdict::Pass);
    }
    let target: u32 = arp.get::<24, u32>();
    if !service::filter_v4(target) {
        return Err(Verdict::Pass);
    }
    let vip = service::vip(&Address::from_v4(target.to_ne_bytes())).or_pass()?;
    let sender: u32 = arp.get::<14, u32>();
    if sender == target {
        // An announcement (RFC 5227, section 3), not a question.
        return Err(Verdict::Pass);
    }
    if !owned_here(vip, ifindex) {
        return Err(Verdict::Drop(Reason::ArpNotOwner));
    }
    let asker: [u16; 3] = arp.get::<8, [u16; 3]>();
    let own = mac_halves(&vip.mac);
    arp.put::<6, u16>(REPLY);
    arp.put::<8, [u16; 3]>(own);
    arp.put::<14, u32>(target);
    arp.put::<18, [u16; 3]>(asker);
    arp.put::<24, u32>(sender);
    packet.store(0, asker).or_pass()?;
    packet.store(6, own).or_pass()?;
    Err(Verdict::Answer)
}

/// Does this node own the VIP on this interface, and does its agent still say so?
#[inline(always)]
pub fn owned_here(vip: &VipRecord, ifindex: u32) -> bool {
    vip.flags & VIP_OWNED != 0
        && vip.ifindex == ifindex
        // SAFETY: a helper without arguments.
        && vip.lease_deadline_ns > unsafe { bpf_ktime_get_ns() }
}

/// A MAC address as the 16-bit words that lie in the packet.
#[inline(always)]
pub fn mac_halves(mac: &[u8; 6]) -> [u16; 3] {
    let [a, b, c, d, e, f] = *mac;
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), u16::from_ne_bytes([e, f])]
}
