//! Ids of services and backends: the lowest free one first, and none twice within one plan.

use std::collections::BTreeSet;

/// Hands out ids below a limit.
///
/// A released id rests until [`IdAllocator::reclaim`], which the planner calls at the end of a plan: while the changes of a plan are
/// being applied, one id never means two things.
#[derive(Debug)]
pub struct IdAllocator {
    limit: u32,
    /// Ids from here on were never used.
    fresh: u32,
    /// Ids below `fresh` that can be given out.
    free: BTreeSet<u32>,
    /// Released since the last [`IdAllocator::reclaim`].
    resting: Vec<u32>,
}

impl IdAllocator {
    /// An allocator for ids `0..limit`.
    pub fn new(limit: u32) -> Self {
        Self { limit, fresh: 0, free: BTreeSet::new(), resting: Vec::new() }
    }

    /// The ids the next `count` calls of [`IdAllocator::allocate`] will return, lowest first; fewer when there are not as many.
    pub fn upcoming(&self, count: usize) -> Vec<u32> {
        self.free.iter().copied().chain(self.fresh..self.limit).take(count).collect()
    }

    /// Takes the lowest free id; `None` when all are in use or resting.
    pub fn allocate(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop_first() {
            return Some(id);
        }
        (self.fresh < self.limit).then(|| {
            self.fresh += 1;
            self.fresh - 1
        })
    }

    /// Gives an id back; it can be taken again after the next [`IdAllocator::reclaim`].
    pub fn release(&mut self, id: u32) {
        debug_assert!(id < self.fresh && !self.free.contains(&id) && !self.resting.contains(&id));
        self.resting.push(id);
    }

    /// Makes released ids available.
    pub fn reclaim(&mut self) {
        self.free.extend(self.resting.drain(..));
        while self.fresh > 0 && self.free.last() == Some(&(self.fresh - 1)) {
            self.free.pop_last();
            self.fresh -= 1;
        }
    }

    /// Ids in use or resting.
    pub fn used(&self) -> u32 {
        self.fresh - self.free.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_released_id_rests_until_the_plan_is_over() {
        let mut ids = IdAllocator::new(3);
        assert_eq!([ids.allocate(), ids.allocate()], [Some(0), Some(1)]);
        ids.release(0);
        assert_eq!(ids.allocate(), Some(2));
        assert_eq!(ids.allocate(), None);
        ids.reclaim();
        assert_eq!(ids.allocate(), Some(0));
    }

    proptest! {
        #[test]
        fn ids_in_use_are_distinct_and_the_lowest_free_comes_first(steps in proptest::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..80)) {
            let mut ids = IdAllocator::new(16);
            let mut used = BTreeSet::new();
            for (take, which) in steps {
                if take {
                    let expected = (0..16).find(|id| !used.contains(id));
                    prop_assert_eq!(ids.upcoming(1).first().copied(), expected);
                    prop_assert_eq!(ids.allocate(), expected);
                    used.extend(expected);
                } else if !used.is_empty() {
                    let id = *which.get(&used.iter().copied().collect::<Vec<_>>());
                    used.remove(&id);
                    ids.release(id);
                    ids.reclaim();
                }
                prop_assert_eq!(ids.used() as usize, used.len());
            }
        }
    }
}
