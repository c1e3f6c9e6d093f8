//! `cargo xtask build`: builds the `sluice` binary, the BPF object inside.

use anyhow::Result;

use crate::artifacts;
use crate::setup::{self, Purpose};
use crate::workspace;

/// Build the `sluice` binary, the BPF object inside.
#[derive(clap::Args)]
pub struct Arguments {
    /// Optimise, as for a release.
    #[arg(long)]
    release: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(Purpose::Build)?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--package", "lb-userspace"]);
    if arguments.release {
        cargo.arg("--release");
    }
    let executables = artifacts::build(&mut cargo)?;
    println!("{}", artifacts::program(&executables, "sluice")?.display());
    Ok(())
}
