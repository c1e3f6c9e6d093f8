//! Builds the program `sluice-lab`, which holds the demo, the benchmarks and the lab by hand, and runs it as root.
//!
//! A program of its own, because what it is made of needs a BPF toolchain to compile and xtask must run without one.

use std::ffi::OsString;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{artifacts, root, run, workspace};

/// The variable that tells the laboratory and the tests which `sluice` they are about.
pub const SLUICE_BINARY: &str = "SLUICE_BINARY";

/// Sets up, builds and runs `sluice-lab` with these arguments, in the user's directory.
pub fn run(purpose: Purpose, arguments: &[OsString]) -> Result<()> {
    setup::ensure(purpose)?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--workspace", "--bins"]);
    if purpose == Purpose::Bench {
        cargo.arg("--release");
    }
    let executables = artifacts::build(&mut cargo)?;
    let laboratory = artifacts::program(&executables, "sluice-lab")?;
    let sluice = artifacts::program(&executables, "sluice")?;
    let variables = [(SLUICE_BINARY, sluice.as_os_str())];
    run::quiet(root::command_with(laboratory.as_os_str(), &variables)?.args(arguments))
}
