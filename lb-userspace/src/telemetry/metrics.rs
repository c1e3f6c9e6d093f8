//! Everything `/metrics` tells: what the data path counts, what the agent does, and the process itself.

use std::sync::Arc;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, exponential_buckets, process_collector::ProcessCollector,
};

use super::traffic::TrafficCollector;
pub use super::traffic::{CountersSnapshot, ReadCounters, ServiceTraffic};

/// Prefix of every metric but the process's.
pub(super) const NAMESPACE: &str = "sluice";

/// The agent's metrics. Counters of the data path are read when a scrape asks; the public ones are the agent's to move.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// VIPs this agent took or gave up: `sluice_vip_transitions_total`.
    pub vip_transitions: IntCounter,
    /// Gratuitous ARP and unsolicited NA by `kind`: `sluice_announcements_sent_total`.
    pub announcements_sent: IntCounterVec,
    /// From an event seen to packets that follow it, in seconds: `sluice_sync_seconds`.
    pub sync_seconds: Histogram,
}

impl Metrics {
    /// Registers everything; traffic is read from `counters` at every scrape.
    ///
    /// # Errors
    /// When two metrics have one name, which is a mistake in this program.
    pub fn new(counters: Arc<dyn ReadCounters>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let vip_transitions = IntCounter::with_opts(named(
            "vip_transitions_total",
            "VIPs that this agent took or gave up.",
        ))?;
        let announcements_sent = IntCounterVec::new(
            named(
                "announcements_sent_total",
                "Gratuitous ARP and unsolicited neighbour advertisements sent, by kind.",
            ),
            &["kind"],
        )?;
        let sync_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "sync_seconds",
                "Time from seeing a change to packets that follow it, in seconds.",
            )
            .namespace(NAMESPACE)
            // Half a millisecond to eight seconds.
            .buckets(exponential_buckets(0.0005, 2.0, 15)?),
        )?;
        let build_info = IntGauge::with_opts(
            named("build_info", "Always 1; its labels tell the version of the agent.")
                .const_label("version", env!("CARGO_PKG_VERSION"))
                .const_label("layout", lb_common::limits::LAYOUT_VERSION.to_string()),
        )?;
        build_info.set(1);

        registry.register(Box::new(vip_transitions.clone()))?;
        registry.register(Box::new(announcements_sent.clone()))?;
        registry.register(Box::new(sync_seconds.clone()))?;
        registry.register(Box::new(build_info))?;
        registry.register(Box::new(TrafficCollector::new(counters)?))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry, vip_transitions, announcements_sent, sync_seconds })
    }

    /// Where a part of the agent registers metrics of its own, beside their subject.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The Prometheus text format of everything as it is now.
    ///
    /// # Errors
    /// When a metric is inconsistent, which is a mistake in this program.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// A metric of ours.
pub(super) fn named(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(NAMESPACE)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
