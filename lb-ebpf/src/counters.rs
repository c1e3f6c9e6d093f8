//! Counting: traffic of services and backends, packets by reason.

use lb_common::counters::{Reason, TrafficCounter};

use crate::maps::{BACKEND_COUNTERS, DROPS, SERVICE_COUNTERS};

/// Counts a packet that was not forwarded.
#[inline(always)]
pub fn count_reason(reason: Reason) {
    if let Some(counter) = DROPS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own copy; XDP programs are not preempted by one another.
        unsafe { *counter += 1 };
    }
}

/// Counts a forwarded packet of `bytes` bytes for its service and its backend.
#[inline(always)]
pub fn count_forwarded(service: u32, backend: u32, bytes: u32, new_flow: u32) {
    add(SERVICE_COUNTERS.get_ptr_mut(service), bytes, new_flow);
    add(BACKEND_COUNTERS.get_ptr_mut(backend), bytes, new_flow);
}

#[inline(always)]
fn add(counter: Option<*mut TrafficCounter>, bytes: u32, new_flow: u32) {
    if let Some(counter) = counter {
        // SAFETY: this CPU's own copy, as in `count_reason`.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += u64::from(bytes);
        counter.new_flows += u64::from(new_flow);
    }
}
