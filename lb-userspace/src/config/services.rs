//! Reading `services`, and what must hold from one to the next.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    Endpoint, HealthCheck, HealthCheckKind, Node, Service, ServicePort,
    agent::{distinct, unique},
    problem::{Problems, Spot, nearest, quote},
    scalar,
    value::{Fields, Place, Value},
};
use crate::desired::{Forwarding, Protocol, ServiceKey, SessionAffinity};

const LARGEST_WEIGHT: u32 = 1_000_000;

/// What was found so far, to see when two entries do not go together.
pub(super) struct Services<'a> {
    nodes: &'a [Node],
    /// Every node could be read, so that a name that is not among them is wrong.
    nodes_complete: bool,
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
            nodes,
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
        let name = fields.need("name", "the service's name", problems).and_then(|value| {
            let name = value.read(problems, scalar::name)?;
            unique(&value, name, &mut self.names, problems, |name| format!("a service {name}"))
        });
        let label = name.clone().unwrap_or_else(|| value.place.to_string());

        let before = problems.count();
        let vips = self.read_vips(&mut fields, problems);
        let vips_complete = problems.count() == before;
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
        let Some(list) = fields.need("vips", meaning, problems) else { return Vec::new() };
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
        let Some(list) = fields.need("ports", meaning, problems) else { return Vec::new() };
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
            let number = fields.need("port", "a port, or 0 for every port", problems);
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

    fn read_endpoints(
        &mut self,
        list: &Value<'_>,
        service: &ServiceFacts<'_>,
        problems: &mut Problems,
    ) -> Vec<Endpoint> {
        let before = problems.count();
        let mut seen = HashMap::new();
        let mut endpoints = Vec::new();
        for item in list.items(problems) {
            endpoints.extend(self.read_endpoint(&item, service, &mut seen, problems));
        }
        if problems.count() == before && service.vips_complete && !endpoints.is_empty() {
            for vip in service.vips {
                if !endpoints.iter().any(|endpoint| endpoint.serves(*vip)) {
                    let message =
                        format!("has no endpoint that can serve {vip}: Pods need the VIP's family");
                    problems.warn(&list.place, message);
                }
            }
        }
        endpoints
    }

    fn read_endpoint(
        &mut self,
        item: &Value<'_>,
        service: &ServiceFacts<'_>,
        seen: &mut HashMap<(IpAddr, Option<u16>), usize>,
        problems: &mut Problems,
    ) -> Option<Endpoint> {
        let mut fields = item.fields(problems)?;
        let address_value = fields.need("address", "the address that serves", problems);
        let address = address_value.and_then(|value| value.read(problems, scalar::host_address));
        let port_value = fields.get("port");
        let port = port_value.and_then(|value| value.read(problems, |node| scalar::port(node, 1)));
        let node_value = fields.get("node");
        let node = node_value.and_then(|value| {
            let name = value.read(problems, scalar::name)?;
            self.check_node(&value, &name, problems);
            Some(name)
        });
        let weight = fields.optional("weight", problems, |node| {
            scalar::integer(node, "a weight", 0, LARGEST_WEIGHT)
        });
        let ready = fields.optional("ready", problems, scalar::boolean);
        let serving = fields.optional("serving", problems, scalar::boolean);
        let terminating = fields.optional("terminating", problems, scalar::boolean);
        fields.close(problems);

        if let (Some(value), Some(port)) = (port_value, port) {
            service.check_port(&value, port, node_value.is_none(), problems);
        }
        let (value, address) = (address_value?, address?);
        self.check_address(&value, address, node_value.is_some(), node.as_deref(), problems);
        if node_value.is_some() {
            service.check_family(&value, address, problems);
        }
        // A plain server gets the packet unchanged, whatever its port says.
        let key = (address, port.filter(|_| node_value.is_some()));
        unique(item, key, seen, problems, |(address, port)| match port {
            Some(port) => format!("endpoint {}", std::net::SocketAddr::new(*address, *port)),
            None => format!("endpoint {address}"),
        })?;
        Some(Endpoint {
            address,
            port,
            node,
            weight: weight.unwrap_or(1),
            ready: ready.unwrap_or(true),
            serving: serving.unwrap_or(true),
            terminating: terminating.unwrap_or(false),
        })
    }

    fn check_node(&self, value: &Value<'_>, name: &str, problems: &mut Problems) {
        let names = || self.nodes.iter().map(|node| node.name.as_str());
        if !self.nodes_complete || names().any(|known| known == name) {
            return;
        }
        let advice = match nearest(name, names()) {
            Some(name) => format!("did you mean {name}?"),
            None => "add it to nodes, or leave node out for a plain server".into(),
        };
        problems.error(&value.place, format!("no node is named {}; {advice}", quote(name)));
    }

    /// An address is one host's: a node is no plain server, and an endpoint of one node is not another node.
    fn check_address(
        &mut self,
        value: &Value<'_>,
        address: IpAddr,
        on_node: bool,
        node: Option<&str>,
        problems: &mut Problems,
    ) {
        match self.nodes.iter().find(|other| other.address == address) {
            Some(owner) if !on_node => problems.error(
                &value.place,
                format!(
                    "{address} is node {}, which runs an agent; add node: {}",
                    owner.name, owner.name
                ),
            ),
            Some(owner) if node.is_some_and(|node| node != owner.name) => problems.error(
                &value.place,
                format!(
                    "{address} is node {}, not an endpoint on {}",
                    owner.name,
                    node.unwrap_or_default()
                ),
            ),
            Some(_) => {}
            None => {
                self.hosts
                    .entry(address)
                    .or_insert_with(|| format!("an endpoint ({})", value.place));
            }
        }
    }
}

/// What endpoints have to go together with.
struct ServiceFacts<'a> {
    vips: &'a [IpAddr],
    vips_complete: bool,
    ports: &'a [ServicePort],
}

impl ServiceFacts<'_> {
    /// Only an agent translates ports: a plain server gets what the client sent.
    fn check_port(&self, value: &Value<'_>, port: u16, server: bool, problems: &mut Problems) {
        let numbers: HashSet<u16> = self.ports.iter().map(|port| port.port).collect();
        if let Some(other) = self.ports.iter().map(|port| port.port).find(|other| *other != port)
            && server
        {
            let message = match other {
                0 => "a plain server gets every packet on its own port; leave port out".into(),
                _ => format!(
                    "a plain server gets packets for port {other} unchanged, on port {other}; leave port out"
                ),
            };
            problems.error(&value.place, message);
        } else if numbers.len() > 1 {
            let message = format!(
                "all {} ports of the service lead to port {port} here; leave port out to keep each packet's own",
                numbers.len()
            );
            problems.warn(&value.place, message);
        } else if numbers.contains(&0) {
            problems.warn(&value.place, "is not used: for port 0 it is the packet's own port");
        }
    }

    fn check_family(&self, value: &Value<'_>, address: IpAddr, problems: &mut Problems) {
        let served = self.vips.iter().any(|vip| vip.is_ipv4() == address.is_ipv4());
        if self.vips_complete && !served {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let message = format!(
                "{address} is {family}, but no VIP of the service is; an endpoint on a node has the VIP's family"
            );
            problems.error(&value.place, message);
        }
    }
}

fn read_health_check(value: &Value<'_>, problems: &mut Problems) -> Option<HealthCheck> {
    use std::time::Duration;

    let kinds = [
        ("tcp", HealthCheckKind::Tcp),
        ("http", HealthCheckKind::Http),
        ("https", HealthCheckKind::Https),
        ("dns", HealthCheckKind::Dns),
        ("udp", HealthCheckKind::Udp),
        ("ping", HealthCheckKind::Ping),
        ("exec", HealthCheckKind::Exec),
    ];
    let mut fields = value.fields(problems)?;
    let kind = fields
        .required("type", "what to try, such as tcp", problems, |node| scalar::word(node, &kinds));
    let interval_value = fields.get("interval");
    let interval = match interval_value {
        Some(value) => value.read(problems, scalar::duration),
        None => Some(Duration::from_secs(1)),
    };
    let timeout_value = fields.get("timeout");
    let timeout = match timeout_value {
        Some(value) => value.read(problems, scalar::duration),
        // Half a second, or all there is of a shorter interval.
        None => interval.map(|interval| interval.min(Duration::from_millis(500))),
    };
    if let (Some(value), Some(timeout), Some(interval)) = (timeout_value, timeout, interval)
        && timeout > interval
    {
        let message = format!(
            "{} is longer than the interval of {}; make it that at most",
            humantime::format_duration(timeout),
            humantime::format_duration(interval)
        );
        problems.error(&value.place, message);
    }
    let tries = |node: &super::yaml::Node| scalar::integer(node, "a count of tries", 1, 1000);
    let rise = fields.optional("rise", problems, tries);
    let fall = fields.optional("fall", problems, tries);
    fields.close(problems);
    Some(HealthCheck {
        kind: kind?,
        interval: interval?,
        timeout: timeout?,
        rise: rise.unwrap_or(2),
        fall: fall.unwrap_or(3),
    })
}
