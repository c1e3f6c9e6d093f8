//! Clients reach a VIP, the servers see who they are, and every connection has one server.

use sluice_tests::{
    addresses::vip4,
    cluster::Cluster,
    config::{Config, Service},
    stats,
};
use std::net::SocketAddr;

#[test]
fn clients_reach_a_vip_in_every_way_and_servers_see_their_address() {
    let cluster = Cluster::start(3).unwrap();
    let client = cluster.lab.client();
    for (forwarding, vip) in Cluster::targets() {
        let tally = client.ask_many(vip, 200, 8).unwrap();
        tally.all_answered().unwrap();
        let own = if vip.is_ipv4() { cluster.lab.client.v4() } else { cluster.lab.client.v6() };
        assert!(tally.clients.iter().eq([&own]), "{forwarding} {vip}: {tally:?}");
        assert_eq!(tally.servers.len(), 3, "{forwarding} {vip}: {tally:?}");
    }
    let drops = cluster.edge.list("drops").unwrap();
    let dropped = drops.iter().filter(|row| row["packets"] != 0).collect::<Vec<_>>();
    assert!(dropped.is_empty(), "{dropped:?}");
}

#[test]
fn every_connection_reaches_one_server_and_stays() {
    let cluster = Cluster::start(3).unwrap();
    let client = cluster.lab.client();
    for (_, vip) in Cluster::targets() {
        for _ in 0..20 {
            let mut session = client.session(vip).unwrap();
            let first = session.ask().unwrap().server;
            for _ in 0..20 {
                assert_eq!(session.ask().unwrap().server, first);
            }
        }
    }
}

#[test]
fn weights_hold() {
    let mut cluster = Cluster::start(3).unwrap();
    let weights = [1, 2, 5];
    let mut service = Service::named("shop/web").vip(vip4(Cluster::IPIP)).tcp(80).ipip();
    for (server, weight) in cluster.lab.servers.iter().zip(weights) {
        service = service.weighted(server.v4(), weight);
    }
    let config = Config::edge(&cluster.lab.edges[0]).service(service);
    cluster.edge.apply(config).unwrap();
    let vip = SocketAddr::new(vip4(Cluster::IPIP), 80);
    let tally = cluster.lab.client().ask_many(vip, 4000, 8).unwrap();
    tally.all_answered().unwrap();
    let shares: Vec<_> = cluster
        .lab
        .servers
        .iter()
        .zip(weights)
        .map(|(server, weight)| (tally.of(&server.name), weight))
        .collect();
    assert!(stats::fits_weights(&shares).is_ok(), "{tally:?}");
}
