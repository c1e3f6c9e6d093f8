//! Reading the endpoints of a service, and what must hold between them, the nodes and the service.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    Endpoint, ServicePort,
    agent::unique,
    problem::{Problems, nearest, quote},
    scalar,
    services::Services,
    value::Value,
};

const LARGEST_WEIGHT: u32 = 1_000_000;

impl Services<'_> {
    pub(super) fn read_endpoints(
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
        let address_value = fields.need("address", "the address that serves");
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
        if !self.nodes_complete || self.node_names.contains_key(name) {
            return;
        }
        let advice = match nearest(name, self.node_names.keys().copied()) {
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
        match self.node_addresses.get(&address) {
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
pub(super) struct ServiceFacts<'a> {
    pub vips: &'a [IpAddr],
    /// Every VIP could be read, so that what no VIP fits is wrong.
    pub vips_complete: bool,
    pub ports: &'a [ServicePort],
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
