//! The second half of a plan: taking over what was staged, as changes in their order.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::service::ServiceRecord;

use super::{
    change::{Change, Plan, PlanError, SourceRangeKey},
    order::Turns,
    stage::{StagedService, StagedTable},
    state::{self, BackendState, PlaceEntry, Planner, ServiceState},
};
use crate::desired::{Desired, ServiceKey};

impl Planner {
    /// The changes that make the maps what `desired` wants; the planner takes them for applied.
    ///
    /// At every moment while they are applied in order, packets of services that do not change find the same backend, and those of a
    /// service that does find what it was or what it will be. Space and ids that this plan frees serve later plans only.
    ///
    /// # Errors
    /// When something does not fit the maps (or `desired` contradicts itself). Nothing has changed then.
    pub fn plan(&mut self, desired: &Desired, now_ticks: u32) -> Result<Plan, PlanError> {
        let staged = self.stage(desired, now_ticks)?;
        let mut turns = Turns { entries: staged.entries, ..Turns::default() };
        self.take_backends(staged.backends, &mut turns);
        write_tables(&staged.tables, &mut turns);
        for service in &staged.services {
            self.take_service(service, &staged.tables, now_ticks, &mut turns);
        }
        self.remove_services(desired, &mut turns);
        self.take_vips(staged.vips, &mut turns);
        self.remove_unreferenced(&mut turns);
        self.reclaim();
        Ok(turns.into())
    }

    fn take_backends(&mut self, wanted: BTreeMap<IpAddr, BackendState>, turns: &mut Turns) {
        for (&address, backend) in &mut self.backends {
            if !wanted.contains_key(&address) {
                let down = self.down.contains(&address);
                let retired = BackendState { retired: true, down, ..*backend };
                if retired != *backend {
                    *backend = retired;
                    turns.backends.push(retired.change(address));
                }
            }
        }
        for (address, backend) in wanted {
            let before = self.backends.insert(address, backend);
            if before.is_none() {
                let id = self.backend_ids.allocate();
                debug_assert_eq!(id, Some(backend.id), "staged with another id");
                self.addresses.insert(backend.id, address);
            }
            if before != Some(backend) {
                turns.backends.push(backend.change(address));
            }
        }
    }

    fn take_service(
        &mut self,
        staged: &StagedService,
        tables: &[StagedTable],
        now: u32,
        turns: &mut Turns,
    ) {
        let StagedService { key, service, id, .. } = *staged;
        let before = self.services.remove(&key);
        if before.is_none() {
            let allocated = self.service_ids.allocate();
            debug_assert_eq!(allocated, Some(id), "staged with another id");
            self.keys.insert(id, key);
        }
        let mut after = ServiceState {
            id,
            record: ServiceRecord::EMPTY,
            wanted: service.backends.iter().map(|(&address, &weight)| (address, weight)).collect(),
            seating: staged.seating.clone(),
            degraded: staged.degraded,
            ranges: service.source_ranges.clone(),
            table: before.as_ref().and_then(|before| before.table),
            moved_at: before.as_ref().map_or(now, |before| before.moved_at),
            lingering: Vec::new(),
        };
        let lingering = before.as_ref().map_or(&[][..], |before| &before.lingering);
        match staged.table.map(|table| &tables[table]) {
            Some(table) => self.take_table(&mut after, table, lingering, now),
            None => after.lingering = lingering.to_vec(),
        }

        let length = self.content(&after).map_or(0, |content| content.slots.len() as u32);
        let place = after.table.map(|offset| (offset, length));
        let since = before.as_ref().map_or(now, |before| before.record.since);
        after.record = state::record(key, service, false, since, place);
        if before.as_ref().map(|before| before.record) != Some(after.record) {
            turns.records.push(Change::ServiceRecord { id, record: after.record });
        }
        self.take_ranges(key, before.as_ref(), &after, turns);
        self.services.insert(key, after);
    }

    fn take_table(
        &mut self,
        service: &mut ServiceState,
        table: &StagedTable,
        lingering: &[u32],
        now: u32,
    ) {
        let after = table.after.as_ref();
        service.table = after.map(|(installed, _)| installed.offset);
        let rewritten = after.is_some_and(|(installed, _)| installed.former.is_some());
        let Some((offset, content)) = &table.before else { return };
        if !rewritten {
            self.tables.release(*offset, 1);
        }
        if after.is_some_and(|(_, after)| after.moved > 0) {
            service.moved_at = now;
            service.lingering = lingering.iter().chain(&content.backends).copied().collect();
            service.lingering.sort_unstable();
            service.lingering.dedup();
        }
    }

    fn take_ranges(
        &mut self,
        key: ServiceKey,
        before: Option<&ServiceState>,
        after: &ServiceState,
        turns: &mut Turns,
    ) {
        if before.map(|before| &before.ranges) == Some(&after.ranges) {
            return;
        }
        let old = before.map(|before| state::effective_ranges(key.vip, &before.ranges));
        let old = old.unwrap_or_default();
        let new = state::effective_ranges(key.vip, &after.ranges);
        let range_key = |range| SourceRangeKey::new(after.id, range);
        let added = new.difference(&old).map(|&range| Change::AddSourceRange(range_key(range)));
        let gone = old.difference(&new).map(|&range| Change::RemoveSourceRange(range_key(range)));
        turns.ranges.extend(added);
        turns.gone_ranges.extend(gone);
        self.source_ranges = self.source_ranges + new.len() - old.len();
    }

    fn remove_services(&mut self, desired: &Desired, turns: &mut Turns) {
        // By now all wanted services are there.
        if self.services.len() == desired.services.len() {
            return;
        }
        let gone = self.services.extract_if(.., |key, _| !desired.services.contains_key(key));
        let gone: Vec<_> = gone.collect();
        for (key, service) in gone {
            let freed = match PlaceEntry::new(key, service.id) {
                PlaceEntry::V4(entry) => self.places_v4.remove(&entry).map(Change::ServiceEntryV4),
                PlaceEntry::V6(entry) => self.places_v6.remove(&entry).map(Change::ServiceEntryV6),
            };
            turns.gone_entries.extend(freed);
            let record = ServiceRecord::EMPTY;
            turns.gone_records.push(Change::ServiceRecord { id: service.id, record });
            let ranges = state::effective_ranges(key.vip, &service.ranges);
            self.source_ranges -= ranges.len();
            let range_key = |range| SourceRangeKey::new(service.id, range);
            let gone = ranges.into_iter().map(|range| Change::RemoveSourceRange(range_key(range)));
            turns.gone_ranges.extend(gone);
            if let Some(offset) = service.table {
                self.tables.release(offset, 1);
            }
            self.keys.remove(&service.id);
            self.service_ids.release(service.id);
        }
    }

    fn take_vips(&mut self, wanted: BTreeMap<IpAddr, bool>, turns: &mut Turns) {
        if self.vips == wanted {
            return;
        }
        for (&address, &reject) in &wanted {
            match self.vips.get(&address) {
                None => {
                    turns.vips.push(Change::AddVip { address, reject });
                    turns.vips.extend(self.filter.add(address));
                }
                Some(&before) if before != reject => {
                    turns.vips.push(Change::UpdateVip { address, reject });
                }
                Some(_) => {}
            }
        }
        for &address in self.vips.keys().filter(|address| !wanted.contains_key(address)) {
            turns.gone_vips.extend(self.filter.remove(address));
            turns.gone_vips.push(Change::RemoveVip { address });
        }
        self.vips = wanted;
    }
}

fn write_tables(tables: &[StagedTable], turns: &mut Turns) {
    for (installed, content) in tables.iter().filter_map(|table| table.after.as_ref()) {
        if installed.write {
            let (offset, slots) = (installed.offset, content.slots.clone());
            turns.tables.push(Change::Table { offset, slots });
        }
    }
}
