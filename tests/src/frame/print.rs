//! Layers as text, one line each.

use std::{fmt, net::Ipv4Addr};

use super::{Arp, Dissection, Layer, ether_type};

impl fmt::Display for Dissection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layers.iter().try_for_each(|at| writeln!(f, "  {}", at.layer))
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ethernet { source, destination } => {
                write!(f, "Ethernet {source} > {destination}")
            }
            Self::Vlan { tpid: ether_type::VLAN, id } => write!(f, "VLAN {id}"),
            Self::Vlan { tpid, id } => write!(f, "VLAN {id} (tag {tpid:#06x})"),
            Self::Arp(Arp { operation, sender, target }) => write!(
                f,
                "ARP operation {operation}, {} at {} > {} at {}",
                sender.1, sender.0, target.1, target.0
            ),
            Self::Ipv4(ip) => {
                write!(
                    f,
                    "IPv4 {} > {} protocol {} ttl {} tos {:#04x} id {} length {} checksum {:#06x}",
                    Ipv4Addr::from(ip.source),
                    Ipv4Addr::from(ip.destination),
                    ip.protocol.0,
                    ip.time_to_live,
                    ip.dscp.value() << 2 | ip.ecn.value(),
                    ip.identification,
                    ip.total_len,
                    ip.header_checksum
                )?;
                if ip.dont_fragment {
                    f.write_str(" DF")?;
                }
                if ip.more_fragments {
                    f.write_str(" MF")?;
                }
                if ip.fragment_offset.value() > 0 {
                    write!(f, " offset {}", ip.fragment_offset.byte_offset())?;
                }
                if !ip.options.is_empty() {
                    write!(f, " options {:02x?}", ip.options.as_slice())?;
                }
                Ok(())
            }
            Self::Ipv6(ip) => write!(
                f,
                "IPv6 {} > {} next {} hops {} class {:#04x} label {:#x} length {}",
                ip.source_addr(),
                ip.destination_addr(),
                ip.next_header.0,
                ip.hop_limit,
                ip.traffic_class,
                ip.flow_label.value(),
                ip.payload_length
            ),
            Self::Extension { kind, bytes } => write!(f, "extension {kind} {bytes:02x?}"),
            Self::Tcp(tcp) => {
                write!(f, "TCP {} > {}", tcp.source_port, tcp.destination_port)?;
                for (flag, set) in [
                    (" SYN", tcp.syn),
                    (" ACK", tcp.ack),
                    (" PSH", tcp.psh),
                    (" FIN", tcp.fin),
                    (" RST", tcp.rst),
                ] {
                    if set {
                        f.write_str(flag)?;
                    }
                }
                write!(
                    f,
                    " seq {} ack {} window {} checksum {:#06x}",
                    tcp.sequence_number, tcp.acknowledgment_number, tcp.window_size, tcp.checksum
                )?;
                if !tcp.options.is_empty() {
                    write!(f, " options {:02x?}", tcp.options.as_slice())?;
                }
                Ok(())
            }
            Self::Udp(udp) => write!(
                f,
                "UDP {} > {} length {} checksum {:#06x}",
                udp.source_port, udp.destination_port, udp.length, udp.checksum
            ),
            Self::Icmp { kind, code, rest } => {
                write!(f, "ICMP type {kind} code {code} {rest:02x?}")
            }
            Self::Icmpv6 { kind, code, rest } => {
                write!(f, "ICMPv6 type {kind} code {code} {rest:02x?}")
            }
            Self::Payload(bytes) => {
                /// Enough to recognise it.
                const SHOWN: usize = 32;
                let more = if bytes.len() > SHOWN { "…" } else { "" };
                let shown = &bytes[..bytes.len().min(SHOWN)];
                write!(f, "payload of {} bytes {shown:02x?}{more}", bytes.len())
            }
            Self::Malformed(why) => write!(f, "malformed: {why}"),
        }
    }
}
