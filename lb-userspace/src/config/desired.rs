//! From a configuration to the desired state: one service for each VIP and port, backends weighted by who serves on them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use super::{Config, Endpoint, Service};
use crate::desired::{self, Backend, BackendKind, Desired, ServiceKey};

impl Config {
    /// What the data plane is to do.
    pub fn desired(&self) -> Desired {
        let nodes: HashMap<&str, IpAddr> =
            self.nodes.iter().map(|node| (node.name.as_str(), node.address)).collect();
        let mut desired = Desired::default();
        for service in &self.services {
            for endpoint in &service.endpoints {
                if let Some((address, backend)) = endpoint.backend(&nodes) {
                    desired.backends.entry(address).or_insert(backend);
                }
            }
            for vip in &service.vips {
                add_service(&mut desired, service, *vip, &nodes);
            }
        }
        for service in desired.services.values() {
            for address in service.backends.keys() {
                if let Some(backend) = desired.backends.get_mut(address) {
                    backend.draining = false;
                }
            }
        }
        desired
    }
}

fn add_service(
    desired: &mut Desired,
    service: &Service,
    vip: IpAddr,
    nodes: &HashMap<&str, IpAddr>,
) {
    let endpoints: Vec<&Endpoint> =
        service.endpoints.iter().filter(|endpoint| endpoint.serves(vip)).collect();
    let mut backends = weigh(&endpoints, nodes, Endpoint::takes_new_flows);
    if backends.is_empty() {
        backends = weigh(&endpoints, nodes, Endpoint::is_last_resort);
    }
    for port in &service.ports {
        let key = ServiceKey { vip, port: port.port, protocol: port.protocol };
        let endpoints = endpoints.iter().map(|endpoint| Endpoint {
            port: endpoint.port.filter(|_| port.port != 0),
            ..(*endpoint).clone()
        });
        let service = desired::Service {
            name: service.name.clone(),
            port_name: port.name.clone(),
            forwarding: service.forwarding,
            affinity: service.session_affinity,
            // Those of the other family too: without them, a VIP that no range fits would be open to all.
            source_ranges: service.source_ranges.iter().copied().collect(),
            reject: service.reject,
            backends: backends.clone(),
            endpoints: endpoints.collect(),
        };
        desired.services.insert(key, service);
    }
}

/// Each backend's weight: the sum over those of its endpoints that are chosen.
fn weigh(
    endpoints: &[&Endpoint],
    nodes: &HashMap<&str, IpAddr>,
    chosen: fn(&Endpoint) -> bool,
) -> BTreeMap<IpAddr, u32> {
    let mut weights = BTreeMap::<IpAddr, u32>::new();
    for endpoint in endpoints.iter().filter(|endpoint| chosen(endpoint)) {
        if let Some((address, _)) = endpoint.backend(nodes) {
            let weight = weights.entry(address).or_default();
            *weight = weight.saturating_add(endpoint.weight);
        }
    }
    weights
}

impl Endpoint {
    /// Can it serve this VIP? A plain server has the VIP itself; a Pod needs an address of its family.
    pub(super) fn serves(&self, vip: IpAddr) -> bool {
        self.node.is_none() || self.address.is_ipv4() == vip.is_ipv4()
    }

    fn takes_new_flows(&self) -> bool {
        self.weight > 0 && self.ready && !self.terminating
    }

    /// Better than nobody: about to go, but still answering.
    fn is_last_resort(&self) -> bool {
        self.weight > 0 && self.serving && self.terminating
    }

    /// The host that its packets are sent to, draining until a service sends it new flows.
    fn backend(&self, nodes: &HashMap<&str, IpAddr>) -> Option<(IpAddr, Backend)> {
        let (address, kind) = match &self.node {
            Some(name) => (*nodes.get(name.as_str())?, BackendKind::Node(name.clone())),
            None => (self.address, BackendKind::Server),
        };
        Some((address, Backend { kind, draining: true }))
    }
}
