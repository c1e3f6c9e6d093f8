//! Two or more network namespaces joined by veth pairs, removed again however a test ends.
#![allow(dead_code, reason = "each test binary uses its own part of this module")]

use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// Network namespaces with short names of their own.
pub struct Wire {
    id: String,
    names: Vec<&'static str>,
}

impl Wire {
    /// Creates a namespace per name.
    pub fn new(names: &[&'static str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("hop{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut wire = Self { id, names: Vec::new() };
        for name in names {
            ip(&["netns", "add", &wire.full(name)]);
            wire.names.push(name);
            wire.ip(name, "link set lo up");
        }
        wire
    }

    fn full(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// Runs `ip` with these words in a namespace.
    pub fn ip(&self, namespace: &str, words: &str) {
        let full = self.full(namespace);
        let mut arguments = vec!["-n", &full];
        arguments.extend(words.split_whitespace());
        ip(&arguments);
    }

    /// A veth pair between two namespaces, both ends up, each named after the namespace it leads to.
    pub fn join(&self, a: &str, b: &str) {
        self.ip(a, &format!("link add {b} type veth peer name {a} netns {}", self.full(b)));
        for (here, there) in [(a, b), (b, a)] {
            self.ip(here, &format!("link set {there} up"));
        }
    }

    /// Adds an address; IPv6 without duplicate address detection.
    pub fn address(&self, namespace: &str, device: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(namespace, &format!("address add {address} dev {device} {nodad}"));
    }

    /// Sets a sysctl of a namespace.
    pub fn sysctl(&self, namespace: &str, path: &str, value: &str) {
        let file = format!("/proc/sys/net/{path}");
        self.inside(namespace, || std::fs::write(file, value).expect("sysctl"));
    }

    /// Runs code on a thread of its own in a namespace.
    pub fn inside<T: Send>(&self, namespace: &str, code: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.full(namespace));
        let run = move || {
            let file = File::open(path).expect("the namespace exists");
            setns(file, CloneFlags::CLONE_NEWNET).expect("setns needs root");
            code()
        };
        thread::scope(|scope| match scope.spawn(run).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs a future in a namespace, on a runtime of its own.
    pub fn run<T: Send>(&self, namespace: &str, code: impl AsyncFnOnce() -> T + Send) -> T {
        self.inside(namespace, || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().expect("a runtime").block_on(code())
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.names {
            // Takes the veth pairs along.
            let _ = Command::new("ip").args(["netns", "delete", &self.full(name)]).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {complaint}", arguments.join(" "));
}
