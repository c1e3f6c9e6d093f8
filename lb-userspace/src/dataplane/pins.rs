//! The pin directory: where `bpftool` and the next agent find maps and links.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// Where bpffs is mounted by convention.
const BPFFS: &str = "/sys/fs/bpf";

/// Why the pin directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It is not on bpffs, and is not below the place where we may mount one.
    #[error(
        "pinDirectory: {0} is not on a BPF file system; use a directory below {BPFFS}, or mount one there: mount -t bpf bpf {0}"
    )]
    NotBpffs(PathBuf),
    /// Mounting failed.
    #[error(
        "cannot mount the BPF file system on {BPFFS}; run as root, or mount it: mount -t bpf bpf {BPFFS}"
    )]
    Mount(#[source] io::Error),
    /// Another agent uses it.
    #[error("pinDirectory: another agent uses {0}; agents on one machine need one each")]
    InUse(PathBuf),
    /// Anything else.
    #[error("pinDirectory: cannot {what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The pin directory, locked while this value lives.
#[derive(Debug)]
pub struct PinDirectory {
    path: PathBuf,
    _lock: Flock<OwnedFd>,
}

impl PinDirectory {
    /// Creates the directory, mounting bpffs at its usual place if need be, and locks it.
    ///
    /// # Errors
    /// See [`PinError`].
    pub fn open(path: &Path) -> Result<Self, PinError> {
        if !on_bpffs(path) && path.starts_with(BPFFS) {
            mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .map_err(|error| PinError::Mount(error.into()))?;
            tracing::info!("mounted the BPF file system on {BPFFS}");
        }
        if !on_bpffs(path) {
            return Err(PinError::NotBpffs(path.into()));
        }
        let io = |what| move |source| PinError::Io { what, path: path.into(), source };
        fs::create_dir_all(path).map_err(io("create"))?;
        let directory: OwnedFd = fs::File::open(path).map_err(io("open"))?.into();
        let lock =
            Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
                if error == nix::Error::EWOULDBLOCK {
                    PinError::InUse(path.into())
                } else {
                    io("lock")(error.into())
                }
            })?;
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// Path of a pin.
    pub fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes a pin if there is one.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(&self, name: &str) -> Result<(), PinError> {
        let path = self.pin(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(PinError::Io { what: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Names of all pins.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Removes the directory itself, which must be empty by now.
    ///
    /// # Errors
    /// When it is not, or the file system refuses.
    pub fn close(self) -> Result<(), PinError> {
        fs::remove_dir(&self.path).map_err(|source| PinError::Io {
            what: "remove",
            path: self.path.clone(),
            source,
        })
    }
}

/// Is the path, or its nearest existing ancestor, on bpffs?
fn on_bpffs(path: &Path) -> bool {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    existing.is_some_and(|ancestor| {
        statfs(ancestor).is_ok_and(|status| status.filesystem_type() == BPF_FS_MAGIC)
    })
}
