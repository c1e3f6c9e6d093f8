//! The JSON contract: every field of every view by its exact name.

use std::{fmt::Debug, time::Duration};

use serde_json::{Value, json};

use super::*;

/// The view is exactly this JSON, and this JSON is exactly the view.
#[track_caller]
fn is_json<V: Serialize + de::DeserializeOwned + PartialEq + Debug>(view: V, expected: Value) {
    assert_eq!(serde_json::to_value(&view).unwrap(), expected);
    assert_eq!(serde_json::from_value::<V>(expected).unwrap(), view);
}

fn noon() -> Timestamp {
    Timestamp(humantime::parse_rfc3339("2026-11-21T12:00:00Z").unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn status() {
    let view = StatusView {
        version: "0.1.0".into(),
        node: "edge-1".into(),
        edge: true,
        uptime_seconds: 61,
        not_ready: None,
        interfaces: vec![
            InterfaceStatus { name: "eth0".into(), xdp_mode: Some(XdpMode::Native) },
            InterfaceStatus { name: "eth1".into(), xdp_mode: Some(XdpMode::Generic) },
            InterfaceStatus { name: "eth2".into(), xdp_mode: None },
        ],
        source: SourceStatus {
            kind: "file".into(),
            state: SourceState::Refused,
            last_applied: Some(noon()),
            errors: vec!["sluice.yaml:1:2: node: is empty".into()],
        },
        members: vec![Member {
            node: "edge-1".into(),
            address: Some("10.0.0.1:7373".parse().unwrap()),
            state: "alive".into(),
        }],
        counts: Counts { vips: 1, owned_vips: 2, services: 3, backends: 4, moved_slots: 5 },
    };
    is_json(
        view,
        json!({
            "version": "0.1.0",
            "node": "edge-1",
            "edge": true,
            "uptimeSeconds": 61,
            "notReady": null,
            "interfaces": [
                {"name": "eth0", "xdpMode": "native"},
                {"name": "eth1", "xdpMode": "generic"},
                {"name": "eth2", "xdpMode": null},
            ],
            "source": {
                "kind": "file",
                "state": "refused",
                "lastApplied": "2026-11-21T12:00:00Z",
                "errors": ["sluice.yaml:1:2: node: is empty"],
            },
            "members": [{"node": "edge-1", "address": "10.0.0.1:7373", "state": "alive"}],
            "counts": {"vips": 1, "ownedVips": 2, "services": 3, "backends": 4, "movedSlots": 5},
        }),
    );
}

#[test]
fn vips() {
    let vip = |state, since| Vip {
        address: ip("192.0.2.10"),
        owner: Some("edge-1".into()),
        owned: state == VipState::Owned,
        interface: Some("eth0".into()),
        state,
        since,
        conflict_with: None,
    };
    let row = |state: &str, since: Option<&str>| {
        json!({
            "address": "192.0.2.10",
            "owner": "edge-1",
            "owned": state == "owned",
            "interface": "eth0",
            "state": state,
            "since": since,
            "conflictWith": null,
        })
    };
    let view = VipsView {
        vips: vec![
            vip(VipState::Owned, Some(noon())),
            vip(VipState::Standby, None),
            vip(VipState::Conflict, None),
            vip(VipState::Pending, None),
        ],
    };
    let rows = [
        row("owned", Some("2026-11-21T12:00:00Z")),
        row("standby", None),
        row("conflict", None),
        row("pending", None),
    ];
    is_json(view, json!({ "vips": rows }));
}

#[test]
fn services() {
    let service = |protocol, forwarding, state| ServiceRow {
        name: "shop/web".into(),
        port_name: Some("http".into()),
        vip: ip("2001:db8::10"),
        port: 80,
        protocol,
        forwarding,
        state,
        backends: 3,
        slots: 307,
        moved_slots: 1,
        packets: u64::MAX,
        bytes: 5,
        new_flows: 6,
    };
    let row = |protocol: &str, forwarding: &str, state: &str| {
        json!({
            "name": "shop/web",
            "portName": "http",
            "vip": "2001:db8::10",
            "port": 80,
            "protocol": protocol,
            "forwarding": forwarding,
            "state": state,
            "backends": 3,
            "slots": 307,
            "movedSlots": 1,
            "packets": u64::MAX,
            "bytes": 5,
            "newFlows": 6,
        })
    };
    let view = ServicesView {
        services: vec![
            service(Protocol::Tcp, Forwarding::Ipip, ServiceState::Ready),
            service(Protocol::Udp, Forwarding::L2, ServiceState::Empty),
            service(Protocol::Tcp, Forwarding::Ipip, ServiceState::Passed),
        ],
    };
    let rows =
        [row("TCP", "ipip", "ready"), row("UDP", "l2", "empty"), row("TCP", "ipip", "passed")];
    is_json(view, json!({ "services": rows }));
}

#[test]
fn backends() {
    let view = BackendsView {
        backends: vec![
            BackendRow {
                address: ip("10.0.0.11"),
                node: Some("worker-1".into()),
                kind: BackendKind::Node,
                forwarding: BackendForwarding::Ipip,
                state: BackendState::Up,
                reason: None,
                weight: 7,
                next_hop: NextHop {
                    interface: Some("eth0".into()),
                    mac: Some("02:00:00:00:00:11".into()),
                },
                packets: 1,
                bytes: 2,
                new_flows: 3,
            },
            BackendRow {
                address: ip("fd00::21"),
                node: None,
                kind: BackendKind::Server,
                forwarding: BackendForwarding::L2.and(Forwarding::L2),
                state: BackendState::Down,
                reason: Some("no route".into()),
                weight: 0,
                next_hop: NextHop::default(),
                packets: 0,
                bytes: 0,
                new_flows: 0,
            },
        ],
    };
    is_json(
        view,
        json!({"backends": [
            {
                "address": "10.0.0.11",
                "node": "worker-1",
                "kind": "node",
                "forwarding": "ipip",
                "state": "up",
                "reason": null,
                "weight": 7,
                "nextHop": {"interface": "eth0", "mac": "02:00:00:00:00:11"},
                "packets": 1,
                "bytes": 2,
                "newFlows": 3,
            },
            {
                "address": "fd00::21",
                "node": null,
                "kind": "server",
                "forwarding": "l2",
                "state": "down",
                "reason": "no route",
                "weight": 0,
                "nextHop": {"interface": null, "mac": null},
                "packets": 0,
                "bytes": 0,
                "newFlows": 0,
            },
        ]}),
    );
}

#[test]
fn a_backend_used_both_ways_is_mixed() {
    let both = BackendForwarding::from(Forwarding::Ipip).and(Forwarding::L2);
    is_json(both, json!("mixed"));
    is_json(both.and(Forwarding::Ipip), json!("mixed"));
    is_json(BackendState::Draining, json!("draining"));
}

#[test]
fn flows() {
    let view = FlowsView {
        flows: vec![
            FlowRow {
                client: "203.0.113.7:40000".parse().unwrap(),
                vip: "192.0.2.10:80".parse().unwrap(),
                protocol: Protocol::Tcp,
                backend: Some(ip("10.0.0.21")),
                endpoint: None,
                level: FlowLevel::Edge,
                idle_seconds: 4,
            },
            FlowRow {
                client: "[2001:db8::7]:40000".parse().unwrap(),
                vip: "[2001:db8::10]:53".parse().unwrap(),
                protocol: Protocol::Udp,
                backend: None,
                endpoint: Some("[fd00::5]:5353".parse().unwrap()),
                level: FlowLevel::Node,
                idle_seconds: 0,
            },
        ],
    };
    is_json(
        view,
        json!({"flows": [
            {
                "client": "203.0.113.7:40000",
                "vip": "192.0.2.10:80",
                "protocol": "TCP",
                "backend": "10.0.0.21",
                "endpoint": null,
                "level": "edge",
                "idleSeconds": 4,
            },
            {
                "client": "[2001:db8::7]:40000",
                "vip": "[2001:db8::10]:53",
                "protocol": "UDP",
                "backend": null,
                "endpoint": "[fd00::5]:5353",
                "level": "node",
                "idleSeconds": 0,
            },
        ]}),
    );
}

#[test]
fn drops() {
    let view = DropsView::new([
        (Reason::Malformed, 0),
        (Reason::NoService, 2),
        (Reason::ServicePassed, u64::MAX),
    ]);
    is_json(
        view,
        json!({"drops": [
            {"reason": "malformed", "packets": 0, "verdict": "drop"},
            {"reason": "no_service", "packets": 2, "verdict": "refuse"},
            {"reason": "service_passed", "packets": u64::MAX, "verdict": "pass"},
        ]}),
    );
}

#[test]
fn explain() {
    let view = ExplainView {
        steps: vec![ExplainStep {
            stage: "vip".into(),
            result: "192.0.2.10".into(),
            why: "it is a VIP".into(),
        }],
        verdict: ExplainVerdict::Forward,
        backend: Some(ip("10.0.0.21")),
        endpoint: None,
    };
    is_json(
        view,
        json!({
            "steps": [{"stage": "vip", "result": "192.0.2.10", "why": "it is a VIP"}],
            "verdict": "forward",
            "backend": "10.0.0.21",
            "endpoint": null,
        }),
    );
}

#[test]
fn explain_request() {
    let request = ExplainRequest {
        client: ip("203.0.113.7"),
        client_port: None,
        vip: ip("192.0.2.10"),
        port: 443,
        protocol: Protocol::Tcp,
    };
    is_json(
        request,
        json!({
            "client": "203.0.113.7",
            "clientPort": null,
            "vip": "192.0.2.10",
            "port": 443,
            "protocol": "TCP",
        }),
    );
}

#[test]
fn a_moment_has_whole_seconds_in_utc() {
    let Timestamp(noon) = noon();
    let late = Timestamp(noon + Duration::from_millis(999));
    assert_eq!(serde_json::to_value(late).unwrap(), json!("2026-11-21T12:00:00Z"));
    assert!(serde_json::from_value::<Timestamp>(json!("yesterday")).is_err());
}

#[test]
fn a_field_that_a_newer_agent_adds_does_not_hurt() {
    let answer = json!({"drops": [], "dropsPerSecond": 0});
    assert_eq!(serde_json::from_value::<DropsView>(answer).unwrap(), DropsView::default());
}
