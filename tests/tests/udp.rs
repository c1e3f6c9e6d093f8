//! A DNS service behind a VIP: real resolvers, real queries, answers from the address that was asked.

use std::net::SocketAddr;

use sluice_tests::{
    cluster::Cluster,
    config::Service,
    dns::{DnsServer, WHO},
};

#[test]
fn dns_queries_are_balanced_and_answered_from_the_vip() {
    let mut cluster = Cluster::start(2).unwrap();
    let servers = &cluster.lab.servers;
    let _dns: Vec<_> = servers.iter().map(|server| DnsServer::start(server).unwrap()).collect();
    let vips = [Cluster::targets()[0].1.ip(), Cluster::targets()[1].1.ip()];
    let service = vips.into_iter().fold(Service::named("shop/dns"), Service::vip);
    let addresses = servers.iter().map(|server| server.v4());
    let config = cluster.config_with(servers).service(service.udp(53).ipip().servers(addresses));
    cluster.edge.apply(config).unwrap();
    let client = cluster.lab.client();
    for vip in vips {
        // dig insists that the answer comes from where the question went.
        let answer = client.dig(vip, 53, &["TXT", WHO]).unwrap();
        assert!(answer[0].contains("server-"), "{answer:?}");
        let tally = client.resolve_many(SocketAddr::new(vip, 53), 200, 4).unwrap();
        tally.all_answered().unwrap();
        assert_eq!(tally.servers.len(), 2, "{tally:?}");
    }
}
