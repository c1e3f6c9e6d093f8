//! The bench's own BPF programs, loaded: one frame in, nanoseconds per packet out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader, Pod, TestRun, TestRunAttrs, TestRunOptions,
    maps::{Array, PerCpuArray, ProgramArray},
    programs::Xdp,
};

use super::edge;
use crate::{bpf::Action, frame::Frame};

#[path = "../../../lb-ebpf/src/bin/bench/setup.rs"]
mod setup;

pub use setup::Setup;

// SAFETY: integers and bytes, padded explicitly.
unsafe impl Pod for Setup {}

/// Programs of the bench's object.
const WRAPPER: &str = "bench_wrapper";
const GENERATOR: &str = "bench_generate";
/// The floor: sends every packet back.
pub const TRANSMIT: &str = "bench_transmit";
/// The floor of encapsulation: writes a constant outer header.
pub const ENCAPSULATE: &str = "bench_encapsulate";
/// Counts packets and drops them.
pub const COUNT: &str = "bench_count";

/// Bytes of an Ethernet header.
const LINK: usize = 14;

impl Setup {
    /// Packets like `frame`, of so many flows.
    ///
    /// # Panics
    /// When the frame is not Ethernet with an IP packet of at least forty bytes.
    pub fn new(frame: &Frame, flows: u32) -> Self {
        let bytes = frame.bytes();
        let mut link = [0; LINK];
        link.copy_from_slice(&bytes[..LINK]);
        let ipv6 = bytes[LINK] >> 4 == 6;
        // Words of an IPv4 header: the sixth is its checksum, the eighth the low half of its source.
        let words = bytes[LINK..LINK + 20].chunks_exact(2).enumerate();
        let kept = words.filter(|(index, _)| ![5, 7].contains(index));
        let header_sum =
            kept.map(|(_, word)| u32::from(u16::from_ne_bytes([word[0], word[1]]))).sum();
        Self {
            next: 0,
            flows,
            length: bytes.len() as u32,
            header_sum,
            ipv6: ipv6.into(),
            link,
            _pad: [0; 2],
        }
    }
}

/// What a frame's last packet was turned into, and how long one took.
pub struct Run {
    /// Mean time of a packet.
    pub time: Duration,
    /// The action, as the kernel numbers them.
    pub action: u32,
    /// Bytes of the last packet.
    pub length: u32,
}

/// The loaded programs.
pub struct Wrapper {
    bpf: Ebpf,
}

impl Wrapper {
    /// Loads them.
    ///
    /// # Errors
    /// When there is no object, or the kernel refuses it: needs root.
    pub fn load() -> Result<Self> {
        let mut bpf = EbpfLoader::new().load_file(edge::object("sluice-bench-ebpf")).context(
            "cannot load the bench's maps; compile its object with `cargo xtask build-ebpf`",
        )?;
        for name in [WRAPPER, GENERATOR, TRANSMIT, ENCAPSULATE, COUNT] {
            let program = bpf.program_mut(name).with_context(|| format!("no program {name}"))?;
            <&mut Xdp>::try_from(program)?
                .load()
                .with_context(|| format!("the kernel does not load {name} (are you root?)"))?;
        }
        Ok(Self { bpf })
    }

    /// One of the bench's own programs.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.bpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Makes a program the one under test.
    ///
    /// # Errors
    /// When the wrapper cannot call it.
    pub fn test(&mut self, program: &Xdp) -> Result<()> {
        let map = self.bpf.map_mut("bench_target").context("no map of targets")?;
        let mut targets: ProgramArray<_> = map.try_into()?;
        targets.set(0, program.fd()?, 0).context("the wrapper cannot call this program")
    }

    /// Makes one of the bench's own programs the one under test.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn test_own(&mut self, name: &str) -> Result<()> {
        let fd = self.program(name)?.fd()?.try_clone()?;
        let map = self.bpf.map_mut("bench_target").context("no map of targets")?;
        let mut targets: ProgramArray<_> = map.try_into()?;
        targets.set(0, &fd, 0).context("the wrapper cannot call this program")
    }

    /// Sends `packets` packets through the program under test. `setup` goes on where it stopped.
    ///
    /// # Errors
    /// When the kernel does not run it.
    pub fn run(&mut self, frame: &Frame, setup: &mut Setup, packets: u32) -> Result<Run> {
        self.setup()?.set(0, *setup, 0)?;
        let mut out = vec![0; 2048];
        let options = TestRunOptions {
            data_in: Some(frame.bytes()),
            data_out: Some(&mut out),
            repeat: packets,
            ..TestRunOptions::default()
        };
        let result = self.program(WRAPPER)?.test_run(options).context("cannot run the wrapper")?;
        *setup = self.setup()?.get(&0, 0)?;
        Ok(Run { time: result.duration, action: result.return_value, length: result.data_size_out })
    }

    /// Sends `packets` packets out of an interface. `setup` goes on where it stopped.
    ///
    /// # Errors
    /// When the kernel does not run the generator.
    pub fn generate(
        &mut self,
        frame: &Frame,
        setup: &mut Setup,
        packets: u32,
        ifindex: u32,
    ) -> Result<()> {
        /// Packets that leave together: what a driver's NAPI budget is.
        const BATCH: u32 = 64;
        self.setup()?.set(0, *setup, 0)?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let fields = [0, frame.bytes().len() as u32, 0, ifindex, 0, 0];
        let context: Vec<u8> = fields.into_iter().flat_map(u32::to_ne_bytes).collect();
        let options = TestRunOptions {
            data_in: Some(frame.bytes()),
            ctx_in: Some(&context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        self.program(GENERATOR)?.test_run(options).context("cannot run the generator")?;
        *setup = self.setup()?.get(&0, 0)?;
        Ok(())
    }

    /// Packets that [`COUNT`] has counted.
    ///
    /// # Errors
    /// When the counter cannot be read.
    pub fn counted(&self) -> Result<u64> {
        let map = self.bpf.map("bench_frames").context("no map of frames")?;
        let frames: PerCpuArray<_, u64> = map.try_into()?;
        Ok(frames.get(&0, 0)?.iter().sum())
    }

    fn setup(&mut self) -> Result<Array<&mut aya::maps::MapData, Setup>> {
        Ok(self.bpf.map_mut("bench_setup").context("no map of the setup")?.try_into()?)
    }
}

/// What a measured program has to do, or the figure means nothing.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The action of every packet.
    pub action: Action,
    /// Bytes by which it grows.
    pub growth: u32,
}

impl Expected {
    /// Compares with what was done.
    ///
    /// # Errors
    /// When it was something else.
    pub fn check(&self, run: &Run, setup: &Setup) -> Result<()> {
        let action = match self.action {
            Action::Aborted => 0,
            Action::Drop => 1,
            Action::Pass => 2,
            Action::Transmit => 3,
            Action::Redirect => 4,
        };
        ensure!(run.action == action, "{:?} expected, not action {}", self.action, run.action);
        let length = setup.length + self.growth;
        ensure!(run.length == length, "{length} bytes expected, not {}", run.length);
        Ok(())
    }
}
