//! Names that tell whose they are: unique in this process, recognisable once it has died.

use std::{
    fmt,
    path::Path,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Prefix of everything a test creates under a system-wide name.
const PREFIX: &str = "slt";

static NEXT: AtomicU32 = AtomicU32::new(1);

/// The prefix under which one laboratory creates its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    prefix: String,
}

impl Scope {
    /// A scope no other laboratory has: `slt-<pid>-<n>`.
    pub fn unique() -> Self {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { prefix: format!("{PREFIX}-{}-{n}", process::id()) }
    }

    /// A scope with a name of its own, which outlives the process: nobody takes it for stale.
    pub fn fixed(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The full name of `thing` in this scope.
    pub fn name(&self, thing: &str) -> String {
        format!("{}-{thing}", self.prefix)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

/// A directory for the files of `what`, removed when dropped.
///
/// # Errors
/// When the system's directory for temporary files cannot be written to.
pub fn directory(what: &str) -> Result<TempDir> {
    let prefix = Scope::unique().name(what) + "-";
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir()
        .context("cannot create a temporary directory")
}

/// The process that created `name` in a unique scope; `None` for anybody else's name.
pub fn owner(name: &str) -> Option<u32> {
    let mut parts = name.split('-');
    (parts.next()? == PREFIX).then_some(())?;
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u32>().ok()?;
    Some(pid)
}

/// Whether `name` was left behind by a process that is gone.
pub fn is_stale(name: &str) -> bool {
    owner(name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn scopes_taken_in_parallel_differ() {
        let take = || (0..100).map(|_| Scope::unique().to_string()).collect::<Vec<_>>();
        let takers: Vec<_> = (0..8).map(|_| thread::spawn(take)).collect();
        let names: BTreeSet<_> =
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        assert_eq!(names.len(), 800);
    }

    #[test]
    fn only_names_of_dead_processes_are_stale() {
        assert!(!is_stale(&Scope::unique().name("client")));
        // Beyond the kernel's largest pid, 2^22.
        assert!(is_stale("slt-4194305-1-client"));
        assert!(!is_stale("sluice-client"));
        assert!(!is_stale("slt-4194305"));
        assert!(!is_stale("slt-home-1-client"));
    }
}
