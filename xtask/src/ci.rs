//! `cargo xtask ci`: formatting, lints and every test, as they have to be before a change is merged.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::libtest::Tally;
use crate::progress::Steps;
use crate::setup::{self, Purpose};
use crate::{run, test, workspace};

/// Runs the verb; false if a step failed. A failed step does not keep the later ones from running.
pub fn run() -> Result<bool> {
    let mut steps = Steps::new(6);
    steps.step("set up", || {
        setup::ensure_lints()?;
        setup::ensure(Purpose::Lab)
    })?;
    let lints: [(&str, Command); 4] = [
        ("formatting of the workspace", cargo(&["fmt", "--all", "--check"])),
        ("formatting of lb-ebpf", ebpf(&["fmt", "--check"], &[])),
        (
            "clippy on the workspace",
            cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ),
        // Checked for the host: the compiler for BPF comes without clippy. A target directory of its own, because the
        // workspace's build compiles lb-ebpf for BPF, with another compiler, into this one.
        (
            "clippy on lb-ebpf",
            ebpf(&["clippy", "--target-dir", "target/lint"], &["-D", "warnings"]),
        ),
    ];
    let mut failed = Vec::new();
    for (name, mut lint) in lints {
        if steps.step(name, || run::shown(&mut lint)).is_err() {
            failed.push(name);
        }
    }
    // Stays a failure if the tests cannot even be built.
    let mut tally = Tally { passed: 0, failed: 1 };
    let tests = steps.step("tests", || {
        tally = test::tally(None, &[])?;
        ensure!(tally.failed == 0, "{} failed", tally.failed);
        Ok(())
    });
    if tests.is_err() {
        failed.push("tests");
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!("{}", test::sum(tally));
    Ok(failed.is_empty())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(arguments);
    cargo
}

/// The same for lb-ebpf, which is a workspace of its own; what comes after `--` goes to the lint.
fn ebpf(arguments: &[&str], lint: &[&str]) -> Command {
    let mut cargo = cargo(arguments);
    cargo.current_dir(workspace::ebpf_crate());
    if !lint.is_empty() {
        cargo.arg("--").args(lint);
    }
    cargo
}
