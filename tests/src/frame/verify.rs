//! Checksums: what they should be, and whether a frame's are.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use etherparse::checksum::Sum16BitWords;

use super::{Frame, Layer, protocol};

/// Checks every checksum of a frame, tunnelled headers included: IPv4 headers, and TCP, UDP, ICMP
/// and ICMPv6 with their pseudo header. Fragments carry only a part of what a checksum covers: of
/// them the IP header alone is checked.
///
/// # Errors
/// Names the layer and both values, with the whole frame.
pub fn check(frame: &Frame) -> Result<()> {
    let mut addresses = None;
    let mut fragmented = false;
    let mut checked = 0;
    for at in &frame.dissect().layers {
        let bytes = &frame.0[at.start..at.end];
        match &at.layer {
            Layer::Ipv4(ip) => {
                addresses = Some((ip.source.into(), ip.destination.into()));
                fragmented = ip.is_fragmenting_payload();
                let right = ip.calc_header_checksum();
                ensure!(
                    ip.header_checksum == right,
                    "IPv4 header checksum {:#06x} should be {right:#06x}: {frame:?}",
                    ip.header_checksum
                );
                checked += 1;
            }
            Layer::Ipv6(ip) => {
                addresses = Some((ip.source.into(), ip.destination.into()));
                fragmented = false;
            }
            Layer::Extension { kind: protocol::FRAGMENT, .. } => fragmented = true,
            layer => {
                let Some(protocol) = layer.transport_protocol() else { continue };
                if fragmented {
                    continue;
                }
                let offset = checksum_offset(protocol);
                let found = u16::from_be_bytes([bytes[offset], bytes[offset + 1]]);
                let over_v4 = matches!(addresses, Some((IpAddr::V4(_), _)));
                if protocol == protocol::UDP && over_v4 && found == 0 {
                    continue;
                }
                let mut blank = bytes.to_vec();
                blank[offset..offset + 2].fill(0);
                let right = transport_checksum(protocol, addresses, &blank);
                ensure!(
                    found == right,
                    "checksum {found:#06x} of `{layer}` should be {right:#06x}: {frame:?}"
                );
                checked += 1;
            }
        }
    }
    ensure!(checked > 0, "nothing in it has a checksum: {frame:?}");
    Ok(())
}

/// Where the checksum is in a transport header.
pub(super) const fn checksum_offset(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => 2,
    }
}

/// The checksum of a transport header and its payload, whose checksum field is zero.
pub(super) fn transport_checksum(
    protocol: u8,
    addresses: Option<(IpAddr, IpAddr)>,
    bytes: &[u8],
) -> u16 {
    let mut sum = Sum16BitWords::new();
    match addresses {
        // ICMP alone knows no pseudo header.
        _ if protocol == protocol::ICMP => {}
        Some((IpAddr::V4(source), IpAddr::V4(destination))) => {
            sum = sum.add_4bytes(source.octets());
            sum = sum.add_4bytes(destination.octets());
            sum = sum.add_2bytes([0, protocol]).add_2bytes((bytes.len() as u16).to_be_bytes());
        }
        Some((IpAddr::V6(source), IpAddr::V6(destination))) => {
            sum = sum.add_16bytes(source.octets()).add_16bytes(destination.octets());
            sum = sum.add_2bytes([0, protocol]);
            sum = sum.add_4bytes((bytes.len() as u32).to_be_bytes());
        }
        _ => {}
    }
    let sum = sum.add_slice(bytes);
    if protocol == protocol::UDP {
        sum.to_ones_complement_with_no_zero().to_be()
    } else {
        sum.ones_complement().to_be()
    }
}
