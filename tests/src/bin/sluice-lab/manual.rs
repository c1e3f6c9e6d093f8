//! `sluice-lab lab`: a laboratory that stays until it is taken down.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use sluice_tests::{
    agent, cluster::Cluster, config::Config, host::Host, netns::Netns, topology::Lab,
};

/// Start of the kept namespaces' names.
const PREFIX: &str = "sluice-lab";
/// Where the kept agents have their files and sockets, and the web servers theirs.
const DIRECTORY: &str = "/run/sluice-lab";
/// Servers in a kept laboratory.
const SERVERS: u8 = 3;
/// Where the kept agents pin their maps.
const PINS: &str = "/sys/fs/bpf/sluice-lab";

/// What to do with the laboratory.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Build the namespaces, start servers and agents, and leave them running
    Up,
    /// Stop what runs in the namespaces and remove them
    Down,
    /// Run a command on one of the laboratory's hosts
    Exec {
        /// The host: client, router, edge-1, server-1 and so on
        host: String,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

/// Does it; the exit code is the executed command's.
pub fn run(action: &Action) -> Result<ExitCode> {
    match action {
        Action::Up => up().map(|()| ExitCode::SUCCESS),
        Action::Down => down().map(|()| ExitCode::SUCCESS),
        Action::Exec { host, command } => exec(host, command),
    }
}

fn up() -> Result<()> {
    ensure!(!Path::new(DIRECTORY).exists(), "the laboratory is up already: take it down first");
    let cluster = start().inspect_err(|_| {
        if let Err(error) = down() {
            eprintln!("{error:#}");
        }
    })?;
    println!("{}", cluster.lab);
    for (forwarding, vip) in Cluster::targets() {
        println!("{forwarding:4}  {vip}");
    }
    println!(
        "\nFor example:\n  lab exec client -- curl http://{}/\n  \
         lab exec edge-1 -- sluice --socket {} services",
        Cluster::targets()[0].1,
        socket("edge-1").display()
    );
    // What is running is to outlive this process, so its guards must not be dropped.
    std::mem::forget(cluster);
    Ok(())
}

fn start() -> Result<Cluster> {
    fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot create {DIRECTORY}"))?;
    // Files in the usual place are cleared away once the process that made them is gone.
    tempfile::env::override_temp_dir(Path::new(DIRECTORY))
        .ok()
        .context("temporary files have another place already")?;
    Cluster::on(Cluster::laboratory(SERVERS).kept(PREFIX).build()?, |host: &Host, config| Config {
        socket: Some(socket(&host.name)),
        pin_directory: Some(Path::new(PINS).join(&host.name)),
        ..config
    })
}

fn down() -> Result<()> {
    Lab::remove_kept(PREFIX);
    for directory in [DIRECTORY, PINS] {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {directory}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn exec(host: &str, command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("there is no command")?;
    let ns = Netns::open(&format!("{PREFIX}-{host}"))
        .with_context(|| format!("the laboratory has no host {host}, or is not up"))?;
    let status = ns
        .command(program)
        .args(arguments)
        .env("PATH", path_with_sluice()?)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(ExitCode::from(code(status)))
}

/// The search path, with the laboratory's own `sluice` before any installed one.
fn path_with_sluice() -> Result<OsString> {
    let own = agent::binary()?.parent().map(Path::to_owned);
    let usual = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(own.into_iter().chain(env::split_paths(&usual)))?)
}

fn socket(host: &str) -> PathBuf {
    Path::new(DIRECTORY).join(host).with_extension("sock")
}

/// The exit code a shell would report.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_command_is_told_as_a_shell_tells_it() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
