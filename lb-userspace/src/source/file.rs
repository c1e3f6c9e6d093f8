//! The file source: watches a configuration file and tells what it says whenever that changes.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::{
    SourceEvent,
    debounce::{Debounce, Touch},
};
use crate::config::{self, AgentConfig, ConfigError, Loaded};

/// The file is also looked at this often: network file systems and distant symbolic links send no events.
const POLL: Duration = Duration::from_secs(2);

/// A configuration file that has been read once.
#[derive(Debug)]
pub struct FileSource {
    file: PathBuf,
    /// What the agent runs with, to tell which changes need a restart.
    running: AgentConfig,
    seen: Seen,
}

/// What the last look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Content(u64),
    Unreadable(io::ErrorKind),
}

impl Seen {
    fn from(content: &io::Result<Vec<u8>>) -> Self {
        match content {
            Ok(bytes) => {
                let mut hasher = DefaultHasher::new();
                bytes.hash(&mut hasher);
                Self::Content(hasher.finish())
            }
            Err(error) => Self::Unreadable(error.kind()),
        }
    }
}

impl FileSource {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Everything that is wrong with it: there is no last good state yet.
    pub fn open(file: &Path) -> Result<(Self, Loaded), Vec<ConfigError>> {
        let content = fs::read(file);
        let seen = Seen::from(&content);
        let loaded = check(file, content)?;
        let running = loaded.config.agent.clone();
        Ok((Self { file: file.to_owned(), running, seen }, loaded))
    }

    /// Watches the file from now on; a change since [`open`](Self::open) is told at once. Each event is the whole truth, so
    /// only the last one matters to a receiver that falls behind.
    ///
    /// # Errors
    /// When the system has no watch left to give, or no thread.
    pub fn watch(self, events: tokio::sync::mpsc::Sender<SourceEvent>) -> io::Result<FileWatch> {
        let (signals, received) = mpsc::channel();
        let touched = signals.clone();
        let names = [self.file.file_name().map(OsStr::to_owned), target_name(&self.file)];
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let touch = match event {
                Ok(event) => classify(&event, &names),
                // An overflow, for one: something may have been missed.
                Err(_) => Some(Touch::Settled),
            };
            if let Some(touch) = touch {
                // Nobody listens any more once the watch has ended.
                let _ = touched.send(Signal::Touched(touch));
            }
        })
        .map_err(io::Error::other)?;
        let mut watches = Watches { watcher, directories: BTreeSet::new() };
        watches.follow(&self.file);
        let thread = thread::Builder::new()
            .name("config-file".into())
            .spawn(move || self.run(watches, &received, &events))?;
        Ok(FileWatch { signals, thread: Some(thread) })
    }

    fn run(
        mut self,
        mut watches: Watches,
        signals: &mpsc::Receiver<Signal>,
        events: &tokio::sync::mpsc::Sender<SourceEvent>,
    ) {
        let mut debounce = Debounce::default();
        debounce.touch(Instant::now(), Touch::Settled);
        loop {
            let wait = debounce.wait(Instant::now()).unwrap_or(POLL);
            match signals.recv_timeout(wait) {
                Ok(Signal::Touched(touch)) => debounce.touch(Instant::now(), touch),
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if debounce.take_due(Instant::now()) => {
                    let event = self.look();
                    if matches!(self.seen, Seen::Unreadable(_)) {
                        // Its directory may be gone, and the watch with it.
                        watches.forget();
                    }
                    watches.follow(&self.file);
                    if event.is_some_and(|event| events.blocking_send(event).is_err()) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if events.is_closed() {
                        return;
                    }
                    if Seen::from(&fs::read(&self.file)) != self.seen {
                        debounce.touch(Instant::now(), Touch::Settled);
                    }
                }
            }
        }
    }

    /// Reads the file; `None` if it says what it said before.
    fn look(&mut self) -> Option<SourceEvent> {
        let content = fs::read(&self.file);
        let seen = Seen::from(&content);
        if std::mem::replace(&mut self.seen, seen) == seen {
            return None;
        }
        Some(match check(&self.file, content) {
            Ok(Loaded { config, warnings }) => SourceEvent::Applied {
                needs_restart: config.agent.changed_fields(&self.running),
                config: Box::new(config),
                warnings,
            },
            Err(errors) => SourceEvent::Refused { errors },
        })
    }
}

fn check(file: &Path, content: io::Result<Vec<u8>>) -> Result<Loaded, Vec<ConfigError>> {
    let content = content.map_err(|error| vec![ConfigError::unreadable(file, &error)])?;
    config::parse(file, &content)
}

/// A watch that is on; dropping it ends it.
#[derive(Debug)]
pub struct FileWatch {
    signals: mpsc::Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        // The thread may have ended by itself, when nobody received its events any more. It is not waited for: it may be
        // handing over an event to a receiver that is dropped after this.
        let _ = self.signals.send(Signal::Stop);
        drop(self.thread.take());
    }
}

#[derive(Debug)]
enum Signal {
    Touched(Touch),
    Stop,
}

/// Directories rather than the file are watched: editors replace it by renaming, Kubernetes by swapping a symbolic link.
struct Watches {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

impl Watches {
    /// Watches where the file is, and where it really is if that is elsewhere. What cannot be watched is left to polling.
    fn follow(&mut self, file: &Path) {
        let wanted: BTreeSet<PathBuf> = [Some(file.to_owned()), file.canonicalize().ok()]
            .into_iter()
            .flatten()
            .filter_map(|file| match file.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
                parent => parent.map(Path::to_owned),
            })
            .collect();
        for directory in self.directories.difference(&wanted) {
            // A removed directory has taken its watch along.
            let _ = self.watcher.unwatch(directory);
        }
        self.directories = wanted
            .into_iter()
            .filter(|directory| {
                self.directories.contains(directory)
                    || self.watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
            })
            .collect();
    }

    fn forget(&mut self) {
        for directory in std::mem::take(&mut self.directories) {
            let _ = self.watcher.unwatch(&directory);
        }
    }
}

fn target_name(file: &Path) -> Option<std::ffi::OsString> {
    file.canonicalize().ok()?.file_name().map(OsStr::to_owned)
}

/// What an event says about the file, if it is about it at all.
fn classify(event: &Event, names: &[Option<std::ffi::OsString>]) -> Option<Touch> {
    if event.need_rescan() {
        return Some(Touch::Settled);
    }
    let concerned = event.paths.is_empty()
        || event.paths.iter().filter_map(|path| path.file_name()).any(|name| {
            // Kubernetes mounts a volume's files through a link named `..data`.
            name == "..data" || names.iter().flatten().any(|known| known == name)
        });
    match event.kind {
        _ if !concerned => None,
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Touch::Settled),
        EventKind::Access(_) => None,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Some(Touch::Writing),
        _ => Some(Touch::Settled),
    }
}

#[cfg(test)]
mod tests;
