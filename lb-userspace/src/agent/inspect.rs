//! What the read commands and the metrics see of the agent.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Instant,
};

use lb_common::{
    backend::{BACKEND_DOWN, BACKEND_DRAINING},
    flow::ticks_to_seconds,
};

use super::{
    core::{Core, mac, now_ticks},
    explain, lock,
};
use crate::{
    admin::{
        Inspect, InspectError,
        view::{
            BackendForwarding, BackendKind, BackendRow, BackendState, BackendsView, Counts,
            DropsView, ExplainRequest, ExplainView, FlowLevel, FlowRow, FlowsView, InterfaceStatus,
            Member, NextHop, ServiceRow, ServiceState, ServicesView, SourceState, SourceStatus,
            StatusView, Vip, VipState, VipsView,
        },
    },
    desired::{self, Protocol},
    telemetry::{CountersSnapshot, Health, ReadCounters, ServiceTraffic},
};

/// Answers questions from the agent's state.
pub struct Inspector {
    core: Arc<Mutex<Core>>,
    health: Arc<Health>,
    started: Instant,
}

impl Inspector {
    /// An inspector of this state.
    pub fn new(core: Arc<Mutex<Core>>, health: Arc<Health>) -> Self {
        Self { core, health, started: Instant::now() }
    }
}

impl Inspect for Inspector {
    fn status(&self) -> Result<StatusView, InspectError> {
        let core = lock(&self.core);
        let agent = &core.config.agent;
        let interface = |name: &String| InterfaceStatus {
            name: name.clone(),
            xdp_mode: core.attached.iter().find(|at| at.interface == *name).map(|at| at.mode),
        };
        let state = match (core.source_errors.is_empty(), core.last_applied) {
            (false, _) => SourceState::Refused,
            (true, Some(_)) => SourceState::Synced,
            (true, None) => SourceState::Pending,
        };
        let moved = core.planner.services().map(|service| u64::from(service.moved_slots)).sum();
        Ok(StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            node: agent.node.clone(),
            edge: agent.edge,
            uptime_seconds: self.started.elapsed().as_secs(),
            not_ready: self.health.not_ready(),
            interfaces: agent.interfaces.iter().map(interface).collect(),
            source: SourceStatus {
                kind: "file".into(),
                state,
                last_applied: core.last_applied.map(Into::into),
                errors: core.source_errors.clone(),
            },
            members: vec![Member {
                node: agent.node.clone(),
                address: None,
                state: "alive".into(),
            }],
            counts: Counts {
                vips: vips(&core).len() as u64,
                owned_vips: core.held.len() as u64,
                services: core.desired.services.len() as u64,
                backends: core.placed.len() as u64,
                moved_slots: moved,
            },
        })
    }

    fn vips(&self) -> Result<VipsView, InspectError> {
        let core = lock(&self.core);
        let node = &core.config.agent.node;
        let row = |address| {
            let held = core.held.get(&address);
            Vip {
                address,
                owner: held.map(|_| node.clone()),
                owned: held.is_some(),
                interface: held.map(|held| held.interface.clone()),
                state: if held.is_some() { VipState::Owned } else { VipState::Standby },
                since: held.map(|held| held.since.into()),
                conflict_with: None,
            }
        };
        Ok(VipsView { vips: vips(&core).into_iter().map(row).collect() })
    }

    fn services(&self) -> Result<ServicesView, InspectError> {
        let core = lock(&self.core);
        let views: BTreeMap<_, _> =
            core.planner.services().map(|service| (service.key, service)).collect();
        let row = |(key, service): (&desired::ServiceKey, &desired::Service)| {
            let view = views.get(key)?;
            let traffic = core.tables.service_traffic(view.id);
            let slots = view.table.map_or(0, |(_, length)| length);
            let state = match (view.passed, slots) {
                (true, _) => ServiceState::Passed,
                (false, 0) => ServiceState::Empty,
                (false, _) => ServiceState::Ready,
            };
            Some(ServiceRow {
                name: service.name.clone(),
                port_name: service.port_name.clone(),
                vip: key.vip,
                port: key.port,
                protocol: key.protocol,
                forwarding: service.forwarding,
                state,
                backends: view.backends as u64,
                slots: slots.into(),
                moved_slots: view.moved_slots.into(),
                packets: traffic.packets,
                bytes: traffic.bytes,
                new_flows: traffic.new_flows,
            })
        };
        Ok(ServicesView { services: core.desired.services.iter().filter_map(row).collect() })
    }

    fn backends(&self) -> Result<BackendsView, InspectError> {
        let core = lock(&self.core);
        let mut used: BTreeMap<IpAddr, (BackendForwarding, u64)> = BTreeMap::new();
        for service in core.desired.services.values() {
            for (&address, &weight) in &service.backends {
                let (forwarding, sum) =
                    used.entry(address).or_insert((service.forwarding.into(), 0));
                *forwarding = forwarding.and(service.forwarding);
                *sum += u64::from(weight);
            }
        }
        let row = |(&id, placed): (&u32, &super::core::Placed)| {
            let address = placed.address;
            let wanted = core.desired.backends.get(&address);
            let hop = core.next_hops.get(&address);
            let (state, reason) = match hop {
                Some(Err(why)) => (BackendState::Down, Some(why.clone())),
                None => (BackendState::Down, Some("its next hop is not known yet".into())),
                _ if placed.flags & BACKEND_DOWN != 0 => (BackendState::Down, None),
                _ if wanted.is_none() => {
                    (BackendState::Draining, Some("no longer in the configuration".into()))
                }
                _ if placed.flags & BACKEND_DRAINING != 0 => {
                    (BackendState::Draining, Some("gets no new flows from any service".into()))
                }
                _ => (BackendState::Up, None),
            };
            let (node, kind) = match wanted.map(|backend| &backend.kind) {
                Some(desired::BackendKind::Node(name)) => (Some(name.clone()), BackendKind::Node),
                _ => (None, BackendKind::Server),
            };
            let (forwarding, weight) =
                used.get(&address).copied().unwrap_or((BackendForwarding::Ipip, 0));
            let traffic = core.tables.backend_traffic(id);
            let resolved = hop.and_then(|hop| hop.as_ref().ok());
            BackendRow {
                address,
                node,
                kind,
                forwarding,
                state,
                reason,
                weight,
                next_hop: NextHop {
                    interface: resolved.map(|hop| hop.interface.clone()),
                    mac: resolved.map(|hop| mac(hop.mac)),
                },
                packets: traffic.packets,
                bytes: traffic.bytes,
                new_flows: traffic.new_flows,
            }
        };
        let mut backends: Vec<_> = core.placed.iter().map(row).collect();
        backends.sort_by_key(|row| row.address);
        Ok(BackendsView { backends })
    }

    fn flows(&self) -> Result<FlowsView, InspectError> {
        let core = lock(&self.core);
        let now = now_ticks();
        let current = core.tables.remembered().filter(|(entry, ..)| core.is_current(entry));
        let row = |(entry, index, way): (lb_common::flow::FlowEntry, u32, usize)| {
            let tuple = core.tables.tuple(index, way);
            let port = u16::from_be_bytes;
            let protocol = match tuple.protocol {
                lb_common::service::PROTOCOL_UDP => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            FlowRow {
                client: SocketAddr::new(tuple.source.into(), port(tuple.source_port_be)),
                vip: SocketAddr::new(tuple.destination.into(), port(tuple.destination_port_be)),
                protocol,
                backend: core.placed.get(&u32::from(entry.backend)).map(|placed| placed.address),
                endpoint: None,
                level: FlowLevel::Edge,
                idle_seconds: ticks_to_seconds(now.saturating_sub(entry.last_seen)),
            }
        };
        Ok(FlowsView { flows: current.map(row).collect() })
    }

    fn drops(&self) -> Result<DropsView, InspectError> {
        Ok(DropsView::new(lock(&self.core).tables.drops()))
    }

    fn explain(&self, request: &ExplainRequest) -> Result<ExplainView, InspectError> {
        explain::explain(&lock(&self.core), request)
    }
}

/// VIPs that the configuration names, in order.
pub fn vips(core: &Core) -> Vec<IpAddr> {
    let mut vips: Vec<IpAddr> = core.desired.services.keys().map(|key| key.vip).collect();
    vips.dedup();
    vips
}

impl ReadCounters for Inspector {
    fn read(&self) -> anyhow::Result<CountersSnapshot> {
        let core = lock(&self.core);
        let service = |(key, service): (&desired::ServiceKey, &desired::Service)| {
            let id = core.planner.service_id(key)?;
            Some(ServiceTraffic {
                name: service.name.clone(),
                key: *key,
                traffic: core.tables.service_traffic(id),
            })
        };
        let backend = |(&id, placed): (&u32, &super::core::Placed)| {
            (placed.address, core.tables.backend_traffic(id))
        };
        Ok(CountersSnapshot {
            services: core.desired.services.iter().filter_map(service).collect(),
            backends: core.placed.iter().map(backend).collect(),
            drops: core.tables.drops(),
            vips: vips(&core).into_iter().map(|vip| (vip, core.held.contains_key(&vip))).collect(),
        })
    }
}
