//! `cargo xtask test`: builds and runs the tests, all or one suite.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts::{self, Executable, Kind};
use crate::libtest::{self, Tally};
use crate::setup::{self, Purpose};
use crate::{laboratory, root, workspace};

/// Run the tests: all of them, or one suite.
#[derive(clap::Args)]
pub struct Arguments {
    /// `unit`, `packets`, `lab`, or the name of one file of tests.
    suite: Option<String>,
    /// Only tell which suites there are.
    #[arg(long)]
    list: bool,
    /// Arguments for the test binaries, after `--`: a filter, `--nocapture`, `--test-threads`.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selection {
    /// The unit tests inside libraries and programs; they run as the user.
    unit: bool,
    /// Files of promises, by name; they run as root.
    promises: Vec<String>,
}

/// Runs the verb; false if a test failed.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let files = files_of_promises()?;
    if arguments.list {
        print!("{}", list(&files));
        return Ok(true);
    }
    let tally = tally(arguments.suite.as_deref(), &arguments.rest)?;
    println!("{}", sum(tally));
    Ok(tally.failed == 0)
}

/// The line that everything ends with.
pub fn sum(tally: Tally) -> String {
    format!("{} passed, {} failed", tally.passed, tally.failed)
}

/// Builds and runs a suite, or everything, and counts. What fails does not keep the rest from running.
pub fn tally(suite: Option<&str>, rest: &[String]) -> Result<Tally> {
    let selection = select(suite, files_of_promises()?)?;
    setup::ensure(if selection.promises.is_empty() { Purpose::Build } else { Purpose::Lab })?;
    let (programs, tests) = build(&selection)?;
    if tests.is_empty() {
        bail!("there are no tests to run in this suite");
    }
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    for test in &tests {
        println!("running {}", test.path.display());
        let result = libtest::run(&mut command(test, &programs, rest)?, &mut std::io::stdout())?;
        if result.failed > 0 {
            failed.push(test.name.as_str());
        }
        tally += result;
    }
    if !failed.is_empty() {
        println!("failed in: {}", failed.join(", "));
    }
    Ok(tally)
}

/// Always the whole workspace, so that crates are built with the same features whatever is selected, and only once.
fn build(selection: &Selection) -> Result<(Vec<Executable>, Vec<Executable>)> {
    let mut programs = Vec::new();
    if !selection.promises.is_empty() {
        programs = artifacts::build(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    }
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--workspace"]);
    if selection.unit {
        cargo.args(["--lib", "--bins"]);
    }
    for name in &selection.promises {
        cargo.args(["--test", name]);
    }
    let mut tests = artifacts::build(&mut cargo)?;
    tests.retain(|made| made.is_test);
    Ok((programs, tests))
}

fn command(test: &Executable, programs: &[Executable], rest: &[String]) -> Result<Command> {
    let mut command = if test.kind == Kind::Promise {
        let threads = lab_threads(std::thread::available_parallelism().map_or(1, usize::from));
        let variables = [
            (laboratory::SLUICE_BINARY, artifacts::program(programs, "sluice")?.as_os_str()),
            ("CARGO_MANIFEST_DIR", test.package.as_os_str()),
            ("RUST_TEST_THREADS", OsStr::new(threads)),
        ];
        root::command_with(test.path.as_os_str(), &variables)?
    } else {
        let mut command = Command::new(&test.path);
        command.env("CARGO_MANIFEST_DIR", &test.package);
        command
    };
    command.current_dir(&test.package).args(rest);
    Ok(command)
}

/// Tests in the lab mostly wait for the network, so even one processor runs two at a time; many at once would only starve
/// each other's deadlines.
fn lab_threads(processors: usize) -> &'static str {
    match processors {
        0..=2 => "2",
        3 => "3",
        _ => "4",
    }
}

/// The names of the files of promises, and of the agent's own tests that need root.
fn files_of_promises() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for directory in workspace::promises() {
        names.extend(files_in(&directory)?);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn files_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", directory.display()));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            names.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
        }
    }
    Ok(names)
}

/// Which suite a file of promises belongs to.
fn suite_of(file: &str) -> &'static str {
    if file.starts_with("packets") { "packets" } else { "lab" }
}

fn select(suite: Option<&str>, files: Vec<String>) -> Result<Selection> {
    let only = |promises: Vec<String>| Selection { unit: false, promises };
    match suite {
        None => Ok(Selection { unit: true, promises: files }),
        Some("unit") => Ok(Selection { unit: true, promises: Vec::new() }),
        Some(suite @ ("packets" | "lab")) => {
            let promises: Vec<_> =
                files.into_iter().filter(|file| suite_of(file) == suite).collect();
            if promises.is_empty() {
                bail!("suite {suite} has no file in tests/tests");
            }
            Ok(only(promises))
        }
        Some(file) if files.iter().any(|known| known == file) => Ok(only(vec![file.to_owned()])),
        Some(other) => bail!("there is no suite {other}; there are:\n{}", list(&files)),
    }
}

fn list(files: &[String]) -> String {
    let mut suites = BTreeMap::from([("lab", Vec::new()), ("packets", Vec::new())]);
    for file in files {
        suites.entry(suite_of(file)).or_default().push(file.as_str());
    }
    let mut text = "unit     the tests inside the crates, without root\n".to_owned();
    for (suite, what) in [
        ("packets", "packet in, packet out, through the BPF program"),
        ("lab", "promises kept in network namespaces with real traffic"),
    ] {
        text += &format!("{suite:<8} {what}\n");
        for file in &suites[suite] {
            text += &format!("           {file}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<String> {
        ["packets_ipv4", "packets_vlan", "weights"].map(str::to_owned).to_vec()
    }

    #[test]
    fn without_a_suite_everything_runs() {
        let everything = Selection { unit: true, promises: files() };
        assert_eq!(select(None, files()).unwrap(), everything);
    }

    #[test]
    fn every_file_belongs_to_exactly_one_suite() {
        let mut promises = select(Some("packets"), files()).unwrap().promises;
        assert_eq!(promises, ["packets_ipv4", "packets_vlan"]);
        promises.extend(select(Some("lab"), files()).unwrap().promises);
        assert_eq!(promises, files());
    }

    #[test]
    fn one_file_can_be_named() {
        assert_eq!(select(Some("weights"), files()).unwrap().promises, ["weights"]);
    }

    #[test]
    fn an_unknown_suite_is_answered_with_the_list_of_them() {
        let text = select(Some("wieghts"), files()).unwrap_err().to_string();
        assert!(text.contains("no suite wieghts") && text.contains("weights"), "{text}");
    }

    #[test]
    fn a_suite_without_files_is_an_error_and_not_a_success() {
        assert!(select(Some("lab"), vec!["packets".to_owned()]).is_err());
    }

    #[test]
    fn the_sum_is_one_line() {
        assert_eq!(sum(Tally { passed: 12, failed: 0 }), "12 passed, 0 failed");
    }
}
