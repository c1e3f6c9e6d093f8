//! Flows on moved slots: which backend they belong to. Settled slots never come here.

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use lb_common::{
    backend::BACKEND_DOWN,
    flow::{FLOW_WAYS, FlowEntry, ticks},
    limits::FLOW_SETS,
    service::{SERVICE_STICKY_UDP, Slot},
};

use crate::{
    maps::{BACKENDS, FLOW_MEMORY, FLOW_TUPLES, setting},
    packet::opaque,
    select::{Family, Flow},
};

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
    // SAFETY: a helper without arguments.
    let now = ticks(unsafe { bpf_ktime_get_coarse_ns() });
    let Some(set) = FLOW_MEMORY.get_ptr_mut(set_index(asking.hash)) else {
        return u64::from(fallback(asking));
    };
    let entries = set.cast::<FlowEntry>();

    let mut oldest = 0;
    let mut oldest_seen = u32::MAX;
    for way in 0..FLOW_WAYS {
        // SAFETY: one of the set's entries.
        let place = unsafe { entries.add(way) };
        let entry = load(place);
        if entry.fingerprint() == asking.hash && u32::from(entry.service) == asking.service {
            if valid(&entry, asking, now) {
                // Written once in a tick only: other CPUs that read meanwhile find no entry.
                if entry.last_seen != now {
                    store(place, asking, entry.backend, now);
                }
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
    let oldest = oldest & (FLOW_WAYS - 1);
    let fallback = fallback(asking);
    // SAFETY: one of the set's entries.
    store(unsafe { entries.add(oldest) }, asking, fallback as u16, now);
    u64::from(fallback) | NEW_FLOW | (oldest as u64) << WAY_SHIFT
}

/// Reads an entry that other CPUs may be writing.
#[inline(always)]
fn load(place: *const FlowEntry) -> FlowEntry {
    let words = place.cast::<u64>();
    // SAFETY: an entry is two words, each read at once.
    unsafe {
        FlowEntry::from_words(
            core::ptr::read_volatile(words),
            core::ptr::read_volatile(words.add(1)),
        )
    }
}

/// Writes an entry that other CPUs may be reading.
#[inline(always)]
fn store(place: *mut FlowEntry, asking: &Asking, backend: u16, now: u32) {
    let entry = FlowEntry::new(asking.hash, asking.service as u16, backend, now);
    let words = place.cast::<u64>();
    // SAFETY: an entry is two words, each written at once.
    unsafe {
        core::ptr::write_volatile(words.add(1), entry.data());
        core::ptr::write_volatile(words, entry.check);
    }
}

/// Bit set in the result of [`sluice_recall`] for a flow not known before.
pub const NEW_FLOW: u64 = 1 << 32;
/// Where the way of a new flow's entry stands in the result of [`sluice_recall`].
const WAY_SHIFT: u32 = 33;

/// Notes who a new flow is, beside its entry.
#[inline(always)]
pub fn note<A: Family>(recalled: u64, hash: u64, flow: &Flow<A>) {
    let Some(tuples) = FLOW_TUPLES.get_ptr_mut(set_index(hash)) else { return };
    // The compiler has seen that the function returns no larger way; the verifier has not.
    let way = opaque((recalled >> WAY_SHIFT) as usize) & (FLOW_WAYS - 1);
    // SAFETY: one of the set's tuples, five words each; they are for people, who can bear one that is half written.
    let words = unsafe { (&raw mut (*tuples).tuples[way]).cast::<u64>() };
    let [source, destination] = [flow.client.words(), flow.vip.words()];
    let rest = u64::from(flow.ports) | u64::from(flow.protocol) << 32;
    for (place, word) in
        [source[0], source[1], destination[0], destination[1], rest].into_iter().enumerate()
    {
        // SAFETY: as above. Word by word: the compiler would call memset, which the verifier does not like.
        unsafe { core::ptr::write_volatile(words.add(place), word) };
    }
}

#[inline(always)]
fn set_index(hash: u64) -> u32 {
    hash as u32 & setting!(flow_set_mask) & (FLOW_SETS - 1)
}

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
