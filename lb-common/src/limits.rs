//! Capacities of the maps.
//!
//! The object file carries these numbers; the agent may load the large maps smaller.

/// Changes whenever a map's key, value or meaning changes: pinned maps of another version are not reused.
pub const LAYOUT_VERSION: u32 = 1;
/// Virtual addresses.
pub const MAX_VIPS: u32 = 32_768;
/// Words of 64 bits in the VIP filter: 2^19 bits.
pub const VIP_FILTER_WORDS: u32 = 8_192;
/// Buckets of four IPv4 services; a power of two.
pub const SERVICE_BUCKETS_V4: u32 = 16_384;
/// Buckets of two IPv6 services; a power of two.
pub const SERVICE_BUCKETS_V6: u32 = 32_768;
/// Service ids; they fit 16 bits, see [`FlowEntry`](crate::flow::FlowEntry).
pub const MAX_SERVICES: u32 = 65_536;
/// Slots of all Maglev tables together.
pub const MAX_SLOTS: u32 = 12 << 20;
/// Backend ids; they fit 16 bits, see [`FlowEntry`](crate::flow::FlowEntry).
pub const MAX_BACKENDS: u32 = 16_384;
/// Sets of `flow_memory`, a power of two. Four flows each.
pub const FLOW_SETS: u32 = 131_072;
/// Interfaces are found by index; a larger index cannot be attached.
pub const MAX_IFINDEX: u32 = 65_536;
/// Interfaces packets can be redirected to.
pub const MAX_REDIRECT_PORTS: u32 = 256;
/// First fragments remembered.
pub const MAX_FRAGMENTS: u32 = 65_536;
/// Source ranges of all services together.
pub const MAX_SOURCE_RANGES: u32 = 262_144;
/// Pairs of edge and local address whose tunnel packets are accepted.
pub const MAX_TUNNELS: u32 = 16_384;
