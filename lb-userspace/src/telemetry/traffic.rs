//! The data path's counters as metrics, read from the kernel at every scrape.

use std::{fmt, net::IpAddr, sync::Arc};

use lb_common::counters::{Reason, TrafficCounter};
use prometheus::{
    IntCounter, IntCounterVec, IntGaugeVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::metrics::named;
use crate::desired::ServiceKey;

/// Who reads the data path's counters. May block.
pub trait ReadCounters: Send + Sync + 'static {
    /// The counters as they are now.
    ///
    /// # Errors
    /// When a map cannot be read; the scrape then goes without traffic.
    fn read(&self) -> anyhow::Result<CountersSnapshot>;
}

/// What the data path has counted, summed over CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// Traffic of every service.
    pub services: Vec<ServiceTraffic>,
    /// Traffic to every backend.
    pub backends: Vec<(IpAddr, TrafficCounter)>,
    /// Packets not forwarded, by reason.
    pub drops: Vec<(Reason, u64)>,
    /// Every VIP, and whether this agent owns it.
    pub vips: Vec<(IpAddr, bool)>,
}

/// Traffic of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTraffic {
    /// The user's name for it, `namespace/name` in Kubernetes.
    pub name: String,
    /// What a packet is matched against.
    pub key: ServiceKey,
    /// What was counted.
    pub traffic: TrafficCounter,
}

/// Namespace and name of a service; a name without a slash has no namespace.
fn namespaced(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or(("", name))
}

const VIP_LABELS: &[&str] = &["namespace", "service", "vip", "port", "protocol"];

/// Packets, bytes and new flows of one subject.
struct TrafficFamilies([IntCounterVec; 3]);

impl TrafficFamilies {
    fn new(subject: &str, whose: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let family = |unit: &str, help: String| {
            IntCounterVec::new(named(&format!("{subject}_{unit}_total"), &help), labels)
        };
        Ok(Self([
            family("packets", format!("Packets forwarded {whose}."))?,
            family("bytes", format!("Bytes forwarded {whose}, from the client's IP header on."))?,
            family(
                "new_flows",
                format!(
                    "Flows begun {whose}: TCP connections, and UDP flows first seen on moved slots."
                ),
            )?,
        ]))
    }

    fn add(&self, labels: &[&str], traffic: &TrafficCounter) {
        let Self([packets, bytes, new_flows]) = self;
        packets.with_label_values(labels).inc_by(traffic.packets);
        bytes.with_label_values(labels).inc_by(traffic.bytes);
        new_flows.with_label_values(labels).inc_by(traffic.new_flows);
    }
}

/// One scrape's worth of families, filled and thrown away: what has gone from the maps goes from the metrics too.
struct Families {
    vips: TrafficFamilies,
    backends: TrafficFamilies,
    drops: IntCounterVec,
    owned: IntGaugeVec,
}

impl Families {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            vips: TrafficFamilies::new("vip", "for this port of a VIP", VIP_LABELS)?,
            backends: TrafficFamilies::new("backend", "to this backend", &["backend"])?,
            drops: IntCounterVec::new(
                named("drops_total", "Packets for VIPs that were not forwarded, by reason."),
                &["reason"],
            )?,
            owned: IntGaugeVec::new(
                named("vip_owned", "1 where this agent answers ARP and NDP for the VIP, else 0."),
                &["vip"],
            )?,
        })
    }

    fn fill(&self, snapshot: &CountersSnapshot) {
        for ServiceTraffic { name, key, traffic } in &snapshot.services {
            let (namespace, service) = namespaced(name);
            let (vip, port) = (key.vip.to_string(), key.port.to_string());
            let protocol = key.protocol.to_string();
            self.vips.add(&[namespace, service, &vip, &port, &protocol], traffic);
        }
        for (backend, traffic) in &snapshot.backends {
            self.backends.add(&[&backend.to_string()], traffic);
        }
        for (reason, packets) in &snapshot.drops {
            self.drops.with_label_values(&[reason.name()]).inc_by(*packets);
        }
        for (vip, owned) in &snapshot.vips {
            self.owned.with_label_values(&[vip.to_string()]).set(i64::from(*owned));
        }
    }

    fn collectors(&self) -> impl Iterator<Item = &dyn Collector> {
        let traffic = self.vips.0.iter().chain(&self.backends.0).chain([&self.drops]);
        traffic.map(|family| family as &dyn Collector).chain([&self.owned as &dyn Collector])
    }
}

/// Reads the counters at every scrape.
pub(super) struct TrafficCollector {
    counters: Arc<dyn ReadCounters>,
    /// Stays empty: describes the families to the registry.
    described: Families,
    failures: IntCounter,
}

impl TrafficCollector {
    pub(super) fn new(counters: Arc<dyn ReadCounters>) -> prometheus::Result<Self> {
        let failures = IntCounter::with_opts(named(
            "counter_read_failures_total",
            "Scrapes that went without traffic because the counters could not be read.",
        ))?;
        Ok(Self { counters, described: Families::new()?, failures })
    }

    fn scrape(&self) -> anyhow::Result<Vec<MetricFamily>> {
        let families = Families::new()?;
        families.fill(&self.counters.read()?);
        Ok(families.collectors().flat_map(Collector::collect).collect())
    }
}

impl fmt::Debug for TrafficCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficCollector").finish_non_exhaustive()
    }
}

impl Collector for TrafficCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.collectors().flat_map(Collector::desc).chain(self.failures.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.scrape().unwrap_or_else(|error| {
            self.failures.inc();
            tracing::warn!("cannot read the data path's counters: {error:#}");
            Vec::new()
        });
        families.extend(self.failures.collect());
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_s_name_splits_at_its_slash() {
        assert_eq!(namespaced("shop/web"), ("shop", "web"));
    }

    #[test]
    fn a_name_without_slash_has_no_namespace() {
        assert_eq!(namespaced("web"), ("", "web"));
    }
}
