//! What is not served is refused at once, or dropped in silence, as configured.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use sluice_tests::{
    addresses::{vip4, vip6},
    cluster::Cluster,
};

#[test]
fn a_port_that_no_service_has_is_refused_at_once() {
    let cluster = Cluster::start(1).unwrap();
    for vip in [vip4(0), vip6(0)] {
        let begun = Instant::now();
        let error = cluster.lab.client().ask(SocketAddr::new(vip, 81)).unwrap_err();
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
        // A client that is not told waits for a second at least before it asks again.
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    }
    let drops = cluster.edge.list("drops").unwrap();
    let row = drops.iter().find(|row| row["reason"] == "no_service").unwrap();
    assert_eq!((&row["packets"], &row["verdict"]), (&2.into(), &"refuse".into()));
}

#[test]
fn reject_false_is_silence() {
    let mut cluster = Cluster::start(1).unwrap();
    let mut config = cluster.config_with(&cluster.lab.servers);
    config.extra.insert("reject".into(), false.into());
    cluster.edge.apply(config).unwrap();
    let client = cluster.lab.client().timeout(Duration::from_millis(500));
    let error = client.ask(SocketAddr::new(vip4(0), 81)).unwrap_err();
    assert!(!format!("{error:#}").contains("refused"), "{error:#}");
}

#[test]
fn a_service_without_endpoints_is_refused_at_once() {
    let mut cluster = Cluster::start(1).unwrap();
    let config = cluster.config_with(&[]);
    cluster.edge.apply(config).unwrap();
    let error = cluster.lab.client().ask(Cluster::targets()[0].1).unwrap_err();
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    let services = cluster.edge.list("services").unwrap();
    assert!(services.iter().all(|row| row["state"] == "empty"), "{services:?}");
}
