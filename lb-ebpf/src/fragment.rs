//! Fragments follow their first fragment, which alone carries the ports.

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use lb_common::{
    counters::Reason,
    flow::{FragmentKey, FragmentRecord, ticks},
};

use crate::{
    maps::{FRAGMENTS, SERVICE_RECORDS},
    parse::Ip,
    select::{Choice, Family},
    verdict::{Stage, Verdict},
};

/// In place of a service id: the packet is an echo request, whose fragments are answered.
pub const ECHO: u32 = u32::MAX;

/// Fragments that come later than this after the first one are not reassembled by anybody: 60 s (RFC 8200, section 4.5) in ticks.
const LIFETIME_TICKS: u32 = 56;

/// Remembers what the first fragment was matched to.
#[inline(never)]
pub fn remember<A: Family>(source: A, destination: A, ip: &Ip, service: u32, backend: u32) -> u32 {
    let record = FragmentRecord { service, backend, seen: now(), _pad: 0 };
    let _full = FRAGMENTS.insert(&key(source, destination, ip), &record, 0);
    0
}

/// What the first fragment of this packet was matched to.
#[inline(always)]
pub fn recall<A: Family>(source: A, destination: A, ip: &Ip) -> Stage<Choice> {
    let found = find(&source, &destination, ip);
    if found == UNKNOWN {
        return Err(Verdict::Drop(Reason::FragmentWithoutFirst));
    }
    let (service, backend) = ((found >> 32) as u32, found as u32);
    let service_flags = match SERVICE_RECORDS.get(service) {
        Some(record) => record.flags,
        None => 0,
    };
    Ok(Choice { service, backend, service_flags, hash: u64::from(ip.identification), new_flow: 0 })
}

/// No service and backend are these.
const UNKNOWN: u64 = u64::MAX;

/// Service in the high, backend in the low half, or [`UNKNOWN`]. Not inlined, for the key's room on the stack.
#[inline(never)]
fn find<A: Family>(source: &A, destination: &A, ip: &Ip) -> u64 {
    // SAFETY: the value is copied out at once.
    match unsafe { FRAGMENTS.get(&key(*source, *destination, ip)) } {
        Some(&FragmentRecord { service, backend, seen, .. })
            if now().wrapping_sub(seen) <= LIFETIME_TICKS =>
        {
            u64::from(service) << 32 | u64::from(backend)
        }
        _ => UNKNOWN,
    }
}

/// Is this a fragment of an echo request?
#[inline(always)]
pub fn of_echo<A: Family>(source: A, destination: A, ip: &Ip) -> Stage<()> {
    if recall(source, destination, ip)?.service == ECHO {
        Ok(())
    } else {
        Err(Verdict::Drop(Reason::FragmentWithoutFirst))
    }
}

#[inline(always)]
fn key<A: Family>(source: A, destination: A, ip: &Ip) -> FragmentKey {
    FragmentKey {
        source: source.address(),
        destination: destination.address(),
        identification: ip.identification,
        protocol: ip.protocol,
        _pad: [0; 3],
    }
}

#[inline(always)]
fn now() -> u32 {
    // SAFETY: a helper without arguments.
    ticks(unsafe { bpf_ktime_get_coarse_ns() })
}
