//! Clears away what runs left behind that were killed before they could clean up.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Once,
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{agent, names, netns};

/// Removes namespaces, pinned maps and temporary files of dead test processes, and ends the processes still in
/// those namespaces. Does so once in a process, however often it is called.
pub fn clear_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        remove_namespaces(names::is_stale);
        let is_stale_pin =
            |name: &str| name.strip_prefix(agent::PIN_PREFIX).is_some_and(names::is_stale);
        remove_directories(Path::new(agent::PIN_ROOT), is_stale_pin);
        remove_directories(&env::temp_dir(), names::is_stale);
    });
}

/// Removes every namespace whose name is `wanted`, and ends the processes inside. For a laboratory
/// that was kept beyond its process.
pub fn remove_namespaces(wanted: impl Fn(&str) -> bool) {
    for name in entries(netns::DIRECTORY).filter(|name| wanted(name)) {
        for pid in processes_inside(&name).unwrap_or_default() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = netns::remove(&name);
    }
}

fn remove_directories(parent: &Path, wanted: impl Fn(&str) -> bool) {
    for name in entries(parent).filter(|name| wanted(name)) {
        // Another run may be clearing too: what is gone already is no failure.
        let _ = fs::remove_dir_all(parent.join(name));
    }
}

/// Every process whose network namespace is the one called `name`.
fn processes_inside(name: &str) -> Result<Vec<Pid>> {
    let identity = |path: PathBuf| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    let wanted = identity(Path::new(netns::DIRECTORY).join(name))?;
    let pids = entries("/proc").filter_map(|entry| entry.parse::<i32>().ok());
    Ok(pids
        .filter(|pid| {
            // A process that has just ended has no namespace to compare.
            identity(format!("/proc/{pid}/ns/net").into()).is_ok_and(|found| found == wanted)
        })
        .map(Pid::from_raw)
        .collect())
}

/// Names in a directory; none if it does not exist.
fn entries(directory: impl AsRef<Path>) -> impl Iterator<Item = String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}
