//! Weighted Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! Every seat prefers the slots of the table in an order of its own; seats take turns, and on its turn a seat takes the slot it
//! prefers most among those still free. Lengths are powers of two and steps are odd, which makes a preference a permutation as a
//! prime length does for any step; in return a slot of a table is exactly two slots of the table twice as long (see
//! [`hash::slot_index`]), so a table that grows knows the former backend of every slot.

use std::net::IpAddr;

use lb_common::{address::Address, hash};

/// Who competes for slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    /// What its preferences follow from, see [`identity`].
    pub identity: u64,
    /// Share of the slots relative to the other seats' weights; 0 counts as 1. At most 1,000,000.
    pub weight: u32,
}

/// Fractional bits of a turn's time in [`weighted_turns`].
const TIME_FRACTION: u32 = 24;

/// The identity of a backend: the same on every edge with this seed, whatever ids the edge gave out.
pub fn identity(seed: [u64; 2], address: IpAddr) -> u64 {
    hash::client_v6(seed, Address::from(address).words(), [0; 2])
}

/// Builds the table: for each of `length` slots the index of its seat in `seats`. Empty without seats.
///
/// The order of `seats` has no influence on which seat gets which slot. Every seat gets at least one slot. With at least 100 slots
/// for each seat, a seat's slots are within 1 % of its share by weight, give or take two slots; with equal weights they differ by
/// at most one.
///
/// # Panics
/// When `length` is not a power of two, less than the number of seats, or there are more seats than 65,536.
pub fn table(seats: &[Seat], length: u32) -> Box<[u16]> {
    if seats.is_empty() {
        return Box::default();
    }
    assert!(length.is_power_of_two(), "table length {length} is not a power of two");
    assert!(seats.len() <= length as usize, "{} seats for {length} slots", seats.len());
    assert!(seats.len() <= 1 << 16, "{} seats do not fit 16 bits", seats.len());

    let mut order: Vec<u16> = (0..seats.len()).map(|seat| seat as u16).collect();
    order.sort_unstable_by_key(|&seat| seats[usize::from(seat)]);

    let mut filler = Filler::new(seats, length);
    if seats.iter().all(|seat| seat.weight == seats[0].weight) {
        // Equal weights take turns in rounds; the general way yields the same order, slower.
        filler.fill(order.iter().copied().cycle().take(length as usize));
    } else {
        filler.fill(weighted_turns(seats, &order, length).into_iter());
    }
    filler.table
}

/// A seat's way through the table.
struct Walk {
    /// The next slot it would like.
    position: u32,
    /// Odd, so that the walk visits every slot.
    step: u32,
}

/// The table while it fills.
struct Filler {
    mask: u32,
    table: Box<[u16]>,
    /// One bit for each slot: 16 KiB for 131,072 slots stay in the first-level cache, where nearly all of the time is spent.
    taken: Box<[u64]>,
    walks: Box<[Walk]>,
}

impl Filler {
    fn new(seats: &[Seat], length: u32) -> Self {
        let mask = length - 1;
        let walks = seats.iter().map(|seat| Walk {
            position: seat.identity as u32 & mask,
            step: ((seat.identity >> 32) as u32 | 1) & mask,
        });
        Self {
            mask,
            table: vec![0; length as usize].into(),
            taken: vec![0; (length as usize).div_ceil(64)].into(),
            walks: walks.collect(),
        }
    }

    fn fill(&mut self, turns: impl Iterator<Item = u16>) {
        for seat in turns {
            let walk = &mut self.walks[usize::from(seat)];
            let mut position = walk.position;
            let word = loop {
                let word = &mut self.taken[(position / 64) as usize];
                if *word >> (position % 64) & 1 == 0 {
                    break word;
                }
                position = position.wrapping_add(walk.step) & self.mask;
            };
            *word |= 1 << (position % 64);
            self.table[position as usize] = seat;
            walk.position = position.wrapping_add(walk.step) & self.mask;
        }
    }
}

/// The seats' turns in the order of their times, `length` of them.
///
/// The first turn of every seat is at time 0, so that everyone gets a slot; turn `k` after it at `(k + 1/2) / weight`, so that by any time
/// a seat had its share rounded to the nearest whole. Times depend on the seat alone, so that another's coming or going hardly changes
/// the order of the rest. They are scaled to about one turn per unit and sorted by counting.
fn weighted_turns(seats: &[Seat], order: &[u16], length: u32) -> Vec<u16> {
    let weight = |seat: u16| u64::from(seats[usize::from(seat)].weight.max(1));
    let total: u64 = order.iter().map(|&seat| weight(seat)).sum();
    // Until this time at least `length` turns are taken: rounding loses half a turn for each seat.
    let end = u64::from(length) + seats.len() as u64;
    let times = |seat: u16| {
        let step = (total << TIME_FRACTION) / weight(seat);
        let later = std::iter::successors(Some(step + step / 2), move |time| Some(time + step));
        let later = later.map(|time| time >> TIME_FRACTION).take_while(move |&time| time < end);
        std::iter::once(0).chain(later)
    };

    let mut starts = vec![0u32; end as usize + 1];
    for &seat in order {
        times(seat).for_each(|time| starts[time as usize + 1] += 1);
    }
    let mut turns_before = 0;
    for start in &mut starts {
        turns_before += *start;
        *start = turns_before;
    }
    let mut turns = vec![0u16; turns_before as usize];
    for &seat in order {
        for time in times(seat) {
            let next = &mut starts[time as usize];
            turns[*next as usize] = seat;
            *next += 1;
        }
    }
    turns.truncate(length as usize);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tables::length_for;
    use proptest::prelude::*;

    fn seat(number: u32, weight: u32) -> Seat {
        Seat { identity: identity([3, 5], IpAddr::from(number.to_be_bytes())), weight }
    }

    fn seats(count: u32) -> Vec<Seat> {
        (0..count).map(|number| seat(number, 1)).collect()
    }

    fn counts(table: &[u16], seats: usize) -> Vec<u32> {
        let mut counts = vec![0; seats];
        table.iter().for_each(|&seat| counts[usize::from(seat)] += 1);
        counts
    }

    /// Shares of the table (slots of the removed seat; slots of others that moved all the same).
    fn disruption(seats: &[Seat], removed: usize, length: u32) -> (f64, f64) {
        let before = table(seats, length);
        let mut rest = seats.to_vec();
        rest.remove(removed);
        let after = table(&rest, length);
        let owned = before.iter().filter(|&&seat| usize::from(seat) == removed).count();
        let moved = before.iter().zip(&after).filter(|&(&old, &new)| {
            usize::from(old) != removed
                && seats[usize::from(old)].identity != rest[usize::from(new)].identity
        });
        (owned as f64 / f64::from(length), moved.count() as f64 / f64::from(length))
    }

    fn weighted() -> impl Strategy<Value = Vec<Seat>> {
        let weight = prop_oneof![Just(1u32), 1u32..10, 1u32..=1_000_000];
        proptest::collection::vec(weight, 1..60).prop_map(|weights| {
            weights.iter().zip(0..).map(|(&weight, number)| seat(number, weight)).collect()
        })
    }

    proptest! {
        #[test]
        fn every_seat_gets_its_share_by_weight(seats in weighted()) {
            let length = length_for(seats.len());
            let total: f64 = seats.iter().map(|seat| f64::from(seat.weight)).sum();
            for (seat, count) in seats.iter().zip(counts(&table(&seats, length), seats.len())) {
                let share = f64::from(length) * f64::from(seat.weight) / total;
                prop_assert!(count >= 1);
                prop_assert!((f64::from(count) - share).abs() <= share * 0.01 + 2.0, "{count} slots for a share of {share}");
            }
        }

        #[test]
        fn equal_weights_differ_by_one_slot_at_most(count in 1u32..200, weight in 1u32..=1_000_000) {
            let seats: Vec<_> = (0..count).map(|number| seat(number, weight)).collect();
            let counts = counts(&table(&seats, length_for(seats.len())), seats.len());
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }

        #[test]
        fn the_order_of_seats_does_not_matter(seats in weighted(), rotation in any::<prop::sample::Index>()) {
            let length = length_for(seats.len());
            let mut shuffled = seats.clone();
            shuffled.rotate_left(rotation.index(seats.len()));
            shuffled.reverse();
            for (a, b) in table(&seats, length).iter().zip(&table(&shuffled, length)) {
                prop_assert_eq!(seats[usize::from(*a)], shuffled[usize::from(*b)]);
            }
        }

        #[test]
        fn a_removed_seat_moves_only_its_own_slots_and_few_others(count in 2u32..120, removed in any::<prop::sample::Index>()) {
            let seats = seats(count);
            let (_, others) = disruption(&seats, removed.index(seats.len()), length_for(seats.len()));
            prop_assert!(others <= 0.06, "{:.2} % of slots moved needlessly", others * 100.0);
        }

        #[test]
        fn a_removed_seat_of_any_weight_moves_few_slots_of_others(seats in weighted(), removed in any::<prop::sample::Index>()) {
            let (owned, others) = disruption(&seats, removed.index(seats.len()), length_for(seats.len()));
            prop_assert!(others <= 0.06 + owned, "{:.2} % of slots moved needlessly, {:.2} % had to", others * 100.0, owned * 100.0);
        }
    }

    #[test]
    fn the_general_order_of_turns_is_rounds_when_weights_are_equal() {
        let seats = seats(7);
        let order: Vec<u16> = (0..7).collect();
        let turns = weighted_turns(&seats, &order, 128);
        assert!(turns.iter().zip(order.iter().cycle()).all(|(a, b)| a == b));
        assert_eq!(turns.len(), 128);
    }

    #[test]
    #[ignore = "prints measurements"]
    fn prints_disruption_and_time() {
        for count in [2, 3, 5, 10, 30, 100, 1000] {
            let seats = seats(count);
            let length = length_for(seats.len());
            let all: Vec<_> = (0..seats.len().min(20))
                .map(|removed| disruption(&seats, removed, length).1)
                .collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let worst = all.iter().copied().fold(0.0, f64::max);
            let started = std::time::Instant::now();
            std::hint::black_box(table(&seats, length));
            println!(
                "{count} seats, {length} slots: others moved {:.2} % (worst {:.2} %), {:?}",
                mean * 100.0,
                worst * 100.0,
                started.elapsed()
            );
        }
        let mut seats = seats(1000);
        seats.iter_mut().zip(0..).for_each(|(seat, number)| seat.weight = 1 + number % 17);
        for _ in 0..3 {
            let started = std::time::Instant::now();
            std::hint::black_box(table(&seats, 131_072));
            println!("1000 seats of 17 weights, 131072 slots: {:?}", started.elapsed());
        }
    }
}
