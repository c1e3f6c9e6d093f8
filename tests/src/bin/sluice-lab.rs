//! `sluice-lab`: the demo and the laboratory by hand. `cargo xtask` builds it and runs it as root.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use sluice_tests::{
    addresses::{vip4, vip6},
    demo,
    netns::Netns,
    topology::Lab,
};

/// Prefix of the names of a kept laboratory.
const KEPT: &str = "sluice-lab";

#[derive(Parser)]
#[command(name = "sluice-lab", about = "Sluice's demo and laboratory; run it through cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a VIP being balanced.
    Demo,
    /// A laboratory that stays.
    Lab {
        #[command(subcommand)]
        action: Action,
    },
}

#[derive(Subcommand)]
enum Action {
    /// Build the namespaces and leave them.
    Up,
    /// Remove them with the processes inside.
    Down,
    /// Run a command on a host.
    Exec {
        /// The host, such as client, router, edge-1, server-1.
        host: String,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo => demo::run(),
        Command::Lab { action: Action::Up } => up(),
        Command::Lab { action: Action::Down } => {
            Lab::remove_kept(KEPT);
            Ok(())
        }
        Command::Lab { action: Action::Exec { host, command } } => exec(&host, &command),
    }
}

fn up() -> Result<()> {
    let lab = Lab::builder()
        .servers(3)
        .vips([vip4(0), vip6(0)])
        .kept(KEPT)
        .build()
        .context("cannot build it; if one is left from before: cargo xtask lab down")?;
    print!("{lab}");
    println!("\ncargo xtask lab exec HOST -- COMMAND    cargo xtask lab down");
    Ok(())
}

fn exec(host: &str, command: &[OsString]) -> Result<()> {
    let ns = Netns::open(&format!("{KEPT}-{host}"))
        .with_context(|| format!("no host {host} here; cargo xtask lab up lists them"))?;
    let (program, arguments) = command.split_first().context("no command")?;
    let status = ns.command(program).args(arguments).status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}
