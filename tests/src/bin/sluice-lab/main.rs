//! `sluice-lab`: the laboratory as a program, for its demo and to look around in.

mod manual;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sluice_tests::demo;

/// Sluice in a laboratory of network namespaces.
#[derive(Debug, Parser)]
#[command(name = "sluice-lab", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A whole cluster, real traffic, and what happened to it
    Demo,
    /// The laboratory by hand
    #[command(subcommand)]
    Lab(manual::Action),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().verb {
        Verb::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Verb::Lab(action) => manual::run(&action),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
