//! The agent: loads and attaches the data path, then keeps it as the configuration wants it until it is told to stop.

mod core;
mod explain;
mod inspect;

use std::{
    collections::BTreeSet,
    hash::Hasher as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use lb_common::limits;
use siphasher::sip::SipHasher24;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use self::{core::Core, inspect::Inspector};
use crate::{
    admin::AdminSocket,
    config::{Config, ConfigError, read_seed},
    dataplane::{
        attach,
        interfaces::{self, Interface},
        load::{self, Shape},
        neighbours::{NextHopUpdate, NextHops},
        pins::PinDirectory,
        tables::{Tables, pin_maps},
    },
    ownership::announcer::Announcer,
    plan::{Capacities, Planner},
    source::{SourceEvent, file::FileSource},
    telemetry::{Health, HttpServer, Metrics},
};

/// Leases last three times this long.
const LEASE_RENEWAL: Duration = Duration::from_secs(1);
/// How often addresses of this node are looked at, and slots that could settle.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// A main loop that has not come round for this long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// Runs the agent with this configuration file until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting, with the field of the configuration and the way out where there is one.
pub fn run(file: &Path) -> anyhow::Result<()> {
    let (source, loaded) = FileSource::open(file).map_err(refusal)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(source, loaded.config))
}

fn refusal(errors: Vec<ConfigError>) -> anyhow::Error {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("the configuration is not valid:\n{}", lines.join("\n"))
}

async fn serve(source: FileSource, config: Config) -> anyhow::Result<()> {
    let agent = config.agent.clone();
    if agent.edge && agent.membership.is_some() {
        bail!(
            "membership: this version has a single edge that owns every VIP; leave membership out, and run one agent with edge: true"
        );
    }
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let health = Arc::new(Health::new(STUCK, "the data path is not attached yet"));
    let http =
        agent.metrics.as_ref().map(|metrics| HttpServer::bind(metrics.listen)).transpose()?;
    let admin = AdminSocket::bind(&agent.socket).context("socket")?;

    let interfaces = interfaces::resolve(&agent.interfaces).await?;
    for interface in &interfaces {
        if interface.ifindex >= limits::MAX_IFINDEX {
            bail!(
                "interfaces: {} has index {}; the data path takes indexes below {}",
                interface.name,
                interface.ifindex,
                limits::MAX_IFINDEX
            );
        }
    }
    let pins = PinDirectory::open(&agent.pin_directory)?;
    let (mut ebpf, mut core) = load_data_path(config.clone(), &interfaces, &pins)?;
    let (next_hops, updates) = NextHops::start().context("cannot follow routes and neighbours")?;
    let announcer = Announcer::start();

    for interface in &interfaces {
        core.tables.add_interface(interface.ifindex, interface.mac)?;
    }
    core.set_local_addresses(&interfaces::local_addresses().await?)?;
    core.apply(config).context("the configuration does not fit")?;
    // Nothing is attached before the first next hops are known: the first packets find their way.
    next_hops.watch(core.backends());
    let mut updates = updates;
    settle_next_hops(&mut core, &mut updates).await?;

    let program = attach::program(&mut ebpf).context("the BPF object has no XDP program")?;
    for interface in &interfaces {
        let attached =
            attach::attach(program, &interface.name, interface.ifindex, agent.xdp_mode, &pins)?;
        tracing::info!(interface = interface.name, mode = ?attached.mode, "attached");
        core.attached.push(attached);
    }
    drop_stale_links(&core, &pins)?;
    core.renew_leases()?;
    announcer.own(core.announcements());

    let core = Arc::new(Mutex::new(core));
    let inspector = Arc::new(Inspector::new(core.clone(), health.clone()));
    let metrics = Arc::new(Metrics::new(inspector.clone())?);
    health.set_ready();
    tracing::info!(node = agent.node, "ready");

    let (stop, stopped) = watch::channel(false);
    let until_stopped = || {
        let mut stopped = stopped.clone();
        async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }
    };
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(admin.serve(inspector, until_stopped()));
    if let Some(http) = http {
        servers.spawn(http.serve(metrics.clone(), health.clone(), until_stopped()));
    }
    let (sender, events) = mpsc::channel(16);
    let file_watch = source.watch(sender).context("cannot watch the configuration file")?;
    let agent = Running {
        core: &core,
        health: &health,
        metrics: &metrics,
        next_hops: &next_hops,
        announcer: &announcer,
    };
    let result = agent.main_loop(&mut signals, events, updates).await;

    drop(file_watch);
    // Receivers that are gone need no telling.
    let _ = stop.send(true);
    while servers.join_next().await.is_some() {}
    shut_down(&core, pins)?;
    result
}

fn load_data_path(
    config: Config,
    interfaces: &[Interface],
    pins: &PinDirectory,
) -> anyhow::Result<(aya::Ebpf, Core)> {
    let agent = &config.agent;
    let seed = match &agent.seed_file {
        Some(file) => seed_words(&read_seed(file).context("seedFile")?),
        None => own_seed()?,
    };
    let cpus = load::possible_cpus().context("cannot count the CPUs")?;
    let knows_no_vips = !agent.edge && config.services.is_empty();
    let mut shape = Shape::new(agent.edge, knows_no_vips, seed);
    shape.vary_source(&agent.tunnel_source_prefix);
    let mut ebpf = load::load(&shape)?;
    // Before the maps are taken out of the object. An earlier agent's program keeps its own maps until it is replaced.
    pin_maps(&ebpf, pins)?;
    let tables = Tables::new(&mut ebpf, &shape)?;
    let capacities = Capacities { slots: shape.slots, ..Capacities::default() };
    let edge_seed = [seed[0], seed[1]];
    let planner = Planner::new(capacities, edge_seed);
    Ok((ebpf, Core::new(config, planner, tables, interfaces.to_vec(), edge_seed, cpus)))
}

/// A single agent needs to agree with nobody, only with itself after a restart, or connections would change backends. So its seed
/// comes from the machine's id, which is as secret as it has to be; without one it is random.
fn own_seed() -> anyhow::Result<[u64; 4]> {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    match u128::from_str_radix(id.trim(), 16) {
        Ok(id) => Ok([0u64, 1, 2, 3].map(|number| {
            let mut hasher = SipHasher24::new_with_key(&id.to_be_bytes());
            hasher.write(b"sluice seed");
            hasher.write_u64(number);
            hasher.finish()
        })),
        Err(_) => {
            tracing::warn!(
                "no /etc/machine-id: flows are hashed anew after a restart; a seedFile prevents that"
            );
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).context("no random seed to be had")?;
            Ok(seed_words(&bytes))
        }
    }
}

fn seed_words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    }
    words
}

/// Waits a moment until every backend's next hop is known, or known to be missing.
async fn settle_next_hops(
    core: &mut Core,
    updates: &mut mpsc::UnboundedReceiver<NextHopUpdate>,
) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    while core.backends().iter().any(|backend| !core.next_hops.contains_key(backend)) {
        match tokio::time::timeout_at(deadline, updates.recv()).await {
            Ok(Some(update)) => core.next_hop(update)?,
            Ok(None) | Err(_) => break,
        }
    }
    Ok(())
}

/// Detaches from interfaces that an earlier agent had and this one has not.
fn drop_stale_links(core: &Core, pins: &PinDirectory) -> anyhow::Result<()> {
    let kept: BTreeSet<&str> = core.attached.iter().map(attach::Attached::pin).collect();
    for name in pins.names() {
        if name.starts_with("link_") && !kept.contains(name.as_str()) {
            tracing::info!(link = name, "detaching what an earlier agent left");
            pins.remove(&name)?;
        }
    }
    Ok(())
}

/// Detaches what is ours and nothing else.
fn shut_down(core: &Mutex<Core>, pins: PinDirectory) -> anyhow::Result<()> {
    let mut core = lock(core);
    core.release_vips()?;
    for attached in std::mem::take(&mut core.attached) {
        let interface = attached.interface.clone();
        attached.detach().with_context(|| format!("cannot detach from {interface}"))?;
        tracing::info!(interface, "detached");
    }
    for name in pins.names() {
        pins.remove(&name)?;
    }
    pins.close()?;
    Ok(())
}

/// The state, also after a panic elsewhere: it is changed in steps that each leave it usable.
fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Running<'a> {
    core: &'a Mutex<Core>,
    health: &'a Health,
    metrics: &'a Metrics,
    next_hops: &'a NextHops,
    announcer: &'a Announcer,
}

impl Running<'_> {
    async fn main_loop(
        &self,
        signals: &mut (tokio::signal::unix::Signal, tokio::signal::unix::Signal),
        mut events: mpsc::Receiver<SourceEvent>,
        mut updates: mpsc::UnboundedReceiver<NextHopUpdate>,
    ) -> anyhow::Result<()> {
        let mut lease = tokio::time::interval(LEASE_RENEWAL);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            self.health.beat();
            tokio::select! {
                _ = signals.0.recv() => break,
                _ = signals.1.recv() => break,
                event = events.recv() => match event {
                    Some(event) => self.source_event(event),
                    None => bail!("the configuration file is no longer watched"),
                },
                update = updates.recv() => match update {
                    Some(update) => report(lock(self.core).next_hop(update)),
                    None => bail!("routes and neighbours are no longer followed"),
                },
                _ = lease.tick() => {
                    report(lock(self.core).renew_leases());
                    self.count_announcements();
                }
                _ = housekeeping.tick() => self.keep_house().await,
            }
        }
        tracing::info!("stopping");
        Ok(())
    }

    fn source_event(&self, event: SourceEvent) {
        let seen = Instant::now();
        match event {
            SourceEvent::Applied { config, warnings, needs_restart } => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                if !needs_restart.is_empty() {
                    tracing::warn!("needs a restart: {}", needs_restart.join(", "));
                }
                let mut core = lock(self.core);
                match core.apply(*config) {
                    Ok(()) => {
                        self.next_hops.watch(core.backends());
                        self.announcer.own(core.announcements());
                        self.metrics.sync_seconds.observe(seen.elapsed().as_secs_f64());
                        tracing::info!(
                            services = core.desired.services.len(),
                            "configuration applied"
                        );
                    }
                    Err(error) => {
                        tracing::error!(
                            "configuration refused: {error:#}; the last good state stays"
                        );
                        core.source_errors = vec![format!("{error:#}")];
                    }
                }
            }
            SourceEvent::Refused { errors } => {
                for error in &errors {
                    tracing::error!("{error}");
                }
                tracing::error!("configuration refused; the last good state stays");
                lock(self.core).source_errors = errors.iter().map(ToString::to_string).collect();
            }
        }
    }

    async fn keep_house(&self) {
        match interfaces::local_addresses().await {
            Ok(addresses) => report(lock(self.core).set_local_addresses(&addresses)),
            Err(error) => tracing::warn!("cannot list this node's addresses: {error:#}"),
        }
        let mut core = lock(self.core);
        report(core.settle());
        self.next_hops.watch(core.backends());
    }

    fn count_announcements(&self) {
        let counts = self.announcer.counts();
        let kinds = [
            ("garp_request", counts.garp_request),
            ("garp_reply", counts.garp_reply),
            ("unsolicited_na", counts.unsolicited_na),
        ];
        for (kind, sent) in kinds {
            let counter = self.metrics.announcements_sent.with_label_values(&[kind]);
            counter.inc_by(sent.saturating_sub(counter.get()));
        }
        let transitions = &self.metrics.vip_transitions;
        transitions.inc_by(lock(self.core).transitions.saturating_sub(transitions.get()));
    }
}

fn report(result: anyhow::Result<()>) {
    if let Err(error) = result {
        tracing::error!("{error:#}");
    }
}
