//! Valid configurations that are probably not what was meant.

use super::*;

#[test]
fn a_sound_configuration_draws_no_warning() {
    assert_eq!(
        warned(&service(
            "endpoints: [{address: 10.0.0.21}, {address: 10.244.0.1, port: 8080, node: worker-1}]"
        )),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    for (fields, expected) in [
        (
            "healthCheck: {type: tcp}",
            "f:4:17: services[0].healthCheck: is not acted upon in this version",
        ),
        (
            "vips: [192.0.2.10, \"2001:db8::10\"], endpoints: [{address: 10.244.0.1, node: worker-1}]",
            "f:4:51: services[0].endpoints: has no endpoint that can serve 2001:db8::10: Pods need the VIP's family",
        ),
        (
            "sourceRanges: [\"2001:db8::/32\"]",
            "f:4:18: services[0].sourceRanges: has no network of the family of 192.0.2.10: nobody can use that VIP",
        ),
        (
            "endpoints: [{address: 10.244.0.1, port: 1, node: worker-1}], ports: [{port: 80}, {port: 443}]",
            "f:4:44: services[0].endpoints[0].port: all 2 ports of the service lead to port 1 here; leave port out to keep each packet's own",
        ),
        (
            "endpoints: [{address: 10.244.0.1, port: 1, node: worker-1}], ports: [{port: 0}]",
            "f:4:44: services[0].endpoints[0].port: is not used: for port 0 it is the packet's own port",
        ),
    ] {
        assert_eq!(warned(&service(fields)), [expected]);
    }
}

#[test]
fn services_of_one_vip_that_differ_in_reject_are_warned_of() {
    let text =
        service("") + "- {name: api, vips: [192.0.2.10], ports: [{port: 81}], reject: false}\n";
    assert_eq!(
        warned(&text),
        [
            "f:5:3: services[1]: api and web share 192.0.2.10 but differ in reject: ports of 192.0.2.10 that no service has are refused"
        ]
    );
}

#[test]
fn a_secret_that_cannot_be_read_here_is_left_to_the_agent() {
    assert_eq!(
        warned("interfaces: [eth0]\nseedFile: /nonexistent/seed\n"),
        [
            "f:2:11: seedFile: /nonexistent/seed cannot be read (No such file or directory (os error 2)); an agent needs it"
        ]
    );
}

#[test]
fn a_group_of_one_is_warned_of() {
    let text = "interfaces: [eth0]\nmembership: {bind: 10.0.0.1:7373, peers: [], keyFile: /nonexistent/key}\n";
    assert_eq!(
        warned(text)[0],
        "f:2:42: membership.peers: names nobody: this agent is a group of one"
    );
}

#[test]
fn an_agent_that_would_deliver_nothing_is_warned_of() {
    let nodes = "nodes: [{name: a, address: 10.0.0.1}]\n";
    assert_eq!(
        warned(&format!("node: b\nedge: false\ninterfaces: [eth0]\n{nodes}")),
        [
            "f:1:1: edge: is false, but without edges or membership no tunnel packet is accepted",
            "f:1:1: node: no entry of nodes is named \"b\": this agent delivers to no endpoint",
        ]
    );
    let server = "edge: false\ninterfaces: [eth0]\nedges: [10.0.0.1]\n";
    assert_eq!(warned(server), Vec::<String>::new());
}
