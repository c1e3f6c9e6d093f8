//! Settling: slots that moved long ago and that no old flow needs go back to needing no memory of flows.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::service::{Slot, table_word};

use super::{
    change::{Change, Plan},
    content::Content,
    order::Turns,
    state::Planner,
};
use crate::desired::ServiceKey;

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
        for ((before, needed), services) in self.due(now_ticks, grace_ticks, still_needed) {
            self.settle_table(before, &needed, &services, &mut turns);
        }
        self.remove_unreferenced(&mut turns);
        self.reclaim();
        turns.into()
    }

    /// Services with slots to settle, grouped by table and by the slots they still need: each group gets one new table.
    fn due(
        &self,
        now: u32,
        grace: u32,
        still_needed: &dyn Fn(u32, u32) -> bool,
    ) -> BTreeMap<(u32, Vec<u32>), Vec<ServiceKey>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (&key, service) in &self.services {
            let Some((offset, content)) = service.table.zip(self.content(service)) else {
                continue;
            };
            if content.moved == 0 || now.saturating_sub(service.moved_at) < grace {
                continue;
            }
            let moved = (0..).zip(&*content.slots).filter(|(_, slot)| slot.is_moved());
            let needed = moved.map(|(i, _)| i).filter(|&i| still_needed(service.id, i));
            let needed: Vec<u32> = needed.collect();
            if needed.len() < content.moved as usize {
                groups.entry((offset, needed)).or_default().push(key);
            }
        }
        groups
    }

    fn settle_table(
        &mut self,
        before: u32,
        needed: &[u32],
        services: &[ServiceKey],
        turns: &mut Turns,
    ) {
        let Some(former) = self.tables.content(before) else { return };
        let mut slots: Arc<[Slot]> =
            former.slots.iter().map(|slot| Slot::settled(slot.current)).collect();
        if let Some(settled) = Arc::get_mut(&mut slots) {
            needed.iter().for_each(|&i| settled[i as usize] = former.slots[i as usize]);
        }
        let content = Arc::new(Content::new(slots));
        let users = services.len() as u32;
        let Some(installed) = self.tables.install(Some(before), &content, users) else { return };
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
