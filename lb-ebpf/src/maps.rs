//! The maps, by the names of `lb_common::names`, and the settings compiled in at load time.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, DevMapHash, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    address::Address,
    backend::BackendRecord,
    counters::{DROP_REASONS, InterfaceRecord, TokenBucket, TrafficCounter},
    flow::{FlowSet, FlowTupleSet, FragmentKey, FragmentRecord},
    limits::{
        FLOW_SETS, MAX_BACKENDS, MAX_FRAGMENTS, MAX_IFINDEX, MAX_REDIRECT_PORTS, MAX_SERVICES,
        MAX_SLOTS, MAX_SOURCE_RANGES, MAX_TUNNELS, MAX_VIPS, SERVICE_BUCKETS_V4,
        SERVICE_BUCKETS_V6, VIP_FILTER_WORDS,
    },
    service::{ServiceBucketV4, ServiceBucketV6, ServiceRecord, Slot, SourceRange},
    settings::Settings,
    tunnel::TunnelKey,
    vip::VipRecord,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map(name = "vips")]
pub static VIPS: HashMap<Address, VipRecord, { MAX_VIPS as usize }> = HashMap::new();

#[btf_map(name = "vip_filter")]
pub static VIP_FILTER: Array<u64, { VIP_FILTER_WORDS as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "services")]
pub static SERVICES: Array<ServiceBucketV4, { SERVICE_BUCKETS_V4 as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "services_v6")]
pub static SERVICES_V6: Array<ServiceBucketV6, { SERVICE_BUCKETS_V6 as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "service_records")]
pub static SERVICE_RECORDS: Array<ServiceRecord, { MAX_SERVICES as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "slots")]
pub static SLOTS: Array<Slot, { MAX_SLOTS as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "backends")]
pub static BACKENDS: Array<BackendRecord, { MAX_BACKENDS as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "flow_memory")]
pub static FLOW_MEMORY: Array<FlowSet, { FLOW_SETS as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "flow_tuples")]
pub static FLOW_TUPLES: Array<FlowTupleSet, { FLOW_SETS as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "fragments")]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentRecord, { MAX_FRAGMENTS as usize }> =
    LruHashMap::new();

#[btf_map(name = "source_ranges")]
pub static SOURCE_RANGES: LpmTrie<SourceRange, u32, { MAX_SOURCE_RANGES as usize }> =
    LpmTrie::new();

#[btf_map(name = "tunnels")]
pub static TUNNELS: HashMap<TunnelKey, u32, { MAX_TUNNELS as usize }> = HashMap::new();

#[btf_map(name = "interfaces")]
pub static INTERFACES: Array<InterfaceRecord, { MAX_IFINDEX as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "redirect_ports")]
pub static REDIRECT_PORTS: DevMapHash<{ MAX_REDIRECT_PORTS as usize }> = DevMapHash::new();

#[btf_map(name = "refusal_tokens")]
pub static REFUSAL_TOKENS: PerCpuArray<TokenBucket, 1> = PerCpuArray::new();

#[btf_map(name = "service_counters")]
pub static SERVICE_COUNTERS: PerCpuArray<TrafficCounter, { MAX_SERVICES as usize }> =
    PerCpuArray::new();

#[btf_map(name = "backend_counters")]
pub static BACKEND_COUNTERS: PerCpuArray<TrafficCounter, { MAX_BACKENDS as usize }> =
    PerCpuArray::new();

#[btf_map(name = "drops")]
pub static DROPS: PerCpuArray<u64, { DROP_REASONS as usize }> = PerCpuArray::new();

/// Read-only after loading; the verifier knows the values and prunes what they switch off.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings::DEFAULT;

/// Reads one field of the settings. Volatile, because the loader rewrites the section before the program is verified: the
/// compiler must not take the defaults for the final values. The verifier does know those.
macro_rules! setting {
    ($field:ident) => {
        // SAFETY: a field of a static that nothing writes after loading.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::SETTINGS.$field) }
    };
}
pub(crate) use setting;
