//! `sluice-lab`: the laboratory as a program, for its demo and to look around in.

mod manual;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use sluice_tests::{bench, demo};

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
    /// How fast the data path is
    Bench {
        /// Measure only this suite
        suite: Option<String>,
        /// Also write the figures to this file, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The laboratory by hand
    #[command(subcommand)]
    Lab(manual::Action),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().verb {
        Verb::Demo => demo::run().map(|()| ExitCode::SUCCESS),
        Verb::Bench { suite, json } => bench::run(suite, json).map(|()| ExitCode::SUCCESS),
        Verb::Lab(action) => manual::run(&action),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
