//! The planner's mirror of the maps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use lb_common::{
    address::Address,
    backend::{BACKEND_DOWN, BACKEND_DRAINING},
    service::{
        SERVICE_AFFINITY_CLIENT_IP, SERVICE_L2, SERVICE_PASS, SERVICE_REJECT,
        SERVICE_SOURCE_RANGES, SERVICE_STICKY_UDP, ServiceEntryV4, ServiceEntryV6, ServiceRecord,
        table_word,
    },
};

use super::{
    change::{Capacities, Change},
    content::Content,
    filter::VipFilter,
    ids::IdAllocator,
    maglev::Seat,
    order::Turns,
    tables::{TableStore, length_for},
    two_choice::{ServicesV4, ServicesV6},
};
use crate::desired::{Forwarding, Protocol, Service, ServiceKey, SessionAffinity};

/// Turns desired states into changes of the maps. It holds a mirror of what the maps say once all its changes are applied; its first
/// plan is for empty maps.
#[derive(Debug)]
pub struct Planner {
    pub(super) capacities: Capacities,
    pub(super) seed: [u64; 2],
    pub(super) down: BTreeSet<IpAddr>,
    pub(super) backends: BTreeMap<IpAddr, BackendState>,
    pub(super) backend_ids: IdAllocator,
    pub(super) addresses: HashMap<u32, IpAddr>,
    pub(super) services: BTreeMap<ServiceKey, ServiceState>,
    pub(super) service_ids: IdAllocator,
    pub(super) keys: HashMap<u32, ServiceKey>,
    pub(super) tables: TableStore,
    pub(super) places_v4: ServicesV4,
    pub(super) places_v6: ServicesV6,
    /// VIP -> refuses.
    pub(super) vips: BTreeMap<IpAddr, bool>,
    pub(super) filter: VipFilter,
    pub(super) source_ranges: usize,
}

impl Planner {
    /// A planner for empty maps of these capacities. `seed` decides who gets which slots; it must be the same on all edges.
    pub fn new(capacities: Capacities, seed: [u64; 2]) -> Self {
        Self {
            capacities,
            seed,
            down: BTreeSet::new(),
            backends: BTreeMap::new(),
            backend_ids: IdAllocator::new(capacities.backends),
            addresses: HashMap::new(),
            services: BTreeMap::new(),
            service_ids: IdAllocator::new(capacities.services),
            keys: HashMap::new(),
            tables: TableStore::new(capacities.slots),
            places_v4: ServicesV4::default(),
            places_v6: ServicesV6::default(),
            vips: BTreeMap::new(),
            filter: VipFilter::default(),
            source_ranges: 0,
        }
    }

    /// Declares a backend dead or alive again, whether or not any service names it. The next [`Planner::plan`] draws the consequences:
    /// returns whether there are any.
    pub fn set_down(&mut self, address: IpAddr, down: bool) -> bool {
        let changed = if down { self.down.insert(address) } else { self.down.remove(&address) };
        changed && self.backends.contains_key(&address)
    }

    /// Removes backends that the source no longer wants once no slot and no remembered flow can refer to them.
    pub(super) fn remove_unreferenced(&mut self, turns: &mut Turns) {
        let retired = self.backends.values().filter(|backend| backend.retired);
        let mut retired: BTreeSet<u32> = retired.map(|backend| backend.id).collect();
        if retired.is_empty() {
            return;
        }
        for id in self.tables.contents().flat_map(|content| &content.backends) {
            retired.remove(id);
        }
        for id in self.services.values().flat_map(|service| &service.lingering) {
            retired.remove(id);
        }
        for id in retired {
            if let Some(address) = self.addresses.remove(&id) {
                self.backends.remove(&address);
            }
            self.backend_ids.release(id);
            turns.gone_backends.push(Change::RemoveBackend { id });
        }
    }

    /// Makes what this plan gave up available to the next one.
    pub(super) fn reclaim(&mut self) {
        self.tables.reclaim();
        self.backend_ids.reclaim();
        self.service_ids.reclaim();
    }

    /// Content of a service's table, if it has one.
    pub(super) fn content(&self, service: &ServiceState) -> Option<&Arc<Content>> {
        self.tables.content(service.table?)
    }
}

/// A backend that has a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackendState {
    pub id: u32,
    pub identity: u64,
    pub since: u32,
    pub draining: bool,
    pub down: bool,
    /// The source no longer wants it; it stays for the flows it has.
    pub retired: bool,
}

impl BackendState {
    pub fn change(&self, address: IpAddr) -> Change {
        let mut flags = 0;
        if self.down {
            flags |= BACKEND_DOWN;
        }
        if self.draining || self.retired {
            flags |= BACKEND_DRAINING;
        }
        Change::Backend { id: self.id, address, flags, since: self.since }
    }
}

/// Why a service's slots belong to backends that should get no new flows: there are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// All backends that are up are draining.
    AllDraining,
    /// All backends are down.
    AllDown,
}

/// Who competes for the slots of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seating {
    pub seats: Vec<Seat>,
    /// Backend ids, in the same order.
    pub ids: Vec<u32>,
}

/// A service that has a record.
#[derive(Clone, Debug)]
pub(super) struct ServiceState {
    pub id: u32,
    pub record: ServiceRecord,
    /// Backends and weights as the source named them.
    pub wanted: Vec<(IpAddr, u32)>,
    pub seating: Arc<Seating>,
    pub degraded: Option<Degraded>,
    /// Source ranges as the source named them.
    pub ranges: BTreeSet<IpNet>,
    /// Offset of the table.
    pub table: Option<u32>,
    /// When slots last moved, in ticks.
    pub moved_at: u32,
    /// Backends that flows on moved slots may be remembered to belong to, although no slot may name them any more.
    pub lingering: Vec<u32>,
}

impl ServiceState {
    /// The length its table should have. Backends that are down or draining count too: their comings and goings leave it as it is.
    pub fn length(&self) -> u32 {
        length_for(self.wanted.len())
    }
}

/// The record of a service; `passed`: its endpoints are on no backend, the kernel delivers.
pub(super) fn record(
    key: ServiceKey,
    service: &Service,
    passed: bool,
    since: u32,
    table: Option<(u32, u32)>,
) -> ServiceRecord {
    let sticky = service.affinity == SessionAffinity::ClientIp;
    let flags = [
        (service.forwarding == Forwarding::L2, SERVICE_L2),
        (sticky, SERVICE_AFFINITY_CLIENT_IP),
        (sticky && key.protocol == Protocol::Udp, SERVICE_STICKY_UDP),
        (!service.source_ranges.is_empty(), SERVICE_SOURCE_RANGES),
        (service.reject, SERVICE_REJECT),
        (passed, SERVICE_PASS),
    ];
    ServiceRecord {
        table: table.map_or(0, |(offset, length)| table_word(offset, length)),
        flags: flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum(),
        since,
        vip: Address::from(key.vip),
        port_be: key.port.to_be_bytes(),
        protocol: key.protocol.number(),
        ..ServiceRecord::EMPTY
    }
}

/// The source ranges that can match clients of a VIP: those of its family, host bits cleared.
pub(super) fn effective_ranges(vip: IpAddr, ranges: &BTreeSet<IpNet>) -> BTreeSet<IpNet> {
    ranges
        .iter()
        .filter(|range| range.network().is_ipv4() == vip.is_ipv4())
        .map(IpNet::trunc)
        .collect()
}

/// The entry of a service in the buckets of its family.
pub(super) enum PlaceEntry {
    V4(ServiceEntryV4),
    V6(ServiceEntryV6),
}

impl PlaceEntry {
    pub fn new(key: ServiceKey, service: u32) -> Self {
        let (port_be, protocol) = (key.port.to_be_bytes(), key.protocol.number());
        match key.vip {
            IpAddr::V4(vip) => Self::V4(ServiceEntryV4 {
                vip: vip.octets(),
                port_be,
                protocol,
                service,
                ..ServiceEntryV4::FREE
            }),
            IpAddr::V6(vip) => Self::V6(ServiceEntryV6 {
                vip: Address::from_v6(vip.octets()),
                port_be,
                protocol,
                service,
                ..ServiceEntryV6::FREE
            }),
        }
    }
}
