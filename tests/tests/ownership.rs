//! Who answers for a VIP: the edge while its agent says so, and nobody else.

use std::time::Duration;

use sluice_tests::{cluster::Cluster, wait::until_true};

/// Longer than a lease, 3 s, and what a busy machine adds.
const LEASE_OVER: Duration = Duration::from_secs(15);

/// Asks with ARP, bypassing every cache; how many answered.
fn answers_to_arp(cluster: &Cluster) -> usize {
    let vip = Cluster::targets()[0].1.ip().to_string();
    let arguments = ["-c", "1", "-w", "1", "-I", "lan", &vip];
    let output = cluster.lab.router.ns.command("arping").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains("reply from"))
        .count()
}

#[test]
fn a_vip_is_answered_for_once_and_echo_too() {
    let cluster = Cluster::start(3).unwrap();
    // The servers hold the VIP on lo and are asked as well: the question is a broadcast.
    assert_eq!(answers_to_arp(&cluster), 1);
    for (_, vip) in Cluster::targets() {
        let output = cluster.lab.client().ping(vip.ip(), 3).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_killed_agent_s_edge_forwards_on_and_falls_silent_until_the_next_one_takes_over() {
    let mut cluster = Cluster::start(2).unwrap();
    let vip = Cluster::targets()[0].1;
    let client = cluster.lab.client();
    client.ask(vip).unwrap();
    cluster.edge.kill().unwrap();
    client.ask_many(vip, 100, 4).unwrap().all_answered().unwrap();
    until_true("nobody answers ARP", LEASE_OVER, || answers_to_arp(&cluster) == 0).unwrap();
    cluster.edge.restart().unwrap();
    assert_eq!(answers_to_arp(&cluster), 1);
    client.ask_many(vip, 100, 4).unwrap().all_answered().unwrap();
}

#[test]
fn a_stopped_agent_leaves_nothing_behind() {
    let mut cluster = Cluster::start(1).unwrap();
    let edge = &cluster.lab.edges[0].ns;
    let attached = || edge.output("ip", &["-d", "link", "show", "eth0"]).unwrap().contains("xdp");
    assert!(attached());
    assert!(cluster.edge.pins().join("services").exists());
    let status = cluster.edge.stop().unwrap();
    assert!(status.success(), "{status}");
    assert!(!attached());
    assert!(!cluster.edge.pins().exists());
}
