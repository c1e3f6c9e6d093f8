//! `cargo xtask bench`: how fast the data path is, in nanoseconds and packets.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::laboratory;
use crate::setup::Purpose;

/// Measure the data path.
#[derive(clap::Args)]
pub struct Arguments {
    /// Measure only this suite; without it, all of them.
    suite: Option<Suite>,
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Suites of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Nanoseconds per packet in the BPF program alone.
    Datapath,
    /// Packets per second through virtual interfaces, and real traffic.
    Traffic,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<()> {
    laboratory::run(Purpose::Bench, &words(arguments))
}

fn words(arguments: &Arguments) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["bench".into()];
    match arguments.suite {
        Some(Suite::Datapath) => words.push("datapath".into()),
        Some(Suite::Traffic) => words.push("traffic".into()),
        None => {}
    }
    if let Some(file) = &arguments.json {
        words.push("--json".into());
        words.push(file.into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suite_and_file_are_handed_on() {
        let arguments =
            Arguments { suite: Some(Suite::Datapath), json: Some("figures.json".into()) };
        assert_eq!(words(&arguments), ["bench", "datapath", "--json", "figures.json"]);
        assert_eq!(words(&Arguments { suite: None, json: None }), ["bench"]);
    }
}
