//! Packets too big for the tunnel: the client's stack is told, and obeys.

use sluice_tests::{cluster::Cluster, config::Service, iperf::IperfServer};

#[test]
fn a_client_that_sends_full_segments_learns_what_fits_the_tunnel() {
    let mut cluster = Cluster::start(1).unwrap();
    let _iperf = IperfServer::start(&cluster.lab.servers[0], 5201).unwrap();
    let server = cluster.lab.servers[0].v4();
    let mut config = cluster.config_with(&cluster.lab.servers);
    let vips = [Cluster::targets()[0].1.ip(), Cluster::targets()[1].1.ip()];
    let service = Service::named("perf").vip(vips[0]).vip(vips[1]).tcp(5201).ipip().server(server);
    config = config.service(service);
    cluster.edge.apply(config).unwrap();
    for vip in vips {
        let report = cluster.lab.client().iperf3(vip, &["-n", "20M"]).unwrap();
        // What the client's own kernel says of the path: 1500 less an outer IPv4 header.
        let stream = &report["intervals"][0]["streams"][0];
        assert_eq!(stream["pmtu"], 1480, "{report}");
        assert!(report["end"]["sum_received"]["bytes"].as_u64().unwrap() > 1_000_000, "{report}");
    }
    let drops = cluster.edge.list("drops").unwrap();
    let told = drops.iter().find(|row| row["reason"] == "too_big").unwrap();
    assert!(told["packets"].as_u64().unwrap() >= 2, "{told}");
}
