//! Runs one test binary, streams what it prints, and counts the tests that passed and failed.

use std::io::{Read, Write};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed, and binaries that ended without telling.
    pub failed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs a test binary, copies what it prints to `echo` as it comes, and returns its tally.
pub fn run(command: &mut Command, echo: &mut impl Write) -> Result<Tally> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        printed = pass_through(stdout, echo)?;
    }
    let status = child.wait().context("cannot wait for the tests")?;
    Ok(tally(&String::from_utf8_lossy(&printed), status.success()))
}

/// Copies everything as it comes, and returns it.
fn pass_through(mut from: impl Read, echo: &mut impl Write) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let length = from.read(&mut buffer).context("cannot read what the tests print")?;
        if length == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&buffer[..length]);
        echo.write_all(&buffer[..length]).and_then(|()| echo.flush()).context("cannot print")?;
    }
}

/// Counts from the summary lines. A binary that failed and yet reports no failed test died on its way: that is one failure.
fn tally(printed: &str, succeeded: bool) -> Tally {
    let mut tally = Tally::default();
    for summary in printed.lines().filter_map(parse_summary) {
        tally += summary;
    }
    if !succeeded && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// Reads `test result: ok. 9 passed; 0 failed; …`.
fn parse_summary(line: &str) -> Option<Tally> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "test result: ok. 9 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
    const FAILED: &str = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 12.00s";

    #[test]
    fn summaries_are_counted_and_other_lines_are_not() {
        let printed = format!(
            "\nrunning 9 tests\ntest a ... ok\n{PASSED}\ntest result: nonsense\n{FAILED}\n"
        );
        assert_eq!(tally(&printed, false), Tally { passed: 12, failed: 2 });
    }

    #[test]
    fn a_binary_that_dies_without_a_summary_is_a_failure() {
        assert_eq!(tally("running 9 tests\ntest a ... ", false), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn a_binary_that_fails_after_its_tests_passed_is_a_failure() {
        assert_eq!(tally(PASSED, false), Tally { passed: 9, failed: 1 });
    }

    #[test]
    fn what_a_binary_prints_and_how_it_ends_both_count() {
        let script = format!("echo '{PASSED}'; exit 3");
        let mut echo = Vec::new();
        let tally = run(Command::new("sh").args(["-c", &script]), &mut echo).unwrap();
        assert_eq!(tally, Tally { passed: 9, failed: 1 });
        assert_eq!(echo, format!("{PASSED}\n").as_bytes());
    }
}
