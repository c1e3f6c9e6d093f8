//! What a configuration may say and may not: broken text in, error lines out.

mod refusals;
mod states;
mod warnings;

use std::path::Path;

use super::{Config, ConfigError, Loaded, parse};

/// A configuration that is valid as it stands, to be changed by one thing in a test.
const WHOLE: &str = r#"
node: edge-1
edge: true
interfaces: [eth0, eth1]
pinDirectory: /sys/fs/bpf/other
socket: /run/other.sock
xdpMode: native
tunnelSource: 10.0.0.1
tunnelSourcePrefix: 10.9.0.0/20
edges: [10.0.0.1, 10.0.0.2]
seedFile: /nonexistent/seed
membership:
  bind: 10.0.0.1:7373
  peers: [10.0.0.2:7373]
  keyFile: /nonexistent/key
metrics: {listen: "0.0.0.0:9473"}
reject: true
nodes:
  - {name: worker-1, address: 10.0.0.11}
services:
  - name: shop/web
    vips: [192.0.2.10, "2001:db8::10"]
    forwarding: ipip
    ports: [{name: http, port: 80, protocol: TCP}]
    sessionAffinity: ClientIP
    sourceRanges: [198.51.100.0/24, "2001:db8:1::/48"]
    reject: false
    endpoints:
      - {address: 10.244.1.5, port: 8080, node: worker-1, ready: false, serving: true, terminating: true}
      - {address: 10.0.0.21, weight: 100}
    healthCheck: {type: tcp, interval: 2s, timeout: 500ms, rise: 4, fall: 5}
"#;

fn lines(problems: &[ConfigError]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn load(text: &str) -> Result<Loaded, Vec<ConfigError>> {
    parse(Path::new("f"), text.as_bytes())
}

/// The configuration of a text that must be valid.
fn valid(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("{text}\n{:#?}", lines(&errors))).config
}

/// The error lines of a text that must not be valid.
fn refused(text: &str) -> Vec<String> {
    lines(&load(text).err().unwrap_or_else(|| panic!("must be refused:\n{text}")))
}

/// The warning lines of a text that must be valid.
fn warned(text: &str) -> Vec<String> {
    lines(&load(text).unwrap_or_else(|errors| panic!("{:#?}", lines(&errors))).warnings)
}

/// One service with these fields, in flow style; whatever has no default is filled in.
fn service(fields: &str) -> String {
    let mut all: Vec<String> =
        Some(fields.to_owned()).filter(|fields| !fields.is_empty()).into_iter().collect();
    for (name, default) in [("name", "web"), ("vips", "[192.0.2.10]"), ("ports", "[{port: 80}]")] {
        if !fields.contains(&format!("{name}:")) {
            all.push(format!("{name}: {default}"));
        }
    }
    let all = all.join(", ");
    format!(
        "interfaces: [eth0]\nnodes: [{{name: worker-1, address: 10.0.0.11}}, {{name: worker-2, address: 10.0.0.12}}]\nservices:\n- {{{all}}}\n"
    )
}
