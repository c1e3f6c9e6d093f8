//! What a measurement tells the BPF programs of the bench; compiled into both of them.

/// Value of the one entry of the map `bench_setup`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Number of the next packet's flow, counting round from 0 to `flows`.
    pub next: u32,
    /// Distinct flows.
    pub flows: u32,
    /// Bytes of the frame as it was sent in; a longer one was encapsulated in the round before.
    pub length: u32,
    /// One's-complement sum of the IPv4 header without its checksum and the low half of its source.
    pub header_sum: u32,
    /// Not zero: the packet is IPv6.
    pub ipv6: u32,
    /// Ethernet header, as it lies in the frame.
    pub link: [u8; 14],
    /// Explicit padding, zero.
    pub _pad: [u8; 2],
}
const _: () = assert!(size_of::<Setup>() == 36);
