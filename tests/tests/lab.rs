//! Promises of the laboratory itself: what the other tests rely on.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::Duration,
};

use sluice_tests::{
    addresses::{self, vip4, vip6},
    dns::{self, DnsServer},
    frame::{self, ethernet},
    iperf::IperfServer,
    servers::{WebServer, content},
    topology::Lab,
    wire::Wire,
    xdp::{self, Verdict},
};

/// More than enough for a frame to cross the laboratory.
const SOON: Duration = Duration::from_secs(5);

fn web(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 80)
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn the_client_reaches_every_server_through_the_router_and_the_server_sees_its_address() {
    let lab = Lab::builder().servers(1).second_lan_servers(1).far_servers(1).build().unwrap();
    let _web = WebServer::start_all(&lab.servers).unwrap();
    for server in &lab.servers {
        for (address, client) in [(server.v4(), lab.client.v4()), (server.v6(), lab.client.v6())] {
            let answer = lab.client().ask(web(address)).unwrap();
            assert_eq!(answer.server, server.name);
            assert_eq!(answer.client.ip(), client);
        }
    }
}

#[test]
fn edges_reach_servers_on_every_lan() {
    let lab = Lab::builder().servers(1).second_lan_servers(1).far_servers(1).build().unwrap();
    for server in &lab.servers {
        for address in [server.v4(), server.v6()] {
            lab.edges[0].ns.output("ping", &["-c1", "-W2", &address.to_string()]).unwrap();
        }
    }
}

#[test]
fn a_server_does_not_announce_the_vip_it_holds() {
    let lab = Lab::builder().build().unwrap();
    let _web = WebServer::start_all(&lab.servers).unwrap();
    for vip in [vip4(0), vip6(0)] {
        let asked = lab.client().timeout(Duration::from_millis(500)).ask(web(vip));
        assert!(asked.is_err(), "{vip} answered: {asked:?}");
    }
    // It is not the server that is broken: told where the VIP is, the router finds it.
    let server = &lab.servers[1];
    for vip in [vip4(0), vip6(0)] {
        let entry = format!("neigh replace {vip} lladdr {} dev lan", server.mac());
        lab.router.ns.ip(&entry).unwrap();
        assert_eq!(lab.client().ask(web(vip)).unwrap().server, server.name);
    }
}

#[test]
fn the_router_looks_for_routed_vips_on_the_lan() {
    let vip = addresses::routed_vip4(0);
    let lab = Lab::builder().servers(1).vips([vip]).build().unwrap();
    let _web = WebServer::start_all(&lab.servers).unwrap();
    let entry = format!("neigh replace {vip} lladdr {} dev lan", lab.servers[0].mac());
    lab.router.ns.ip(&entry).unwrap();
    lab.client().ask(web(vip)).unwrap();
}

#[test]
fn a_narrow_hop_is_found_by_path_mtu_discovery() {
    let lab = Lab::builder().servers(1).narrow_hop(1400).build().unwrap();
    let size = 300_000;
    let _web = WebServer::start_on(&lab.servers[0], &[80], size).unwrap();
    for (address, client) in
        [(lab.servers[0].v4(), lab.client.v4()), (lab.servers[0].v6(), lab.client.v6())]
    {
        let body = lab.client().fetch(web(address), "/big").unwrap();
        assert!(body == content(size), "the body came through damaged");
        let route = lab.servers[0].ns.ip(&format!("route get {client}")).unwrap();
        assert!(route.contains("mtu 1400"), "{route}");
    }
}

#[test]
fn jumbo_frames_pass() {
    let lab = Lab::builder().servers(1).mtu(9000).build().unwrap();
    let arguments = ["-c1", "-W2", "-M", "do", "-s", "8900", &lab.servers[0].v4().to_string()];
    lab.client.ns.output("ping", &arguments).unwrap();
}

#[test]
fn bulk_requests_are_counted_by_server() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let web_server = WebServer::start_all(&lab.servers).unwrap();
    let tally = lab.client().ask_many(web(lab.servers[0].v4()), 2000, 8).unwrap();
    tally.all_answered().unwrap();
    assert_eq!(tally.of("server-1"), 2000);
    assert_eq!(tally.clients, BTreeSet::from([lab.client.v4()]));

    drop(web_server);
    let tally = lab.client().ask_many(web(lab.servers[0].v4()), 3, 1).unwrap();
    assert_eq!((tally.answers(), tally.failures.len()), (0, 3));
}

#[test]
fn a_session_asks_again_on_the_same_connection() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let _web = WebServer::start_all(&lab.servers).unwrap();
    let mut session = lab.client().session(web(lab.servers[0].v6())).unwrap();
    let first = session.ask().unwrap();
    assert_eq!(first.client, session.local().unwrap());
    assert_eq!(session.ask().unwrap(), first);
}

#[test]
fn curl_reports_status_and_body() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let _web = WebServer::start_all(&lab.servers).unwrap();
    let url = format!("http://[{}]/", lab.servers[0].v6());
    let curled = lab.client().curl(&url).unwrap();
    assert_eq!(curled.status, 200);
    assert!(curled.body.starts_with("server-1 fd00:1::10 "), "{curled:?}");
}

#[test]
fn a_dns_server_answers_from_the_vip_it_was_asked_at() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let _dns = DnsServer::start(&lab.servers[0]).unwrap();
    for vip in [vip4(0), vip6(0)] {
        let entry = format!("neigh replace {vip} lladdr {} dev lan", lab.servers[0].mac());
        lab.router.ns.ip(&entry).unwrap();
        let tally = lab.client().resolve_many(SocketAddr::new(vip, 53), 100, 4).unwrap();
        tally.all_answered().unwrap();
        assert_eq!(tally.of("server-1"), 100);
        assert_eq!(lab.client().dig(vip, 53, &["TXT", dns::WHO]).unwrap(), ["\"server-1\""]);
        let big = lab.client().dig(vip, 53, &["+ignore", "+bufsize=4096", "TXT", dns::BIG]);
        assert_eq!(big.unwrap().len(), 7);
        let huge = lab.client().dig(vip, 53, &["+ignore", "+bufsize=4096", "TXT", dns::HUGE]);
        assert_eq!(huge.unwrap().len(), 18);
    }
}

#[test]
fn iperf3_measures() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let _iperf = IperfServer::start(&lab.servers[0], 5201).unwrap();
    let report = lab.client().iperf3(lab.servers[0].v4(), &["-n", "2M"]).unwrap();
    assert!(report["end"]["sum_sent"]["bytes"].as_u64() >= Some(2 << 20), "{report}");
}

#[test]
fn labs_in_parallel_do_not_disturb_each_other() {
    let names: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(|| {
                let lab = Lab::builder().servers(1).build().unwrap();
                let _web = WebServer::start_all(&lab.servers).unwrap();
                let tally = lab.client().ask_many(web(lab.servers[0].v4()), 50, 1).unwrap();
                tally.all_answered().unwrap();
                lab.namespaces().map(|ns| ns.name().to_owned()).collect::<Vec<_>>()
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .flat_map(|lab| lab.join().unwrap())
        .collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

#[test]
fn a_panic_leaves_no_namespace_and_no_process() {
    let mut names = Vec::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::builder().servers(1).build().unwrap();
        names.extend(lab.namespaces().map(|ns| ns.name().to_owned()));
        let _web = WebServer::start_all(&lab.servers).unwrap();
        assert!(names.iter().all(|name| exists(name)));
        panic!("on purpose");
    }));
    assert!(panicked.is_err() && !names.is_empty());
    assert_eq!(names.iter().filter(|name| exists(name)).count(), 0);
}

#[test]
fn a_kept_lab_outlives_its_value_until_it_is_removed() {
    let prefix = format!("sluice-kept-{}", std::process::id());
    let lab = Lab::builder().servers(1).kept(&prefix).build().unwrap();
    let names: Vec<_> = lab.namespaces().map(|ns| ns.name().to_owned()).collect();
    drop(lab);
    assert!(names.iter().all(|name| exists(name)));
    Lab::remove_kept(&prefix);
    assert_eq!(names.iter().filter(|name| exists(name)).count(), 0);
}

#[test]
fn a_tagged_frame_is_captured_with_its_tags() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let (router, server) = (&lab.router, &lab.servers[0]);
    let wire = Wire::open(&server.ns, "eth0").unwrap();
    let from = Wire::open(&router.ns, "lan").unwrap();
    let outer = ethernet(router.mac(), server.mac()).service_vlan(7).vlan(42);
    let frame = outer.ip(router.v4(), server.v4()).udp(1000, 2000).payload("tagged").build();
    from.send(&frame).unwrap();
    let seen = wire.expect(SOON, |frame| !frame.dissect().vlans().is_empty()).unwrap();
    assert_eq!(seen, frame);
}

#[test]
fn real_traffic_carries_real_checksums() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let (server, port) = (&lab.servers[0], "server-1");
    let _web = WebServer::start_all(&lab.servers).unwrap();
    let wire = Wire::open(lab.lan.ns(), port).unwrap();
    for address in [server.v4(), server.v6()] {
        lab.client().fetch(web(address), "/big").unwrap();
    }
    let segments: Vec<_> = wire
        .drain()
        .unwrap()
        .into_iter()
        .filter(|captured| captured.frame.dissect().tcp().is_some())
        .collect();
    assert!(segments.len() > 1000, "only {} segments", segments.len());
    segments.iter().try_for_each(|captured| frame::check(&captured.frame)).unwrap();
}

#[test]
fn what_did_not_come_is_told_with_what_came() {
    let lab = Lab::builder().servers(1).build().unwrap();
    let wire = Wire::open(&lab.router.ns, "lan").unwrap();
    lab.client().ping(lab.servers[0].v4(), 1).unwrap();
    let missed = wire.expect(Duration::from_millis(50), |_| false).unwrap_err().to_string();
    assert!(missed.contains("ICMP type 8 code 0"), "{missed}");
}

#[test]
fn what_xdp_sends_back_arrives_at_the_switch_from_the_first_to_the_last_frame() {
    for mtu in [1500, 9000] {
        let lab = Lab::builder().servers(0).mtu(mtu).build().unwrap();
        let (router, edge) = (&lab.router, &lab.edges[0]);
        xdp::attach(&edge.ns, "eth0", Verdict::SendBack).unwrap();
        let port = Wire::open(lab.lan.ns(), &edge.name).unwrap();
        let from = Wire::open(&router.ns, "lan").unwrap();
        for n in 0..200 {
            let frame = ethernet(router.mac(), edge.mac()).ip(router.v4(), edge.v4());
            let frame = frame.udp(n, 9).payload(vec![0; mtu as usize - 28]).build();
            from.send(&frame).unwrap();
            port.expect(SOON, |back| *back == frame).unwrap();
        }
    }
}
