//! The client's side: requests from inside a namespace, by real programs and in bulk.

use std::{
    net::{IpAddr, SocketAddr},
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::{
    dns,
    http::{self, Answer, Session},
    netns::Netns,
    tally::Tally,
};

/// How long any single request may take, unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests from a namespace.
#[derive(Clone, Debug)]
pub struct Client {
    ns: Netns,
    source: Option<IpAddr>,
    timeout: Duration,
}

/// What curl saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curled {
    /// HTTP status.
    pub status: u16,
    /// Response body.
    pub body: String,
}

impl Client {
    /// A client in `ns`.
    pub fn new(ns: &Netns) -> Self {
        Self { ns: ns.clone(), source: None, timeout: TIMEOUT }
    }

    /// The same client, asking from this address of its own.
    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// The same client with less or more patience.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Its namespace.
    pub const fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Asks once who answers.
    ///
    /// # Errors
    /// When the request fails.
    pub fn ask(&self, to: SocketAddr) -> Result<Answer> {
        self.ns.run(|| self.ask_here(self.any_port(), to))?
    }

    /// Asks once from this port of its own, of `source` or else any address.
    ///
    /// # Errors
    /// When the request fails.
    pub fn ask_from_port(&self, port: u16, to: SocketAddr) -> Result<Answer> {
        let unspecified =
            if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
        let source = SocketAddr::new(self.source.unwrap_or(unspecified), port);
        self.ns.run(|| self.ask_here(Some(source), to))?
    }

    /// Fetches a path's body.
    ///
    /// # Errors
    /// When the request fails or is cut short.
    pub fn fetch(&self, to: SocketAddr, path: &str) -> Result<Vec<u8>> {
        self.ns.run(|| http::get(self.any_port(), to, path, self.timeout))?
    }

    /// Opens a connection for many requests.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn session(&self, to: SocketAddr) -> Result<Session> {
        self.ns.run(|| Session::open(self.any_port(), to, self.timeout))?
    }

    /// Asks `count` times on as many connections, `parallel` at a time.
    ///
    /// # Errors
    /// When the namespace cannot be entered; failed requests are counted in the tally.
    pub fn ask_many(&self, to: SocketAddr, count: usize, parallel: usize) -> Result<Tally> {
        self.repeat(count, parallel, || self.ask_here(self.any_port(), to))
    }

    /// Asks a DNS server `count` times over UDP, each time from a new port, who answers.
    ///
    /// # Errors
    /// When the namespace cannot be entered; failed requests are counted in the tally.
    pub fn resolve_many(&self, to: SocketAddr, count: usize, parallel: usize) -> Result<Tally> {
        self.repeat(count, parallel, || dns::who(self.source, to, self.timeout))
    }

    fn repeat(
        &self,
        count: usize,
        parallel: usize,
        ask: impl Fn() -> Result<Answer> + Sync,
    ) -> Result<Tally> {
        let begun = AtomicUsize::new(0);
        let worker = || -> Result<Tally> {
            self.ns.enter()?;
            let mut tally = Tally::default();
            while begun.fetch_add(1, Ordering::Relaxed) < count {
                tally.record(ask());
            }
            Ok(tally)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..parallel.max(1)).map(|_| scope.spawn(worker)).collect();
            let mut total = Tally::default();
            for worker in workers {
                total.merge(worker.join().map_err(|_| anyhow!("a client thread panicked"))??);
            }
            Ok(total)
        })
    }

    /// Keeps asking, on one connection after another, from `parallel` threads, until stopped.
    pub fn keep_asking(&self, to: SocketAddr, parallel: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let threads = (0..parallel.max(1)).map(|_| {
            let (client, stop, tally) = (self.clone(), Arc::clone(&stop), Arc::clone(&tally));
            thread::spawn(move || {
                client.ns.enter()?;
                while !stop.load(Ordering::Relaxed) {
                    let outcome = client.ask_here(client.any_port(), to);
                    lock(&tally).record(outcome);
                }
                Ok(())
            })
        });
        Load { threads: threads.collect(), tally, stop }
    }

    /// Asks with curl.
    ///
    /// # Errors
    /// When there is no HTTP answer at all.
    pub fn curl(&self, url: &str) -> Result<Curled> {
        let limit = self.timeout.as_secs_f64().to_string();
        let mut arguments = vec!["-sS", "-g", "--max-time", &limit, "-w", "\n%{http_code}", url];
        let source = self.source.map(|source| source.to_string());
        if let Some(source) = &source {
            arguments.extend(["--interface", source]);
        }
        let output = self.ns.output("curl", &arguments)?;
        let (body, status) = output.rsplit_once('\n').context("curl printed no status")?;
        Ok(Curled { status: status.parse()?, body: body.to_owned() })
    }

    /// Asks a DNS server with dig and returns the short answer's lines.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn dig(&self, server: IpAddr, port: u16, arguments: &[&str]) -> Result<Vec<String>> {
        let (at, port) = (format!("@{server}"), port.to_string());
        let mut all = vec!["+short", "+tries=1", "+time=3", &at, "-p", &port];
        all.extend(arguments);
        let output = self.ns.output("dig", &all)?;
        // dig prints its complaints where the answers go.
        ensure!(!output.contains(";;"), "dig {}: {output}", all.join(" "));
        Ok(output.lines().map(str::to_owned).collect())
    }

    /// Runs `iperf3 -J` against a server and returns its report.
    ///
    /// # Errors
    /// When the test fails; iperf3's own error is in the message.
    pub fn iperf3(&self, server: IpAddr, arguments: &[&str]) -> Result<Value> {
        let server = server.to_string();
        let output = self
            .ns
            .command("iperf3")
            .args(["-J", "-c", &server])
            .args(arguments)
            .output()
            .context("cannot run iperf3: is it installed?")?;
        let report: Value = serde_json::from_slice(&output.stdout).context("iperf3's report")?;
        ensure!(output.status.success(), "iperf3: {}", report["error"]);
        Ok(report)
    }

    /// Sends `count` echo requests and returns what `ping` printed, however it ended.
    ///
    /// # Errors
    /// When `ping` cannot be started.
    pub fn ping(&self, to: IpAddr, count: u32) -> Result<Output> {
        let (to, count) = (to.to_string(), count.to_string());
        self.ns
            .command("ping")
            .args(["-n", "-c", &count, "-i", "0.01", "-W", "1", &to])
            .output()
            .context("cannot run ping: is it installed?")
    }

    fn any_port(&self) -> Option<SocketAddr> {
        self.source.map(|source| SocketAddr::new(source, 0))
    }

    /// Asks from the calling thread, which has entered the namespace.
    fn ask_here(&self, source: Option<SocketAddr>, to: SocketAddr) -> Result<Answer> {
        let body = http::get(source, to, "/", self.timeout)?;
        String::from_utf8(body)?.parse()
    }
}

/// Requests that go on in the background. Dropping it stops them.
#[derive(Debug)]
pub struct Load {
    threads: Vec<JoinHandle<Result<()>>>,
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// How it goes so far.
    pub fn so_far(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Forgets what was counted so far and returns it.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut lock(&self.tally))
    }

    /// Lets every request under way end, and returns the tally.
    ///
    /// # Errors
    /// When a thread could not enter the namespace or panicked.
    pub fn stop(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a client thread panicked"))??;
        }
        Ok(self.take())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The tally is not wanted any more, nor is a failure to fill it.
            let _ = thread.join();
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
