//! The link: frames for this interface, and turning a frame round to its sender.

use crate::{
    maps::INTERFACES,
    packet::Packet,
    parse::{ETHERNET, VLAN_TAG},
    verdict::{OrVerdict, Stage, Verdict},
};

/// Frames to other MAC addresses (flooded, or group addresses) are nobody's business: they pass.
#[inline(always)]
pub fn addressed_to_us(packet: &Packet) -> Stage<()> {
    let interface = INTERFACES.get(packet.ingress_ifindex()).or_pass()?;
    let [a, b, c, d, e, f] = interface.mac;
    let high: u32 = packet.load(0).or_pass()?;
    let low: u16 = packet.load(4).or_pass()?;
    if high == u32::from_ne_bytes([a, b, c, d]) && low == u16::from_ne_bytes([e, f]) {
        Ok(())
    } else {
        Err(Verdict::Pass)
    }
}

/// Like [`addressed_to_us`], but group addresses are for us too: what everybody on the link is asked.
#[inline(always)]
pub fn asked_of_us(packet: &Packet) -> Stage<()> {
    let [first, _]: [u8; 2] = packet.load(0).or_pass()?;
    if first & 1 != 0 {
        return Ok(());
    }
    addressed_to_us(packet)
}

/// Swaps the MAC addresses.
#[inline(always)]
pub fn turn_round(packet: &mut Packet) -> Option<()> {
    let mut link = packet.window::<12>(0)?;
    let destination = (link.get::<0, u32>(), link.get::<4, u16>());
    let source = (link.get::<6, u16>(), link.get::<8, u32>());
    link.put::<0, u16>(source.0);
    link.put::<2, u32>(source.1);
    link.put::<6, u32>(destination.0);
    link.put::<10, u16>(destination.1);
    Some(())
}

/// Up to two VLAN tags, as they lie between the MAC addresses and the EtherType.
#[derive(Clone, Copy)]
pub struct Tags {
    outer: u32,
    inner: u32,
    count: usize,
}

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { outer: 0, inner: 0, count: 0 };

    /// One 802.1Q tag with priority 0.
    #[inline(always)]
    pub fn vlan(id: u16) -> Self {
        let outer = u32::from(0x8100u16.to_be()) | u32::from(id.to_be()) << 16;
        Self { outer, ..Self::NONE }.counting(1)
    }

    /// The tags of a packet whose network header starts at `l3`.
    #[inline(always)]
    pub fn of(packet: &Packet, l3: usize) -> Option<Self> {
        if l3 <= ETHERNET {
            return Some(Self::NONE);
        }
        let outer = packet.load(12)?;
        if l3 <= ETHERNET + VLAN_TAG {
            return Some(Self { outer, ..Self::NONE }.counting(1));
        }
        Some(Self { outer, inner: packet.load(12 + VLAN_TAG)?, count: 2 })
    }

    #[inline(always)]
    fn counting(self, count: usize) -> Self {
        Self { count, ..self }
    }

    /// Bytes of a link header with these tags.
    #[inline(always)]
    pub fn link_header(&self) -> usize {
        ETHERNET + self.count * VLAN_TAG
    }

    /// Writes the tags and the EtherType behind the MAC addresses.
    #[inline(always)]
    pub fn write(&self, packet: &mut Packet, ether_type: u16) -> Option<()> {
        if self.count == 0 {
            return packet.store(12, ether_type);
        }
        packet.store(12, self.outer)?;
        if self.count == 1 {
            return packet.store(12 + VLAN_TAG, ether_type);
        }
        packet.store(12 + VLAN_TAG, self.inner)?;
        packet.store(12 + 2 * VLAN_TAG, ether_type)
    }
}
