//! The BPF side: loading, maps, next hops, counters.

pub mod attach;
pub mod load;
pub mod mmap;
pub mod object;
pub mod pins;
pub mod tables;
pub mod records;
