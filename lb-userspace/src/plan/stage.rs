//! The first half of a plan: everything that can fail, with a way back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    change::{Change, PlanError, Resource},
    content::Content,
    maglev::{self, Seat},
    state::{self, BackendState, Degraded, PlaceEntry, Planner, Seating, ServiceState},
    tables::{Installed, length_for},
};
use crate::desired::{Desired, Service, ServiceKey};

/// What [`Planner::stage`] found and reserved.
pub(super) struct Staged<'a> {
    /// Every wanted backend as it will be.
    pub backends: BTreeMap<IpAddr, BackendState>,
    /// Services that are new or differ.
    pub services: Vec<StagedService<'a>>,
    /// New tables.
    pub tables: Vec<StagedTable>,
    /// Writes that place new services.
    pub entries: Vec<Change>,
    /// Every wanted VIP, and whether it refuses.
    pub vips: BTreeMap<IpAddr, bool>,
}

/// A service that is new or differs.
pub(super) struct StagedService<'a> {
    pub key: ServiceKey,
    pub service: &'a Service,
    pub id: u32,
    pub seating: Arc<Seating>,
    pub degraded: Option<Degraded>,
    /// Index of its new table; `None`: the table stays.
    pub table: Option<usize>,
}

/// A new table for services that had the same table and now have the same backends.
pub(super) struct StagedTable {
    pub before: Option<(u32, Arc<Content>)>,
    /// `None`: no backend, so no table.
    pub after: Option<(Installed, Arc<Content>)>,
}

/// Services that had the same table and now have the same backends: their new tables are equal, and built once.
struct Group {
    before: Option<u32>,
    seating: Arc<Seating>,
    length: u32,
    first: ServiceKey,
    users: u32,
}

impl Planner {
    /// Compares, checks capacities, builds tables and finds places. On an error everything is as before.
    pub(super) fn stage<'a>(
        &mut self,
        desired: &'a Desired,
        now: u32,
    ) -> Result<Staged<'a>, PlanError> {
        let vips = desired_vips(desired);
        self.check_capacities(desired, &vips)?;
        let backends = self.stage_backends(desired, now);
        let (services, groups) = self.compare_services(desired, &backends)?;
        let tables = self.build_tables(groups, &backends)?;
        match self.place_new_services(&services) {
            Ok(entries) => Ok(Staged { backends, services, tables, entries, vips }),
            Err(error) => {
                self.abandon_tables(tables);
                Err(error)
            }
        }
    }

    fn check_capacities(
        &self,
        desired: &Desired,
        vips: &BTreeMap<IpAddr, bool>,
    ) -> Result<(), PlanError> {
        let new = vips.keys().filter(|vip| !self.vips.contains_key(vip)).count();
        PlanError::check(Resource::Vips, self.vips.len() + new, self.capacities.vips)?;

        let new = desired.backends.keys().filter(|address| !self.backends.contains_key(address));
        let needed = self.backends.len() + new.count();
        PlanError::check(Resource::Backends, needed, self.capacities.backends)?;

        let new = desired.services.keys().filter(|key| !self.services.contains_key(key)).count();
        let needed = self.services.len() + new;
        PlanError::check(Resource::Services, needed, self.capacities.services)?;

        let new = desired.services.iter().map(|(key, service)| {
            if service.source_ranges.is_empty() {
                return 0;
            }
            let before = self.services.get(key).map(|state| &state.ranges);
            if before == Some(&service.source_ranges) {
                return 0;
            }
            let before = before.map(|ranges| state::effective_ranges(key.vip, ranges));
            let after = state::effective_ranges(key.vip, &service.source_ranges);
            after.difference(&before.unwrap_or_default()).count()
        });
        let needed = self.source_ranges + new.sum::<usize>();
        PlanError::check(Resource::SourceRanges, needed, self.capacities.source_ranges)
    }

    /// Every wanted backend as it will be; new ones have the ids that will be allocated next.
    fn stage_backends(&self, desired: &Desired, now: u32) -> BTreeMap<IpAddr, BackendState> {
        let mut ids = self.backend_ids.upcoming(desired.backends.len()).into_iter();
        let wanted = desired.backends.iter().filter_map(|(&address, backend)| {
            let known = self.backends.get(&address).copied();
            let state = match known {
                Some(state) => state,
                None => BackendState {
                    id: ids.next()?,
                    identity: maglev::identity(self.seed, address),
                    since: now,
                    draining: false,
                    down: false,
                    retired: false,
                },
            };
            let down = self.down.contains(&address);
            Some((
                address,
                BackendState { draining: backend.draining, down, retired: false, ..state },
            ))
        });
        wanted.collect()
    }

    /// Services that are new or differ, and the tables they need.
    fn compare_services<'a>(
        &self,
        desired: &'a Desired,
        backends: &BTreeMap<IpAddr, BackendState>,
    ) -> Result<(Vec<StagedService<'a>>, Vec<Group>), PlanError> {
        let turned: HashSet<IpAddr> = backends
            .iter()
            .filter(|(address, state)| {
                self.backends.get(address).is_some_and(|before| {
                    (before.down, before.draining) != (state.down, state.draining)
                })
            })
            .map(|(&address, _)| address)
            .collect();
        let mut ids = self.service_ids.upcoming(desired.services.len()).into_iter();

        let mut services = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut known_groups = HashMap::new();
        for (&key, service) in &desired.services {
            let before = self.services.get(&key);
            let reseated = before.is_none_or(|before| reseated(before, service, &turned));
            if !reseated && before.is_some_and(|before| same_but_for_backends(key, before, service))
            {
                continue;
            }
            let (seating, degraded) = match before {
                Some(before) if !reseated => (before.seating.clone(), before.degraded),
                _ => seating(key, service, backends)?,
            };
            let table_before = before.and_then(|before| before.table);
            let length = length_for(service.backends.len());
            let same_table =
                before.is_some_and(|before| before.seating == seating && before.length() == length);
            let table = (!same_table).then(|| {
                *known_groups.entry((table_before, length, seating.clone())).or_insert_with(|| {
                    let seating = seating.clone();
                    groups.push(Group {
                        before: table_before,
                        seating,
                        length,
                        first: key,
                        users: 0,
                    });
                    groups.len() - 1
                })
            });
            if let Some(group) = table {
                groups[group].users += 1;
            }
            let id = match before {
                Some(before) => before.id,
                None => match ids.next() {
                    Some(id) => id,
                    None => break, // Capacities were checked.
                },
            };
            services.push(StagedService { key, service, id, seating, degraded, table });
        }
        Ok((services, groups))
    }

    fn build_tables(
        &mut self,
        groups: Vec<Group>,
        backends: &BTreeMap<IpAddr, BackendState>,
    ) -> Result<Vec<StagedTable>, PlanError> {
        let mut alive = vec![false; self.capacities.backends as usize];
        for state in backends.values() {
            alive[state.id as usize] = !state.down;
        }
        for (address, state) in &self.backends {
            if !backends.contains_key(address) {
                alive[state.id as usize] = !self.down.contains(address);
            }
        }
        // Services with the same backends but different pasts share the expensive part.
        let mut owners: HashMap<(Arc<Seating>, u32), Box<[u32]>> = HashMap::new();
        let mut tables = Vec::with_capacity(groups.len());
        for Group { before, seating, length, first, users } in groups {
            let before =
                before.and_then(|offset| Some((offset, self.tables.content(offset)?.clone())));
            let after = if length == 0 {
                None
            } else {
                let owners =
                    owners.entry((seating, length)).or_insert_with_key(|(seating, length)| {
                        let table = maglev::table(&seating.seats, *length);
                        table.iter().map(|&seat| seating.ids[usize::from(seat)]).collect()
                    });
                let old = before.as_ref().map_or(&[][..], |(_, content)| &content.slots);
                let content = Arc::new(Content::carried_over(owners, old, |id| alive[id as usize]));
                let offset = before.as_ref().map(|(offset, _)| *offset);
                let Some(installed) = self.tables.install(offset, &content, users) else {
                    let length = content.slots.len() as u32;
                    let (used, limit) = (self.tables.used(), self.tables.capacity());
                    self.abandon_tables(tables);
                    return Err(PlanError::NoSlots { service: first, length, used, limit });
                };
                Some((installed, content))
            };
            tables.push(StagedTable { before, after });
        }
        Ok(tables)
    }

    fn abandon_tables(&mut self, tables: Vec<StagedTable>) {
        let installed = tables.into_iter().filter_map(|table| Some(table.after?.0));
        self.tables.uninstall(installed);
    }

    fn place_new_services(&mut self, services: &[StagedService]) -> Result<Vec<Change>, PlanError> {
        self.places_v4.checkpoint();
        self.places_v6.checkpoint();
        let mut changes = Vec::new();
        let (mut writes_v4, mut writes_v6) = (Vec::new(), Vec::new());
        for staged in services.iter().filter(|staged| !self.services.contains_key(&staged.key)) {
            let result = match PlaceEntry::new(staged.key, staged.id) {
                PlaceEntry::V4(entry) => self.places_v4.insert(entry, &mut writes_v4),
                PlaceEntry::V6(entry) => self.places_v6.insert(entry, &mut writes_v6),
            };
            if let Err(full) = result {
                self.places_v4.rollback();
                self.places_v6.rollback();
                let (used, limit) = (full.used, full.places);
                return Err(PlanError::NoPlace { service: staged.key, used, limit });
            }
        }
        changes.extend(writes_v4.into_iter().map(Change::ServiceEntryV4));
        changes.extend(writes_v6.into_iter().map(Change::ServiceEntryV6));
        Ok(changes)
    }
}

/// Every wanted VIP; it refuses as long as one of its services says so.
fn desired_vips(desired: &Desired) -> BTreeMap<IpAddr, bool> {
    let mut vips: Vec<(IpAddr, bool)> = Vec::new();
    for (key, service) in &desired.services {
        match vips.last_mut() {
            Some((vip, reject)) if *vip == key.vip => *reject |= service.reject,
            _ => vips.push((key.vip, service.reject)),
        }
    }
    vips.into_iter().collect()
}

/// Do other backends, or other weights, compete for the slots than before? `turned`: backends whose state changed.
fn reseated(before: &ServiceState, service: &Service, turned: &HashSet<IpAddr>) -> bool {
    let wanted = service.backends.iter().map(|(&address, &weight)| (address, weight));
    !before.wanted.iter().copied().eq(wanted)
        || !turned.is_empty() && before.wanted.iter().any(|(address, _)| turned.contains(address))
}

fn same_but_for_backends(key: ServiceKey, before: &ServiceState, service: &Service) -> bool {
    let record = state::record(key, service, false, before.record.since, None);
    before.record.flags == record.flags && before.ranges == service.source_ranges
}

/// Who competes for a service's slots: backends that are up and not draining; without any, those that are up; without any, all.
fn seating(
    key: ServiceKey,
    service: &Service,
    backends: &BTreeMap<IpAddr, BackendState>,
) -> Result<(Arc<Seating>, Option<Degraded>), PlanError> {
    let mut named = Vec::with_capacity(service.backends.len());
    for (&address, &weight) in &service.backends {
        let state =
            backends.get(&address).ok_or(PlanError::UnknownBackend { service: key, address })?;
        named.push((*state, weight));
    }
    let any = |fit: fn(&BackendState) -> bool| named.iter().any(|(state, _)| fit(state));
    let (fit, degraded): (fn(&BackendState) -> bool, _) = if named.is_empty() {
        (|_| true, None)
    } else if any(|state| !state.down && !state.draining) {
        (|state| !state.down && !state.draining, None)
    } else if any(|state| !state.down) {
        (|state| !state.down, Some(Degraded::AllDraining))
    } else {
        (|_| true, Some(Degraded::AllDown))
    };
    let fitting = || named.iter().filter(|(state, _)| fit(state));
    let seats = fitting().map(|&(state, weight)| Seat { identity: state.identity, weight });
    let seating =
        Seating { seats: seats.collect(), ids: fitting().map(|(state, _)| state.id).collect() };
    Ok((Arc::new(seating), degraded))
}
