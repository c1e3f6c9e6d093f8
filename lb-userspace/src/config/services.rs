//! Reading `services`, and what must hold from one to the next.

use std::{collections::HashMap, net::IpAddr};

use super::{
    Node, Service, ServicePort,
    agent::{distinct, unique},
    endpoints::ServiceFacts,
    health_check::read_health_check,
    problem::{Problems, Spot},
    scalar,
    value::{Fields, Place, Value},
};
use crate::desired::{Forwarding, Protocol, ServiceKey, SessionAffinity};

/// What was found so far, to see when two entries do not go together.
pub(super) struct Services<'a> {
    pub(super) node_names: HashMap<&'a str, &'a Node>,
    pub(super) node_addresses: HashMap<IpAddr, &'a Node>,
    /// Every node could be read, so that a name that is not among them is wrong.
    pub(super) nodes_complete: bool,
    reject_by_default: bool,
    names: HashMap<String, usize>,
    keys: HashMap<ServiceKey, (String, usize)>,
    /// Every mention of a VIP, to be compared with [`hosts`](Self::hosts) at the end.
    pub vips: Vec<(IpAddr, Spot)>,
    /// Whose address it is, for those that cannot be VIPs.
    pub hosts: HashMap<IpAddr, String>,
    rejects: HashMap<IpAddr, (bool, String)>,
}

impl<'a> Services<'a> {
    pub fn new(nodes: &'a [Node], nodes_complete: bool, reject_by_default: bool) -> Self {
        let host = |node: &Node| (node.address, format!("node {}", node.name));
        Self {
            node_names: nodes.iter().map(|node| (node.name.as_str(), node)).collect(),
            node_addresses: nodes.iter().map(|node| (node.address, node)).collect(),
            nodes_complete,
            reject_by_default,
            names: HashMap::new(),
            keys: HashMap::new(),
            vips: Vec::new(),
            hosts: nodes.iter().map(host).collect(),
            rejects: HashMap::new(),
        }
    }

    /// Reads one entry. `None` if something that has no default could not be read.
    pub fn read(&mut self, value: &Value<'_>, problems: &mut Problems) -> Option<Service> {
        let mut fields = value.fields(problems)?;
        let name = fields.need("name", "the service's name").and_then(|value| {
            let name = value.read(problems, scalar::name)?;
            unique(&value, name, &mut self.names, problems, |name| format!("a service {name}"))
        });
        let label = name.clone().unwrap_or_else(|| value.place.to_string());

        let before = problems.count();
        let vips = self.read_vips(&mut fields, problems);
        let vips_complete = problems.count() == before && !vips.is_empty();
        let ways = [("ipip", Forwarding::Ipip), ("l2", Forwarding::L2)];
        let forwarding = fields.optional("forwarding", problems, |node| scalar::word(node, &ways));
        let ports = self.read_ports(&mut fields, &vips, &label, problems);
        let affinities = [("None", SessionAffinity::None), ("ClientIP", SessionAffinity::ClientIp)];
        let session_affinity =
            fields.optional("sessionAffinity", problems, |node| scalar::word(node, &affinities));
        let source_ranges = fields.get("sourceRanges").map(|list| {
            let ranges = distinct(&list, problems, "range", scalar::network);
            if vips_complete && !ranges.is_empty() {
                for vip in vips.iter().filter(|vip| {
                    !ranges.iter().any(|range| range.addr().is_ipv4() == vip.is_ipv4())
                }) {
                    let message =
                        format!("has no network of the family of {vip}: nobody can use that VIP");
                    problems.warn(&list.place, message);
                }
            }
            ranges
        });
        let reject =
            fields.optional("reject", problems, scalar::boolean).unwrap_or(self.reject_by_default);
        self.compare_rejects(&vips, reject, &label, fields.place(), problems);
        let endpoints = fields.get("endpoints").map(|list| {
            let service = ServiceFacts { vips: &vips, vips_complete, ports: &ports };
            self.read_endpoints(&list, &service, problems)
        });
        let health_check = fields.get("healthCheck").and_then(|value| {
            problems.warn(&value.place, "is not acted upon in this version");
            read_health_check(&value, problems)
        });
        fields.close(problems);
        Some(Service {
            name: name?,
            vips,
            forwarding: forwarding.unwrap_or_default(),
            ports,
            session_affinity: session_affinity.unwrap_or_default(),
            source_ranges: source_ranges.unwrap_or_default(),
            reject,
            endpoints: endpoints.unwrap_or_default(),
            health_check,
        })
    }

    fn read_vips(&mut self, fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<IpAddr> {
        let meaning = "the addresses clients connect to, such as [192.0.2.10]";
        let Some(list) = fields.need("vips", meaning) else { return Vec::new() };
        list.refuse_empty(problems, "an address");
        let mut seen = HashMap::new();
        let mut vips = Vec::new();
        for item in list.items(problems) {
            let Some(vip) = item.read(problems, scalar::vip) else { continue };
            vips.extend(unique(&item, vip, &mut seen, problems, |vip| format!("VIP {vip}")));
            self.vips.push((vip, item.place.spot()));
        }
        vips
    }

    fn read_ports(
        &mut self,
        fields: &mut Fields<'_>,
        vips: &[IpAddr],
        label: &str,
        problems: &mut Problems,
    ) -> Vec<ServicePort> {
        let meaning = "the ports clients connect to, such as [{port: 80}]";
        let Some(list) = fields.need("ports", meaning) else { return Vec::new() };
        list.refuse_empty(problems, "a port");
        let mut names = HashMap::new();
        let mut ports = Vec::new();
        for item in list.items(problems) {
            let Some(mut fields) = item.fields(problems) else { continue };
            let name = fields.get("name").and_then(|value| {
                let name = value.read(problems, scalar::name)?;
                unique(&value, name, &mut names, problems, |name| format!("a port named {name}"))
            });
            let protocols = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
            let protocol = match fields.get("protocol") {
                Some(value) => value.read(problems, |node| scalar::word(node, &protocols)),
                None => Some(Protocol::default()),
            };
            let number = fields.need("port", "a port, or 0 for every port");
            if let Some(value) = number
                && let Some(port) = value.read(problems, |node| scalar::port(node, 0))
                && let Some(protocol) = protocol
            {
                for vip in vips {
                    let key = ServiceKey { vip: *vip, port, protocol };
                    self.claim(key, label, &value.place, problems);
                }
                ports.push(ServicePort { name, port, protocol });
            }
            fields.close(problems);
        }
        ports
    }

    /// Refuses a second service, or a second entry of one, for the same packets.
    fn claim(&mut self, key: ServiceKey, label: &str, place: &Place<'_>, problems: &mut Problems) {
        match self.keys.get(&key) {
            Some((other, line)) if other == label => {
                problems.error(place, format!("{key} is already in line {line}; name each once"));
            }
            Some((other, line)) => problems.error(
                place,
                format!(
                    "{key} belongs to both {label} and {other} (line {line}); give one of them another VIP or port"
                ),
            ),
            None => {
                self.keys.insert(key, (label.to_owned(), place.position().line));
            }
        }
    }

    fn compare_rejects(
        &mut self,
        vips: &[IpAddr],
        reject: bool,
        label: &str,
        place: &Place<'_>,
        problems: &mut Problems,
    ) {
        for vip in vips {
            let (first, other) =
                self.rejects.entry(*vip).or_insert_with(|| (reject, label.to_owned()));
            if *first != reject {
                let message = format!(
                    "{label} and {other} share {vip} but differ in reject: ports of {vip} that no service has are refused"
                );
                problems.warn(place, message);
            }
        }
    }
}
