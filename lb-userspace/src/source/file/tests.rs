//! The file source against real files.

use std::{
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

use super::*;

/// Long enough for any machine; nothing waits for it unless it fails.
const DEADLINE: Duration = Duration::from_secs(20);

struct Lab {
    directory: TempDir,
    file: PathBuf,
    events: Receiver<SourceEvent>,
    _watch: FileWatch,
}

fn config(vip_end: u8) -> String {
    format!(
        "interfaces: [eth0]\nservices:\n- {{name: web, vips: [192.0.2.{vip_end}], ports: [{{port: 80}}]}}\n"
    )
}

impl Lab {
    /// A watched file that names VIP 192.0.2.1, put in place by `place`.
    fn new(place: impl FnOnce(&Path) -> PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = place(directory.path());
        let (source, loaded) = FileSource::open(&file).unwrap();
        assert_eq!(loaded.config.services[0].vips[0].to_string(), "192.0.2.1");
        let (sender, events) = channel(16);
        Self { file, events, _watch: source.watch(sender).unwrap(), directory }
    }

    fn plain() -> Self {
        Self::new(|directory| {
            let file = directory.join("sluice.yaml");
            fs::write(&file, config(1)).unwrap();
            file
        })
    }

    fn next(&mut self) -> SourceEvent {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.events.try_recv() {
                Ok(event) => return event,
                Err(TryRecvError::Disconnected) => panic!("the watch has ended"),
                Err(TryRecvError::Empty) if Instant::now() > end => panic!("no event came"),
                Err(TryRecvError::Empty) => thread::park_timeout(Duration::from_millis(5)),
            }
        }
    }

    /// The VIP that the next event applies.
    fn next_vip(&mut self) -> String {
        match self.next() {
            SourceEvent::Applied { config, .. } => config.services[0].vips[0].to_string(),
            SourceEvent::Refused { errors } => panic!("refused: {errors:?}"),
        }
    }

    fn next_errors(&mut self) -> Vec<String> {
        match self.next() {
            SourceEvent::Refused { errors } => errors
                .iter()
                .map(|error| error.to_string().replace(self.file.to_str().unwrap(), "FILE"))
                .collect(),
            SourceEvent::Applied { config, .. } => panic!("applied: {config:?}"),
        }
    }
}

#[test]
fn a_file_written_in_place_is_applied() {
    let mut lab = Lab::plain();
    fs::write(&lab.file, config(2)).unwrap();
    assert_eq!(lab.next_vip(), "192.0.2.2");
}

#[test]
fn a_file_replaced_by_renaming_is_applied_every_time() {
    let mut lab = Lab::plain();
    for end in 2..5 {
        let fresh = lab.directory.path().join("fresh");
        fs::write(&fresh, config(end)).unwrap();
        fs::rename(&fresh, &lab.file).unwrap();
        assert_eq!(lab.next_vip(), format!("192.0.2.{end}"));
    }
}

#[test]
fn a_config_map_whose_data_link_is_swapped_is_applied_every_time() {
    let version = |directory: &Path, end: u8| {
        let name = format!("..2026_{end}");
        fs::create_dir(directory.join(&name)).unwrap();
        fs::write(directory.join(&name).join("sluice.yaml"), config(end)).unwrap();
        name
    };
    let mut lab = Lab::new(|directory| {
        symlink(version(directory, 1), directory.join("..data")).unwrap();
        symlink("..data/sluice.yaml", directory.join("sluice.yaml")).unwrap();
        directory.join("sluice.yaml")
    });
    for end in 2..5 {
        let directory = lab.directory.path();
        symlink(version(directory, end), directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        fs::remove_dir_all(directory.join(format!("..2026_{}", end - 1))).unwrap();
        assert_eq!(lab.next_vip(), format!("192.0.2.{end}"));
    }
}

#[test]
fn a_link_into_another_directory_is_followed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("real.yaml");
    let mut lab = Lab::new(|directory| {
        fs::write(&target, config(1)).unwrap();
        symlink(&target, directory.join("sluice.yaml")).unwrap();
        directory.join("sluice.yaml")
    });
    fs::write(&target, config(2)).unwrap();
    assert_eq!(lab.next_vip(), "192.0.2.2");
}

#[test]
fn a_broken_file_is_refused_with_every_error_and_a_repaired_one_applied() {
    let mut lab = Lab::plain();
    fs::write(&lab.file, "interfaces: [eth0]\nedge: maybe\nservices: 5\n").unwrap();
    assert_eq!(
        lab.next_errors(),
        [
            "FILE:2:7: edge: must be true or false (without quotes), not \"maybe\"",
            "FILE:3:11: services: must be a list; write [5]",
        ]
    );
    fs::write(&lab.file, config(1)).unwrap();
    assert_eq!(lab.next_vip(), "192.0.2.1");
}

#[test]
fn a_deleted_file_is_refused_and_its_return_applied_even_with_a_new_directory() {
    let mut lab = Lab::new(|directory| {
        fs::create_dir(directory.join("etc")).unwrap();
        fs::write(directory.join("etc/sluice.yaml"), config(1)).unwrap();
        directory.join("etc/sluice.yaml")
    });
    fs::remove_dir_all(lab.directory.path().join("etc")).unwrap();
    let gone = "FILE: cannot be read: No such file or directory (os error 2)";
    assert_eq!(lab.next_errors(), [gone]);
    fs::create_dir(lab.directory.path().join("etc")).unwrap();
    fs::write(&lab.file, config(2)).unwrap();
    assert_eq!(lab.next_vip(), "192.0.2.2");
}

#[test]
fn a_change_before_the_watch_began_is_not_missed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sluice.yaml");
    fs::write(&file, config(1)).unwrap();
    let (source, _) = FileSource::open(&file).unwrap();
    fs::write(&file, config(2)).unwrap();
    let (sender, events) = channel(16);
    let mut lab = Lab { file, events, _watch: source.watch(sender).unwrap(), directory };
    assert_eq!(lab.next_vip(), "192.0.2.2");
}

#[test]
fn a_field_that_needs_a_restart_is_named_until_it_is_put_back() {
    let mut lab = Lab::plain();
    let changed = config(2).replace("[eth0]", "[eth1]") + "xdpMode: generic\n";
    for (text, expected) in
        [(changed, ["interfaces", "xdpMode"].as_slice()), (config(3), [].as_slice())]
    {
        fs::write(&lab.file, text).unwrap();
        let SourceEvent::Applied { needs_restart, .. } = lab.next() else { panic!("refused") };
        assert_eq!(needs_restart, expected);
    }
}

#[test]
fn what_changes_nothing_is_not_told() {
    let mut lab = Lab::plain();
    fs::write(&lab.file, config(1)).unwrap();
    fs::write(lab.directory.path().join("another"), "x").unwrap();
    fs::write(&lab.file, config(2)).unwrap();
    assert_eq!(lab.next_vip(), "192.0.2.2");
}

#[test]
fn the_watch_ends_when_it_is_dropped() {
    let Lab { mut events, _watch: watch, directory: _directory, .. } = Lab::plain();
    drop(watch);
    let end = Instant::now() + DEADLINE;
    while !matches!(events.try_recv(), Err(TryRecvError::Disconnected)) {
        assert!(Instant::now() < end, "the thread lives on");
        thread::park_timeout(Duration::from_millis(5));
    }
}
