//! Network namespaces as guards: created, entered, removed.
//!
//! Only the *network* namespace is entered. `ip netns exec` would also mount a fresh `/sys`, and
//! with it hide `/sys/fs/bpf`.

use std::{
    any::Any,
    ffi::OsStr,
    fmt,
    fs::{self, File},
    os::{fd::AsFd, unix::process::CommandExt},
    panic,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// Where iproute2 keeps named namespaces, so that `ip netns` shows ours too.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// A named network namespace. The last clone that is dropped removes it.
#[derive(Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    handle: File,
    removed_on_drop: bool,
}

impl Netns {
    /// Creates a namespace with `lo` up.
    ///
    /// # Errors
    /// When the name is taken, or the caller may not create namespaces.
    pub fn create(name: &str) -> Result<Self> {
        Self::create_named(name, true).with_context(|| format!("cannot create namespace {name}"))
    }

    /// As [`Self::create`], but the namespace stays when the guard is dropped.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_kept(name: &str) -> Result<Self> {
        Self::create_named(name, false).with_context(|| format!("cannot create namespace {name}"))
    }

    /// Opens a namespace somebody else created and will remove.
    ///
    /// # Errors
    /// When there is no such namespace.
    pub fn open(name: &str) -> Result<Self> {
        let handle = File::open(Path::new(DIRECTORY).join(name))
            .with_context(|| format!("there is no namespace {name}"))?;
        let inner = Inner { name: name.to_owned(), handle, removed_on_drop: false };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn create_named(name: &str, removed_on_drop: bool) -> Result<Self> {
        fs::create_dir_all(DIRECTORY)?;
        let path = Path::new(DIRECTORY).join(name);
        File::create_new(&path)?;
        let mounted = on_own_thread(|| -> Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let none: Option<&str> = None;
            mount(Some("/proc/thread-self/ns/net"), &path, none, MsFlags::MS_BIND, none)?;
            Ok(())
        });
        if let Err(error) = mounted {
            fs::remove_file(&path)?;
            return Err(error);
        }
        let inner = Inner { name: name.to_owned(), handle: File::open(&path)?, removed_on_drop };
        let ns = Self { inner: Arc::new(inner) };
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its path, for tools that take one.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(self.name())
    }

    /// Runs `task` on a thread inside the namespace. Sockets it opens stay inside, wherever they
    /// are used later. A panic of the task is passed on.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> Result<T> {
        on_own_thread(|| {
            self.enter()?;
            Ok(task())
        })
    }

    /// Moves the calling thread into the namespace, for good. For threads of one's own.
    ///
    /// # Errors
    /// When the caller lacks the privilege.
    pub fn enter(&self) -> Result<()> {
        setns(self.inner.handle.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter namespace {}", self.name()))
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let inner = Arc::clone(&self.inner);
        let enter = move || {
            setns(inner.handle.as_fd(), CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)
        };
        // SAFETY: between fork and exec `enter` makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs a command inside to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started or fails; its standard error is in the message.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {program}: is it installed?"))?;
        ensure!(
            output.status.success(),
            "in {}: `{program} {}` failed ({}): {}",
            self.name(),
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `ip` inside, its arguments as on a command line.
    ///
    /// # Errors
    /// As [`Self::output`].
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.output("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Sets a sysctl inside, by its path below `/proc/sys`: `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, key: &str, value: impl fmt::Display) -> Result<()> {
        self.sysctls(&[(key, &value.to_string())])
    }

    /// Sets several sysctls, in order.
    ///
    /// # Errors
    /// As [`Self::sysctl`].
    pub fn sysctls(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            settings.iter().try_for_each(|(key, value)| {
                fs::write(Path::new("/proc/sys").join(key), value)
                    .with_context(|| format!("in {}: cannot set {key} to {value}", self.name()))
            })
        })?
    }
}

impl fmt::Debug for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Netns({})", self.name())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.removed_on_drop
            && let Err(error) = remove(&self.name)
        {
            eprintln!("{error:#}");
        }
    }
}

/// Removes the name of a namespace; the namespace goes with the last process or socket inside.
pub(crate) fn remove(name: &str) -> Result<()> {
    let path = Path::new(DIRECTORY).join(name);
    // A name whose mount failed is a plain file: only the file is to go then.
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    fs::remove_file(&path).with_context(|| format!("cannot remove namespace {name}"))
}

/// Namespaces belong to threads: what leaves the current one does so on a thread of its own.
fn on_own_thread<T: Send>(task: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name(thread::current().name().unwrap_or("netns").to_owned())
            .spawn_scoped(scope, task)
            .map_err(|error| anyhow!("cannot start a thread: {error}"))?;
        thread.join().unwrap_or_else(|panicked: Box<dyn Any + Send>| panic::resume_unwind(panicked))
    })
}
