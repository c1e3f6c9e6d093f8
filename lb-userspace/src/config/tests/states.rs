//! What valid configurations mean: typed values, defaults, and the desired state.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    config::{AgentConfig, HealthCheck, HealthCheckKind, Membership, Metrics, XdpMode},
    desired::{Backend, BackendKind, Desired, Forwarding, Protocol, ServiceKey, SessionAffinity},
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_field_is_read() {
    let config = valid(WHOLE);
    let agent = AgentConfig {
        node: "edge-1".into(),
        edge: true,
        interfaces: vec!["eth0".into(), "eth1".into()],
        pin_directory: "/sys/fs/bpf/other".into(),
        socket: "/run/other.sock".into(),
        xdp_mode: XdpMode::Native,
        tunnel_source: vec![ip("10.0.0.1")],
        tunnel_source_prefix: vec!["10.9.0.0/20".parse().unwrap()],
        seed_file: Some("/nonexistent/seed".into()),
        membership: Some(Membership {
            bind: "10.0.0.1:7373".parse().unwrap(),
            peers: vec!["10.0.0.2:7373".parse().unwrap()],
            key_file: "/nonexistent/key".into(),
        }),
        metrics: Some(Metrics { listen: "0.0.0.0:9473".parse().unwrap() }),
    };
    assert_eq!(config.agent, agent);
    assert_eq!(config.edges, Some(vec![ip("10.0.0.1"), ip("10.0.0.2")]));
    assert_eq!(
        (config.nodes[0].name.as_str(), config.nodes[0].address),
        ("worker-1", ip("10.0.0.11"))
    );
    let [service] = config.services.as_slice() else { panic!("one service") };
    assert_eq!(service.name, "shop/web");
    assert_eq!(service.vips, [ip("192.0.2.10"), ip("2001:db8::10")]);
    assert_eq!(service.forwarding, Forwarding::Ipip);
    let [port] = service.ports.as_slice() else { panic!("one port") };
    assert_eq!((port.name.as_deref(), port.port, port.protocol), (Some("http"), 80, Protocol::Tcp));
    assert_eq!(service.session_affinity, SessionAffinity::ClientIp);
    assert_eq!(service.source_ranges.len(), 2);
    assert!(!service.reject);
    let [pod, server] = service.endpoints.as_slice() else { panic!("two endpoints") };
    assert_eq!(
        (pod.address, pod.port, pod.node.as_deref()),
        (ip("10.244.1.5"), Some(8080), Some("worker-1"))
    );
    assert_eq!((pod.weight, pod.ready, pod.serving, pod.terminating), (1, false, true, true));
    assert_eq!((server.address, server.port, &server.node), (ip("10.0.0.21"), None, &None));
    assert_eq!(
        (server.weight, server.ready, server.serving, server.terminating),
        (100, true, true, false)
    );
    let check = HealthCheck {
        kind: HealthCheckKind::Tcp,
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(500),
        rise: 4,
        fall: 5,
    };
    assert_eq!(service.health_check, Some(check));
}

#[test]
fn interfaces_alone_are_a_configuration_and_the_rest_has_defaults() {
    for text in [
        "interfaces: [eth0]",
        "interfaces: [eth0]\nservices: []",
        "interfaces: [eth0]\nservices:\nnodes: ~",
    ] {
        let config = valid(text);
        let agent = AgentConfig {
            node: nix::unistd::gethostname().unwrap().into_string().unwrap(),
            edge: true,
            interfaces: vec!["eth0".into()],
            pin_directory: "/sys/fs/bpf/sluice".into(),
            socket: "/run/sluice/sluice.sock".into(),
            xdp_mode: XdpMode::Auto,
            tunnel_source: Vec::new(),
            tunnel_source_prefix: Vec::new(),
            seed_file: None,
            membership: None,
            metrics: None,
        };
        let expected = Config { agent, edges: None, nodes: Vec::new(), services: Vec::new() };
        assert_eq!(config, expected);
        assert_eq!(config.desired(), Desired::default());
    }
}

#[test]
fn a_service_needs_only_name_vips_and_ports() {
    let config = valid(&service("healthCheck: {type: ping}"));
    let service = &config.services[0];
    assert_eq!(service.forwarding, Forwarding::Ipip);
    assert_eq!(service.session_affinity, SessionAffinity::None);
    assert_eq!(service.ports[0].protocol, Protocol::Tcp);
    assert!(service.reject && service.endpoints.is_empty() && service.source_ranges.is_empty());
    let check = service.health_check.as_ref().unwrap();
    let (interval, timeout) = (Duration::from_secs(1), Duration::from_millis(500));
    assert_eq!((check.interval, check.timeout, check.rise, check.fall), (interval, timeout, 2, 3));
}

#[test]
fn a_service_s_own_reject_goes_before_the_file_s() {
    for (global, own, expected) in [
        ("", "", true),
        ("reject: false\n", "", false),
        ("reject: false\n", "reject: true", true),
        ("", "reject: false", false),
    ] {
        let config = valid(&(global.to_owned() + &service(own)));
        assert_eq!(config.services[0].reject, expected, "{global}{own}");
    }
}

#[test]
fn tunnel_sources_may_be_one_of_each_family() {
    let config = valid(
        "interfaces: [eth0]\ntunnelSource: [10.0.0.1, \"2001:db8::1\"]\ntunnelSourcePrefix: [10.9.0.0/20, \"2001:db8:9::/64\"]\n",
    );
    assert_eq!(config.agent.tunnel_source, [ip("10.0.0.1"), ip("2001:db8::1")]);
    assert_eq!(config.agent.tunnel_source_prefix.len(), 2);
}

#[test]
fn one_address_may_serve_different_ports_and_protocols() {
    let config = valid(&service("ports: [{port: 53}, {port: 53, protocol: UDP}, {port: 0}]"));
    let keys: Vec<String> = config.desired().services.keys().map(ToString::to_string).collect();
    assert_eq!(keys, ["192.0.2.10:0/TCP", "192.0.2.10:53/TCP", "192.0.2.10:53/UDP"]);
}

#[test]
fn every_example_in_the_documentation_is_valid() {
    let page = include_str!("../../../../docs/configuration.md");
    let examples: Vec<&str> =
        page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 4);
    for example in examples {
        let rest = if example.contains("interfaces:") { "" } else { "interfaces: [eth0]\n" };
        valid(&(rest.to_owned() + example));
    }
}

#[test]
fn anchors_spare_repetition() {
    let config = valid(
        "interfaces: [eth0]\nservices:\n- name: a\n  vips: &vips [192.0.2.10]\n  ports: [{port: 80}]\n- {name: b, vips: *vips, ports: [{port: 81}]}\n",
    );
    assert_eq!(config.services[1].vips, [ip("192.0.2.10")]);
}

/// The backends and weights of the first VIP of a service with these endpoints.
fn weights(endpoints: &str) -> Vec<(String, u32)> {
    let desired = valid(&service(&format!("endpoints: [{endpoints}]"))).desired();
    let service = desired.services.into_values().next().unwrap();
    service.backends.into_iter().map(|(address, weight)| (address.to_string(), weight)).collect()
}

#[test]
fn a_backend_weighs_what_its_chosen_endpoints_weigh() {
    let pod = |end: u8, node: u8, more: &str| {
        format!("{{address: 10.244.0.{end}, port: 8080, node: worker-{node}{more}}}")
    };
    let server = |end: u8, more: &str| format!("{{address: 10.0.0.{end}{more}}}");
    let draining = ", ready: false, terminating: true";
    let gone = ", ready: false, serving: false, terminating: true";
    for (endpoints, expected) in [
        // Every endpoint weighs 1 unless told otherwise, and a node the sum of its own.
        (
            vec![pod(1, 1, ""), pod(2, 1, ""), pod(3, 2, "")],
            vec![("10.0.0.11", 2), ("10.0.0.12", 1)],
        ),
        (
            vec![server(21, ""), server(22, ", weight: 100")],
            vec![("10.0.0.21", 1), ("10.0.0.22", 100)],
        ),
        (vec![pod(1, 1, ", weight: 3"), pod(2, 1, ", weight: 4")], vec![("10.0.0.11", 7)]),
        (vec![pod(1, 1, ""), server(21, "")], vec![("10.0.0.11", 1), ("10.0.0.21", 1)]),
        // Weight 0, not ready, terminating: no new flows.
        (vec![server(21, ", weight: 0"), server(22, "")], vec![("10.0.0.22", 1)]),
        (
            vec![pod(1, 1, ", ready: false"), pod(2, 1, ""), pod(3, 2, draining)],
            vec![("10.0.0.11", 1)],
        ),
        (vec![server(21, ", terminating: true"), server(22, "")], vec![("10.0.0.22", 1)]),
        // With nobody ready those about to go are better than nobody, if they still answer.
        (vec![pod(1, 1, draining), pod(2, 2, gone)], vec![("10.0.0.11", 1)]),
        (vec![pod(1, 1, draining), pod(2, 2, ", weight: 0")], vec![("10.0.0.11", 1)]),
        (vec![pod(1, 1, ", ready: false")], vec![]),
        (vec![server(21, ", weight: 0")], vec![]),
        (vec![], vec![]),
    ] {
        let weights = weights(&endpoints.join(", "));
        let weights: Vec<_> =
            weights.iter().map(|(address, weight)| (address.as_str(), *weight)).collect();
        assert_eq!(weights, expected, "{endpoints:#?}");
    }
}

#[test]
fn a_backend_without_new_flows_stays_as_a_draining_one() {
    let desired = valid(&service(
        "endpoints: [{address: 10.0.0.21, weight: 0}, {address: 10.0.0.22}, {address: 10.244.0.1, node: worker-1, ready: false}]",
    ))
    .desired();
    let backend = |kind, draining| Backend { kind, draining };
    assert_eq!(
        desired.backends.into_iter().collect::<Vec<_>>(),
        [
            (ip("10.0.0.11"), backend(BackendKind::Node("worker-1".into()), true)),
            (ip("10.0.0.21"), backend(BackendKind::Server, true)),
            (ip("10.0.0.22"), backend(BackendKind::Server, false)),
        ]
    );
}

#[test]
fn a_pod_serves_the_vip_of_its_family_and_a_server_every_vip() {
    let desired = valid(&service(
        "vips: [192.0.2.10, \"2001:db8::10\"], endpoints: [{address: 10.244.0.1, node: worker-1}, \
         {address: \"2001:db8:1::1\", node: worker-2}, {address: 10.0.0.21}]",
    ))
    .desired();
    let of = |vip| {
        let key = ServiceKey { vip: ip(vip), port: 80, protocol: Protocol::Tcp };
        let service = &desired.services[&key];
        assert_eq!(service.endpoints.len(), 2);
        service.backends.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(of("192.0.2.10"), ["10.0.0.11", "10.0.0.21"]);
    assert_eq!(of("2001:db8::10"), ["10.0.0.12", "10.0.0.21"]);
}

#[test]
fn source_ranges_of_the_other_family_still_close_a_vip() {
    let desired = valid(&service("sourceRanges: [\"2001:db8:1::/48\"]")).desired();
    assert_eq!(desired.services.into_values().next().unwrap().source_ranges.len(), 1);
}

#[test]
fn for_every_port_an_endpoint_s_port_is_the_packet_s_own() {
    let desired = valid(&service(
        "ports: [{port: 0}], endpoints: [{address: 10.244.0.1, port: 8080, node: worker-1}]",
    ))
    .desired();
    assert_eq!(desired.services.into_values().next().unwrap().endpoints[0].port, None);
}

#[test]
fn what_needs_a_restart_is_named_by_field() {
    let before = valid(WHOLE).agent;
    for (from, to, field) in [
        ("node: edge-1", "node: edge-2", "node"),
        ("edge: true", "edge: false", "edge"),
        ("[eth0, eth1]", "[eth0]", "interfaces"),
        ("bpf/other", "bpf/another", "pinDirectory"),
        ("other.sock", "another.sock", "socket"),
        ("xdpMode: native", "xdpMode: auto", "xdpMode"),
        ("tunnelSource: 10.0.0.1", "tunnelSource: 10.0.0.9", "tunnelSource"),
        ("10.9.0.0/20", "10.9.0.0/21", "tunnelSourcePrefix"),
        ("/nonexistent/seed", "/nonexistent/other", "seedFile"),
        ("peers: [10.0.0.2:7373]", "peers: [10.0.0.3:7373]", "membership"),
        ("0.0.0.0:9473", "0.0.0.0:9474", "metrics"),
    ] {
        let text = WHOLE.replace(from, to);
        assert_ne!(text, WHOLE, "{from}");
        assert_eq!(valid(&text).agent.changed_fields(&before), [field]);
    }
    let dynamic = WHOLE.replace("10.0.0.2]", "10.0.0.3]").replace("port: 80,", "port: 81,");
    assert!(valid(&dynamic).agent.changed_fields(&before).is_empty());
}

#[test]
fn a_secret_that_is_there_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seed");
    let text = format!("interfaces: [eth0]\nseedFile: {}\n", file.display());
    for (content, verdict) in [
        (crate::config::generate().unwrap() + "\n", None),
        (
            "hello\n".into(),
            Some(
                "line 1 is not 32 bytes in base64 (Invalid input length: 5); sluice keygen writes such a line",
            ),
        ),
        ("\n".into(), Some("no key in it; sluice keygen writes what belongs there")),
    ] {
        std::fs::write(&file, &content).unwrap();
        let errors = load(&text).err().map(|errors| lines(&errors));
        let path = PathBuf::from(&file);
        let expected =
            verdict.map(|verdict| vec![format!("f:2:11: seedFile: {}: {verdict}", path.display())]);
        assert_eq!(errors, expected, "{content}");
    }
}

/// Configurations with services of up to eight endpoints, on three nodes and eight servers, in any condition.
fn any_config() -> impl Strategy<Value = String> {
    let endpoint = (0u8..3, any::<bool>(), 0u32..4, any::<[bool; 3]>());
    let services =
        prop::collection::vec((prop::collection::vec(endpoint, 0..8), any::<bool>()), 0..6);
    services.prop_map(|services| {
        let mut text = String::from("interfaces: [eth0]\nnodes:\n");
        for node in 0..3 {
            text += &format!("- {{name: n{node}, address: 10.0.0.{node}}}\n");
        }
        text += "services:\n";
        for (index, (endpoints, both)) in services.iter().enumerate() {
            let v6 = if *both { format!(", \"2001:db8::{index}\"") } else { String::new() };
            text += &format!(
                "- name: s{index}\n  vips: [192.0.2.{index}{v6}]\n  ports: [{{port: 80}}, {{port: 53, protocol: UDP}}]\n  endpoints:\n"
            );
            for (at, (node, server, weight, [ready, serving, terminating])) in endpoints.iter().enumerate() {
                let place = if *server { format!("10.0.1.{at}") } else { format!("10.244.{index}.{at}, node: n{node}") };
                text += &format!(
                    "  - {{address: {place}, weight: {weight}, ready: {ready}, serving: {serving}, terminating: {terminating}}}\n"
                );
            }
        }
        text
    })
}

proptest! {
    #[test]
    fn a_desired_state_agrees_with_itself(text in any_config()) {
        let config = valid(&text);
        let desired = config.desired();
        let ports: usize = config.services.iter().map(|one| one.vips.len() * one.ports.len()).sum();
        prop_assert_eq!(desired.services.len(), ports);
        for service in desired.services.values() {
            for (address, weight) in &service.backends {
                prop_assert!(desired.backends.contains_key(address));
                prop_assert!(*weight >= 1);
            }
            // Whoever could take a flow is not left out.
            let able = service.endpoints.iter().any(|one| {
                one.weight > 0 && (one.ready && !one.terminating || one.serving && one.terminating)
            });
            prop_assert_eq!(able, !service.backends.is_empty());
        }
        for (address, backend) in &desired.backends {
            let takes = desired.services.values().any(|one| one.backends.contains_key(address));
            prop_assert_eq!(backend.draining, !takes);
            let named = config.services.iter().flat_map(|one| &one.endpoints).any(|one| match &backend.kind {
                BackendKind::Node(name) => one.node.as_ref() == Some(name),
                BackendKind::Server => one.node.is_none() && one.address == *address,
            });
            prop_assert!(named);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic_or_print_two_lines(text in "[a-z0-9:{}\\[\\],&*!|>'\"# \n\t.\\-]{0,60}") {
        if let Err(errors) = load(&format!("interfaces: [eth0]\n{text}")) {
            prop_assert!(!errors.is_empty());
            for line in lines(&errors) {
                prop_assert!(!line.contains('\n'), "{}", line);
            }
        }
    }

    #[test]
    fn a_file_cut_short_never_panics(cut in 0..WHOLE.len()) {
        prop_assume!(WHOLE.is_char_boundary(cut));
        let _ = load(&WHOLE[..cut]);
    }
}
