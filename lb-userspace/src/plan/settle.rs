//! Settling: slots that moved long ago and that no old flow needs go back to needing no memory of flows.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::service::table_word;

use super::{
    change::{Change, Plan},
    order::Turns,
    state::Planner,
};
use crate::desired::ServiceKey;

/// Services that can have the same table once it is settled.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// Offset of the table they have.
    before: u32,
    /// The length their number of backends asks for.
    length: u32,
    /// Slots that cannot be settled, ascending.
    needed: Vec<u32>,
}

impl Planner {
    /// The changes that settle what moved at least `grace_ticks` ago, except slots that `still_needed(service id, slot index)` holds
    /// back because a living flow is remembered on them; then backends are removed that only moved slots still referred to.
    ///
    /// `still_needed` is asked about moved slots only. What cannot be settled for want of space waits for the next call.
    pub fn settle(
        &mut self,
        now_ticks: u32,
        grace_ticks: u32,
        still_needed: &dyn Fn(u32, u32) -> bool,
    ) -> Plan {
        let mut turns = Turns::default();
        for (group, services) in self.due(now_ticks, grace_ticks, still_needed) {
            self.settle_table(&group, &services, &mut turns);
        }
        self.remove_unreferenced(&mut turns);
        self.reclaim();
        turns.into()
    }

    /// Services with slots to settle or a table to shorten; each group gets one new table.
    fn due(
        &self,
        now: u32,
        grace: u32,
        still_needed: &dyn Fn(u32, u32) -> bool,
    ) -> BTreeMap<Group, Vec<ServiceKey>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (&key, service) in &self.services {
            let Some((offset, content)) = service.table.zip(self.content(service)) else {
                continue;
            };
            let length = service.length();
            let settled = content.moved == 0 && content.slots.len() <= length as usize;
            if settled || now.saturating_sub(service.moved_at) < grace {
                continue;
            }
            let moved = (0..).zip(&*content.slots).filter(|(_, slot)| slot.is_moved());
            let needed = moved.map(|(i, _)| i).filter(|&i| still_needed(service.id, i));
            let needed: Vec<u32> = needed.collect();
            if needed.is_empty() || needed.len() < content.moved as usize {
                let group = Group { before: offset, length, needed };
                groups.entry(group).or_default().push(key);
            }
        }
        groups
    }

    fn settle_table(&mut self, group: &Group, services: &[ServiceKey], turns: &mut Turns) {
        let &Group { before, length, ref needed } = group;
        let Some(former) = self.tables.content(before).cloned() else { return };
        let users = services.len() as u32;
        let mut content = Arc::new(former.settled(needed, length as usize));
        let mut installed = self.tables.install(Some(before), &content, users);
        if installed.is_none() {
            // No room for a copy, and a shorter table cannot be written in place: settle at this length, shorten another time.
            content = Arc::new(former.settled(needed, former.slots.len()));
            installed = self.tables.install(Some(before), &content, users);
        }
        let Some(installed) = installed else { return };
        let offset = installed.offset;
        if installed.write {
            turns.tables.push(Change::Table { offset, slots: content.slots.clone() });
        }
        for key in services {
            let Some(service) = self.services.get_mut(key) else { continue };
            if content.moved == 0 {
                service.lingering.clear();
            }
            if offset != before {
                service.table = Some(offset);
                service.record.table = table_word(offset, content.slots.len() as u32);
                turns
                    .records
                    .push(Change::ServiceRecord { id: service.id, record: service.record });
            }
        }
        if installed.former.is_none() {
            self.tables.release(before, users);
        }
    }
}
