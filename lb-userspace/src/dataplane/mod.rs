//! The BPF side: loading, maps, next hops, counters.
