//! `sluice agent`: runs the agent until it is told to stop.

use std::process::ExitCode;

use super::{AgentArgs, failure};
use crate::{agent, telemetry::logs};

/// Runs the agent in the foreground. Returns 0 after a clean shutdown, else 1.
pub(super) fn run(args: &AgentArgs) -> ExitCode {
    if let Err(error) = logs::init(args.log_format) {
        return failure(&error);
    }
    match agent::run(&args.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&format_args!("{error:#}")),
    }
}
