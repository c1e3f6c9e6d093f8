//! What Sluice's BPF programs and its agent must agree on: map keys and values, capacities, and the pure functions both
//! sides compute (hashes, checksums).
//!
//! Every type that lives in a map is `#[repr(C)]`, has explicit padding and a size assertion. Fields whose name ends in
//! `_be` are in network byte order; everything else is in host order.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod backend;
pub mod checksum;
pub mod counters;
pub mod flow;
pub mod hash;
pub mod limits;
pub mod names;
pub mod service;
pub mod settings;
pub mod tunnel;
pub mod vip;

/// Fails the build when a map type changes its size by accident.
macro_rules! assert_size {
    ($type:ty, $size:literal) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
    };
}
pub(crate) use assert_size;

/// Marks plain-old-data map types for aya when the agent builds this crate.
macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            #[cfg(feature = "user")]
            // SAFETY: `#[repr(C)]`, made of integers only, without implicit padding (sizes are asserted beside the type).
            unsafe impl aya::Pod for $type {}
        )+
    };
}
pub(crate) use pod;
