//! Broken configurations, and every line that is said about them.

use super::*;

/// Each text with all the lines it is refused with.
fn table(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(refused(text), *expected, "\n{text}");
    }
}

/// Each entry of a service with what is said about it, the place left out: `path: message`.
fn service_table(cases: &[(&str, &[&str])]) {
    for (fields, expected) in cases {
        let lines = refused(&service(fields));
        let lines: Vec<&str> =
            lines.iter().map(|line| line.splitn(4, ':').nth(3).unwrap().trim_start()).collect();
        assert_eq!(lines, *expected, "\n{fields}");
    }
}

#[test]
fn every_error_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
interfacs: [eth0]
edge: perhaps
nodes:
  - {name: worker-1, address: 10.0.0.300}
services:
  - name: shop/web
    vips: [192.0.2.10, 224.0.0.1]
    ports:
      - {name: http, port: 70000}
      - {name: https, port: 443, protocol: SCTP}
    forwarding: tunnel
    endpoints:
      - {address: 10.0.0.21, weight: heavy}
      - {port: 80}
  - name: shop/web
    ports: []
";
    assert_eq!(
        refused(text),
        [
            "f:1:1: interfacs: unknown field; did you mean interfaces?",
            "f:2:7: edge: must be true or false (without quotes), not \"perhaps\"",
            "f:4:31: nodes[0].address: must be an IP address, not \"10.0.0.300\"",
            "f:7:24: services[0].vips[1]: 224.0.0.1 is a multicast address; a VIP is a unicast address that routers forward to",
            "f:9:28: services[0].ports[0].port: must be a port or 0 for every port, a whole number from 0 to 65535, not \"70000\"",
            "f:10:44: services[0].ports[1].protocol: must be one of TCP, UDP, not \"SCTP\"",
            "f:11:17: services[0].forwarding: must be one of ipip, l2, not \"tunnel\"",
            "f:13:38: services[0].endpoints[0].weight: must be a weight, a whole number from 0 to 1000000, not \"heavy\"",
            "f:14:9: services[0].endpoints[1].address: is missing; give the address that serves",
            "f:15:5: services[1].vips: is missing; give the addresses clients connect to, such as [192.0.2.10]",
            "f:15:11: services[1].name: a service shop/web is already in line 6; name each once",
            "f:16:12: services[1].ports: must not be empty; give a port at least",
        ]
    );
}

#[test]
fn text_that_is_not_yaml_is_refused_with_its_place() {
    table(&[
        ("", &["f:1:1: document: is empty; give at least interfaces, such as interfaces: [eth0]"]),
        (
            "# later\n",
            &["f:1:1: document: is empty; give at least interfaces, such as interfaces: [eth0]"],
        ),
        (
            "interfaces: [eth0\nnode: x\n",
            &["f:2:5: interfaces[0]: not valid YAML: illegal placement of ':' indicator"],
        ),
        (
            "node:\n\tx\n",
            &[
                "f:2:2: node: not valid YAML: tabs disallowed within this context (block indentation); indent with spaces",
            ],
        ),
        (
            "interfaces: [eth0]\nnode: a: b\n",
            &[
                "f:2:8: document: not valid YAML: mapping values are not allowed in this context; check the indentation, and quote a text that has a colon and a space in it",
            ],
        ),
        (
            "interfaces: [eth0]\n---\nnode: x\n",
            &["f:2:1: document: a second document begins here; a configuration is one document"],
        ),
    ]);
    let latin1 = parse(Path::new("f"), b"interfaces: [eth0]\nnode: caf\xe9\n").unwrap_err();
    assert_eq!(
        lines(&latin1),
        ["f:2:10: document: is not text in UTF-8 from here on; save it as UTF-8"]
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_told_what_it_should_be() {
    table(&[
        ("- eth0\n", &["f:1:1: document: must be a mapping of fields, not a list"]),
        ("hello\n", &["f:1:1: document: must be a mapping of fields, not \"hello\""]),
        ("interfaces: eth0\n", &["f:1:13: interfaces: must be a list; write [eth0]"]),
        (
            "interfaces: {a: b}\n",
            &["f:1:13: interfaces: must be a list; begin each item with a dash"],
        ),
        ("interfaces: [[eth0]]\n", &["f:1:14: interfaces[0]: must be a name, not a list"]),
        (
            "interfaces: [1]\n",
            &["f:1:14: interfaces[0]: must be a name, not 1; quote it if it is meant as text"],
        ),
        ("interfaces: [~]\n", &["f:1:14: interfaces[0]: must be a name, not nothing"]),
        (
            "interfaces: [eth0]\nedge: \"true\"\n",
            &["f:2:7: edge: must be true or false (without quotes), not \"true\""],
        ),
        (
            "interfaces: [eth0]\nedge: yes\n",
            &["f:2:7: edge: must be true or false (without quotes), not \"yes\""],
        ),
        (
            "interfaces: [eth0]\nservices: {name: a}\n",
            &["f:2:11: services: must be a list; begin each item with a dash"],
        ),
        (
            "interfaces: [eth0]\nservices: [web]\n",
            &["f:2:12: services[0]: must be a mapping of fields, not \"web\""],
        ),
        (
            "interfaces: [eth0]\nmetrics: 9473\n",
            &["f:2:10: metrics: must be a mapping of fields, not \"9473\""],
        ),
        (
            "interfaces: [eth0]\nedge: false\nedge: true\n",
            &["f:3:1: edge: stands here again, first in line 2; keep one"],
        ),
    ]);
}

#[test]
fn an_unknown_field_is_refused_wherever_it_stands_with_the_nearest_known_one() {
    table(&[
        (
            "interfaces: [eth0]\npindirectory: /x\n",
            &["f:2:1: pindirectory: unknown field; did you mean pinDirectory?"],
        ),
        (
            "interfaces: [eth0]\npin_directory: /x\n",
            &["f:2:1: pin_directory: unknown field; did you mean pinDirectory?"],
        ),
        (
            "interfaces: [eth0]\nmetrics: {listen: \"0.0.0.0:1\", lsten: x}\n",
            &["f:2:32: metrics.lsten: unknown field; did you mean listen?"],
        ),
        (
            "interfaces: [eth0]\nmetrics: {listen: \"0.0.0.0:1\", tls: x}\n",
            &["f:2:32: metrics.tls: unknown field; known here: listen"],
        ),
        (
            "interfaces: [eth0]\nnodes: [{name: a, address: 10.0.0.1, zone: x}]\n",
            &["f:2:38: nodes[0].zone: unknown field; known here: name, address"],
        ),
        (
            "interfaces: [eth0]\n\"a\\nb\": 1\n",
            &[
                "f:2:1: a\\nb: unknown field; known here: node, edge, interfaces, pinDirectory, socket, xdpMode, tunnelSource, tunnelSourcePrefix, seedFile, membership, metrics, edges, nodes, reject, services",
            ],
        ),
    ]);
    service_table(&[
        ("vip: 192.0.2.1", &["services[0].vip: unknown field; did you mean vips?"]),
        (
            "ports: [{port: 80, targetPort: 8080}]",
            &["services[0].ports[0].targetPort: unknown field; known here: name, protocol, port"],
        ),
        (
            "endpoints: [{address: 10.0.0.21, wieght: 1}]",
            &["services[0].endpoints[0].wieght: unknown field; did you mean weight?"],
        ),
        (
            "healthCheck: {type: tcp, intervall: 1s}",
            &["services[0].healthCheck.intervall: unknown field; did you mean interval?"],
        ),
    ]);
}

#[test]
fn places_and_names_of_the_agent_have_to_be_usable() {
    table(&[
        (
            "interfaces: []\n",
            &["f:1:13: interfaces: must not be empty; give an interface at least"],
        ),
        (
            "interfaces:\n",
            &["f:1:1: interfaces: is missing; give the interfaces to attach to, such as [eth0]"],
        ),
        (
            "interfaces: [eth0, eth1, eth0]\n",
            &["f:1:26: interfaces[2]: interface eth0 is already in line 1; name each once"],
        ),
        (
            "interfaces: [a-name-too-long1]\n",
            &[
                "f:1:14: interfaces[0]: \"a-name-too-long1\" has 16 bytes; an interface's name has at most 15",
            ],
        ),
        (
            "interfaces: [eth/0]\n",
            &["f:1:14: interfaces[0]: \"eth/0\" cannot be an interface's name; see ip link"],
        ),
        (
            "interfaces: [\"eth 0\"]\n",
            &["f:1:14: interfaces[0]: must be a name without white space, not \"eth 0\""],
        ),
        ("interfaces: [eth0]\nnode: \"\"\n", &["f:2:7: node: must be a name, not empty"]),
        (
            "interfaces: [eth0]\npinDirectory: maps\n",
            &["f:2:15: pinDirectory: must be an absolute path, not \"maps\""],
        ),
        (
            "interfaces: [eth0]\nsocket: sluice.sock\n",
            &["f:2:9: socket: must be an absolute path, not \"sluice.sock\""],
        ),
        (
            "interfaces: [eth0]\nxdpMode: Native\n",
            &[
                "f:2:10: xdpMode: must be one of auto, native, generic, not \"Native\"; did you mean native?",
            ],
        ),
        (
            "interfaces: [eth0]\nxdpMode: off\n",
            &["f:2:10: xdpMode: must be one of auto, native, generic, not \"off\""],
        ),
        (
            "interfaces: [eth0]\nseedFile: seed\n",
            &["f:2:11: seedFile: must be an absolute path, not \"seed\""],
        ),
        (
            "interfaces: [eth0]\nmetrics: {}\n",
            &["f:2:10: metrics.listen: is missing; give where to listen, such as 0.0.0.0:9473"],
        ),
        (
            "interfaces: [eth0]\nmetrics: {listen: \":9473\"}\n",
            &[
                "f:2:19: metrics.listen: must be ADDRESS:PORT, such as 10.0.0.1:7373 or \"[2001:db8::1]:7373\", not \":9473\"",
            ],
        ),
        (
            "interfaces: [eth0]\nmetrics: {listen: \"0.0.0.0:0\"}\n",
            &["f:2:19: metrics.listen: 0.0.0.0:0 needs a port from 1 to 65535"],
        ),
        (
            "interfaces: [eth0]\nmetrics: {listen: 9473}\n",
            &[
                "f:2:19: metrics.listen: must be ADDRESS:PORT, such as 10.0.0.1:7373 or \"[2001:db8::1]:7373\", not 9473; quote it if it is meant as text",
            ],
        ),
    ]);
    let long = format!("/{}", "x".repeat(107));
    assert_eq!(
        refused(&format!("interfaces: [eth0]\nsocket: {long}\n")),
        ["f:2:9: socket: has 108 bytes; the path of a Unix socket has at most 107"]
    );
}

#[test]
fn tunnels_begin_and_end_at_hosts() {
    table(&[
        (
            "interfaces: [eth0]\ntunnelSource: 10.0.0.1/24\n",
            &[
                "f:2:15: tunnelSource: must be an IP address, not \"10.0.0.1/24\"; leave out the prefix length: 10.0.0.1",
            ],
        ),
        (
            "interfaces: [eth0]\ntunnelSource: 127.0.0.1\n",
            &[
                "f:2:15: tunnelSource: 127.0.0.1 is a loopback address; give the address of one host",
            ],
        ),
        (
            "interfaces: [eth0]\ntunnelSource: [10.0.0.1, 10.0.0.2]\n",
            &[
                "f:2:26: tunnelSource[1]: 10.0.0.2 and 10.0.0.1 are of one family; give at most one of each",
            ],
        ),
        (
            "interfaces: [eth0]\ntunnelSourcePrefix: 10.9.0.1/20\n",
            &[
                "f:2:21: tunnelSourcePrefix: 10.9.0.1/20 has bits beyond its length; write 10.9.0.0/20",
            ],
        ),
        (
            "interfaces: [eth0]\ntunnelSourcePrefix: 10.9.0.1/32\n",
            &[
                "f:2:21: tunnelSourcePrefix: 10.9.0.1/32 must have a length from 8 to 31, so that some bits vary and not too many",
            ],
        ),
        (
            "interfaces: [eth0]\ntunnelSourcePrefix: 224.0.0.0/20\n",
            &[
                "f:2:21: tunnelSourcePrefix: 224.0.0.0 is a multicast address; give a unicast prefix",
            ],
        ),
        (
            "interfaces: [eth0]\nedges: [10.0.0.1, 10.0.0.1, \"fe80::1\"]\n",
            &[
                "f:2:19: edges[1]: edge 10.0.0.1 is already in line 2; name each once",
                "f:2:29: edges[2]: fe80::1 is a link-local address, which does not tell the interface; give a routable one",
            ],
        ),
    ]);
}

#[test]
fn members_find_each_other() {
    let membership =
        |fields: &str| refused(&format!("interfaces: [eth0]\nmembership: {{{fields}}}\n"));
    let key = "keyFile: /nonexistent/key";
    for (fields, expected) in [
        (
            "peers: []".to_owned(),
            vec![
                "f:2:13: membership.bind: is missing; give the address and port to listen on, such as 10.0.0.1:7373",
                "f:2:13: membership.keyFile: is missing; give the file with the group's keys",
            ],
        ),
        (
            format!("bind: 10.0.0.1, {key}"),
            vec![
                "f:2:20: membership.bind: must be ADDRESS:PORT, such as 10.0.0.1:7373 or \"[2001:db8::1]:7373\", not \"10.0.0.1\"",
            ],
        ),
        (
            format!("bind: 0.0.0.0:7373, {key}"),
            vec![
                "f:2:20: membership.bind: 0.0.0.0 is the unspecified address; give a unicast address",
            ],
        ),
        (
            format!("bind: 10.0.0.1:7373, {key}, peers: [10.0.0.1:7373]"),
            vec![
                "f:2:70: membership.peers[0]: 10.0.0.1:7373 is this agent's own bind; name only the others",
            ],
        ),
        (
            format!("bind: 10.0.0.1:7373, {key}, peers: [10.0.0.2:7373, 10.0.0.2:7373]"),
            vec![
                "f:2:85: membership.peers[1]: peer 10.0.0.2:7373 is already in line 2; name each once",
            ],
        ),
        (
            format!("bind: 10.0.0.1:7373, {key}, peers: [\"[2001:db8::1]:7373\"]"),
            vec![
                "f:2:70: membership.peers[0]: [2001:db8::1]:7373 cannot be reached from 10.0.0.1:7373; use addresses of one family",
            ],
        ),
        (
            format!("bind: 10.0.0.1:7373, {key}, peers: [edge-2:7373]"),
            vec![
                "f:2:70: membership.peers[0]: must be ADDRESS:PORT, such as 10.0.0.1:7373 or \"[2001:db8::1]:7373\", not \"edge-2:7373\"",
            ],
        ),
    ] {
        assert_eq!(membership(&fields), expected, "{fields}");
    }
}

#[test]
fn a_node_is_named_once_and_has_an_address_of_its_own() {
    table(&[
        (
            "interfaces: [eth0]\nnodes:\n- {name: a, address: 10.0.0.1}\n- {name: a, address: 10.0.0.2}\n- {name: b, address: 10.0.0.1}\n- {name: c}\n",
            &[
                "f:4:10: nodes[1].name: a node named a is already in line 3; name each once",
                "f:5:22: nodes[2].address: a node with address 10.0.0.1 is already in line 3; name each once",
                "f:6:3: nodes[3].address: is missing; give the address its tunnel packets go to",
            ],
        ),
        (
            "interfaces: [eth0]\nnodes: [{name: a, address: 0.0.0.0}]\n",
            &[
                "f:2:28: nodes[0].address: 0.0.0.0 is the unspecified address; give the address of one host",
            ],
        ),
    ]);
}

#[test]
fn a_vip_is_an_address_that_clients_can_reach() {
    let not_a_vip = |address: &str, reason: &str| {
        let lines = refused(&service(&format!("vips: [\"{address}\"]")));
        let expected = format!(
            "services[0].vips[0]: {address} is {reason}; a VIP is a unicast address that routers forward to"
        );
        assert!(lines.len() == 1 && lines[0].ends_with(&expected), "{lines:?}");
    };
    not_a_vip("0.0.0.0", "the unspecified address");
    not_a_vip("::", "the unspecified address");
    not_a_vip("0.1.2.3", "no host's address (RFC 1122)");
    not_a_vip("127.0.0.5", "a loopback address");
    not_a_vip("::1", "a loopback address");
    not_a_vip("239.1.1.1", "a multicast address");
    not_a_vip("ff02::1", "a multicast address");
    not_a_vip("169.254.1.1", "a link-local address");
    not_a_vip("fe80::1", "a link-local address");
    not_a_vip("255.255.255.255", "the broadcast address");
    service_table(&[
        ("vips: []", &["services[0].vips: must not be empty; give an address at least"]),
        ("vips: 192.0.2.10", &["services[0].vips: must be a list; write [192.0.2.10]"]),
        (
            "vips: [192.0.2.10, 192.0.2.10]",
            &["services[0].vips[1]: VIP 192.0.2.10 is already in line 4; name each once"],
        ),
        (
            "vips: [192.0.2.10/32]",
            &[
                "services[0].vips[0]: must be an IP address, not \"192.0.2.10/32\"; leave out the prefix length: 192.0.2.10",
            ],
        ),
        (
            "vips: [\"192.0.2.10:80\"]",
            &[
                "services[0].vips[0]: must be an IP address, not \"192.0.2.10:80\"; leave out the port: 192.0.2.10",
            ],
        ),
        (
            "vips: [\"fe80::1%eth0\"]",
            &[
                "services[0].vips[0]: must be an IP address, not \"fe80::1%eth0\"; an address with a zone cannot be used",
            ],
        ),
        (
            "vips: [\"::ffff:192.0.2.10\"]",
            &[
                "services[0].vips[0]: ::ffff:192.0.2.10 is an IPv4 address in IPv6 dress; write 192.0.2.10",
            ],
        ),
        (
            "vips: [2001:db8::]",
            &[
                "services[0].vips[0]: must be an IP address, not a mapping; put quotes around a text with a colon in it",
            ],
        ),
        (
            "vips: [example.com]",
            &["services[0].vips[0]: must be an IP address, not \"example.com\""],
        ),
    ]);
}

#[test]
fn a_vip_is_no_host_s_address() {
    let whose = |more: &str, vip: &str, host: &str| {
        let lines = refused(
            &(service(&format!("vips: [{vip}], endpoints: [{{address: 10.0.0.21}}]")) + more),
        );
        let expected = format!(
            "f:4:11: services[0].vips[0]: {vip} is the address of {host}; a VIP belongs to no host"
        );
        assert_eq!(lines, [expected]);
    };
    whose("", "10.0.0.11", "node worker-1");
    whose("", "10.0.0.21", "an endpoint (services[0].endpoints[0].address)");
    whose("tunnelSource: 10.0.0.1\n", "10.0.0.1", "tunnelSource");
    whose("edges: [10.0.0.2]\n", "10.0.0.2", "an edge");
    let membership =
        "membership: {bind: 10.0.0.1:7373, peers: [10.0.0.2:7373], keyFile: /nonexistent/key}\n";
    whose(membership, "10.0.0.1", "membership.bind");
    whose(membership, "10.0.0.2", "a peer");
    assert_eq!(
        refused(&(service("vips: [10.9.1.1]") + "tunnelSourcePrefix: 10.9.0.0/20\n")),
        [
            "f:4:11: services[0].vips[0]: 10.9.1.1 lies in tunnelSourcePrefix 10.9.0.0/20; keep the prefix for the tunnel"
        ]
    );
}

#[test]
fn a_packet_belongs_to_one_service() {
    let text = service("name: shop/web, ports: [{port: 80}, {port: 53, protocol: UDP}]")
        + "- {name: shop/api, vips: [192.0.2.11, 192.0.2.10], ports: [{port: 80}, {port: 53}]}\n";
    assert_eq!(
        refused(&text),
        [
            "f:5:67: services[1].ports[0].port: 192.0.2.10:80/TCP belongs to both shop/api and shop/web (line 4); give one of them another VIP or port"
        ]
    );
    service_table(&[
        (
            "ports: [{port: 80}, {port: 80, protocol: TCP}]",
            &["services[0].ports[1].port: 192.0.2.10:80/TCP is already in line 4; name each once"],
        ),
        (
            "name: web, ports: [{name: a, port: 80}, {name: a, port: 81}]",
            &["services[0].ports[1].name: a port named a is already in line 4; name each once"],
        ),
    ]);
}

#[test]
fn ports_protocols_and_words_are_spelled_as_they_are() {
    service_table(&[
        (
            "ports: [{port: -1}]",
            &[
                "services[0].ports[0].port: must be a port or 0 for every port, a whole number from 0 to 65535, not \"-1\"",
            ],
        ),
        (
            "ports: [{port: \"80\"}]",
            &[
                "services[0].ports[0].port: must be a port or 0 for every port, a whole number from 0 to 65535, not \"80\"",
            ],
        ),
        (
            "ports: [{port: 080}]",
            &[
                "services[0].ports[0].port: must be a port or 0 for every port, a whole number from 0 to 65535, not \"080\"",
            ],
        ),
        (
            "ports: [{port: http}]",
            &[
                "services[0].ports[0].port: must be a port or 0 for every port, a whole number from 0 to 65535, not \"http\"",
            ],
        ),
        (
            "name: web, ports: [{name: http}]",
            &["services[0].ports[0].port: is missing; give a port, or 0 for every port"],
        ),
        ("ports: [80]", &["services[0].ports[0]: must be a mapping of fields, not \"80\""]),
        (
            "ports: [{port: 80, protocol: tcp}]",
            &[
                "services[0].ports[0].protocol: must be one of TCP, UDP, not \"tcp\"; did you mean TCP?",
            ],
        ),
        (
            "sessionAffinity: clientIp",
            &[
                "services[0].sessionAffinity: must be one of None, ClientIP, not \"clientIp\"; did you mean ClientIP?",
            ],
        ),
        ("reject: 0", &["services[0].reject: must be true or false (without quotes), not \"0\""]),
        (
            "name: \"my service\"",
            &["services[0].name: must be a name without white space, not \"my service\""],
        ),
    ]);
}

#[test]
fn source_ranges_are_whole_networks() {
    service_table(&[
        (
            "sourceRanges: [10.0.0.1/8]",
            &[
                "services[0].sourceRanges[0]: 10.0.0.1/8 has bits beyond its length; write 10.0.0.0/8",
            ],
        ),
        (
            "sourceRanges: [\"2001:db8::1/32\"]",
            &[
                "services[0].sourceRanges[0]: 2001:db8::1/32 has bits beyond its length; write 2001:db8::/32",
            ],
        ),
        (
            "sourceRanges: [10.0.0.1]",
            &[
                "services[0].sourceRanges[0]: must be a network, not an address alone; for this one address write 10.0.0.1/32",
            ],
        ),
        (
            "sourceRanges: [10.0.0.0/33]",
            &[
                "services[0].sourceRanges[0]: must be a network such as 10.0.0.0/8, not \"10.0.0.0/33\"",
            ],
        ),
        (
            "sourceRanges: [\"::ffff:10.0.0.0/104\"]",
            &[
                "services[0].sourceRanges[0]: ::ffff:10.0.0.0 is an IPv4 address in IPv6 dress; write 10.0.0.0",
            ],
        ),
        (
            "sourceRanges: [10.0.0.0/8, 10.0.0.0/8]",
            &["services[0].sourceRanges[1]: range 10.0.0.0/8 is already in line 4; name each once"],
        ),
    ]);
}

#[test]
fn an_endpoint_is_where_it_says_it_is() {
    service_table(&[
        (
            "endpoints: [{address: 10.244.0.1, node: worker-3}]",
            &[
                "services[0].endpoints[0].node: no node is named \"worker-3\"; did you mean worker-1?",
            ],
        ),
        (
            "endpoints: [{address: 10.244.0.1, node: db}]",
            &[
                "services[0].endpoints[0].node: no node is named \"db\"; add it to nodes, or leave node out for a plain server",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.11}]",
            &[
                "services[0].endpoints[0].address: 10.0.0.11 is node worker-1, which runs an agent; add node: worker-1",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.12, node: worker-1}]",
            &[
                "services[0].endpoints[0].address: 10.0.0.12 is node worker-2, not an endpoint on worker-1",
            ],
        ),
        (
            "endpoints: [{address: 127.0.0.1, node: worker-1}]",
            &[
                "services[0].endpoints[0].address: 127.0.0.1 is a loopback address; give the address of one host",
            ],
        ),
        (
            "endpoints: [{address: \"2001:db8::5\", node: worker-1}]",
            &[
                "services[0].endpoints[0].address: 2001:db8::5 is IPv6, but no VIP of the service is; an endpoint on a node has the VIP's family",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.21}, {address: 10.0.0.21, weight: 2}]",
            &["services[0].endpoints[1]: endpoint 10.0.0.21 is already in line 4; name each once"],
        ),
        (
            "endpoints: [{address: 10.244.0.1, port: 1, node: worker-1}, {address: 10.244.0.1, port: 1, node: worker-1}]",
            &[
                "services[0].endpoints[1]: endpoint 10.244.0.1:1 is already in line 4; name each once",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.21, port: 8080}]",
            &[
                "services[0].endpoints[0].port: a plain server gets packets for port 80 unchanged, on port 80; leave port out",
            ],
        ),
        (
            "ports: [{port: 0}], endpoints: [{address: 10.0.0.21, port: 80}]",
            &[
                "services[0].endpoints[0].port: a plain server gets every packet on its own port; leave port out",
            ],
        ),
        (
            "endpoints: [{address: 10.244.0.1, port: 0, node: worker-1}]",
            &[
                "services[0].endpoints[0].port: must be a port, a whole number from 1 to 65535, not \"0\"",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.21, weight: 1000001}]",
            &[
                "services[0].endpoints[0].weight: must be a weight, a whole number from 0 to 1000000, not \"1000001\"",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.21, weight: 1.5}]",
            &[
                "services[0].endpoints[0].weight: must be a weight, a whole number from 0 to 1000000, not \"1.5\"",
            ],
        ),
        (
            "endpoints: [{address: 10.0.0.21, ready: no}]",
            &["services[0].endpoints[0].ready: must be true or false (without quotes), not \"no\""],
        ),
        (
            "endpoints: [10.0.0.21]",
            &["services[0].endpoints[0]: must be a mapping of fields, not \"10.0.0.21\""],
        ),
    ]);
}

#[test]
fn health_checks_have_durations_and_counts_that_go_together() {
    service_table(&[
        (
            "healthCheck: {interval: 1s}",
            &["services[0].healthCheck.type: is missing; give what to try, such as tcp"],
        ),
        (
            "healthCheck: {type: htp}",
            &[
                "services[0].healthCheck.type: must be one of tcp, http, https, dns, udp, ping, exec, not \"htp\"; did you mean http?",
            ],
        ),
        (
            "healthCheck: {type: tcp, interval: 1}",
            &[
                "services[0].healthCheck.interval: must be a duration with its unit, such as 500ms or 1s, not \"1\"",
            ],
        ),
        (
            "healthCheck: {type: tcp, interval: 0s}",
            &["services[0].healthCheck.interval: must be more than 0s and at most 1h, not \"0s\""],
        ),
        (
            "healthCheck: {type: tcp, interval: 2days}",
            &[
                "services[0].healthCheck.interval: must be more than 0s and at most 1h, not \"2days\"",
            ],
        ),
        (
            "healthCheck: {type: tcp, interval: 1s, timeout: 1500ms}",
            &[
                "services[0].healthCheck.timeout: 1s 500ms is longer than the interval of 1s; make it that at most",
            ],
        ),
        (
            "healthCheck: {type: tcp, rise: 0, fall: -1}",
            &[
                "services[0].healthCheck.rise: must be a count of tries, a whole number from 1 to 1000, not \"0\"",
                "services[0].healthCheck.fall: must be a count of tries, a whole number from 1 to 1000, not \"-1\"",
            ],
        ),
    ]);
}

#[test]
fn one_mistake_is_told_once() {
    // An unreadable node is not also a missing one to the endpoints on it, nor an unreadable VIP a missing family.
    let text = "interfaces: [eth0]\nnodes: [{name: a, address: x}]\nservices:\n- {name: s, vips: [y], ports: [{port: 80}], endpoints: [{address: 10.244.0.1, node: a}]}\n";
    assert_eq!(
        refused(text),
        [
            "f:2:28: nodes[0].address: must be an IP address, not \"x\"",
            "f:4:20: services[0].vips[0]: must be an IP address, not \"y\"",
        ]
    );
}

#[test]
fn a_misspelt_field_is_not_also_a_missing_one() {
    service_table(&[(
        "endpoints: [{adress: 10.0.0.21}]",
        &["services[0].endpoints[0].adress: unknown field; did you mean address?"],
    )]);
    table(&[(
        "interfaces: [eth0]\nnodes: [{name: a, address: 10.0.0.1}]\nservices:\n- {name: s, vip: [192.0.2.1], ports: [{port: 80}], endpoints: [{address: 10.244.0.1, node: a}]}\n",
        &["f:4:13: services[0].vip: unknown field; did you mean vips?"],
    )]);
}

#[test]
fn the_errors_shown_in_the_documentation_are_those_of_its_example() {
    let page = include_str!("../../../../docs/configuration.md");
    let (_, session) = page.split_once("$ sluice validate sluice.yaml\n").unwrap();
    let (shown, _) = session.split_once("```").unwrap();
    let (_, example) = page.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let broken = example.replace("port: 80", "port: 80800").replacen("address", "adress", 1);
    let shown: Vec<String> = shown.lines().map(|line| line.replace("sluice.yaml", "f")).collect();
    assert_eq!(refused(&broken), shown);
}

#[test]
fn more_than_the_maps_hold_is_refused() {
    let ports: String = (0..9000).map(|port| format!("{{port: {port}}}, ")).collect();
    let vips: String = (1..9).map(|end| format!("192.0.2.{end}, ")).collect();
    let lines = refused(&service(&format!("vips: [{vips}], ports: [{ports}]")));
    assert_eq!(
        lines,
        ["f:4:3: services: has 72000 services (VIPs times ports); there is room for 65536"]
    );
}

#[test]
fn user_text_in_messages_stays_on_one_line_and_short() {
    let long = "x".repeat(500);
    let lines = refused(&format!("interfaces: [eth0]\ntunnelSource: \"a\\nb\\u001b{long}\"\n"));
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("f:2:15: tunnelSource: must be an IP address, not \"a\\nb\\u{1b}xxx")
    );
    assert!(lines[0].len() < 200);
}
