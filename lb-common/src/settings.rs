//! Settings compiled into the BPF programs as read-only data when they are loaded; names of the globals in
//! [`names`](crate::names).

use crate::{assert_size, pod};

/// Value of the global `SETTINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Keys of the flow hash that edges share, from the cluster's seed.
    pub edge_seed: [u64; 2],
    /// Keys of the flow hash used on a backend, from the same seed.
    pub node_seed: [u64; 2],
    /// Sets of `flow_memory`, minus one; a power of two minus one.
    pub flow_set_mask: u32,
    /// `SETTING_*` bits.
    pub flags: u32,
    /// Refusals (TCP RST, ICMP errors) per second and CPU.
    pub refusals_per_second: u32,
    /// Tunnel source prefix, IPv4, network byte order; used for backends with `BACKEND_VARY_SOURCE`.
    pub source_prefix_v4: [u8; 4],
    /// Bits of `source_prefix_v4` that vary by flow, network byte order.
    pub source_mask_v4: [u8; 4],
    /// Explicit padding, zero.
    pub _pad: u32,
    /// Tunnel source prefix, IPv6.
    pub source_prefix_v6: [u8; 16],
    /// Bits of `source_prefix_v6` that vary by flow.
    pub source_mask_v6: [u8; 16],
}
assert_size!(Settings, 88);
pod!(Settings);

/// This node balances: packets for VIPs that arrive without a tunnel are served. Otherwise they pass.
pub const SETTING_EDGE: u32 = 1 << 0;
/// Packets of known edges are decapsulated whatever their inner destination: a plain server that knows no VIPs.
pub const SETTING_DECAPSULATE_ANY: u32 = 1 << 1;

impl Settings {
    /// An edge with a zero seed and the smallest flow memory.
    pub const DEFAULT: Self = Self {
        edge_seed: [0; 2],
        node_seed: [0; 2],
        flow_set_mask: 0,
        flags: SETTING_EDGE,
        refusals_per_second: 1000,
        source_prefix_v4: [0; 4],
        source_mask_v4: [0; 4],
        _pad: 0,
        source_prefix_v6: [0; 16],
        source_mask_v6: [0; 16],
    };
}
