//! Names of programs, maps and globals in the BPF object, the same under the pin directory.

/// The XDP program.
pub const PROGRAM_XDP: &str = "sluice_xdp";

/// The read-only [`Settings`](crate::settings::Settings).
pub const GLOBAL_SETTINGS: &str = "SETTINGS";

/// Address -> `VipRecord`.
pub const VIPS: &str = "vips";
/// Bitmap over hashed VIP addresses.
pub const VIP_FILTER: &str = "vip_filter";
/// IPv4 services, two-choice buckets.
pub const SERVICES: &str = "services";
/// IPv6 services, two-choice buckets.
pub const SERVICES_V6: &str = "services_v6";
/// Service id -> `ServiceRecord`.
pub const SERVICE_RECORDS: &str = "service_records";
/// Maglev tables.
pub const SLOTS: &str = "slots";
/// Backend id -> `BackendRecord`.
pub const BACKENDS: &str = "backends";
/// Flows on moved slots.
pub const FLOW_MEMORY: &str = "flow_memory";
/// Who those flows are.
pub const FLOW_TUPLES: &str = "flow_tuples";
/// First fragments.
pub const FRAGMENTS: &str = "fragments";
/// Allowed sources.
pub const SOURCE_RANGES: &str = "source_ranges";
/// Accepted tunnels.
pub const TUNNELS: &str = "tunnels";
/// Ifindex -> the interface's MAC address.
pub const INTERFACES: &str = "interfaces";
/// Devmap, ifindex -> ifindex.
pub const REDIRECT_PORTS: &str = "redirect_ports";
/// Rate limiter of refusals.
pub const REFUSAL_TOKENS: &str = "refusal_tokens";
/// Packets, bytes, new flows by service id.
pub const SERVICE_COUNTERS: &str = "service_counters";
/// Packets, bytes, new flows by backend id.
pub const BACKEND_COUNTERS: &str = "backend_counters";
/// Packets by [`Reason`](crate::counters::Reason).
pub const DROPS: &str = "drops";
