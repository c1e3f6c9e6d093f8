//! Where Maglev tables lie in the `slots` array: lengths, free space, and tables with the same content in one place.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::content::Content;

/// Slots for each backend, at least: one backend's coming or going then moves about 1 % of the slots more than it must.
const SLOTS_PER_BACKEND: usize = 100;
/// The shortest table: what one backend needs.
const SHORTEST: usize = 128;

/// Length of the table of a service with so many backends: 0 without any, else the smallest power of two that has 100 slots for each.
///
/// It follows from the number alone, without a memory of former lengths, so that every edge chooses alike.
pub fn length_for(backends: usize) -> u32 {
    match backends {
        0 => 0,
        n => (n * SLOTS_PER_BACKEND).next_power_of_two().max(SHORTEST) as u32,
    }
}

/// Free space of the `slots` array. Best fit; neighbouring free ranges become one.
#[derive(Debug)]
pub struct SlotAllocator {
    capacity: u32,
    /// Start -> length.
    by_start: BTreeMap<u32, u32>,
    /// (Length, start) of the same ranges.
    by_length: BTreeSet<(u32, u32)>,
    used: u32,
}

impl SlotAllocator {
    /// All of `0..capacity` is free.
    pub fn new(capacity: u32) -> Self {
        let mut allocator =
            Self { capacity, by_start: BTreeMap::new(), by_length: BTreeSet::new(), used: 0 };
        if capacity > 0 {
            allocator.insert(0, capacity);
        }
        allocator
    }

    /// Takes `length` neighbouring slots and returns the first; `None` when no free range is long enough.
    pub fn allocate(&mut self, length: u32) -> Option<u32> {
        let &(range, start) = self.by_length.range((length, 0)..).next()?;
        self.remove(start, range);
        if range > length {
            self.insert(start + length, range - length);
        }
        self.used += length;
        Some(start)
    }

    /// Gives back what [`SlotAllocator::allocate`] returned for this length.
    pub fn free(&mut self, mut start: u32, mut length: u32) {
        self.used -= length;
        if let Some((&before, &range)) = self.by_start.range(..start).next_back() {
            debug_assert!(before + range <= start, "freed twice");
            if before + range == start {
                self.remove(before, range);
                (start, length) = (before, range + length);
            }
        }
        if let Some(&range) = self.by_start.get(&(start + length)) {
            self.remove(start + length, range);
            length += range;
        }
        self.insert(start, length);
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Slots in all.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    fn insert(&mut self, start: u32, length: u32) {
        self.by_start.insert(start, length);
        self.by_length.insert((length, start));
    }

    fn remove(&mut self, start: u32, length: u32) {
        self.by_start.remove(&start);
        self.by_length.remove(&(length, start));
    }
}

/// A table that lies in the `slots` array.
#[derive(Debug)]
struct Table {
    content: Arc<Content>,
    references: u32,
}

/// Where a table has been put.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its first slot.
    pub offset: u32,
    /// Does it have to be written? Otherwise it was there already.
    pub write: bool,
    /// What the same place said before, if it is rewritten in place.
    pub former: Option<Arc<Content>>,
    /// Services that use it from now on.
    pub users: u32,
}

/// All tables in the `slots` array, by offset. Equal content has one place, counted by the services that use it.
#[derive(Debug)]
pub struct TableStore {
    allocator: SlotAllocator,
    tables: HashMap<u32, Table>,
    by_hash: HashMap<u64, Vec<u32>>,
    /// Ranges released since the last [`TableStore::reclaim`].
    resting: Vec<(u32, u32)>,
}

impl TableStore {
    /// An empty array of `capacity` slots.
    pub fn new(capacity: u32) -> Self {
        Self {
            allocator: SlotAllocator::new(capacity),
            tables: HashMap::new(),
            by_hash: HashMap::new(),
            resting: Vec::new(),
        }
    }

    /// Gives `users`, who used the table `before`, one with this content: a table that has it already, else a new one in free space,
    /// else - when there is none, and nobody else uses the table before - the same place. `None` when there is no room.
    ///
    /// The table before stays counted as used until it is [released](TableStore::release), unless the place is the same.
    pub fn install(
        &mut self,
        before: Option<u32>,
        content: &Arc<Content>,
        users: u32,
    ) -> Option<Installed> {
        if let Some((offset, write)) = self.acquire(content, users) {
            return Some(Installed { offset, write, former: None, users });
        }
        let offset = before?;
        let former = self.rewrite(offset, content, users)?;
        Some(Installed { offset, write: true, former: Some(former), users })
    }

    /// Undoes installations in reverse order, the latest first.
    pub fn uninstall(&mut self, installed: impl DoubleEndedIterator<Item = Installed>) {
        for Installed { offset, former, users, .. } in installed.rev() {
            match former {
                Some(former) => _ = self.rewrite(offset, &former, users),
                None => self.release(offset, users),
            }
        }
        // Nobody was told of these places, so they need not rest.
        self.reclaim();
    }

    /// Finds or makes a place for `content` and counts `references` more users of it: (offset, whether the content has to be
    /// written there). `None` when there is no room.
    pub fn acquire(&mut self, content: &Arc<Content>, references: u32) -> Option<(u32, bool)> {
        let candidates = self.by_hash.entry(content.hash).or_default();
        for offset in &*candidates {
            if let Some(table) = self.tables.get_mut(offset)
                && table.content.slots == content.slots
            {
                table.references += references;
                return Some((*offset, false));
            }
        }
        let offset = self.allocator.allocate(content.slots.len() as u32);
        match offset {
            Some(offset) => {
                candidates.push(offset);
                self.tables.insert(offset, Table { content: content.clone(), references });
            }
            None if candidates.is_empty() => _ = self.by_hash.remove(&content.hash),
            None => {}
        }
        Some((offset?, true))
    }

    /// Counts `references` users less; the place of a table without users is free after the next [`TableStore::reclaim`].
    pub fn release(&mut self, offset: u32, references: u32) {
        let Some(table) = self.tables.get_mut(&offset) else {
            debug_assert!(false, "no table at {offset}");
            return;
        };
        table.references -= references;
        if table.references == 0 {
            let content = table.content.clone();
            self.tables.remove(&offset);
            self.unlist(offset, content.hash);
            self.resting.push((offset, content.slots.len() as u32));
        }
    }

    /// Replaces the content of a table by another of the same length: slots are read one at a time, so this may happen in place.
    /// Returns the former content; `None`, and nothing is done, unless all users of the table are the `users` who ask for it.
    pub fn rewrite(
        &mut self,
        offset: u32,
        content: &Arc<Content>,
        users: u32,
    ) -> Option<Arc<Content>> {
        let table = self.tables.get_mut(&offset)?;
        if table.references != users || table.content.slots.len() != content.slots.len() {
            return None;
        }
        let former = std::mem::replace(&mut table.content, content.clone());
        self.unlist(offset, former.hash);
        self.by_hash.entry(content.hash).or_default().push(offset);
        Some(former)
    }

    /// Makes the space of released tables available.
    pub fn reclaim(&mut self) {
        for (offset, length) in self.resting.drain(..) {
            self.allocator.free(offset, length);
        }
    }

    /// The content of the table at `offset`.
    pub fn content(&self, offset: u32) -> Option<&Arc<Content>> {
        self.tables.get(&offset).map(|table| &table.content)
    }

    /// The contents of all tables.
    pub fn contents(&self) -> impl Iterator<Item = &Content> {
        self.tables.values().map(|table| &*table.content)
    }

    /// Slots in use or resting.
    pub fn used(&self) -> u32 {
        self.allocator.used()
    }

    /// Slots in all.
    pub fn capacity(&self) -> u32 {
        self.allocator.capacity()
    }

    fn unlist(&mut self, offset: u32, hash: u64) {
        if let Some(offsets) = self.by_hash.get_mut(&hash) {
            offsets.retain(|&other| other != offset);
            if offsets.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_common::service::Slot;
    use proptest::prelude::*;

    fn content(backend: u32, length: usize) -> Arc<Content> {
        Arc::new(Content::new((0..length).map(|_| Slot::settled(backend)).collect()))
    }

    #[test]
    fn a_table_has_a_hundred_slots_for_each_backend() {
        assert_eq!(length_for(0), 0);
        for backends in 1..=16_384 {
            let length = length_for(backends);
            assert!(length.is_power_of_two());
            assert!(length as usize >= 100 * backends);
            assert!(length == 128 || (length as usize) < 200 * backends);
        }
        assert_eq!(length_for(1000), 131_072);
    }

    proptest! {
        #[test]
        fn allocated_ranges_never_overlap_and_frees_coalesce(steps in proptest::collection::vec((0u32..3, 1u32..100, any::<prop::sample::Index>()), 1..200)) {
            let mut allocator = SlotAllocator::new(1000);
            let mut used: Vec<(u32, u32)> = Vec::new();
            for (kind, length, which) in steps {
                if kind > 0 {
                    if let Some(start) = allocator.allocate(length) {
                        prop_assert!(start + length <= 1000);
                        prop_assert!(used.iter().all(|&(s, l)| start + length <= s || s + l <= start));
                        used.push((start, length));
                    }
                } else if !used.is_empty() {
                    let (start, length) = used.swap_remove(which.index(used.len()));
                    allocator.free(start, length);
                }
                prop_assert_eq!(allocator.used(), used.iter().map(|&(_, length)| length).sum::<u32>());
            }
            for (start, length) in used {
                allocator.free(start, length);
            }
            prop_assert_eq!(allocator.by_start, BTreeMap::from([(0, 1000)]));
            prop_assert_eq!(allocator.by_length, BTreeSet::from([(1000, 0)]));
        }

        #[test]
        fn a_shared_table_is_freed_exactly_with_its_last_user(steps in proptest::collection::vec((any::<bool>(), 0u32..5), 1..100)) {
            let mut store = TableStore::new(5 * 8);
            let mut users: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
            for (acquire, backend) in steps {
                if acquire {
                    let (offset, fresh) = store.acquire(&content(backend, 8), 1).unwrap();
                    let entry = users.entry(backend).or_insert((offset, 0));
                    prop_assert_eq!(fresh, entry.1 == 0);
                    prop_assert_eq!(offset, entry.0);
                    entry.1 += 1;
                } else if let Some((offset, count)) = users.get_mut(&backend) {
                    store.release(*offset, 1);
                    store.reclaim();
                    *count -= 1;
                    if *count == 0 {
                        users.remove(&backend);
                    }
                }
                prop_assert_eq!(store.used() as usize, users.len() * 8);
                for (backend, (offset, _)) in &users {
                    prop_assert_eq!(store.content(*offset).unwrap().slots[0].current, *backend);
                }
            }
        }
    }

    #[test]
    fn released_space_is_not_reused_before_the_plan_is_over() {
        let mut store = TableStore::new(8);
        let (offset, _) = store.acquire(&content(1, 8), 1).unwrap();
        store.release(offset, 1);
        assert_eq!(store.acquire(&content(2, 8), 1), None);
        store.reclaim();
        assert_eq!(store.acquire(&content(2, 8), 1), Some((0, true)));
    }

    #[test]
    fn a_table_is_rewritten_in_place_only_for_all_of_its_users() {
        let mut store = TableStore::new(8);
        let (offset, _) = store.acquire(&content(1, 8), 2).unwrap();
        assert!(store.rewrite(offset, &content(2, 8), 1).is_none());
        assert!(store.rewrite(offset, &content(2, 8), 2).is_some());
        assert_eq!(store.acquire(&content(2, 8), 1), Some((offset, false)));
        assert_eq!(store.acquire(&content(1, 8), 1), None);
    }
}
