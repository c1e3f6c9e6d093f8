//! Two-choice buckets: an entry lives in one of the two buckets its key hashes to, so the data path reads two cache lines at most
//! (Pagh and Rodler, "Cuckoo Hashing", 2001; buckets after Dietzfelbinger and Weidling, 2005).

use lb_common::{
    hash,
    limits::{SERVICE_BUCKETS_V4, SERVICE_BUCKETS_V6},
    service::{ServiceEntryV4, ServiceEntryV6},
};

/// Places looked at while searching a free one; a nearly full table is the limit, not the search.
const SEARCH_LIMIT: usize = 2_000;

/// What lives in a bucket.
pub trait Entry: Copy + PartialEq {
    /// Marks a place as free.
    const FREE: Self;

    /// The two buckets it may live in; they can be the same.
    fn buckets(&self) -> (u32, u32);

    /// Is it the entry of the same key?
    fn same_key(&self, other: &Self) -> bool;
}

impl Entry for ServiceEntryV4 {
    const FREE: Self = Self::FREE;

    fn buckets(&self) -> (u32, u32) {
        hash::service_buckets_v4(Self::key(self.vip, self.port_be, self.protocol))
    }

    fn same_key(&self, other: &Self) -> bool {
        (self.vip, self.port_be, self.protocol) == (other.vip, other.port_be, other.protocol)
    }
}

impl Entry for ServiceEntryV6 {
    const FREE: Self = Self::FREE;

    fn buckets(&self) -> (u32, u32) {
        hash::service_buckets_v6(self.vip.words(), Self::key(self.port_be, self.protocol))
    }

    fn same_key(&self, other: &Self) -> bool {
        (self.vip, self.port_be, self.protocol) == (other.vip, other.port_be, other.protocol)
    }
}

/// The buckets of IPv4 services.
pub type ServicesV4 = TwoChoice<ServiceEntryV4, 4>;
/// The buckets of IPv6 services.
pub type ServicesV6 = TwoChoice<ServiceEntryV6, 2>;

impl Default for ServicesV4 {
    fn default() -> Self {
        Self::new(SERVICE_BUCKETS_V4)
    }
}

impl Default for ServicesV6 {
    fn default() -> Self {
        Self::new(SERVICE_BUCKETS_V6)
    }
}

/// One write to the map. A place is only ever freed, or written when it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<E> {
    /// Index into the map.
    pub bucket: u32,
    /// Place in the bucket.
    pub place: u32,
    /// What is there from now on.
    pub entry: E,
}

/// No free place was found for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Entries there already.
    pub used: usize,
    /// Places in all.
    pub places: usize,
}

/// A mirror of the buckets in a map.
#[derive(Debug)]
pub struct TwoChoice<E, const WIDTH: usize> {
    buckets: Vec<[E; WIDTH]>,
    used: usize,
    /// What was overwritten since the last [`TwoChoice::checkpoint`].
    undo: Vec<Write<E>>,
}

impl<E: Entry, const WIDTH: usize> TwoChoice<E, WIDTH> {
    /// Free buckets, as many as [`Entry::buckets`] chooses from.
    pub fn new(buckets: u32) -> Self {
        Self { buckets: vec![[E::FREE; WIDTH]; buckets as usize], used: 0, undo: Vec::new() }
    }

    /// Entries.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The entry with the key of `like`.
    pub fn get(&self, like: &E) -> Option<&E> {
        self.find(like).map(|(bucket, place)| &self.buckets[bucket as usize][place])
    }

    /// Forgets how to go back further than to the present state.
    pub fn checkpoint(&mut self) {
        self.undo.clear();
    }

    /// Goes back to the last [`TwoChoice::checkpoint`].
    pub fn rollback(&mut self) {
        while let Some(Write { bucket, place, entry }) = self.undo.pop() {
            self.put(bucket, place as usize, entry);
        }
        self.undo.clear();
    }

    /// Puts a new key in one of its buckets, and pushes the writes that do so to `writes`.
    ///
    /// Entries in the way move to their other bucket: each is written to its new place before it is freed at the old one, so that a
    /// reader who looks at both buckets never misses one.
    ///
    /// # Errors
    /// [`Full`] when no room can be made; nothing has changed then.
    pub fn insert(&mut self, entry: E, writes: &mut Vec<Write<E>>) -> Result<(), Full> {
        debug_assert!(self.find(&entry).is_none(), "inserted twice");
        let way = self
            .way_to_free_place(&entry)
            .ok_or(Full { used: self.used, places: self.buckets.len() * WIDTH })?;
        // From the free place backwards: fill it from the place before it, free that one, and so on.
        for hop in way.windows(2).rev() {
            let [(from_bucket, from_place), (bucket, place)] = [hop[0], hop[1]];
            let moved = self.buckets[from_bucket as usize][from_place];
            self.write(bucket, place, moved, writes);
            self.write(from_bucket, from_place, E::FREE, writes);
        }
        let (bucket, place) = way[0];
        self.write(bucket, place, entry, writes);
        Ok(())
    }

    /// Frees the place of the key of `like`: the write that does so, if the key is there.
    pub fn remove(&mut self, like: &E) -> Option<Write<E>> {
        let (bucket, place) = self.find(like)?;
        let mut writes = Vec::with_capacity(1);
        self.write(bucket, place, E::FREE, &mut writes);
        writes.pop()
    }

    fn find(&self, like: &E) -> Option<(u32, usize)> {
        let (first, second) = like.buckets();
        [first, second].into_iter().find_map(|bucket| {
            let entries = &self.buckets[bucket as usize];
            Some((bucket, entries.iter().position(|entry| entry.same_key(like))?))
        })
    }

    fn free_place(&self, bucket: u32) -> Option<usize> {
        self.buckets[bucket as usize].iter().position(|entry| *entry == E::FREE)
    }

    /// Breadth-first search: the places from one of the entry's own to a free one, each the other choice of the entry before it.
    fn way_to_free_place(&self, entry: &E) -> Option<Vec<(u32, usize)>> {
        struct Step {
            bucket: u32,
            /// Index of the step whose entry at this place would move here.
            from: Option<(usize, usize)>,
        }
        let (first, second) = entry.buckets();
        // The emptier bucket first: fewer moves later.
        let room = |bucket: u32| {
            self.buckets[bucket as usize].iter().filter(|entry| **entry == E::FREE).count()
        };
        let (first, second) =
            if room(second) > room(first) { (second, first) } else { (first, second) };
        let mut steps =
            vec![Step { bucket: first, from: None }, Step { bucket: second, from: None }];
        let mut next = 0;
        while next < steps.len() && steps.len() * WIDTH < SEARCH_LIMIT {
            let bucket = steps[next].bucket;
            if let Some(place) = self.free_place(bucket) {
                let mut way = vec![(bucket, place)];
                let mut at = next;
                while let Some((step, place)) = steps[at].from {
                    way.push((steps[step].bucket, place));
                    at = step;
                }
                way.reverse();
                return Some(way);
            }
            for (place, occupant) in self.buckets[bucket as usize].iter().enumerate() {
                let (a, b) = occupant.buckets();
                let other = if a == bucket { b } else { a };
                // A bucket seen before leads nowhere new, and a way through it twice would move an entry twice.
                if steps.iter().all(|step| step.bucket != other) {
                    steps.push(Step { bucket: other, from: Some((next, place)) });
                }
            }
            next += 1;
        }
        None
    }

    fn write(&mut self, bucket: u32, place: usize, entry: E, writes: &mut Vec<Write<E>>) {
        let former = self.put(bucket, place, entry);
        self.undo.push(Write { bucket, place: place as u32, entry: former });
        writes.push(Write { bucket, place: place as u32, entry });
    }

    fn put(&mut self, bucket: u32, place: usize, entry: E) -> E {
        let former = std::mem::replace(&mut self.buckets[bucket as usize][place], entry);
        self.used = self.used + usize::from(entry != E::FREE) - usize::from(former != E::FREE);
        former
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const BUCKETS: u32 = 8;

    /// An entry for tables small enough to fill.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Number(u32);

    impl Entry for Number {
        const FREE: Self = Self(0);

        fn buckets(&self) -> (u32, u32) {
            let hash = self.0.wrapping_mul(0x9e37_79b1);
            (hash >> 29, hash >> 26 & 7)
        }

        fn same_key(&self, other: &Self) -> bool {
            self == other
        }
    }

    /// What a reader of the map sees.
    struct Map<const WIDTH: usize>(Vec<[Number; WIDTH]>);

    impl<const WIDTH: usize> Map<WIDTH> {
        fn finds(&self, number: u32) -> bool {
            let (a, b) = Number(number).buckets();
            [a, b].iter().any(|&bucket| self.0[bucket as usize].contains(&Number(number)))
        }

        fn apply(&mut self, write: Write<Number>) {
            let place = &mut self.0[write.bucket as usize][write.place as usize];
            assert!(
                *place == Number::FREE || write.entry == Number::FREE,
                "a live entry was overwritten"
            );
            *place = write.entry;
        }
    }

    fn exercise<const WIDTH: usize>(steps: Vec<(u8, u32)>) -> Result<(), TestCaseError> {
        let mut table = TwoChoice::<Number, WIDTH>::new(BUCKETS);
        let mut map = Map([[Number::FREE; WIDTH]; BUCKETS as usize].to_vec());
        let mut present = BTreeSet::new();
        for (kind, number) in steps {
            if kind > 0 && !present.contains(&number) {
                table.checkpoint();
                let before = table.buckets.clone();
                let mut writes = Vec::new();
                let result = table.insert(Number(number), &mut writes);
                if kind == 1 || result.is_err() {
                    table.rollback();
                    prop_assert_eq!(&table.buckets, &before);
                    prop_assert_eq!(result.is_err(), writes.is_empty());
                    continue;
                }
                for write in writes {
                    map.apply(write);
                    prop_assert!(present.iter().all(|&number| map.finds(number)));
                }
                present.insert(number);
            } else if kind == 0 {
                let write = table.remove(&Number(number));
                prop_assert_eq!(write.is_some(), present.remove(&number));
                write.into_iter().for_each(|write| map.apply(write));
            }
            prop_assert_eq!(&map.0, &table.buckets);
            prop_assert_eq!(table.used(), present.len());
            for number in 1..60 {
                prop_assert_eq!(map.finds(number), present.contains(&number));
                prop_assert_eq!(table.get(&Number(number)).is_some(), present.contains(&number));
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_key_is_found_at_every_moment_with_buckets_of_four(steps in proptest::collection::vec((0u8..6, 1u32..60), 1..120)) {
            exercise::<4>(steps)?;
        }

        #[test]
        fn every_key_is_found_at_every_moment_with_buckets_of_two(steps in proptest::collection::vec((0u8..6, 1u32..60), 1..120)) {
            exercise::<2>(steps)?;
        }
    }

    #[test]
    fn a_full_table_says_how_full_it_is() {
        let mut table = TwoChoice::<Number, 1>::new(BUCKETS);
        let full =
            (1..).find_map(|number| table.insert(Number(number), &mut Vec::new()).err()).unwrap();
        assert_eq!(full, Full { used: table.used(), places: 8 });
    }

    #[test]
    fn ipv4_services_fill_nine_tenths_of_their_places() {
        let mut table = ServicesV4::default();
        let mut writes = Vec::new();
        let services = SERVICE_BUCKETS_V4 * 4 * 9 / 10;
        for number in 0..services {
            let [a, b, c, d] = (0xc000_0200 + number / 7).to_be_bytes();
            let port_be = (80 + (number % 7) as u16).to_be_bytes();
            let entry = ServiceEntryV4 {
                vip: [a, b, c, d],
                port_be,
                protocol: 6,
                service: number,
                ..ServiceEntryV4::FREE
            };
            table.insert(entry, &mut writes).unwrap();
        }
        assert_eq!(table.used() as u32, services);
    }

    #[test]
    fn ipv6_services_fill_half_of_their_places() {
        let mut table = ServicesV6::default();
        let mut writes = Vec::new();
        let services = SERVICE_BUCKETS_V6;
        for number in 0..services {
            let mut vip = [0; 16];
            vip[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            vip[12..].copy_from_slice(&(number / 3).to_be_bytes());
            let vip = lb_common::address::Address::from_v6(vip);
            let port_be = (443 + (number % 3) as u16).to_be_bytes();
            let entry = ServiceEntryV6 {
                vip,
                port_be,
                protocol: 17,
                service: number,
                ..ServiceEntryV6::FREE
            };
            table.insert(entry, &mut writes).unwrap();
        }
        assert_eq!(table.used() as u32, services);
    }
}
