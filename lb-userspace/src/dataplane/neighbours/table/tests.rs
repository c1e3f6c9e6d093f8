//! What the table promises its caller.

use std::time::Duration;

use super::*;

const OURS: Mac = [2, 0, 0, 0, 0, 1];
const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn via(gateway: &str) -> Result<Path, Unresolved> {
    Ok(Path {
        link: 2,
        ifindex: 2,
        interface: "eth0".into(),
        vlan: 0,
        source: ip("10.0.0.1"),
        probe_source: Some(ip("10.0.0.1")),
        gateway: ip(gateway),
        on_link: false,
        source_mac: OURS,
        mtu: 1500,
    })
}

fn from(address: &str, mac: Mac) -> Answer {
    Answer { address: ip(address), mac, overrides: true }
}

/// A table that has heard its gateway 10.0.0.254 at `A` and told of it.
fn two_behind_one_gateway(now: Instant) -> Table {
    let mut table = Table::default();
    table.watch(&BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.2")]));
    for backend in table.backends() {
        table.routed(backend, via("10.0.0.254"), now);
    }
    assert_eq!(table.poll(now).len(), 1, "one gateway, one question");
    table.heard(2, from("10.0.0.254", A), now);
    table
}

fn macs(updates: Vec<NextHopUpdate>) -> Vec<(IpAddr, Option<Mac>)> {
    updates.into_iter().map(|u| (u.backend, u.next_hop.ok().map(|hop| hop.mac))).collect()
}

/// Polls every millisecond without any answer.
fn silence(table: &mut Table, start: Instant, millis: std::ops::Range<u64>) {
    for at in millis {
        table.poll(start + Duration::from_millis(at));
    }
}

#[test]
fn backends_behind_one_gateway_share_one_probe_and_follow_it_together() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    let both = |mac| vec![(ip("10.1.0.1"), mac), (ip("10.1.0.2"), mac)];
    assert_eq!(macs(table.take_updates()), both(Some(A)));
    table.heard(2, from("10.0.0.254", B), now);
    assert_eq!(macs(table.take_updates()), both(Some(B)));
    silence(&mut table, now, 0..1000);
    assert_eq!(macs(table.take_updates()), both(None));
    table.heard(2, from("10.0.0.254", A), now + Duration::from_secs(1));
    assert_eq!(macs(table.take_updates()), both(Some(A)));
}

#[test]
fn nothing_is_told_twice() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    table.take_updates();
    table.heard(2, from("10.0.0.254", A), now);
    table.routed(ip("10.1.0.1"), via("10.0.0.254"), now);
    table.watch(&BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.2")]));
    assert_eq!(table.take_updates(), []);
}

#[test]
fn a_backend_watched_anew_is_told_anew() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    table.take_updates();
    table.watch(&BTreeSet::from([ip("10.1.0.1")]));
    table.watch(&BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.2")]));
    table.routed(ip("10.1.0.2"), via("10.0.0.254"), now);
    assert_eq!(macs(table.take_updates()), [(ip("10.1.0.2"), Some(A))]);
}

#[test]
fn an_unresolved_backend_is_told_with_its_reason() {
    let now = Instant::now();
    let mut table = Table::default();
    table.watch(&BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.2")]));
    table.routed(ip("10.1.0.1"), Err(Unresolved::NoRoute), now);
    table.routed(ip("10.1.0.2"), via("10.0.0.254"), now);
    silence(&mut table, now, 0..1000);
    let no_answer = Unresolved::NoAnswer { next_hop: ip("10.0.0.254"), interface: "eth0".into() };
    let reasons: Vec<_> =
        table.take_updates().into_iter().map(|u| u.next_hop.unwrap_err()).collect();
    assert_eq!(reasons, [Unresolved::NoRoute, no_answer]);
}

#[test]
fn a_new_route_serves_once_its_next_hop_is_found() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    table.take_updates();
    table.routed(ip("10.1.0.1"), via("10.0.0.253"), now);
    assert_eq!(table.take_updates(), [], "the old way serves until the new one is known");
    table.heard(2, from("10.0.0.253", B), now);
    assert_eq!(macs(table.take_updates()), [(ip("10.1.0.1"), Some(B))]);
}

#[test]
fn an_answer_on_another_link_is_not_the_next_hops() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    table.take_updates();
    table.heard(3, from("10.0.0.254", B), now);
    assert_eq!(table.take_updates(), []);
}

#[test]
fn the_kernels_old_news_does_not_undo_what_the_wire_said() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    table.kernel_says(2, ip("10.0.0.254"), Kernel::Confirmed(A), now);
    table.heard(2, from("10.0.0.254", B), now);
    table.take_updates();
    table.kernel_says(2, ip("10.0.0.254"), Kernel::Remembered(A), now);
    assert_eq!(table.take_updates(), []);
    table.kernel_says(2, ip("10.0.0.254"), Kernel::Remembered([2, 0, 0, 0, 0, 0xc]), now);
    assert_eq!(table.take_updates().len(), 2);
}

#[test]
fn the_kernels_knowledge_serves_a_new_backend_at_once() {
    let now = Instant::now();
    let mut table = Table::default();
    table.kernel_says(2, ip("10.0.0.254"), Kernel::Remembered(A), now);
    table.watch(&BTreeSet::from([ip("10.1.0.1")]));
    table.routed(ip("10.1.0.1"), via("10.0.0.254"), now);
    assert_eq!(macs(table.take_updates()), [(ip("10.1.0.1"), Some(A))]);
}

#[test]
fn a_next_hop_nobody_needs_is_not_asked_for() {
    let now = Instant::now();
    let mut table = two_behind_one_gateway(now);
    table.watch(&BTreeSet::new());
    assert_eq!(table.due(), None);
}

#[test]
fn many_next_hops_are_asked_in_bursts_that_a_receive_buffer_holds() {
    let now = Instant::now();
    let mut table = Table::default();
    let backends: Vec<IpAddr> = (0..200).map(|last| [10, 1, 0, last].into()).collect();
    table.watch(&backends.iter().copied().collect());
    for backend in backends {
        table.routed(backend, via(&backend.to_string()), now);
    }
    assert_eq!(table.poll(now).len(), BURST);
    assert_eq!(table.due(), Some(now), "the others are still due");
    assert_eq!(table.poll(now).len(), 200 - BURST);
    assert!(table.due() > Some(now));
}
