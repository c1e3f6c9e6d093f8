//! Which service a packet is for: the VIP filter, and the two-choice tables read by inlined array lookups.

use lb_common::{
    address::Address,
    hash,
    service::{ServiceEntryV4, ServiceEntryV6},
    vip::VipRecord,
};

use crate::maps::{SERVICES, SERVICES_V6, VIP_FILTER, VIPS};

/// May this be a VIP? False for all but a few addresses that are none.
#[inline(always)]
pub fn filter_v4(address: u32) -> bool {
    filter(hash::filter_bit_v4(address))
}

/// May this be a VIP?
#[inline(always)]
pub fn filter_v6(address: [u64; 2]) -> bool {
    filter(hash::filter_bit_v6(address))
}

#[inline(always)]
fn filter((word, mask): (u32, u64)) -> bool {
    match VIP_FILTER.get(word) {
        Some(bits) => bits & mask != 0,
        None => false,
    }
}

/// The record of a VIP; the costly certainty behind the filter.
#[inline(always)]
pub fn vip(address: &Address) -> Option<&'static VipRecord> {
    // SAFETY: records are replaced whole; a stale copy is as good as a packet that came a moment earlier.
    unsafe { VIPS.get(address) }
}

/// Finds the IPv4 service of a destination, protocol and port (as they lie in the packet): the named port first, then the one
/// that takes every port.
#[inline(always)]
pub fn find_v4(vip: u32, port_be: u16, protocol: u8) -> Option<u32> {
    match exact_v4(vip, port_be, protocol) {
        Some(service) => Some(service),
        None => any_port_v4(vip, protocol),
    }
}

#[inline(never)]
fn any_port_v4(vip: u32, protocol: u8) -> Option<u32> {
    exact_v4(vip, 0, protocol)
}

#[inline(always)]
fn exact_v4(vip: u32, port_be: u16, protocol: u8) -> Option<u32> {
    let key = ServiceEntryV4::key(vip.to_ne_bytes(), port_be.to_ne_bytes(), protocol);
    let (first, second) = hash::service_buckets_v4(key);
    match bucket_v4(first, key) {
        Some(service) => Some(service),
        None => bucket_v4(second, key),
    }
}

#[inline(always)]
fn bucket_v4(bucket: u32, key: u64) -> Option<u32> {
    let bucket = SERVICES.get(bucket)?;
    let [a, b, c, d] = &bucket.entries;
    if key_v4(a) == key {
        return Some(a.service);
    }
    if key_v4(b) == key {
        return Some(b.service);
    }
    if key_v4(c) == key {
        return Some(c.service);
    }
    if key_v4(d) == key {
        return Some(d.service);
    }
    None
}

#[inline(always)]
fn key_v4(entry: &ServiceEntryV4) -> u64 {
    // SAFETY: the first eight bytes of an eight-byte aligned entry; read at once, as the agent writes them.
    unsafe { *core::ptr::from_ref(entry).cast::<u64>() }
}

/// Finds the IPv6 service, like [`find_v4`].
#[inline(always)]
pub fn find_v6(vip: [u64; 2], port_be: u16, protocol: u8) -> Option<u32> {
    match exact_v6(vip, ServiceEntryV6::key(port_be.to_ne_bytes(), protocol)) {
        Some(service) => Some(service),
        None => exact_v6(vip, ServiceEntryV6::key([0; 2], protocol)),
    }
}

#[inline(always)]
fn exact_v6(vip: [u64; 2], key: u32) -> Option<u32> {
    let (first, second) = hash::service_buckets_v6(vip, key);
    match bucket_v6(first, vip, key) {
        Some(service) => Some(service),
        None => bucket_v6(second, vip, key),
    }
}

#[inline(always)]
fn bucket_v6(bucket: u32, vip: [u64; 2], key: u32) -> Option<u32> {
    let bucket = SERVICES_V6.get(bucket)?;
    let [a, b] = &bucket.entries;
    if matches_v6(a, vip, key) {
        return Some(a.service);
    }
    if matches_v6(b, vip, key) {
        return Some(b.service);
    }
    None
}

#[inline(always)]
fn matches_v6(entry: &ServiceEntryV6, vip: [u64; 2], key: u32) -> bool {
    // SAFETY: an eight-byte aligned entry read as the words the agent writes.
    let [high, low, tail, _] = unsafe { *core::ptr::from_ref(entry).cast::<[u64; 4]>() };
    high == vip[0] && low == vip[1] && tail as u32 == key
}
