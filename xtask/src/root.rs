//! Runs single programs as root: directly, or through sudo.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::Uid;

use crate::tools;

/// Directories of system programs, which an ordinary user's `PATH` often lacks.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A command that runs `program` as root. As an ordinary user it goes through sudo, which keeps the environment; `PATH`
/// has to be handed over by name because sudo replaces it.
pub fn command(program: impl AsRef<OsStr>) -> Result<Command> {
    let program = program.as_ref();
    if Uid::effective().is_root() {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        return Ok(command);
    }
    let Some(sudo) = tools::find("sudo") else {
        bail!(
            "{} has to run as root, and there is no sudo: run this command as root, or install sudo",
            program.display()
        );
    };
    let mut command = Command::new(sudo);
    let mut path = OsString::from("PATH=");
    path.push(search_path());
    command.arg("-E").arg("env").arg(path).arg(program);
    Ok(command)
}

/// Adds a variable to a command from [`command`]; sudo's policy may drop inherited ones, so `env` sets it where it is used.
pub fn command_with(program: &OsStr, variables: &[(&str, &OsStr)]) -> Result<Command> {
    let mut command = command("env")?;
    for (name, value) in variables {
        let mut assignment = OsString::from(name);
        assignment.push("=");
        assignment.push(value);
        command.arg(assignment);
    }
    command.arg(program);
    Ok(command)
}

/// The user's `PATH`, and the directories of system programs.
pub fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    for directory in SYSTEM_DIRECTORIES.map(PathBuf::from) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    // Directories from a PATH, and ours, hold no separator, which is the only thing that joining can stumble over.
    env::join_paths(directories).unwrap_or(path)
}
