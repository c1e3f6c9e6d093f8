//! Loading the BPF object: sizes and settings in, maps and program out. Nothing is attached yet.

use std::{fs, io};

use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel, maps::Map};
use ipnet::IpNet;
use lb_common::{
    limits, names,
    settings::{SETTING_DECAPSULATE_ANY, SETTING_EDGE, Settings},
};

use super::{attach, object::OBJECT};

/// Why the object could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The maps or the program were refused.
    #[error("the kernel refused the BPF object; `sluice check` tells what it lacks")]
    Object(#[from] EbpfError),
    /// The verifier refused the program.
    #[error("the kernel refused the XDP program; `sluice check` tells what it lacks")]
    Program(#[from] aya::programs::ProgramError),
    /// The object is not the one this agent was built with.
    #[error("the BPF object has no {0}")]
    Missing(&'static str),
    /// A map is of another kind than this agent expects.
    #[error("map {name} of the BPF object")]
    Map {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: aya::maps::MapError,
    },
    /// An array could not be mapped into memory.
    #[error("cannot map {name} into memory")]
    Mmap {
        /// Which.
        name: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// How large to make the maps that matter, and what to compile in.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Entries of `slots`.
    pub slots: u32,
    /// Sets of `flow_memory` and `flow_tuples`, a power of two.
    pub flow_sets: u32,
    /// Read-only settings.
    pub settings: Settings,
}

impl Shape {
    /// The shape for an agent: nodes that do not balance keep the large maps small.
    pub fn new(edge: bool, decapsulate_any: bool, seed: [u64; 4]) -> Self {
        let flow_sets = if edge { limits::FLOW_SETS } else { 1024 };
        let mut flags = 0;
        if edge {
            flags |= SETTING_EDGE;
        }
        if decapsulate_any {
            flags |= SETTING_DECAPSULATE_ANY;
        }
        let settings = Settings {
            edge_seed: [seed[0], seed[1]],
            node_seed: [seed[2], seed[3]],
            flow_set_mask: flow_sets - 1,
            flags,
            ..Settings::DEFAULT
        };
        let slots = if edge { limits::MAX_SLOTS } else { 4096 };
        Self { slots, flow_sets, settings }
    }

    /// Lets outer sources vary by flow within these prefixes, at most one for each family.
    pub fn vary_source(&mut self, prefixes: &[IpNet]) {
        for prefix in prefixes {
            match prefix {
                IpNet::V4(prefix) => {
                    self.settings.source_prefix_v4 = prefix.network().octets();
                    self.settings.source_mask_v4 = prefix.hostmask().octets();
                }
                IpNet::V6(prefix) => {
                    self.settings.source_prefix_v6 = prefix.network().octets();
                    self.settings.source_mask_v6 = prefix.hostmask().octets();
                }
            }
        }
    }
}

/// Creates the maps and loads the program.
///
/// # Errors
/// See [`LoadError`]; a refusal by the verifier carries its last lines.
pub fn load(shape: &Shape) -> Result<Ebpf, LoadError> {
    let global = shape.settings;
    // The verifier's log costs far more time than verifying: only a failed load is repeated with it.
    match try_load(shape, &global, VerifierLogLevel::DISABLE) {
        Ok(ebpf) => Ok(ebpf),
        Err(_) => try_load(shape, &global, VerifierLogLevel::default()),
    }
}

fn try_load(shape: &Shape, global: &Settings, log: VerifierLogLevel) -> Result<Ebpf, LoadError> {
    let mut ebpf = EbpfLoader::new()
        .verifier_log_level(log)
        .override_global(names::GLOBAL_SETTINGS, global, true)
        .map_max_entries(names::SLOTS, shape.slots)
        .map_max_entries(names::FLOW_MEMORY, shape.flow_sets)
        .map_max_entries(names::FLOW_TUPLES, shape.flow_sets)
        .load(OBJECT)?;
    attach::program(&mut ebpf).ok_or(LoadError::Missing(names::PROGRAM_XDP))?.load()?;
    Ok(ebpf)
}

/// Takes a map out of a loaded object.
///
/// # Errors
/// [`LoadError::Missing`].
pub fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::Missing(name))
}

/// CPUs the kernel may ever bring up: per-CPU maps have an entry for each.
///
/// # Errors
/// When the kernel does not tell.
pub fn possible_cpus() -> io::Result<u32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    parse_last_cpu(&text)
        .map(|last| last + 1)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("possible CPUs: {text}")))
}

fn parse_last_cpu(list: &str) -> Option<u32> {
    list.trim().rsplit(['-', ',']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_possible_cpu_is_read_from_ranges_and_lists() {
        assert_eq!(parse_last_cpu("0\n"), Some(0));
        assert_eq!(parse_last_cpu("0-7\n"), Some(7));
        assert_eq!(parse_last_cpu("0,2-5,63\n"), Some(63));
        assert_eq!(parse_last_cpu("\n"), None);
    }
}
