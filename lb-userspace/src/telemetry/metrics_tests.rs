//! The exposition as Prometheus reads it: every line parsed back, every contracted name with its labels.

use std::collections::BTreeMap;

use lb_common::counters::{Reason, TrafficCounter};

use super::*;
use crate::desired::{Protocol, ServiceKey};

struct Fixed(Option<CountersSnapshot>);

impl ReadCounters for Fixed {
    fn read(&self) -> anyhow::Result<CountersSnapshot> {
        self.0.clone().ok_or_else(|| anyhow::anyhow!("map service_counters is gone"))
    }
}

fn snapshot() -> CountersSnapshot {
    let service = |name: &str, vip: &str, port, protocol, packets| ServiceTraffic {
        name: name.to_owned(),
        key: ServiceKey { vip: vip.parse().unwrap(), port, protocol },
        traffic: TrafficCounter { packets, bytes: packets * 100, new_flows: packets / 10 },
    };
    CountersSnapshot {
        services: vec![
            service("shop/web", "192.0.2.10", 80, Protocol::Tcp, 1000),
            service("dns", "2001:db8::10", 53, Protocol::Udp, 50),
            service("odd \"name\"\\", "192.0.2.11", 0, Protocol::Tcp, 10),
        ],
        backends: vec![(
            "10.0.0.21".parse().unwrap(),
            TrafficCounter { packets: u64::MAX >> 12, bytes: 2, new_flows: 3 },
        )],
        drops: Reason::ALL.iter().zip(1..).map(|(reason, packets)| (*reason, packets)).collect(),
        vips: vec![("192.0.2.10".parse().unwrap(), true), ("2001:db8::10".parse().unwrap(), false)],
    }
}

/// A family as a scraper sees it.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// Name with labels as printed, and value.
    samples: BTreeMap<String, f64>,
}

/// Parses the text format, insisting on HELP and TYPE before the samples they describe and on well-formed labels.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            let fresh = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), fresh).is_none(), "{name} twice");
            current = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let family = families.get_mut(&current).unwrap();
            let name = check_series(series);
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.iter().any(|suffix| name == format!("{current}{suffix}")), "{line}");
            let value = value.parse().unwrap();
            assert!(family.samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    families
}

/// Checks `name{label="value",...}` by the grammar of the format; returns the name.
fn check_series(series: &str) -> &str {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    assert!(word(name), "{series}");
    let mut rest = labels.strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"").unwrap();
        assert!(word(label), "{series}");
        let mut escaped = false;
        let end = quoted.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let after = &quoted[end.unwrap() + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
        assert!(!rest.is_empty() || after.is_empty(), "{series}");
    }
    name
}

fn scrape(counters: Option<CountersSnapshot>) -> BTreeMap<String, Family> {
    let metrics = Metrics::new(Arc::new(Fixed(counters))).unwrap();
    metrics.vip_transitions.inc();
    metrics.announcements_sent.with_label_values(&["arp_request"]).inc_by(3);
    metrics.sync_seconds.observe(0.004);
    parse(&String::from_utf8(metrics.encode().unwrap()).unwrap())
}

#[test]
fn every_contracted_series_is_there_with_its_labels_and_value() {
    let families = scrape(Some(snapshot()));
    for (series, value) in [
        (
            r#"sluice_vip_packets_total{namespace="shop",port="80",protocol="TCP",service="web",vip="192.0.2.10"}"#,
            1000.,
        ),
        (
            r#"sluice_vip_bytes_total{namespace="shop",port="80",protocol="TCP",service="web",vip="192.0.2.10"}"#,
            100_000.,
        ),
        (
            r#"sluice_vip_new_flows_total{namespace="shop",port="80",protocol="TCP",service="web",vip="192.0.2.10"}"#,
            100.,
        ),
        (
            r#"sluice_vip_packets_total{namespace="",port="53",protocol="UDP",service="dns",vip="2001:db8::10"}"#,
            50.,
        ),
        (r#"sluice_backend_packets_total{backend="10.0.0.21"}"#, (u64::MAX >> 12) as f64),
        (r#"sluice_backend_bytes_total{backend="10.0.0.21"}"#, 2.),
        (r#"sluice_backend_new_flows_total{backend="10.0.0.21"}"#, 3.),
        (r#"sluice_drops_total{reason="malformed"}"#, 1.),
        (r#"sluice_vip_owned{vip="192.0.2.10"}"#, 1.),
        (r#"sluice_vip_owned{vip="2001:db8::10"}"#, 0.),
        ("sluice_vip_transitions_total", 1.),
        (r#"sluice_announcements_sent_total{kind="arp_request"}"#, 3.),
        (r#"sluice_sync_seconds_bucket{le="0.004"}"#, 1.),
        ("sluice_sync_seconds_count", 1.),
    ] {
        let name = series
            .split('{')
            .next()
            .unwrap()
            .trim_end_matches("_bucket")
            .trim_end_matches("_count");
        let family = families.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.samples.get(series), Some(&value), "{series} in {family:#?}");
    }
}

#[test]
fn every_drop_reason_has_its_series() {
    assert_eq!(scrape(Some(snapshot()))["sluice_drops_total"].samples.len(), Reason::ALL.len());
}

#[test]
fn names_end_in_total_exactly_where_they_count() {
    for (name, family) in scrape(Some(snapshot())) {
        // The process collector's names are Prometheus' own.
        assert!(name.starts_with("sluice_") || name.starts_with("process_"), "{name}");
        let counts = family.kind == "counter";
        assert!(counts == name.ends_with("_total"), "{name} is a {}", family.kind);
    }
}

#[test]
fn every_metric_has_help_that_is_a_sentence() {
    for (name, family) in scrape(Some(snapshot())) {
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
    }
}

#[test]
fn the_process_itself_is_measured() {
    let families = scrape(Some(snapshot()));
    assert!(families["process_resident_memory_bytes"].samples.values().all(|rss| *rss > 0.));
}

#[test]
fn build_info_tells_the_version() {
    let families = scrape(Some(snapshot()));
    let series: Vec<_> = families["sluice_build_info"].samples.iter().collect();
    assert_eq!(series.len(), 1);
    assert!(series[0].0.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")));
    assert_eq!(*series[0].1, 1.);
}

#[test]
fn unreadable_counters_leave_the_rest_of_the_scrape_whole() {
    let families = scrape(None);
    assert!(!families.contains_key("sluice_vip_packets_total"));
    assert!(families.contains_key("sluice_build_info"));
    assert_eq!(
        families["sluice_counter_read_failures_total"].samples["sluice_counter_read_failures_total"],
        1.
    );
}

#[test]
fn what_has_gone_from_the_maps_goes_from_the_metrics() {
    struct Waning(std::sync::Mutex<Vec<CountersSnapshot>>);
    impl ReadCounters for Waning {
        fn read(&self) -> anyhow::Result<CountersSnapshot> {
            Ok(self.0.lock().unwrap().pop().unwrap())
        }
    }
    let scrapes = vec![CountersSnapshot::default(), snapshot()];
    let metrics = Metrics::new(Arc::new(Waning(scrapes.into()))).unwrap();
    let text = |metrics: &Metrics| String::from_utf8(metrics.encode().unwrap()).unwrap();
    assert!(text(&metrics).contains("sluice_backend_packets_total{"));
    assert!(!text(&metrics).contains("sluice_backend_packets_total{"));
}

#[test]
fn another_part_registers_its_own_beside_them() {
    let metrics = Metrics::new(Arc::new(Fixed(Some(snapshot())))).unwrap();
    let members = IntGauge::new("sluice_members", "Agents of the group.").unwrap();
    metrics.registry().register(Box::new(members)).unwrap();
    assert!(String::from_utf8(metrics.encode().unwrap()).unwrap().contains("\nsluice_members 0\n"));
}
