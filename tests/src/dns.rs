//! Real DNS servers that say who they are, and the smallest resolver.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{host::Host, http::Answer, names, process::Process, servers::PATIENCE};

/// A TXT query for this name answers the server's name.
pub const WHO: &str = "who.lab.test";
/// A TXT query for this name answers about 1.5 kB.
pub const BIG: &str = "big.lab.test";
/// A TXT query for this name answers about 4 kB.
pub const HUGE: &str = "huge.lab.test";

/// Characters in one TXT record of the long answers.
const RECORD: usize = 200;
/// TXT's number.
const TXT: u16 = 16;
/// Bytes of a DNS header.
const HEADER: usize = 12;

/// An unbound on every address of a host, VIPs included: it answers from the address asked.
#[derive(Debug)]
pub struct DnsServer {
    process: Process,
    _directory: TempDir,
}

impl DnsServer {
    /// Starts one on port 53 and waits until it answers.
    ///
    /// # Errors
    /// When unbound is not there or does not start; its log is in the message.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_on(host, 53)
    }

    /// Starts one on another port.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(host: &Host, port: u16) -> Result<Self> {
        let directory = names::directory("dns")?;
        let root = directory.path();
        let config = root.join("unbound.conf");
        fs::write(&config, unbound_config(root, &host.name, port))?;
        let mut command = host.ns.command(unconfined_unbound(root)?);
        command.arg("-d").arg("-p").arg("-c").arg(&config);
        let mut process =
            Process::start(&format!("unbound of {}", host.name), command, &root.join("log"))?;
        process.wait_ready(PATIENCE, || {
            host.ns.run(|| {
                let timeout = Duration::from_millis(500);
                who(None, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
                who(None, SocketAddr::from((Ipv6Addr::LOCALHOST, port)), timeout)
            })?
        })?;
        Ok(Self { process, _directory: directory })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop().map(drop).context("cannot stop unbound")
    }
}

/// A copy of unbound: AppArmor keeps the one in its usual place from files elsewhere.
fn unconfined_unbound(root: &Path) -> Result<PathBuf> {
    let copy = root.join("unbound");
    fs::copy("/usr/sbin/unbound", &copy).context("cannot copy unbound: is it installed?")?;
    Ok(copy)
}

fn unbound_config(root: &Path, name: &str, port: u16) -> String {
    let mut text = format!(
        r#"server:
    directory: "{}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    do-daemonize: no
    num-threads: 1
    port: {port}
    interface: 0.0.0.0
    interface: ::0
    interface-automatic: yes
    access-control: 0.0.0.0/0 allow
    access-control: ::0/0 allow
    module-config: "iterator"
    edns-buffer-size: 4096
    max-udp-size: 4096
    local-zone: "lab.test." static
    local-data: '{WHO}. 0 IN TXT "{name}"'
"#,
        root.display()
    );
    for (long, records) in [(BIG, 7), (HUGE, 18)] {
        for n in 0..records {
            let filling = "x".repeat(RECORD - 4);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "    local-data: '{long}. 0 IN TXT \"{n:03} {filling}\"'");
        }
    }
    text.push_str("remote-control:\n    control-enable: no\n");
    text
}

/// Asks over UDP, from the calling thread's namespace and a new port, who answers. An answer from
/// any other address than the one asked is not seen.
///
/// # Errors
/// When there is no answer in time, or no proper one.
pub fn who(source: Option<IpAddr>, to: SocketAddr, timeout: Duration) -> Result<Answer> {
    let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(timeout))?;
    let client = socket.local_addr()?;
    let query = query(client.port(), WHO);
    socket.send(&query).with_context(|| format!("cannot ask {to}"))?;
    let mut reply = [0; 1500];
    let length =
        socket.recv(&mut reply).with_context(|| format!("no answer from {to} to {client}"))?;
    let server = first_text(&reply[..length], &query)?;
    Ok(Answer { server, client })
}

/// A query for the TXT records of `name`.
fn query(id: u16, name: &str) -> Vec<u8> {
    // Identification; recursion desired; one question, no records.
    let mut message = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    // Class IN.
    message.extend([TXT, 1].map(u16::to_be_bytes).concat());
    message
}

/// The text of the first record of the reply to `query`.
fn first_text(reply: &[u8], query: &[u8]) -> Result<String> {
    ensure!(reply.get(..2) == query.get(..2), "the reply to another question");
    ensure!(reply.get(HEADER..query.len()) == Some(&query[HEADER..]), "another question");
    // The name is a two-byte pointer; then type, class, TTL, length, and the first string's length.
    let record = reply.get(query.len() + 2..).context("no record")?;
    ensure!(record.get(..2) == Some(&TXT.to_be_bytes()), "the record is no TXT");
    let length = usize::from(*record.get(10).context("an empty record")?);
    let text = record.get(11..11 + length).context("the record is cut short")?;
    Ok(String::from_utf8(text.to_vec())?)
}
