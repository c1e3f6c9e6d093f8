//! The real `sluice agent`, run in a namespace with a configuration of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    sync::Mutex,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        signal::Signal,
        statfs::{BPF_FS_MAGIC, statfs},
    },
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    config::Config,
    names::{self, Scope},
    netns::Netns,
    process::Process,
    wait,
};

/// The BPF file system.
pub(crate) const PIN_ROOT: &str = "/sys/fs/bpf";
/// Start of every agent's pin directory, before its scope.
pub(crate) const PIN_PREFIX: &str = "sluice-test-";
/// How long an agent may take to start, or to follow its file.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent. Dropping it stops it and removes what it pinned.
#[derive(Debug)]
pub struct Agent {
    ns: Netns,
    binary: PathBuf,
    config: Config,
    directory: TempDir,
    pins: PathBuf,
    process: Process,
    applied: SystemTime,
}

impl Agent {
    /// Starts an agent in `ns` and waits until it has applied its configuration. Its socket and pin
    /// directory are its own unless `config` names them.
    ///
    /// # Errors
    /// When there is no binary, or the agent does not get ready; its log is in the message.
    pub fn start(ns: &Netns, mut config: Config) -> Result<Self> {
        mount_bpffs()?;
        let binary = binary()?;
        let directory = names::directory("agent")?;
        let pins = config.pin_directory.get_or_insert_with(|| {
            Path::new(PIN_ROOT).join(format!("{PIN_PREFIX}{}", Scope::unique()))
        });
        let pins = pins.clone();
        config.socket.get_or_insert_with(|| directory.path().join("sluice.sock"));
        write_config(directory.path(), &config.to_yaml()?)?;
        let process = launch(&binary, ns, directory.path())?;
        let mut agent =
            Self { ns: ns.clone(), binary, config, directory, pins, process, applied: UNIX_EPOCH };
        agent.wait_ready()?;
        Ok(agent)
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], with the same file, socket and pins.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.ended().is_some(), "the agent still runs");
        self.process = launch(&self.binary, &self.ns, self.directory.path())?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let Self { ns, binary, config, process, .. } = self;
        process.wait_ready(PATIENCE, || {
            let status = parse(&run(binary, ns, config, &["status", "-o", "json"])?)?;
            let applied = &status["source"]["lastApplied"];
            ensure!(!applied.is_null(), "nothing applied yet: {status}");
            Ok(())
        })?;
        self.applied = SystemTime::now();
        Ok(())
    }

    /// What it was last told to do.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where it pins its maps.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Its socket.
    ///
    /// # Errors
    /// Never for a started agent.
    pub fn socket(&self) -> Result<&Path> {
        self.config.socket.as_deref().context("the agent has no socket")
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        config_file(self.directory.path())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Rewrites the file and waits until the agent follows.
    ///
    /// # Errors
    /// When the agent refuses the file or does not notice it.
    pub fn apply(&mut self, mut config: Config) -> Result<()> {
        config.pin_directory = self.config.pin_directory.clone();
        config.socket = self.config.socket.clone();
        // The moment of the last application is told in seconds: two in one second look like one.
        wait::until_true("the next second", PATIENCE, || {
            seconds(SystemTime::now()) > seconds(self.applied)
        })?;
        let before = self.source()?["lastApplied"].clone();
        self.write_file(&config.to_yaml()?)?;
        self.config = config;
        wait::until("the agent to apply its new file", PATIENCE, || {
            let source = self.source()?;
            ensure!(source["lastApplied"] != before, "not applied: {source}");
            Ok(())
        })
        .with_context(|| format!("the agent's log:\n{}", self.log()))?;
        self.applied = SystemTime::now();
        Ok(())
    }

    /// Replaces the file's text, valid or not, in one step, and returns at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_file(&self, text: &str) -> Result<()> {
        write_config(self.directory.path(), text)
    }

    /// Runs a command against it and returns what came out, however it ended.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        run(&self.binary, &self.ns, &self.config, arguments)
    }

    /// Runs a command with `-o json`.
    ///
    /// # Errors
    /// When it fails or does not print JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        parse(&self.command(&[arguments, &["-o", "json"]].concat())?)
            .with_context(|| format!("sluice {}", arguments.join(" ")))
    }

    /// The list a read command prints, `services` or `drops`.
    ///
    /// # Errors
    /// When the command fails or prints no list of that name.
    pub fn list(&self, command: &str) -> Result<Vec<Value>> {
        match self.json(&[command])?[command].take() {
            Value::Array(items) => Ok(items),
            other => bail!("sluice {command} printed no list {command}: {other}"),
        }
    }

    /// Its status's `source`: state, lastApplied, errors.
    fn source(&self) -> Result<Value> {
        Ok(self.json(&["status"])?["source"].take())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Asks it to end, waits until it has, and says how it ended.
    ///
    /// # Errors
    /// When it does not obey.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop()
    }

    /// Kills it as a crash would. What it pinned stays.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }

    /// Takes off what the agent left: pinned maps and links, programs attached without a link.
    fn detach(&self) -> Result<()> {
        if self.pins.exists() {
            fs::remove_dir_all(&self.pins)
                .with_context(|| format!("cannot unpin {}", self.pins.display()))?;
        }
        for interface in &self.config.interfaces {
            // An interface that is gone needs no detaching.
            let _ = self.ns.ip(&format!("link set dev {interface} xdp off"));
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let ended = match self.process.ended() {
            None => self.process.stop().map(drop),
            Some(_) => Ok(()),
        };
        for error in [ended, self.detach()].into_iter().filter_map(Result::err) {
            eprintln!("{error:#}");
        }
        if thread::panicking() {
            eprintln!("log of the agent in {}:\n{}", self.ns.name(), self.log());
        }
    }
}

/// The `sluice` to test: `SLUICE_BINARY`, or the one built beside this executable.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SLUICE_BINARY") {
        return Ok(path.into());
    }
    let this = env::current_exe()?;
    let beside = this.ancestors().skip(1).take(2).map(|directory| directory.join("sluice"));
    let other_profiles =
        this.ancestors().nth(3).into_iter().flat_map(|target| {
            ["release", "debug"].map(|profile| target.join(profile).join("sluice"))
        });
    beside
        .chain(other_profiles)
        .find(|path| path.is_file())
        .context("there is no sluice to test: build it (`cargo build`) or set SLUICE_BINARY")
}

fn launch(binary: &Path, ns: &Netns, directory: &Path) -> Result<Process> {
    let mut command = ns.command(binary);
    command.arg("agent").arg("--config").arg(config_file(directory));
    Process::start("sluice agent", command, &directory.join("agent.log"))
}

fn run(binary: &Path, ns: &Netns, config: &Config, arguments: &[&str]) -> Result<Output> {
    let mut command = ns.command(binary);
    command.args(arguments);
    if let Some(socket) = &config.socket {
        command.arg("--socket").arg(socket);
    }
    command.output().with_context(|| format!("cannot run {}", binary.display()))
}

fn parse(output: &Output) -> Result<Value> {
    ensure!(
        output.status.success(),
        "failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn config_file(directory: &Path) -> PathBuf {
    directory.join("sluice.yaml")
}

/// Replaces the file by renaming, as careful editors do: nobody reads half of it.
fn write_config(directory: &Path, text: &str) -> Result<()> {
    let new = directory.join("sluice.yaml.new");
    fs::write(&new, text)?;
    fs::rename(new, config_file(directory))?;
    Ok(())
}

/// Mounts the BPF file system where it belongs, if it is not there.
fn mount_bpffs() -> Result<()> {
    static MOUNTING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MOUNTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if statfs(PIN_ROOT)?.filesystem_type() != BPF_FS_MAGIC {
        let none: Option<&str> = None;
        mount(Some("bpf"), PIN_ROOT, Some("bpf"), MsFlags::empty(), none)
            .context("cannot mount the BPF file system")?;
    }
    Ok(())
}
