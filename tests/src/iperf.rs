//! Real iperf3 servers.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::{host::Host, names, netns::Netns, process::Process, servers::PATIENCE, wait};

/// An iperf3 server on every address of a host. Its control and data connections are flows of their
/// own: a balancer must send both to the same host.
#[derive(Debug)]
pub struct IperfServer {
    _process: Process,
    _directory: TempDir,
}

impl IperfServer {
    /// Starts one on `port` and waits until it listens.
    ///
    /// # Errors
    /// When iperf3 is not there or does not start; its log is in the message.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let directory = names::directory("iperf")?;
        let mut command = host.ns.command("iperf3");
        command.args(["-s", "--forceflush", "-p", &port.to_string()]);
        let mut process = Process::start(
            &format!("iperf3 of {}", host.name),
            command,
            &directory.path().join("log"),
        )?;
        process.wait_ready(PATIENCE, || {
            // A trial connection would be taken for a test that has begun.
            ensure!(listens(&host.ns, port)?, "nobody listens on port {port}");
            Ok(())
        })?;
        Ok(Self { _process: process, _directory: directory })
    }
}

/// Whether somebody in `ns` listens on this TCP port.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn listens(ns: &Netns, port: u16) -> Result<bool> {
    /// The kernel's number for the state LISTEN.
    const LISTEN: &str = "0A";
    let tables = ns.run(|| {
        ["tcp", "tcp6"]
            .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")))
            .map(Result::unwrap_or_default)
    })?;
    let wanted = format!(":{port:04X}");
    Ok(tables.iter().flat_map(|table| table.lines()).any(|line| {
        let mut columns = line.split_whitespace().skip(1);
        columns.next().is_some_and(|local| local.ends_with(&wanted))
            && columns.nth(1) == Some(LISTEN)
    }))
}

/// Waits until somebody in `ns` listens on this TCP port.
///
/// # Errors
/// When nobody does within `limit`.
pub fn wait_listening(ns: &Netns, port: u16, limit: Duration) -> Result<()> {
    wait::until(&format!("a listener on port {port}"), limit, || {
        ensure!(listens(ns, port)?, "nobody listens");
        Ok(())
    })
}
