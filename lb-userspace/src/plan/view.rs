//! What people ask about the plan: services, backends, and who has which share.

use std::net::IpAddr;

use lb_common::service::{SERVICE_PASS, Slot, table_place};

use super::{
    change::Capacities,
    state::{Degraded, Planner},
};
use crate::desired::ServiceKey;

/// A service as the maps have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// What packets are matched against.
    pub key: ServiceKey,
    /// Index into `service_records`.
    pub id: u32,
    /// `SERVICE_*` bits.
    pub flags: u32,
    /// When the id was given to it, in ticks.
    pub since: u32,
    /// Offset and length of its table in `slots`; `None` without a backend.
    pub table: Option<(u32, u32)>,
    /// Slots that need the memory of flows.
    pub moved_slots: u32,
    /// When slots last moved, in ticks.
    pub moved_at: u32,
    /// Backends that get new flows.
    pub backends: usize,
    /// Why they get them although they should not.
    pub degraded: Option<Degraded>,
    /// The kernel delivers.
    pub passed: bool,
}

/// A backend as the maps have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Its address.
    pub address: IpAddr,
    /// Index into `backends`.
    pub id: u32,
    /// When the id was given to it, in ticks.
    pub since: u32,
    /// Drained by an operator.
    pub draining: bool,
    /// Declared dead.
    pub down: bool,
    /// No longer wanted; it stays for the flows it has.
    pub retired: bool,
}

/// A backend's part of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The backend's address.
    pub address: IpAddr,
    /// Index into `backends`.
    pub id: u32,
    /// Its weight in the service; 0 if it only has flows from before.
    pub weight: u32,
    /// Slots that send it new flows.
    pub slots: u32,
    /// Moved slots that send it flows from before the move.
    pub previous_slots: u32,
}

/// How much of the maps is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What is in use.
    pub used: Capacities,
    /// What there is.
    pub limits: Capacities,
}

impl Planner {
    /// All services, in the order of their keys.
    pub fn services(&self) -> impl Iterator<Item = ServiceView> {
        self.services.iter().map(|(&key, service)| ServiceView {
            key,
            id: service.id,
            flags: service.record.flags,
            since: service.record.since,
            table: service.table.map(|_| table_place(service.record.table)),
            moved_slots: self.content(service).map_or(0, |content| content.moved),
            moved_at: service.moved_at,
            backends: service.seating.ids.len(),
            degraded: service.degraded,
            passed: service.record.flags & SERVICE_PASS != 0,
        })
    }

    /// All backends, in the order of their addresses, also those that stay only for the flows they have.
    pub fn backends(&self) -> impl Iterator<Item = BackendView> {
        self.backends.iter().map(|(&address, state)| BackendView {
            address,
            id: state.id,
            since: state.since,
            draining: state.draining,
            down: state.down,
            retired: state.retired,
        })
    }

    /// The backends that have slots of a service, in the order of their ids; empty for an unknown service.
    pub fn shares(&self, key: &ServiceKey) -> Vec<Share> {
        let Some(service) = self.services.get(key) else { return Vec::new() };
        let Some(content) = self.content(service) else { return Vec::new() };
        let shares = content.backends.iter().filter_map(|&id| {
            let address = self.backend_address(id)?;
            let seat = service.seating.ids.iter().position(|&seat| seat == id);
            let weight = seat.map_or(0, |seat| service.seating.seats[seat].weight);
            Some(Share { address, id, weight, slots: 0, previous_slots: 0 })
        });
        let mut shares: Vec<Share> = shares.collect();
        for slot in &*content.slots {
            if let Ok(at) = shares.binary_search_by_key(&slot.current, |share| share.id) {
                shares[at].slots += 1;
            }
            if slot.is_moved()
                && let Ok(at) =
                    shares.binary_search_by_key(&slot.previous_backend(), |share| share.id)
            {
                shares[at].previous_slots += 1;
            }
        }
        shares
    }

    /// Id of a service.
    pub fn service_id(&self, key: &ServiceKey) -> Option<u32> {
        self.services.get(key).map(|service| service.id)
    }

    /// The service with an id.
    pub fn service_key(&self, id: u32) -> Option<ServiceKey> {
        self.keys.get(&id).copied()
    }

    /// Id of a backend.
    pub fn backend_id(&self, address: IpAddr) -> Option<u32> {
        self.backends.get(&address).map(|backend| backend.id)
    }

    /// The backend with an id.
    pub fn backend_address(&self, id: u32) -> Option<IpAddr> {
        self.addresses.get(&id).copied()
    }

    /// A slot of a service's table.
    pub fn slot(&self, service: u32, index: u32) -> Option<Slot> {
        let service = self.services.get(self.keys.get(&service)?)?;
        self.content(service)?.slots.get(index as usize).copied()
    }

    /// How full the maps are.
    pub fn usage(&self) -> Usage {
        let used = Capacities {
            vips: self.vips.len() as u32,
            services: self.services.len() as u32,
            slots: self.tables.used(),
            backends: self.backends.len() as u32,
            source_ranges: self.source_ranges as u32,
        };
        Usage { used, limits: self.capacities }
    }
}
