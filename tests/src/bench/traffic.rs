//! The suite `traffic`: packets per second through virtual interfaces.
//!
//! Everything happens on one CPU: frames leave one end of a cable, the program under test sends them back
//! from the other end, and the first end counts what comes.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use aya::programs::{Xdp, XdpMode, xdp::XdpLinkId};
use nix::net::if_::if_nametoindex;
use serde_json::{Value, json};

use super::{
    datapath::established,
    edge::{Edge, SETTLED_V4},
    median,
    wrapper::{COUNT, ENCAPSULATE, Setup, TRANSMIT, Wrapper},
};
use crate::{bpf, frame::Frame, link, netns::Netns};

/// Frames of a round.
const FRAMES: u32 = 1_000_000;
/// Rounds that count, after one to warm up.
const ROUNDS: usize = 9;
/// Distinct flows.
const FLOWS: u32 = 100_000;
/// The ends of the cable.
const NEAR: &str = "near";
const FAR: &str = "far";

/// Measures, prints a table, returns the figures.
///
/// # Errors
/// When interfaces cannot be made, or frames get lost.
pub fn run() -> Result<Value> {
    let ns = Netns::create(&format!("sluice-bench-{}", std::process::id()))?;
    let ends = [(NEAR, bpf::ROUTER), (FAR, bpf::EDGE)];
    let [near, far] = ends.map(|(interface, mac)| link::End { ns: &ns, interface, mac });
    link::cable(near, far, 1500)?;
    ns.run(inside)?
}

fn inside() -> Result<Value> {
    let mut edge = Edge::load(if_nametoindex(FAR)?)?;
    let mut wrapper = Wrapper::load()?;
    attach(wrapper.program(COUNT)?, NEAR)?;
    let frame = established(SETTLED_V4);
    let mut setup = Setup::new(&frame, FLOWS);
    let mut rates = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        for (target, rates) in [Some(TRANSMIT), Some(ENCAPSULATE), None].iter().zip(&mut rates) {
            let link = attach(program(&mut edge, &mut wrapper, *target)?, FAR)?;
            let rate = round_trip(&mut wrapper, &frame, &mut setup)?;
            program(&mut edge, &mut wrapper, *target)?.detach(link)?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let [floor, encap_floor, sluice] = rates.map(|rates| median(&rates));
    println!("{:<26}{:>8}{:>24}", "veth_mpps", "Mpps", "of the encap floor");
    for (name, rate) in [("floor", floor), ("encap_floor", encap_floor), ("sluice", sluice)] {
        println!("{name:<26}{rate:>8.2}{:>24.2}", rate / encap_floor);
    }
    Ok(json!({"veth_mpps": {"floor": floor, "encap_floor": encap_floor, "sluice": sluice}}))
}

/// The bench's own program of this name; without one, the data path.
fn program<'a>(
    edge: &'a mut Edge,
    wrapper: &'a mut Wrapper,
    own: Option<&str>,
) -> Result<&'a mut Xdp> {
    match own {
        Some(name) => wrapper.program(name),
        None => edge.program(),
    }
}

fn attach(program: &mut Xdp, interface: &str) -> Result<XdpLinkId> {
    let link = program.attach(interface, XdpMode::Driver);
    link.with_context(|| format!("cannot attach natively to {interface}"))
}

/// Sends frames there and back; returns how many million came back a second.
fn round_trip(wrapper: &mut Wrapper, frame: &Frame, setup: &mut Setup) -> Result<f64> {
    let before = wrapper.counted()?;
    let start = Instant::now();
    wrapper.generate(frame, setup, FRAMES, if_nametoindex(NEAR)?)?;
    let elapsed = start.elapsed();
    let came = wrapper.counted()? - before;
    ensure!(came > u64::from(FRAMES) / 2, "only {came} of {FRAMES} frames came back");
    Ok(came as f64 / elapsed.as_secs_f64() / 1e6)
}
