//! Flows on moved slots: which backend they belong to. Settled slots never come here.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use lb_common::{
    backend::BACKEND_DOWN,
    flow::{FLOW_WAYS, FlowEntry, FlowTuple, ticks},
    limits::FLOW_SETS,
    service::{SERVICE_STICKY_UDP, Slot},
};

use crate::maps::{BACKENDS, FLOW_MEMORY, FLOW_TUPLES, setting};

/// A flow that asks for its backend.
#[repr(C)]
pub struct Asking {
    pub hash: u64,
    pub slot: Slot,
    pub service: u32,
    pub service_since: u32,
    pub service_flags: u32,
    /// A [`Begin`].
    pub begin: u32,
    pub tuple: FlowTuple,
}

/// What the packet tells about the flow's age.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// A TCP SYN: it begins now.
    Now,
    /// Any other TCP packet, or an ICMP error about one: it began before.
    Earlier,
    /// UDP: nobody knows.
    Unknown,
}

/// A SYN of a flow remembered elsewhere is a retransmission if the flow was seen this recently, in ticks; else its ports are used anew.
const RETRANSMISSION_TICKS: u32 = 4;

/// The backend of a flow on a moved slot: as remembered, else by its age; remembered from now on.
///
/// Returns the backend id; with bit 32 set if the flow was not known before.
///
/// # Safety
///
/// `asking` must be null or valid; the verifier checks every caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn sluice_recall(asking: *const Asking) -> u64 {
    // SAFETY: as required above.
    let Some(asking) = (unsafe { asking.as_ref() }) else { return 0 };
    // SAFETY: helpers without arguments.
    let (cpu, now) = unsafe { (bpf_get_smp_processor_id(), ticks(bpf_ktime_get_ns())) };
    let mask = setting!(flow_set_mask);
    let index = (cpu * (mask + 1) + (asking.hash as u32 & mask)) & (FLOW_SETS - 1);
    let fallback = fallback(asking);
    let Some(set) = FLOW_MEMORY.get_ptr_mut(index) else { return u64::from(fallback) };
    // SAFETY: sets of this CPU are touched by no other, and XDP programs on one CPU run one after the other.
    let set = unsafe { &mut *set };

    let mut oldest = 0;
    let mut oldest_seen = u32::MAX;
    for way in 0..FLOW_WAYS {
        let entry = &mut set.entries[way];
        if entry.fingerprint == asking.hash && u32::from(entry.service) == asking.service {
            if valid(entry, asking, now) {
                entry.last_seen = now;
                return u64::from(entry.backend);
            }
            oldest = way;
            break;
        }
        if entry.last_seen < oldest_seen {
            oldest_seen = entry.last_seen;
            oldest = way;
        }
    }
    let entry = &mut set.entries[oldest & (FLOW_WAYS - 1)];
    *entry = FlowEntry {
        fingerprint: asking.hash,
        service: asking.service as u16,
        backend: fallback as u16,
        last_seen: now,
    };
    if let Some(tuples) = FLOW_TUPLES.get_ptr_mut(index) {
        // SAFETY: as for the set above.
        unsafe { (*tuples).tuples[oldest & (FLOW_WAYS - 1)] = asking.tuple };
    }
    u64::from(fallback) | NEW_FLOW
}

/// Bit set in the result of [`sluice_recall`] for a flow not known before.
pub const NEW_FLOW: u64 = 1 << 32;

/// Does the entry still speak of this service and backend, and is that backend alive?
#[inline(always)]
fn valid(entry: &FlowEntry, asking: &Asking, now: u32) -> bool {
    if entry.last_seen < asking.service_since {
        return false;
    }
    let backend = u32::from(entry.backend);
    if backend == asking.slot.current {
        return true;
    }
    if asking.begin == Begin::Now as u32 && now - entry.last_seen > RETRANSMISSION_TICKS {
        return false;
    }
    match BACKENDS.get(backend) {
        Some(record) => record.flags & BACKEND_DOWN == 0 && entry.last_seen >= record.since,
        None => false,
    }
}

/// The backend of a flow without memory.
#[inline(always)]
fn fallback(asking: &Asking) -> u32 {
    let stays = asking.begin == Begin::Earlier as u32
        || (asking.begin == Begin::Unknown as u32
            && asking.service_flags & SERVICE_STICKY_UDP != 0);
    let previous = asking.slot.previous_backend();
    if stays
        && let Some(record) = BACKENDS.get(previous)
        && record.flags & BACKEND_DOWN == 0
    {
        return previous;
    }
    asking.slot.current
}
