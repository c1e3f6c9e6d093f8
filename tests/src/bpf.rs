//! The data path alone: the compiled BPF program, run on one frame at a time by `BPF_PROG_TEST_RUN`.
//!
//! [`World`] is a data path with its maps filled; [`verdict`] has what a table of packets asks it.

mod backend;
mod service;
pub mod traffic;
pub mod verdict;
mod world;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::Xdp,
};
use lb_common::{
    counters::{Reason, TrafficCounter},
    flow::FlowSet,
    names,
    settings::Settings,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

pub use backend::Backend;
pub use service::{Service, tcp, udp};
pub use world::{EDGE, OTHER, ROUTER, SERVER, World, monotonic_ns};

use crate::frame::Frame;

/// Index of the interface frames come in through: `BPF_PROG_TEST_RUN` says the loopback device.
pub const INTERFACE: u32 = 1;

/// Ids of services and backends are smaller.
pub const IDS: u32 = 64;
/// Slots of all tables together.
pub const SLOTS: u32 = 4096;
/// Sets of flow memory for each CPU.
const FLOW_SETS: u32 = 4;
/// Largest frame that may come out.
const ROOM: usize = 16 << 10;

/// What an XDP program returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A bug: nothing returns this.
    Aborted,
    /// Gone.
    Drop,
    /// Up to the kernel.
    Pass,
    /// Out where it came in.
    Transmit,
    /// Out through another interface.
    Redirect,
}

/// What became of a frame.
#[derive(Debug)]
pub struct Outcome {
    /// Where it goes.
    pub action: Action,
    /// What it is now.
    pub frame: Frame,
    /// What it was counted as, beside forwarded traffic.
    pub reasons: Vec<Reason>,
}

/// A loaded data path with maps of its own: small ones, pinned nowhere.
pub struct Program {
    bpf: Ebpf,
}

impl Program {
    /// Loads the data path with `settings`, but for the flow memory's size, which is the maps'.
    ///
    /// The calling thread stays on one CPU from now on: the rate limiter is each CPU's own.
    ///
    /// # Errors
    /// When there is no object, or the kernel refuses it: the data path needs root.
    pub fn load(settings: Settings) -> Result<Self> {
        let settings = Settings { flow_set_mask: FLOW_SETS - 1, ..settings };
        let mut loader = EbpfLoader::new();
        loader.btf(None).override_global(names::GLOBAL_SETTINGS, &settings, true);
        let small = [names::VIPS, names::INTERFACES, names::TUNNELS, names::REDIRECT_PORTS];
        let ids = [
            names::SERVICE_RECORDS,
            names::BACKENDS,
            names::SERVICE_COUNTERS,
            names::BACKEND_COUNTERS,
        ];
        for map in small.into_iter().chain(ids) {
            loader.map_max_entries(map, IDS);
        }
        for map in [names::FLOW_MEMORY, names::FLOW_TUPLES] {
            loader.map_max_entries(map, FLOW_SETS);
        }
        loader
            .map_max_entries(names::SLOTS, SLOTS)
            .map_max_entries(names::FRAGMENTS, 1024)
            .map_max_entries(names::SOURCE_RANGES, 1024);
        let mut bpf = loader.load(object()?).context("cannot load the BPF object's maps")?;
        let program: &mut Xdp = bpf
            .program_mut(names::PROGRAM_XDP)
            .with_context(|| format!("the BPF object has no program {}", names::PROGRAM_XDP))?
            .try_into()?;
        program.load().context("the kernel does not load the data path (are you root?)")?;
        stay_on_this_cpu()?;
        Ok(Self { bpf })
    }

    /// Sends a frame through the data path.
    ///
    /// # Errors
    /// When the kernel does not run it: a frame without a whole Ethernet header, or one too large.
    pub fn run(&mut self, frame: &Frame) -> Result<Outcome> {
        let before = self.reasons()?;
        let mut out = vec![0; ROOM];
        let options = TestRunOptions {
            data_in: Some(frame.bytes()),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let program = self.bpf.program(names::PROGRAM_XDP).context("the program is gone")?;
        let result = <&Xdp>::try_from(program)?
            .test_run(options)
            .with_context(|| format!("cannot run the data path on {frame:?}"))?;
        let action = match result.return_value {
            0 => Action::Aborted,
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect,
            other => return Err(anyhow!("the data path returned {other}")),
        };
        out.truncate(result.data_size_out as usize);
        let after = self.reasons()?;
        let counted = Reason::ALL.iter().zip(before.iter().zip(&after));
        let reasons = counted
            .flat_map(|(reason, (before, after))| vec![*reason; (after - before) as usize])
            .collect();
        Ok(Outcome { action, frame: Frame(out), reasons })
    }

    /// How often each reason was counted, in their order.
    fn reasons(&self) -> Result<Vec<u64>> {
        let drops: PerCpuArray<_, u64> = self.map(names::DROPS)?.try_into()?;
        let count =
            |reason: &Reason| -> Result<u64> { Ok(drops.get(&(*reason as u32), 0)?.iter().sum()) };
        Reason::ALL.iter().map(count).collect()
    }

    /// Traffic counted for a service.
    ///
    /// # Errors
    /// For an id not below [`IDS`].
    pub fn service_traffic(&self, id: u32) -> Result<TrafficCounter> {
        self.traffic(names::SERVICE_COUNTERS, id)
    }

    /// Traffic counted for a backend.
    ///
    /// # Errors
    /// For an id not below [`IDS`].
    pub fn backend_traffic(&self, id: u32) -> Result<TrafficCounter> {
        self.traffic(names::BACKEND_COUNTERS, id)
    }

    fn traffic(&self, map: &str, id: u32) -> Result<TrafficCounter> {
        let counters: PerCpuArray<_, TrafficCounter> = self.map(map)?.try_into()?;
        let mut sum = TrafficCounter::default();
        for counter in counters.get(&id, 0)?.iter() {
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
            sum.new_flows += counter.new_flows;
        }
        Ok(sum)
    }

    /// Flow memory.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn flow_memory(&self) -> Result<Vec<FlowSet>> {
        let memory: Array<_, FlowSet> = self.map(names::FLOW_MEMORY)?.try_into()?;
        Ok(memory.iter().collect::<Result<_, _>>()?)
    }

    fn map(&self, name: &str) -> Result<&aya::maps::Map> {
        self.bpf.map(name).with_context(|| format!("the BPF object has no map {name}"))
    }

    fn map_mut(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.bpf.map_mut(name).with_context(|| format!("the BPF object has no map {name}"))
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        Ok(self.map_mut(name)?.try_into()?)
    }

    fn set<T: Pod>(&mut self, name: &str, index: u32, value: T) -> Result<()> {
        let set = self.array(name)?.set(index, value, 0);
        set.with_context(|| format!("cannot set entry {index} of {name}"))
    }

    fn insert<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) -> Result<()> {
        let mut map: HashMap<_, K, V> = self.map_mut(name)?.try_into()?;
        map.insert(key, value, 0).with_context(|| format!("cannot add an entry to {name}"))
    }
}

/// The compiled data path.
fn object() -> Result<&'static [u8]> {
    static OBJECT: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let read = OBJECT.get_or_init(|| {
        let path = env::var_os("SLUICE_BPF_OBJECT").map_or_else(
            || {
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../lb-ebpf/target/bpfel-unknown-none/release/sluice-ebpf")
            },
            PathBuf::from,
        );
        fs::read(&path).map_err(|error| {
            format!(
                "cannot read the data path's object {}: {error}; compile it with `cargo xtask build-ebpf`, or name \
                 another one in SLUICE_BPF_OBJECT",
                path.display()
            )
        })
    });
    read.as_deref().map_err(|error| anyhow!("{error}"))
}

fn stay_on_this_cpu() -> Result<()> {
    // SAFETY: takes no arguments.
    let cpu = unsafe { libc::sched_getcpu() };
    ensure!(cpu >= 0, "the kernel does not tell the CPU: {}", std::io::Error::last_os_error());
    move_to_cpu(cpu as usize)
}

/// Runs the calling thread, and so the programs it runs, on this CPU from now on.
///
/// # Errors
/// When there is no such CPU.
pub fn move_to_cpu(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}
