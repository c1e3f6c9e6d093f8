//! The command line.

mod agent;
mod args;
mod check;
mod flow;
pub mod keygen;
mod read;
mod render;
mod render_explain;
mod render_rows;
mod render_status;
#[cfg(test)]
mod render_tests;
pub mod validate;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, error::ErrorKind};

pub use args::AgentArgs;
use args::{Access, Cli, Command};
use read::Question;

/// Runs the command this process was started with. Exit status: 0 success, 1 failure, 2 bad usage.
pub fn run() -> ExitCode {
    let Cli { access, command } = Cli::parse();
    if access != Access::default() && command.access().is_none() {
        return bad_usage("--socket and --output are for the commands that ask an agent");
    }
    match command {
        Command::Agent(args) => agent::run(&args),
        Command::Validate { file } => validate::run(&file),
        Command::Check => check::run(),
        Command::Keygen => match keygen::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&format_args!("{error:#}")),
        },
        Command::Status(own) => read::run(&Question::Status, &own.or(access)),
        Command::Vips(own) => read::run(&Question::Vips, &own.or(access)),
        Command::Services(own) => read::run(&Question::Services, &own.or(access)),
        Command::Backends(own) => read::run(&Question::Backends, &own.or(access)),
        Command::Flows(own) => read::run(&Question::Flows, &own.or(access)),
        Command::Drops(own) => read::run(&Question::Drops, &own.or(access)),
        Command::Explain { client, destination, access: own } => {
            match flow::request(client, destination) {
                Ok(request) => read::run(&Question::Explain(request), &own.or(access)),
                Err(error) => bad_usage(error),
            }
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut script);
            print(&script)
        }
        Command::Version => print(concat!("sluice ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()),
    }
}

/// Says what is wrong with the command line, as clap does.
fn bad_usage(why: impl ToString) -> ExitCode {
    let error = Cli::command().error(ErrorKind::ArgumentConflict, why.to_string());
    // Nothing can be done about a standard error that is closed.
    let _ = error.print();
    ExitCode::from(2)
}

/// Says why the command failed.
fn failure(why: &dyn std::fmt::Display) -> ExitCode {
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(io::stderr(), "sluice: {why}");
    ExitCode::FAILURE
}

/// Writes to standard output. A reader that has seen enough (`sluice flows | head`) is no failure.
fn print(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failure(&format_args!("cannot write the answer: {error}")),
    }
}
