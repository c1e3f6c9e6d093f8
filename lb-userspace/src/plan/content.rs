//! What a table says: its slots, built from a Maglev table and from what the slots said before.

use std::{fmt, sync::Arc};

use lb_common::service::Slot;

/// The slots of a table with what the planner asks about them.
pub struct Content {
    /// The slots as they lie in the map.
    pub slots: Arc<[Slot]>,
    /// Ids of the backends that any slot names as current or previous, ascending.
    pub backends: Box<[u32]>,
    /// Slots with [`SLOT_MOVED`](lb_common::service::SLOT_MOVED).
    pub moved: u32,
    /// Hash of the slots.
    pub hash: u64,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("slots", &self.slots.len())
            .field("backends", &self.backends)
            .field("moved", &self.moved)
            .finish_non_exhaustive()
    }
}

impl Content {
    /// Derives everything else from the slots.
    pub fn new(slots: Arc<[Slot]>) -> Self {
        let highest = slots.iter().map(|s| s.current.max(s.previous_backend())).max();
        let mut named = vec![false; highest.map_or(0, |id| id as usize + 1)];
        let mut moved = 0;
        let mut hash = slots.len() as u64;
        for slot in &*slots {
            named[slot.current as usize] = true;
            named[slot.previous_backend() as usize] = true;
            moved += u32::from(slot.is_moved());
            let word = u64::from(slot.current) | u64::from(slot.previous) << 32;
            hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let backends = (0..).zip(named).filter_map(|(id, named)| named.then_some(id)).collect();
        Self { slots, backends, moved, hash }
    }

    /// The content for new owners of the slots (backend ids), given what the slots said `before` (empty: nothing) and which
    /// backends are `alive` (known and not down).
    ///
    /// Lengths are powers of two; a longer or shorter table maps to the former one by hash range, as packets do.
    pub fn carried_over(
        owners: impl ExactSizeIterator<Item = u32>,
        before: &[Slot],
        alive: impl Fn(u32) -> bool,
    ) -> Self {
        let length = owners.len();
        let mut owners = owners;
        let mut next = || owners.next().expect("as many owners as their length says");
        Self::new(if before.is_empty() {
            (0..length).map(|_| Slot::settled(next())).collect()
        } else if before.len() <= length {
            let split = (length / before.len()).trailing_zeros();
            (0..length).map(|i| succeed(next(), before[i >> split], &alive)).collect()
        } else {
            let fold = before.len() / length;
            let folded = |i: usize| &before[i * fold..(i + 1) * fold];
            (0..length).map(|i| succeed_all(next(), folded(i), &alive)).collect()
        })
    }
}

/// A slot that has a new owner: flows from before stay with whom they belong to, as long as that backend is alive.
fn succeed(owner: u32, before: Slot, alive: impl Fn(u32) -> bool) -> Slot {
    if owner != before.current {
        former_backend(before, alive)
            .map_or(Slot::settled(owner), |former| Slot::moved(owner, former))
    } else if before.is_moved() && !alive(before.previous_backend()) {
        Slot::settled(owner)
    } else {
        before
    }
}

/// Several slots that become one: exact when they agree, else most of their flows stay where they belong.
fn succeed_all(owner: u32, before: &[Slot], alive: impl Fn(u32) -> bool) -> Slot {
    if before.iter().all(|slot| *slot == before[0]) {
        return succeed(owner, before[0], alive);
    }
    // The majority vote of Boyer and Moore: finds the majority if there is one, else one of the candidates.
    let mut candidate = None;
    let mut lead = 0;
    for former in before.iter().filter_map(|slot| former_backend(*slot, &alive)) {
        match lead {
            0 => (candidate, lead) = (Some(former), 1),
            _ if candidate == Some(former) => lead += 1,
            _ => lead -= 1,
        }
    }
    candidate.map_or(Slot::settled(owner), |former| Slot::moved(owner, former))
}

/// Whom flows older than the next move belong to: the previous backend of a slot that moved already, else the current one.
fn former_backend(slot: Slot, alive: impl Fn(u32) -> bool) -> Option<u32> {
    [slot.previous_backend(), slot.current].into_iter().find(|&backend| alive(backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(u32) -> bool = |_| true;

    #[test]
    fn a_slot_that_keeps_its_backend_keeps_its_state() {
        assert_eq!(succeed(1, Slot::settled(1), ALL), Slot::settled(1));
        assert_eq!(succeed(1, Slot::moved(1, 2), ALL), Slot::moved(1, 2));
    }

    #[test]
    fn a_slot_that_moves_twice_remembers_the_oldest_living_backend() {
        assert_eq!(succeed(2, Slot::settled(1), ALL), Slot::moved(2, 1));
        assert_eq!(succeed(3, Slot::moved(2, 1), ALL), Slot::moved(3, 1));
        assert_eq!(succeed(3, Slot::moved(2, 1), |b| b != 1), Slot::moved(3, 2));
    }

    #[test]
    fn a_backend_that_returns_to_its_slot_leaves_it_marked_as_moved() {
        let slot = succeed(1, Slot::moved(2, 1), ALL);
        assert_eq!(slot, Slot::moved(1, 1));
        assert!(slot.is_moved());
    }

    #[test]
    fn a_slot_never_points_back_to_a_dead_backend() {
        assert_eq!(succeed(2, Slot::settled(1), |b| b != 1), Slot::settled(2));
        assert_eq!(succeed(2, Slot::moved(2, 1), |b| b != 1), Slot::settled(2));
        assert_eq!(succeed(3, Slot::moved(2, 1), |b| b == 3), Slot::settled(3));
    }

    #[test]
    fn a_table_that_doubles_knows_the_former_backend_of_every_slot() {
        let before = [Slot::settled(1), Slot::settled(2)];
        let content = Content::carried_over([1, 2, 2, 1].into_iter(), &before, ALL);
        let expected = [Slot::settled(1), Slot::moved(2, 1), Slot::settled(2), Slot::moved(1, 2)];
        assert_eq!(*content.slots, expected);
        assert_eq!((content.moved, &*content.backends), (2, &[1, 2][..]));
    }

    #[test]
    fn slots_that_fold_into_one_keep_most_of_their_flows() {
        let settled = |backends: [u32; 4]| backends.map(Slot::settled);
        assert_eq!(succeed_all(5, &settled([1, 1, 1, 1]), ALL), Slot::moved(5, 1));
        assert_eq!(succeed_all(1, &settled([1, 1, 1, 1]), ALL), Slot::settled(1));
        assert_eq!(succeed_all(5, &settled([1, 2, 2, 2]), ALL), Slot::moved(5, 2));
        assert_eq!(succeed_all(2, &settled([1, 2, 2, 2]), ALL), Slot::moved(2, 2));
        assert_eq!(succeed_all(5, &settled([1, 2, 2, 2]), |b| b == 1), Slot::moved(5, 1));
    }
}
