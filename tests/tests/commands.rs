//! The read commands tell the truth, in the fields that other people's tools rely on.

use std::net::SocketAddr;

use serde_json::Value;
use sluice_tests::cluster::Cluster;

fn assert_fields(row: &Value, fields: &[&str]) {
    for field in fields {
        assert!(row.get(field).is_some(), "no {field} in {row}");
    }
}

#[test]
fn every_command_has_the_fields_of_the_contract() {
    let cluster = Cluster::start(2).unwrap();
    let lists: [(&str, &[&str]); 4] = [
        ("vips", &["address", "owner", "owned", "interface", "state", "since", "conflictWith"]),
        (
            "services",
            &[
                "name",
                "vip",
                "port",
                "protocol",
                "forwarding",
                "state",
                "backends",
                "movedSlots",
                "packets",
                "bytes",
                "newFlows",
            ],
        ),
        (
            "backends",
            &[
                "address",
                "node",
                "kind",
                "forwarding",
                "state",
                "reason",
                "weight",
                "nextHop",
                "packets",
                "bytes",
            ],
        ),
        ("drops", &["reason", "packets", "verdict"]),
    ];
    for (command, fields) in lists {
        let rows = cluster.edge.list(command).unwrap();
        assert!(!rows.is_empty(), "{command}");
        rows.iter().for_each(|row| assert_fields(row, fields));
    }
    let status = cluster.edge.json(&["status"]).unwrap();
    let fields = ["version", "node", "uptimeSeconds", "interfaces", "source", "members", "counts"];
    assert_fields(&status, &fields);
    assert_eq!(status["interfaces"][0]["xdpMode"], "native");
}

#[test]
fn explain_names_the_server_that_gets_the_flow() {
    let cluster = Cluster::start(3).unwrap();
    for (_, vip) in Cluster::targets() {
        let client = if vip.is_ipv4() { cluster.lab.client.v4() } else { cluster.lab.client.v6() };
        for port in 20_000..20_010 {
            let source = SocketAddr::new(client, port).to_string();
            let told = cluster.edge.json(&["explain", &source, &vip.to_string()]).unwrap();
            let answer = cluster.lab.client().ask_from_port(port, vip).unwrap();
            let server = cluster.lab.servers.iter().find(|host| host.name == answer.server);
            assert_eq!(told["backend"], server.unwrap().v4().to_string(), "{told}");
            assert_eq!(told["verdict"], "forward");
        }
    }
}

#[test]
fn counters_count_what_was_sent() {
    let cluster = Cluster::start(2).unwrap();
    let (_, vip) = Cluster::targets()[0];
    cluster.lab.client().ask_many(vip, 50, 4).unwrap().all_answered().unwrap();
    let services = cluster.edge.list("services").unwrap();
    let web = services.iter().find(|row| row["vip"] == vip.ip().to_string()).unwrap();
    assert_eq!(web["newFlows"], 50, "{web}");
    let backends = cluster.edge.list("backends").unwrap();
    let total: u64 = backends.iter().map(|row| row["packets"].as_u64().unwrap()).sum();
    assert_eq!(web["packets"], total, "{backends:?}");
}
