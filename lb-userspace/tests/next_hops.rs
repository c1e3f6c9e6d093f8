//! Next hops in real network namespaces; needs root.

mod wire;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_userspace::dataplane::neighbours::{NextHop, NextHopUpdate, NextHops, Unresolved};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};
use wire::Wire;

/// For what has no promised time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How fast a change is promised to be followed.
const PROMISE: Duration = Duration::from_secs(1);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn watch(backends: &[&str]) -> (NextHops, UnboundedReceiver<NextHopUpdate>) {
    let (next_hops, updates) = NextHops::start().expect("needs root");
    next_hops.watch(backends.iter().map(|backend| address(backend)).collect());
    (next_hops, updates)
}

/// The first update about `backend` that satisfies `wanted`.
async fn update(
    updates: &mut UnboundedReceiver<NextHopUpdate>,
    within: Duration,
    backend: &str,
    wanted: impl Fn(&Result<NextHop, Unresolved>) -> bool,
) -> Result<NextHop, Unresolved> {
    let mut seen = Vec::new();
    let found = timeout(within, async {
        loop {
            let update = updates.recv().await.expect("next hops are followed");
            if update.backend == address(backend) && wanted(&update.next_hop) {
                return update.next_hop;
            }
            seen.push(update);
        }
    });
    match found.await {
        Ok(next_hop) => next_hop,
        Err(_) => panic!("no such update about {backend} within {within:?}, but {seen:?}"),
    }
}

async fn resolved(
    updates: &mut UnboundedReceiver<NextHopUpdate>,
    within: Duration,
    backend: &str,
) -> NextHop {
    update(updates, within, backend, Result::is_ok).await.unwrap()
}

/// This host `edge` and one neighbour `peer`, 10.9.0.1 and .2, fd09::1 and ::2.
fn edge_and_peer() -> Wire {
    let wire = Wire::new(&["edge", "peer"]);
    wire.join("edge", "peer");
    wire.ip("peer", "link set edge address 02:00:00:00:00:02");
    wire.ip("edge", "link set peer address 02:00:00:00:00:01");
    for (namespace, device, last) in [("edge", "peer", 1), ("peer", "edge", 2)] {
        wire.address(namespace, device, &format!("10.9.0.{last}/24"));
        wire.address(namespace, device, &format!("fd09::{last}/64"));
    }
    wire
}

#[test]
fn a_backend_on_the_link_is_its_own_next_hop() {
    let wire = edge_and_peer();
    wire.ip("edge", "link set peer mtu 1400");
    wire.run("edge", async || {
        let (_next_hops, mut updates) = watch(&["10.9.0.2", "fd09::2"]);
        let mut found = Vec::new();
        while found.len() < 2 {
            let update = timeout(PATIENCE, updates.recv()).await.expect("an update").unwrap();
            if let Ok(next_hop) = update.next_hop {
                found.push((update.backend, next_hop));
            }
        }
        found.sort_by_key(|(backend, _)| *backend);
        for ((backend, hop), (expected, source)) in
            found.iter().zip([("10.9.0.2", "10.9.0.1"), ("fd09::2", "fd09::1")])
        {
            assert_eq!((*backend, hop.gateway), (address(expected), address(expected)));
            assert_eq!((hop.source, hop.on_link), (address(source), true));
            assert_eq!((hop.mac, hop.source_mac), ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]));
            assert_eq!((hop.interface.as_str(), hop.vlan, hop.mtu), ("peer", 0, 1400));
        }
    });
}

#[test]
fn a_backend_behind_a_router_has_the_routers_mac_and_the_routes_mtu() {
    let wire = edge_and_peer();
    wire.ip("edge", "route add 10.99.0.0/16 via 10.9.0.2 mtu 1300");
    wire.ip("edge", "route add fd99::/64 via fd09::2 mtu 1350");
    wire.run("edge", async || {
        for (backend, gateway, mtu) in
            [("10.99.0.7", "10.9.0.2", 1300), ("fd99::7", "fd09::2", 1350)]
        {
            let (_next_hops, mut updates) = watch(&[backend]);
            let hop = resolved(&mut updates, PATIENCE, backend).await;
            assert_eq!((hop.gateway, hop.on_link, hop.mtu), (address(gateway), false, mtu));
            assert_eq!(hop.mac, [2, 0, 0, 0, 0, 2]);
        }
    });
}

#[test]
fn a_changed_mac_is_followed_within_a_second() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        for (backend, last) in [("10.9.0.2", 0x12), ("fd09::2", 0x13)] {
            let (_next_hops, mut updates) = watch(&[backend]);
            resolved(&mut updates, PATIENCE, backend).await;
            wire.ip("peer", &format!("link set edge address 02:00:00:00:00:{last:02x}"));
            let expected = [2, 0, 0, 0, 0, last];
            update(&mut updates, PROMISE, backend, |hop| {
                hop.as_ref().is_ok_and(|hop| hop.mac == expected)
            })
            .await
            .unwrap();
        }
    });
}

#[test]
fn a_vanished_next_hop_is_unresolved_within_a_second_and_comes_back() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        for backend in ["10.9.0.2", "fd09::2"] {
            let (_next_hops, mut updates) = watch(&[backend]);
            resolved(&mut updates, PATIENCE, backend).await;
            // The link stays up: only the silence tells.
            wire.ip(
                "peer",
                &format!(
                    "address del {backend}/{} dev edge",
                    if backend.contains(':') { 64 } else { 24 }
                ),
            );
            let lost = update(&mut updates, PROMISE, backend, Result::is_err).await.unwrap_err();
            let (next_hop, interface) = (address(backend), "peer".to_owned());
            assert_eq!(lost, Unresolved::NoAnswer { next_hop, interface });
            wire.address(
                "peer",
                "edge",
                &format!("{backend}/{}", if backend.contains(':') { 64 } else { 24 }),
            );
            resolved(&mut updates, PROMISE, backend).await;
        }
    });
}

#[test]
fn a_next_hop_that_answers_stays_resolved() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        let (_next_hops, mut updates) = watch(&["10.9.0.2", "fd09::2"]);
        resolved(&mut updates, PATIENCE, "10.9.0.2").await;
        resolved(&mut updates, PATIENCE, "fd09::2").await;
        let more = timeout(3 * PROMISE, updates.recv()).await;
        assert!(more.is_err(), "nothing changed, and yet {more:?}");
    });
}

#[test]
fn a_route_change_moves_the_backend_to_the_other_router() {
    let wire = Wire::new(&["edge", "left", "right"]);
    for (router, subnet) in [("left", 1), ("right", 2)] {
        wire.join("edge", router);
        wire.ip(router, &format!("link set edge address 02:00:00:00:00:0{subnet}"));
        wire.address("edge", router, &format!("10.9.{subnet}.1/24"));
        wire.address(router, "edge", &format!("10.9.{subnet}.2/24"));
    }
    wire.ip("edge", "route add 10.99.0.0/16 via 10.9.1.2");
    wire.run("edge", async || {
        let (_next_hops, mut updates) = watch(&["10.99.0.7"]);
        let hop = resolved(&mut updates, PATIENCE, "10.99.0.7").await;
        assert_eq!((hop.interface.as_str(), hop.mac[5]), ("left", 1));
        wire.ip("edge", "route replace 10.99.0.0/16 via 10.9.2.2");
        let hop = resolved(&mut updates, PROMISE, "10.99.0.7").await;
        assert_eq!((hop.interface.as_str(), hop.mac[5]), ("right", 2));
        assert_eq!(hop.source, address("10.9.2.1"));
        wire.ip("edge", "route del 10.99.0.0/16");
        let lost = update(&mut updates, PROMISE, "10.99.0.7", Result::is_err).await;
        assert_eq!(lost, Err(Unresolved::NoRoute));
    });
}

#[test]
fn every_backend_that_cannot_be_reached_is_told_with_its_reason() {
    let wire = edge_and_peer();
    wire.ip("edge", "route add unreachable 10.98.0.0/16");
    wire.ip("edge", "route add blackhole 10.97.0.0/16");
    wire.run("edge", async || {
        let started = Instant::now();
        let (_next_hops, mut updates) =
            watch(&["10.9.0.1", "10.9.0.77", "10.99.0.1", "10.98.0.1", "10.97.0.1", "fd99::1"]);
        let mut reasons = std::collections::BTreeMap::new();
        while reasons.len() < 6 {
            let left = (PROMISE + PROMISE / 2).saturating_sub(started.elapsed());
            let Ok(update) = timeout(left, updates.recv()).await else {
                panic!("only {reasons:?}")
            };
            let update = update.unwrap();
            reasons.insert(update.backend.to_string(), update.next_hop.unwrap_err());
        }
        assert_eq!(reasons["10.9.0.1"], Unresolved::Local);
        assert!(matches!(reasons["10.9.0.77"], Unresolved::NoAnswer { .. }));
        assert_eq!(reasons["10.99.0.1"], Unresolved::NoRoute);
        assert_eq!(reasons["fd99::1"], Unresolved::NoRoute);
        assert_eq!(reasons["10.98.0.1"], Unresolved::Unreachable);
        assert_eq!(reasons["10.97.0.1"], Unresolved::Unreachable);
    });
}

#[test]
fn a_link_that_loses_its_carrier_unresolves_its_backends() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        let (_next_hops, mut updates) = watch(&["10.9.0.2"]);
        resolved(&mut updates, PATIENCE, "10.9.0.2").await;
        wire.ip("peer", "link set edge down");
        let lost = update(&mut updates, PROMISE, "10.9.0.2", Result::is_err).await;
        assert_eq!(lost, Err(Unresolved::LinkDown { interface: "peer".into() }));
        wire.ip("peer", "link set edge up");
        resolved(&mut updates, PATIENCE, "10.9.0.2").await;
    });
}

#[test]
fn a_backend_that_is_no_longer_watched_is_not_told_of() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        let (next_hops, mut updates) = watch(&["10.9.0.2"]);
        resolved(&mut updates, PATIENCE, "10.9.0.2").await;
        next_hops.watch(BTreeSet::from([address("fd09::2")]));
        resolved(&mut updates, PATIENCE, "fd09::2").await;
        wire.ip("peer", "link set edge address 02:00:00:00:00:14");
        let update = timeout(PROMISE, updates.recv()).await.expect("an update").unwrap();
        assert_eq!(update.backend, address("fd09::2"));
    });
}

#[test]
fn a_permanent_neighbour_of_the_kernel_is_taken_at_its_word() {
    let wire = edge_and_peer();
    wire.ip("edge", "neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev peer nud permanent");
    wire.run("edge", async || {
        let (_next_hops, mut updates) = watch(&["10.9.0.77"]);
        assert_eq!(resolved(&mut updates, PATIENCE, "10.9.0.77").await.mac[5], 0x77);
        wire.ip("edge", "neigh replace 10.9.0.77 lladdr 02:00:00:00:00:78 dev peer nud permanent");
        assert_eq!(resolved(&mut updates, PROMISE, "10.9.0.77").await.mac[5], 0x78);
        wire.ip("edge", "neigh del 10.9.0.77 dev peer");
        update(&mut updates, PROMISE, "10.9.0.77", Result::is_err).await.unwrap_err();
    });
}

#[test]
fn an_ipv4_backend_may_be_behind_an_ipv6_router() {
    let wire = edge_and_peer();
    wire.ip("edge", "route add 10.99.0.0/16 via inet6 fd09::2 dev peer");
    wire.run("edge", async || {
        let (_next_hops, mut updates) = watch(&["10.99.0.7"]);
        let hop = resolved(&mut updates, PATIENCE, "10.99.0.7").await;
        assert_eq!((hop.gateway, hop.on_link), (address("fd09::2"), false));
        assert_eq!((hop.source, hop.mac), (address("10.9.0.1"), [2, 0, 0, 0, 0, 2]));
    });
}

#[test]
fn a_backend_watched_anew_is_told_anew() {
    let wire = edge_and_peer();
    wire.run("edge", async || {
        let (next_hops, mut updates) = watch(&["10.9.0.2"]);
        resolved(&mut updates, PATIENCE, "10.9.0.2").await;
        next_hops.watch(BTreeSet::new());
        next_hops.watch(BTreeSet::from([address("10.9.0.2")]));
        resolved(&mut updates, PROMISE, "10.9.0.2").await;
    });
}
