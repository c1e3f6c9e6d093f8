//! Compiles lb-ebpf with a nested cargo that knows nothing of the build around it.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Compiler, Origin, Toolchain};

/// The BPF target that lb-ebpf is compiled for.
const TARGET: &str = "bpfel-unknown-none";

/// Why lb-ebpf was not compiled.
#[derive(Debug)]
pub enum CompileError {
    /// There is no lb-ebpf where it should be.
    NoSource {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be entered.
        source: io::Error,
    },
    /// Cargo did not start.
    Start {
        /// The program that was to be run.
        program: PathBuf,
        /// Why it did not start.
        source: io::Error,
    },
    /// Cargo ran and failed; what it said is on standard error.
    Failed {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The compiler that was used.
        rustc: PathBuf,
    },
    /// Cargo succeeded and left no object.
    NoObject(PathBuf),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource { path, source } => {
                write!(f, "cannot enter {} ({source}): is this a whole checkout?", path.display())
            }
            Self::Start { program, source } => {
                write!(f, "cannot run {}: {source}", program.display())
            }
            Self::Failed { status, rustc } => {
                write!(
                    f,
                    "lb-ebpf does not compile with {} ({status}): see the messages above",
                    rustc.display()
                )
            }
            Self::NoObject(path) => {
                write!(f, "compiling lb-ebpf left no object at {}", path.display())
            }
        }
    }
}

impl std::error::Error for CompileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoSource { source, .. } | Self::Start { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Compiles the crate in `crate_directory` and returns the path of its object. Cargo's output streams to this process's own.
pub fn compile(toolchain: &Toolchain, crate_directory: &Path) -> Result<PathBuf, CompileError> {
    // Cargo runs inside the directory: a relative path would mean another place there.
    let crate_directory = fs::canonicalize(crate_directory)
        .map_err(|source| CompileError::NoSource { path: crate_directory.to_owned(), source })?;
    // A target directory of its own: cargo holds a lock on the outer one while build scripts run.
    let target_directory = crate_directory.join("target");
    let program = cargo_for(&toolchain.compiler);
    let mut cargo = Command::new(&program);
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_the_outer_build(name)) {
        cargo.env_remove(name);
    }
    let flags = [
        // Line information and types, which become BTF.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", toolchain.linker.path.display()),
    ];
    let status = cargo
        .current_dir(&crate_directory)
        .env("RUSTC", &toolchain.compiler.rustc)
        // Building core is an unstable feature; the distribution's compiler is a stable one.
        .env("RUSTC_BOOTSTRAP", "1")
        // Empty wins over wrappers that a configuration file names.
        .env("RUSTC_WRAPPER", "")
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args(["build", "--release", "-Zbuild-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target_directory)
        .status()
        .map_err(|source| CompileError::Start { program, source })?;
    if !status.success() {
        return Err(CompileError::Failed { status, rustc: toolchain.compiler.rustc.clone() });
    }
    let object = target_directory.join(TARGET).join("release").join("sluice-ebpf");
    if object.is_file() { Ok(object) } else { Err(CompileError::NoObject(object)) }
}

/// The cargo that goes with a compiler: a nightly's own; otherwise the one that runs this process.
fn cargo_for(compiler: &Compiler) -> PathBuf {
    let sibling = compiler.rustc.with_file_name("cargo");
    if compiler.origin == Origin::Nightly && sibling.is_file() {
        return sibling;
    }
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Whether an environment variable configures the build that runs us and would lead the nested one astray.
fn is_of_the_outer_build(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    // How to reach crates is the machine's business, not this build's.
    let of_the_machine = name == "CARGO_HOME"
        || [
            "CARGO_NET_",
            "CARGO_HTTP_",
            "CARGO_REGISTRIES_",
            "CARGO_REGISTRY_",
            "CARGO_SOURCE_",
            "CARGO_TERM_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let of_a_build = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_", "DEP_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || [
            "RUSTUP_TOOLCHAIN",
            "OUT_DIR",
            "TARGET",
            "HOST",
            "PROFILE",
            "OPT_LEVEL",
            "DEBUG",
            "NUM_JOBS",
            "MAKEFLAGS",
        ]
        .contains(&name);
    of_a_build && !of_the_machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_builds_settings_are_kept_from_the_nested_one_and_the_machines_are_not() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_TARGET_DIR",
            "RUSTUP_TOOLCHAIN",
            "CLIPPY_ARGS",
        ] {
            assert!(is_of_the_outer_build(OsStr::new(name)), "{name}");
        }
        for name in
            ["CARGO_HOME", "CARGO_HTTP_PROXY", "CARGO_NET_OFFLINE", "PATH", "HOME", "RUSTUP_HOME"]
        {
            assert!(!is_of_the_outer_build(OsStr::new(name)), "{name}");
        }
    }
}
