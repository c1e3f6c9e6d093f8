//! A process we started: its log, its end.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::wait;

/// How long a process may take to obey SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A running process, in a process group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with standard output and error appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(std::process::Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), ended: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Calls `probe` until it succeeds.
    ///
    /// # Errors
    /// When `limit` has passed or the process has ended; its log is in the message.
    pub fn wait_ready<T>(
        &mut self,
        limit: Duration,
        mut probe: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let name = self.name.clone();
        let mut exited = None;
        let ready = wait::until(&format!("{name} to be ready"), limit, || {
            exited = self.ended();
            if exited.is_some() { Ok(None) } else { probe().map(Some) }
        });
        match ready.with_context(|| format!("{name} is not ready; its log:\n{}", self.log()))? {
            Some(value) => Ok(value),
            None => bail!(
                "{name} ended before it was ready ({}); its log:\n{}",
                exited.map(|status| status.to_string()).unwrap_or_default(),
                self.log()
            ),
        }
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended() {
            bail!("{} has ended already ({status})", self.name);
        }
        nix::sys::signal::kill(Pid::from_raw(self.child.id().cast_signed()), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGTERM)
    }

    /// Kills it, as a crash would, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.end(Signal::SIGKILL)
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        let name = self.name.clone();
        let group = Pid::from_raw(self.child.id().cast_signed());
        if self.ended().is_none() {
            killpg(group, signal).with_context(|| format!("cannot send {signal} to {name}"))?;
        }
        let ended = wait::until(&format!("{name} to end on {signal}"), GRACE, || {
            self.ended().context("it is still running")
        });
        if ended.is_err() {
            // Its children may outlive it: the group is what was ours.
            let _ = killpg(group, Signal::SIGKILL);
            self.ended = self.child.wait().ok();
        }
        ended.with_context(|| format!("its log:\n{}", self.log()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none()
            && let Err(error) = self.stop()
        {
            eprintln!("{error:#}");
        }
    }
}
