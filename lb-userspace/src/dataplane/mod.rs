//! The BPF side: loading, maps, next hops, counters.

pub mod attach;
pub mod interfaces;
pub mod load;
pub mod mmap;
pub mod neighbours;
pub mod object;
pub mod pins;
pub mod records;
pub mod tables;
