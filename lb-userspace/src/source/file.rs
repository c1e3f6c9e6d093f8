//! The file source: watches a configuration file and tells what it says whenever that changes.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
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
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is an overflow, for one: something may have been missed.
            let touch = event.map_or(Some((Touch::Settled, Vec::new())), classify);
            if let Some((touch, paths)) = touch {
                // Nobody listens any more once the watch has ended.
                let _ = touched.send(Signal::Touched(touch, paths));
            }
        })
        .map_err(io::Error::other)?;
        let mut watches = Watches { watcher, directories: BTreeSet::new(), names: Vec::new() };
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
        let mut next_poll = Instant::now() + POLL;
        loop {
            let until_poll = next_poll.saturating_duration_since(Instant::now());
            let wait = debounce.wait(Instant::now()).unwrap_or(until_poll);
            match signals.recv_timeout(wait) {
                Ok(Signal::Touched(touch, paths)) if watches.concern(&paths) => {
                    debounce.touch(Instant::now(), touch);
                }
                Ok(Signal::Touched(..)) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if debounce.take_due(Instant::now()) {
                let event = self.look();
                if matches!(self.seen, Seen::Unreadable(_)) {
                    // Its directory may be gone, and the watch with it.
                    watches.forget();
                }
                watches.follow(&self.file);
                if event.is_some_and(|event| events.blocking_send(event).is_err()) {
                    return;
                }
                next_poll = Instant::now() + POLL;
            } else if debounce.wait(Instant::now()).is_none() && Instant::now() >= next_poll {
                if events.is_closed() {
                    return;
                }
                if Seen::from(&fs::read(&self.file)) != self.seen {
                    debounce.touch(Instant::now(), Touch::Settled);
                }
                next_poll = Instant::now() + POLL;
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
    /// What was seen, and on which paths; none: anywhere.
    Touched(Touch, Vec<PathBuf>),
    Stop,
}

/// Directories rather than the file are watched: editors replace it by renaming, Kubernetes by swapping a symbolic link.
struct Watches {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    /// The file's name there.
    names: Vec<OsString>,
}

impl Watches {
    /// Watches where the file is, and where it really is if that is elsewhere. What cannot be watched is left to polling.
    fn follow(&mut self, file: &Path) {
        let files = [Some(file.to_owned()), file.canonicalize().ok()];
        let files: Vec<PathBuf> = files.into_iter().flatten().collect();
        self.names =
            files.iter().filter_map(|file| file.file_name().map(OsStr::to_owned)).collect();
        let wanted: BTreeSet<PathBuf> = files
            .iter()
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

    /// Is a change of these paths one of the file?
    fn concern(&self, paths: &[PathBuf]) -> bool {
        // Kubernetes mounts a volume's files through a link named `..data`.
        let known = |name: &OsStr| name == "..data" || self.names.iter().any(|known| known == name);
        paths.is_empty() || paths.iter().filter_map(|path| path.file_name()).any(known)
    }

    /// Gives every watch back, so that [`follow`](Self::follow) takes them anew.
    fn forget(&mut self) {
        for directory in std::mem::take(&mut self.directories) {
            let _ = self.watcher.unwatch(&directory);
        }
    }
}

/// What an event says about the files it names.
fn classify(event: Event) -> Option<(Touch, Vec<PathBuf>)> {
    let touch = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Touch::Settled,
        EventKind::Access(_) => return None,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Touch::Writing,
        _ => Touch::Settled,
    };
    let paths = if event.need_rescan() { Vec::new() } else { event.paths };
    Some((touch, paths))
}

#[cfg(test)]
mod tests;
