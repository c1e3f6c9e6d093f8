//! `cargo xtask bench`: how fast the data path is, as a table for people and JSON for programs.

mod datapath;
mod edge;
mod traffic;
mod wrapper;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Map, Value};

/// Suites, in the order they run in.
const SUITES: [(&str, Measure); 2] = [("datapath", datapath::run), ("traffic", traffic::run)];
/// Measures a suite, prints its table and returns its figures.
type Measure = fn() -> Result<Value>;
/// Load average from which figures are noisy.
const BUSY: f64 = 0.5;

/// Measures a suite (`None`: all of them), prints its figures and writes them to `json`.
///
/// # Errors
/// When there is no such suite, or it cannot be measured: it needs root and the compiled BPF objects.
pub fn run(suite: Option<String>, json: Option<PathBuf>) -> Result<()> {
    let mut suites = SUITES.to_vec();
    if let Some(suite) = &suite {
        suites.retain(|(name, _)| name == suite);
        let names = SUITES.map(|(name, _)| name).join(", ");
        ensure!(!suites.is_empty(), "there is no suite {suite}, only {names}");
    }
    warn_if_busy()?;
    stay_on_one_cpu()?;
    let mut figures = Map::new();
    for (name, measure) in suites {
        figures.insert(name.to_owned(), measure()?);
    }
    if let Some(path) = json {
        write(&path, &figures.into())?;
    }
    Ok(())
}

fn write(path: &Path, figures: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn warn_if_busy() -> Result<()> {
    let load = fs::read_to_string("/proc/loadavg").context("cannot read the load average")?;
    let last_minute: f64 = load.split(' ').next().unwrap_or_default().parse()?;
    if last_minute > BUSY {
        println!("note: the load average is {last_minute}; figures of a busy machine are noisy");
    }
    Ok(())
}

/// Keeps the calling thread on the CPU it is on: caches, per-CPU counters and flow memory stay the same.
fn stay_on_one_cpu() -> Result<()> {
    // SAFETY: takes no arguments.
    let cpu = unsafe { libc::sched_getcpu() };
    ensure!(cpu >= 0, "the kernel does not tell the CPU: {}", std::io::Error::last_os_error());
    let mut set = CpuSet::new();
    set.set(cpu as usize)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot stay on one CPU")
}

/// The middle value; NaN of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length.is_multiple_of(2) => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
        length => sorted[length / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn an_unknown_suite_is_refused() {
        let error = run(Some("nonsense".into()), None).unwrap_err();
        assert!(error.to_string().contains("datapath"), "{error}");
    }
}
