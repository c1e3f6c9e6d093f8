//! Sluice's development commands: `cargo xtask VERB`. One file per verb; each sets up what it needs.

mod artifacts;
mod bench;
mod build;
mod build_ebpf;
mod ci;
mod demo;
mod ebpf;
mod lab;
mod laboratory;
mod libtest;
mod packages;
mod progress;
mod root;
mod run;
mod setup;
mod test;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Sluice's development commands. Each installs what it needs the first time and says so.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    /// Compile lb-ebpf for BPF and print where its object is.
    BuildEbpf,
    Build(build::Arguments),
    Test(test::Arguments),
    /// Run a whole cluster in network namespaces, send real traffic, and print what happened.
    Demo,
    Bench(bench::Arguments),
    Lab(lab::Arguments),
    /// Check formatting and lints, and run every test.
    Ci,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the verb; false means that it has already told what failed.
fn dispatch(arguments: Arguments) -> anyhow::Result<bool> {
    let done = match arguments.verb {
        None => Arguments::command().print_help().map_err(Into::into),
        Some(Verb::Setup(arguments)) => setup::run(&arguments),
        Some(Verb::BuildEbpf) => build_ebpf::run(),
        Some(Verb::Build(arguments)) => build::run(&arguments),
        Some(Verb::Demo) => demo::run(),
        Some(Verb::Bench(arguments)) => bench::run(&arguments),
        Some(Verb::Lab(arguments)) => lab::run(&arguments),
        Some(Verb::Test(arguments)) => return test::run(&arguments),
        Some(Verb::Ci) => return ci::run(),
    };
    done.map(|()| true)
}
