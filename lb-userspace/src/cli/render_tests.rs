//! What people see: whole answers, as printed.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::render::{Render, Style};
use crate::admin::view::{
    BackendsView, DropsView, ExplainView, FlowsView, ServicesView, StatusView, VipsView,
};

/// The answer as printed at 12:00:00 without colours. Given as JSON, as it comes from the agent.
fn printed<V: Render + serde::de::DeserializeOwned>(answer: Value) -> String {
    serde_json::from_value::<V>(answer).unwrap().render(&plain())
}

fn plain() -> Style {
    let now = humantime::parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
    Style { colours: false, now }
}

#[track_caller]
fn expect(printed: &str, expected: &[&str]) {
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected, "\n{printed}");
    assert!(printed.ends_with('\n'));
}

#[test]
fn vips_say_who_owns_them_and_for_how_long() {
    let answer = json!({"vips": [
        {"address": "192.0.2.10", "owner": "edge-1", "owned": true, "interface": "eth0", "state": "owned",
         "since": "2026-11-21T11:57:55Z", "conflictWith": null},
        {"address": "2001:db8::10", "owner": null, "owned": false, "interface": null, "state": "conflict",
         "since": null, "conflictWith": "02:00:00:00:00:99"},
    ]});
    expect(
        &printed::<VipsView>(answer),
        &[
            "VIP           STATE     OWNER   INTERFACE    FOR  CONFLICT WITH",
            "192.0.2.10    owned     edge-1  eth0       2m 5s  -",
            "2001:db8::10  conflict  -       -              -  02:00:00:00:00:99",
        ],
    );
}

#[test]
fn services_count_exactly_and_size_readably() {
    let row = |name: &str, port_name: Option<&str>, vip: &str, port: u16, state: &str| {
        json!({"name": name, "portName": port_name, "vip": vip, "port": port, "protocol": "TCP", "forwarding": "ipip",
               "state": state, "backends": 3, "slots": 307, "movedSlots": 2, "packets": 1_234_567, "bytes": 1_610_612_736,
               "newFlows": 89})
    };
    let answer = json!({"services": [
        row("shop/web", Some("http"), "192.0.2.10", 80, "ready"),
        row("all", None, "2001:db8::10", 0, "empty"),
    ]});
    expect(
        &printed::<ServicesView>(answer),
        &[
            "SERVICE        VIP                   STATE  FORWARDING  BACKENDS  MOVED SLOTS  PACKETS     BYTES  NEW FLOWS",
            "shop/web:http  192.0.2.10:80/TCP     ready  ipip               3            2  1234567  1.50 GiB         89",
            "all            [2001:db8::10]:*/TCP  empty  ipip               3            2  1234567  1.50 GiB         89",
        ],
    );
}

#[test]
fn backends_say_how_they_are_reached_and_why_they_are_not() {
    let answer = json!({"backends": [
        {"address": "10.0.0.21", "node": null, "kind": "server", "forwarding": "l2", "state": "up", "reason": null,
         "weight": 100, "nextHop": {"interface": "eth0", "mac": "02:00:00:00:00:21"}, "packets": 7, "bytes": 512, "newFlows": 1},
        {"address": "10.0.0.11", "node": "worker-1", "kind": "node", "forwarding": "mixed", "state": "down",
         "reason": "no route", "weight": 1, "nextHop": {"interface": null, "mac": null}, "packets": 0, "bytes": 0, "newFlows": 0},
    ]});
    expect(
        &printed::<BackendsView>(answer),
        &[
            "BACKEND    NODE      KIND    STATE  FORWARDING  WEIGHT  INTERFACE  NEXT HOP           PACKETS  BYTES  NEW FLOWS  REASON",
            "10.0.0.21  -         server  up     l2             100  eth0       02:00:00:00:00:21        7  512 B          1",
            "10.0.0.11  worker-1  node    down   mixed            1  -          -                        0    0 B          0  no route",
        ],
    );
}

#[test]
fn flows_say_where_they_go_on_either_level() {
    let answer = json!({"flows": [
        {"client": "203.0.113.7:40000", "vip": "192.0.2.10:80", "protocol": "TCP", "backend": "10.0.0.21", "endpoint": null,
         "level": "edge", "idleSeconds": 75},
        {"client": "[2001:db8::7]:5", "vip": "[2001:db8::10]:53", "protocol": "UDP", "backend": null,
         "endpoint": "[fd00::5]:5353", "level": "node", "idleSeconds": 0},
    ]});
    expect(
        &printed::<FlowsView>(answer),
        &[
            "CLIENT             VIP                    GOES TO         LEVEL    IDLE",
            "203.0.113.7:40000  192.0.2.10:80/TCP      10.0.0.21       edge   1m 15s",
            "[2001:db8::7]:5    [2001:db8::10]:53/UDP  [fd00::5]:5353  node       0s",
        ],
    );
}

#[test]
fn drops_leave_out_what_did_not_happen() {
    let answer = json!({"drops": [
        {"reason": "malformed", "packets": 0, "verdict": "drop"},
        {"reason": "no_service", "packets": 42, "verdict": "refuse"},
    ]});
    expect(
        &printed::<DropsView>(answer),
        &["REASON      VERDICT  PACKETS", "no_service  refuse        42"],
    );
}

#[test]
fn an_empty_list_is_a_sentence() {
    for printed in [
        printed::<VipsView>(json!({"vips": []})),
        printed::<ServicesView>(json!({"services": []})),
        printed::<BackendsView>(json!({"backends": []})),
        printed::<FlowsView>(json!({"flows": []})),
        printed::<DropsView>(json!({"drops": []})),
        printed::<DropsView>(
            json!({"drops": [{"reason": "malformed", "packets": 0, "verdict": "drop"}]}),
        ),
    ] {
        assert!(printed.ends_with(".\n") && printed.lines().count() == 1, "{printed}");
    }
}

fn status() -> Value {
    json!({
        "version": "0.1.0", "node": "edge-1", "edge": true, "uptimeSeconds": 3725, "notReady": null,
        "interfaces": [{"name": "eth0", "xdpMode": "native"}, {"name": "eth1", "xdpMode": null}],
        "source": {"kind": "file", "state": "synced", "lastApplied": "2026-11-21T11:59:00Z", "errors": []},
        "members": [],
        "counts": {"vips": 2, "ownedVips": 2, "services": 3, "backends": 1, "movedSlots": 0},
    })
}

#[test]
fn status_is_one_screen() {
    expect(
        &printed::<StatusView>(status()),
        &[
            "Node:       edge-1 (edge)",
            "Agent:      version 0.1.0, up for 1h 2m",
            "Ready:      yes",
            "Source:     file, synced, last applied 1m ago",
            "Balancing:  2 VIPs (2 owned), 3 services, 1 backend, 0 moved slots",
            "",
            "INTERFACE  XDP",
            "eth0       native",
            "eth1       not attached",
        ],
    );
}

#[test]
fn a_refused_configuration_shows_every_error() {
    let mut answer = status();
    answer["notReady"] = json!("the first state is not applied");
    answer["source"]["state"] = json!("refused");
    answer["source"]["errors"] = json!(["sluice.yaml:1:2: node: is empty", "sluice.yaml:3:4: x"]);
    answer["members"] = json!([{"node": "edge-2", "address": "10.0.0.2:7373", "state": "alive"}]);
    let printed = printed::<StatusView>(answer);
    for expected in [
        "Ready:      no: the first state is not applied\n",
        "Source:     file, refused, last applied 1m ago, the newest state is refused:\n",
        "  sluice.yaml:1:2: node: is empty\n  sluice.yaml:3:4: x\n",
        "MEMBER  ADDRESS        STATE\nedge-2  10.0.0.2:7373  alive\n",
    ] {
        assert!(printed.contains(expected), "{expected:?} in\n{printed}");
    }
}

fn explanation(verdict: &str, backend: Option<&str>) -> Value {
    json!({
        "steps": [
            {"stage": "vip", "result": "192.0.2.10", "why": "it is a VIP of this node"},
            {"stage": "service", "result": "shop/web", "why": "port 80/TCP matches"},
        ],
        "verdict": verdict, "backend": backend, "endpoint": null,
    })
}

#[test]
fn explain_numbers_its_steps_and_ends_with_the_verdict() {
    expect(
        &printed::<ExplainView>(explanation("forward", Some("10.0.0.21"))),
        &[
            "1.  vip      192.0.2.10  it is a VIP of this node",
            "2.  service  shop/web    port 80/TCP matches",
            "",
            "Verdict:  forwarded to backend 10.0.0.21",
        ],
    );
}

#[test]
fn every_verdict_has_a_sentence_of_its_own() {
    let verdicts = ["forward", "deliver", "drop", "pass", "refuse", "depends"];
    let sentences: std::collections::BTreeSet<_> =
        verdicts.iter().map(|verdict| printed::<ExplainView>(explanation(verdict, None))).collect();
    assert_eq!(sentences.len(), verdicts.len());
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let view: StatusView = serde_json::from_value(status()).unwrap();
    let coloured = view.render(&Style { colours: true, ..plain() });
    assert!(coloured.contains('\x1b'));
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        bare.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    bare.push_str(rest);
    let trimmed: Vec<_> = bare.lines().map(str::trim_end).collect();
    assert_eq!(trimmed, view.render(&plain()).lines().collect::<Vec<_>>());
}

#[test]
fn a_clock_set_back_makes_no_negative_age() {
    let then = crate::admin::view::Timestamp(SystemTime::now() + Duration::from_secs(60));
    assert_eq!(then.age(SystemTime::now()), Duration::ZERO);
}
