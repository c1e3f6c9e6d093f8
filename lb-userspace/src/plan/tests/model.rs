//! A model of the maps: it takes changes as the data plane does, and answers as the data path does.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;
use lb_common::{
    address::Address,
    backend::BACKEND_DOWN,
    hash,
    service::{
        SERVICE_SOURCE_RANGES, ServiceEntryV4, ServiceEntryV6, ServiceRecord, Slot, table_place,
    },
};

use crate::{
    desired::ServiceKey,
    plan::{
        Change, Plan, SourceRangeKey,
        two_choice::{Entry, Write},
    },
};

/// Where flows of one hash go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// New flows.
    pub new: IpAddr,
    /// Flows from before the slot moved.
    pub old: IpAddr,
}

/// What the data path does with a packet, sources apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    NotAVip,
    NoService { refused: bool },
    NoBackend,
    Forwarded(Target),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maps {
    v4: HashMap<(u32, u32), ServiceEntryV4>,
    v6: HashMap<(u32, u32), ServiceEntryV6>,
    pub records: HashMap<u32, ServiceRecord>,
    pub slots: Vec<Slot>,
    /// Id -> address, flags, since.
    pub backends: HashMap<u32, (IpAddr, u32, u32)>,
    vips: HashMap<IpAddr, bool>,
    filter: HashMap<u32, u64>,
    pub ranges: HashSet<SourceRangeKey>,
}

impl Maps {
    pub fn new(slots: u32) -> Self {
        Self { slots: vec![Slot::settled(u32::MAX >> 1); slots as usize], ..Self::default() }
    }

    /// Only tables nobody refers to may be left.
    pub fn is_empty(&self) -> bool {
        *self == Self { slots: self.slots.clone(), ..Self::default() }
    }

    pub fn apply_all(&mut self, plan: &Plan) {
        plan.changes.iter().for_each(|change| self.apply(change));
    }

    pub fn apply(&mut self, change: &Change) {
        match *change {
            Change::Backend { id, address, flags, since } => {
                let before = self.backends.insert(id, (address, flags, since));
                let same = |(before, _, began)| before == address && began == since;
                assert!(before.is_none_or(same), "id {id} was taken from a backend that has it");
            }
            Change::RemoveBackend { id } => assert!(self.backends.remove(&id).is_some()),
            Change::Table { offset, ref slots } => {
                let range = offset as usize..offset as usize + slots.len();
                for record in self.records.values() {
                    let (used, length) = table_place(record.table);
                    let apart =
                        range.end <= used as usize || (used + length) as usize <= range.start;
                    let same = used == offset && length as usize == slots.len();
                    assert!(length == 0 || apart || same, "a table in use was overwritten");
                }
                self.slots[range].copy_from_slice(slots);
            }
            Change::ServiceRecord { id, record: ServiceRecord::EMPTY } => {
                assert!(self.records.remove(&id).is_some());
            }
            Change::ServiceRecord { id, record } => _ = self.records.insert(id, record),
            Change::ServiceEntryV4(write) => place(&mut self.v4, write),
            Change::ServiceEntryV6(write) => place(&mut self.v6, write),
            Change::AddSourceRange(key) => assert!(self.ranges.insert(key)),
            Change::RemoveSourceRange(key) => assert!(self.ranges.remove(&key)),
            Change::AddVip { address, reject } => {
                assert_eq!(self.vips.insert(address, reject), None);
            }
            Change::UpdateVip { address, reject } => {
                assert_eq!(self.vips.insert(address, reject), Some(!reject));
            }
            Change::RemoveVip { address } => assert!(self.vips.remove(&address).is_some()),
            Change::VipFilter { word, value: 0 } => assert!(self.filter.remove(&word).is_some()),
            Change::VipFilter { word, value } => _ = self.filter.insert(word, value),
        }
    }

    /// Id of the service a packet is matched to.
    pub fn service(&self, key: ServiceKey) -> Option<u32> {
        let port_be = key.port.to_be_bytes();
        let protocol = key.protocol.number();
        match key.vip {
            IpAddr::V4(vip) => {
                let like =
                    ServiceEntryV4 { vip: vip.octets(), port_be, protocol, ..ServiceEntryV4::FREE };
                find(&self.v4, &like, 4).map(|entry| entry.service)
            }
            IpAddr::V6(vip) => {
                let vip = Address::from_v6(vip.octets());
                let like = ServiceEntryV6 { vip, port_be, protocol, ..ServiceEntryV6::FREE };
                find(&self.v6, &like, 2).map(|entry| entry.service)
            }
        }
    }

    /// Index of the slot a hash is on, and the slot.
    pub fn slot(&self, service: u32, hash: u64) -> Option<(u32, Slot)> {
        let (offset, length) = table_place(self.records[&service].table);
        let index = hash::slot_index(hash, length);
        (length > 0).then(|| (index, self.slots[(offset + index) as usize]))
    }

    pub fn is_alive(&self, backend: u32) -> bool {
        self.backends.get(&backend).is_some_and(|(_, flags, _)| flags & BACKEND_DOWN == 0)
    }

    pub fn fate(&self, key: ServiceKey, hash: u64) -> Fate {
        let (word, mask) = hash::filter_bit_of(&Address::from(key.vip));
        if self.filter.get(&word).copied().unwrap_or(0) & mask == 0 {
            return Fate::NotAVip;
        }
        let Some(id) = self.service(key) else {
            return match self.vips.get(&key.vip) {
                Some(&refused) => Fate::NoService { refused },
                None => Fate::NotAVip,
            };
        };
        assert!(self.records.contains_key(&id), "an entry without a record");
        let Some((_, slot)) = self.slot(id, hash) else { return Fate::NoBackend };
        let address = |id| self.backends.get(&id).expect("a slot names a backend without record").0;
        let new = address(slot.current);
        let old = address(slot.previous_backend());
        let old = if self.is_alive(slot.previous_backend()) { old } else { new };
        Fate::Forwarded(Target { new, old })
    }

    /// May this client use the service?
    pub fn allows(&self, key: ServiceKey, source: IpAddr) -> Option<bool> {
        let id = self.service(key)?;
        let allowed = |length: u8| {
            IpNet::new(source, length)
                .is_ok_and(|net| self.ranges.contains(&SourceRangeKey::new(id, net.trunc())))
        };
        let open = self.records[&id].flags & SERVICE_SOURCE_RANGES == 0;
        Some(open || (0..=128).any(allowed))
    }
}

fn place<E: Entry>(map: &mut HashMap<(u32, u32), E>, write: Write<E>) {
    let before = map.remove(&(write.bucket, write.place));
    if write.entry == E::FREE {
        assert!(before.is_some(), "a free place was freed");
    } else {
        assert!(before.is_none(), "a live entry was overwritten");
        map.insert((write.bucket, write.place), write.entry);
    }
}

fn find<'a, E: Entry>(map: &'a HashMap<(u32, u32), E>, like: &E, width: u32) -> Option<&'a E> {
    let (a, b) = like.buckets();
    [a, b]
        .into_iter()
        .flat_map(|bucket| (0..width).map(move |place| (bucket, place)))
        .find_map(|place| map.get(&place).filter(|entry| entry.same_key(like)))
}
