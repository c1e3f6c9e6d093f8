//! The compiled BPF object, embedded by the build script.

/// ELF file for `bpfel`, aligned as the parser wants it.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice.bpf.o"));
