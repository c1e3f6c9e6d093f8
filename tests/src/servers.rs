//! Real web servers that say who they are and whom they see.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{client::Client, host::Host, names, process::Process};

/// How long a server may take to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of `/big` and `/slow`, unless said otherwise.
const BIG: usize = 1 << 20;
/// Bytes a second of `/slow`.
const SLOW_RATE: &str = "64k";

/// An nginx on every address of a host. `/` answers `name client-address client-port`, `/big` a
/// file of [`content`], `/slow` the same at 64 KiB a second.
#[derive(Debug)]
pub struct WebServer {
    process: Process,
    _directory: TempDir,
}

impl WebServer {
    /// Starts one on port 80 and waits until it answers.
    ///
    /// # Errors
    /// When nginx is not there or does not start; its log is in the message.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_on(host, &[80], BIG)
    }

    /// Starts one on these ports, with a big file of `big` bytes.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(host: &Host, ports: &[u16], big: usize) -> Result<Self> {
        let directory = names::directory("web")?;
        let root = directory.path();
        fs::write(root.join("big"), content(big))?;
        let config = root.join("nginx.conf");
        fs::write(&config, nginx_config(root, &host.name, ports))?;
        let mut command = host.ns.command("nginx");
        command.arg("-e").arg("stderr").arg("-p").arg(root).arg("-c").arg(&config);
        let mut process =
            Process::start(&format!("nginx of {}", host.name), command, &root.join("log"))?;
        let local = Client::new(&host.ns);
        process.wait_ready(PATIENCE, || {
            for port in ports {
                local.ask(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))?;
                local.ask(SocketAddr::from((Ipv6Addr::LOCALHOST, *port)))?;
            }
            Ok(())
        })?;
        Ok(Self { process, _directory: directory })
    }

    /// Starts one on every host of `hosts`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_all<'a>(hosts: impl IntoIterator<Item = &'a Host>) -> Result<Vec<Self>> {
        hosts.into_iter().map(Self::start).collect()
    }

    /// Ends it and its connections.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop().map(drop).context("cannot stop nginx")
    }
}

/// The bytes of a big file: no two neighbouring segments alike, so that a misplaced one shows.
pub fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 16) as u8).collect()
}

fn nginx_config(root: &Path, name: &str, ports: &[u16]) -> String {
    let root = root.display();
    let listen: String = ports
        .iter()
        .map(|port| {
            format!("listen {port} backlog=4096; listen [::]:{port} ipv6only=on backlog=4096;\n")
        })
        .collect();
    format!(
        r#"user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {root}/pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    default_type text/plain;
    keepalive_timeout 600s;
    keepalive_requests 1000000;
    server {{
        {listen}
        location / {{ return 200 "{name} $remote_addr $remote_port\n"; }}
        location = /big {{ alias {root}/big; }}
        location = /slow {{ alias {root}/big; limit_rate {SLOW_RATE}; }}
    }}
}}
"#
    )
}
