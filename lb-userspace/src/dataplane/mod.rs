//! The BPF side: loading, maps, next hops, counters.

pub mod interfaces;
pub mod neighbours;
