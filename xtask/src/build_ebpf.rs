//! `cargo xtask build-ebpf`: compiles lb-ebpf.

use anyhow::Result;

use crate::{ebpf, toolchain, workspace};

/// Runs the verb.
pub fn run() -> Result<()> {
    let object = ebpf::compile::compile(&toolchain::ensure()?, &workspace::ebpf_crate())?;
    println!("{}", object.display());
    Ok(())
}
