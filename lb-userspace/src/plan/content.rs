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

    /// The content for new owners of the slots (backend ids; a power of two of them), given what the slots said `before` (empty:
    /// nothing) and which backends are `alive` (known and not down).
    ///
    /// A longer or shorter table maps to the former one by hash range, as packets do. Where it would be shorter, slots with different
    /// pasts cannot become one without losing flows: it then keeps the former length, each owner repeated, which sends new flows the
    /// same way, until [`Content::settled`] can fold it.
    pub fn carried_over(owners: &[u32], before: &[Slot], alive: impl Fn(u32) -> bool) -> Self {
        let length = owners.len().max(before.len());
        let repeat = (length / owners.len().max(1)).trailing_zeros();
        let slots = if before.is_empty() {
            owners.iter().map(|&owner| Slot::settled(owner)).collect()
        } else {
            let split = (length / before.len()).trailing_zeros();
            (0..length).map(|i| succeed(owners[i >> repeat], before[i >> split], &alive)).collect()
        };
        Self::new(fold(slots, owners.len()))
    }

    /// The content with all moved slots settled, except those `needed` (ascending), and no longer than it has to be. `length` is what
    /// the service's number of backends asks for.
    pub fn settled(&self, needed: &[u32], length: usize) -> Self {
        let mut slots: Arc<[Slot]> =
            self.slots.iter().map(|slot| Slot::settled(slot.current)).collect();
        if let Some(settled) = Arc::get_mut(&mut slots) {
            needed.iter().for_each(|&i| settled[i as usize] = self.slots[i as usize]);
        }
        Self::new(fold(slots, length))
    }
}

/// Halves a table down to `length` as long as the two slots that become one say the same.
fn fold(mut slots: Arc<[Slot]>, length: usize) -> Arc<[Slot]> {
    while slots.len() > length && slots.chunks_exact(2).all(|pair| pair[0] == pair[1]) {
        slots = slots.iter().copied().step_by(2).collect();
    }
    slots
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
        let content = Content::carried_over(&[1, 2, 2, 1], &before, ALL);
        let expected = [Slot::settled(1), Slot::moved(2, 1), Slot::settled(2), Slot::moved(1, 2)];
        assert_eq!(*content.slots, expected);
        assert_eq!((content.moved, &*content.backends), (2, &[1, 2][..]));
    }

    #[test]
    fn a_table_stays_long_until_slots_with_different_pasts_are_settled() {
        let before = [1, 2, 3, 3].map(Slot::settled);
        let content = Content::carried_over(&[1, 3], &before, ALL);
        let expected = [Slot::settled(1), Slot::moved(1, 2), Slot::settled(3), Slot::settled(3)];
        assert_eq!(*content.slots, expected);
        assert_eq!(*content.settled(&[1], 2).slots, expected);
        assert_eq!(*content.settled(&[], 2).slots, [1, 3].map(Slot::settled));
    }

    #[test]
    fn a_table_without_a_past_to_keep_gets_shorter_at_once() {
        let before = [1, 2, 2, 1].map(Slot::settled);
        let content = Content::carried_over(&[1, 1], &before, |backend| backend != 2);
        assert_eq!(*content.slots, [1, 1].map(Slot::settled));
    }
}
