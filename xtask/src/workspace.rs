//! Where things lie in the checkout.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout's root directory.
pub fn root() -> PathBuf {
    // Cargo sets the variable for `cargo run`; a binary that is started by hand remembers where it was built.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(Path::to_owned).unwrap_or(package)
}

/// The crate that is compiled for BPF, a workspace of its own.
pub fn ebpf_crate() -> PathBuf {
    root().join("lb-ebpf")
}

/// The directories of the integration tests: one file per promise, and those of the agent.
pub fn promises() -> [PathBuf; 2] {
    ["tests/tests", "lb-userspace/tests"].map(|directory| root().join(directory))
}

/// The cargo that runs this process, in the checkout's root, whatever directory the user is in.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}
