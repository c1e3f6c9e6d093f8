//! Compiles lb-ebpf and hands its object to the crate as `$OUT_DIR/sluice.bpf.o`.
//!
//! `SLUICE_BPF_OBJECT` names an object that is already compiled, for machines without the tools.

#[path = "../xtask/src/ebpf.rs"]
#[expect(dead_code, reason = "xtask uses all of it")]
mod ebpf;

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the object is made of, seen from the workspace's root.
const INPUTS: [&str; 7] = [
    "lb-ebpf/src",
    "lb-ebpf/Cargo.toml",
    "lb-ebpf/Cargo.lock",
    "lb-common/src",
    "lb-common/Cargo.toml",
    "xtask/src/ebpf.rs",
    "xtask/src/ebpf",
];

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=SLUICE_BPF_OBJECT");
    let destination = variable("OUT_DIR")?.join("sluice.bpf.o");
    let object = match env::var_os("SLUICE_BPF_OBJECT") {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            PathBuf::from(object)
        }
        None => compile(&variable("CARGO_MANIFEST_DIR")?.join(".."))?,
    };
    fs::copy(&object, &destination).map_err(|error| {
        format!("cannot copy {} to {}: {error}", object.display(), destination.display())
    })?;
    Ok(())
}

fn compile(workspace: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let toolchain = ebpf::look::look().choose()?;
    let object = ebpf::compile::compile(&toolchain, &workspace.join("lb-ebpf"))?;
    // After compiling, because cargo may just have written the lock file, and a path that does not exist is always changed.
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    Ok(object)
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set: this is a build script, run by cargo"))
}
