//! `cargo xtask setup`: checks what is on this machine and installs what is missing.

use std::env;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::tools::{self, Tool};
use crate::{packages, root, run, toolchain, workspace};

/// Where the kernel's file system of pinned BPF objects belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// Install what building, testing and the demo need.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only what building needs.
    #[arg(long, conflicts_with_all = ["demo", "bench"])]
    build: bool,
    /// Also what the tests and the demo need (the default).
    #[arg(long)]
    demo: bool,
    /// Also what the benchmarks compare with.
    #[arg(long)]
    bench: bool,
}

/// What a verb is going to do, each needing all that the one before it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Compile.
    Build,
    /// Run the lab: tests and demo.
    Lab,
    /// Compare with others.
    Bench,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<()> {
    let purpose = match arguments {
        Arguments { bench: true, .. } => Purpose::Bench,
        Arguments { build: true, .. } => Purpose::Build,
        _ => Purpose::Lab,
    };
    ensure(purpose)?;
    match toolchain_for_people()? {
        Some(line) => println!("BPF toolchain: {line}"),
        None => println!("BPF toolchain: not needed, SLUICE_BPF_OBJECT names an object"),
    }
    if purpose >= Purpose::Lab {
        println!("programs: {}", names(&needed(purpose)).join(", "));
        println!("bpffs: mounted on {BPFFS}");
    }
    println!("everything is there");
    Ok(())
}

fn toolchain_for_people() -> Result<Option<String>> {
    if env::var_os("SLUICE_BPF_OBJECT").is_some() {
        return Ok(None);
    }
    let found = toolchain::ensure()?;
    let (rustc, linker) = (found.compiler.rustc.display(), found.linker.path.display());
    Ok(Some(format!("{rustc} and {linker}")))
}

/// Installs what is missing for this purpose; says nothing if nothing is.
pub fn ensure(purpose: Purpose) -> Result<()> {
    if env::var_os("SLUICE_BPF_OBJECT").is_none() {
        toolchain::ensure()?;
    }
    if purpose >= Purpose::Lab {
        install(&needed(purpose))?;
        mount_bpffs()?;
    }
    Ok(())
}

/// Adds rustfmt and clippy to the toolchain in use.
pub fn ensure_lints() -> Result<()> {
    for (verb, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let there = workspace::cargo().args([verb, "--version"]).output();
        if there.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let Some(rustup) = tools::find("rustup") else {
            bail!("`cargo {verb}` is missing: install {component} for the toolchain in use");
        };
        eprintln!("adding {component} to the toolchain");
        run::shown(std::process::Command::new(rustup).args(["component", "add", component]))?;
    }
    Ok(())
}

fn needed(purpose: Purpose) -> Vec<Tool> {
    let bench: &[Tool] = if purpose >= Purpose::Bench { &tools::BENCH } else { &[] };
    tools::LAB.iter().chain(bench).copied().collect()
}

fn names(tools: &[Tool]) -> Vec<&'static str> {
    tools.iter().map(|tool| tool.program).collect()
}

fn install(needed: &[Tool]) -> Result<()> {
    let missing = tools::missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    let wanted: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    if !packages::has_apt() {
        bail!("{}", without_apt(&missing));
    }
    if wanted.iter().any(|package| packages::candidate(package).is_none()) {
        packages::update()?;
    }
    packages::install(&wanted)?;
    let still = names(&tools::missing(needed));
    if !still.is_empty() {
        bail!("apt-get installed {} and still there is no {}", wanted.join(", "), still.join(", "));
    }
    Ok(())
}

fn without_apt(missing: &[Tool]) -> String {
    let packages: Vec<_> =
        missing.iter().map(|tool| format!("{} (Debian: {})", tool.program, tool.package)).collect();
    format!(
        "these programs are missing, and there is no apt here to install them: {}",
        packages.join(", ")
    )
}

/// Pinned maps and links live on bpffs, which systemd mounts and small machines often do not.
fn mount_bpffs() -> Result<()> {
    if is_bpffs_mounted(&fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?) {
        return Ok(());
    }
    eprintln!("mounting bpffs on {BPFFS}");
    run::shown(root::command("mount")?.args(["-t", "bpf", "bpf", BPFFS]))
        .context("pinned BPF maps need bpffs: is this kernel built with CONFIG_BPF_SYSCALL?")
}

fn is_bpffs_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpffs_counts_only_where_it_belongs() {
        assert!(is_bpffs_mounted("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"));
        assert!(!is_bpffs_mounted("bpf /mnt/bpf bpf rw 0 0\nsysfs /sys/fs/bpf sysfs rw 0 0\n"));
    }

    #[test]
    fn each_purpose_needs_all_that_the_one_before_it_needs() {
        let (lab, bench) = (needed(Purpose::Lab), needed(Purpose::Bench));
        assert!(lab.iter().all(|tool| bench.contains(tool)));
        assert!(bench.len() > lab.len());
    }

    #[test]
    fn without_apt_the_programs_and_their_packages_are_named() {
        let text = without_apt(&[Tool { program: "dig", package: "bind9-dnsutils" }]);
        assert!(text.contains("dig (Debian: bind9-dnsutils)"), "{text}");
    }
}
