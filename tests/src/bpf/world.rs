//! A data path and the world around it: VIPs, services, backends, tunnels.
//!
//! Ids are the test's to give, below [`IDS`](super::IDS). A method that cannot do its work panics.

use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
};

use aya::maps::{
    DevMapHash, HashMap, PerCpuArray, PerCpuValues,
    lpm_trie::{Key, LpmTrie},
};
use lb_common::{
    address::Address,
    counters::{InterfaceRecord, TokenBucket},
    flow::{FlowEntry, FlowSet, FragmentKey, FragmentRecord},
    hash, names,
    service::{
        PROTOCOL_TCP, SERVICE_SOURCE_RANGES, SOURCE_RANGE_SERVICE_BITS, ServiceBucketV4,
        ServiceBucketV6, ServiceEntryV4, ServiceEntryV6, SourceRange, table_word,
    },
    settings::Settings,
    tunnel::TunnelKey,
    vip::{VIP_OWNED, VIP_REJECT, VipRecord},
};

use super::{Backend, INTERFACE, Program, Service};
use crate::mac::Mac;

/// The edge's interface.
pub const EDGE: Mac = Mac([2, 0, 0, 0, 0, 0x0e]);
/// The router that clients are behind.
pub const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
/// The backends' interface.
pub const SERVER: Mac = Mac([2, 0, 0, 0, 0, 0x21]);
/// Somebody else's interface.
pub const OTHER: Mac = Mac([2, 0, 0, 0, 0, 0x99]);

/// A seed, so that hashes depend on one.
const SEED: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

/// A data path whose maps say what the world is like.
pub struct World {
    program: Program,
    free_slots: u32,
}

impl Deref for World {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl World {
    /// An edge that knows of nothing but its own interface.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// The settings of [`World::new`].
    pub const fn settings() -> Settings {
        Settings { edge_seed: SEED, refusals_per_second: 1_000_000, ..Settings::DEFAULT }
    }

    /// A node with changed settings.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Self::settings();
        change(&mut settings);
        let program = Program::load(settings).unwrap();
        let mut world = Self { program, free_slots: 0 };
        let interface = InterfaceRecord { mac: EDGE.0, attached: 1, _pad: 0 };
        world.set(names::INTERFACES, INTERFACE, interface).unwrap();
        world
    }

    /// A VIP that refuses, and that another edge owns.
    pub fn vip(self, address: impl Into<IpAddr>) -> Self {
        self.vip_record(address, |record| record.flags = VIP_REJECT)
    }

    /// A VIP that is silent about ports without service.
    pub fn silent_vip(self, address: impl Into<IpAddr>) -> Self {
        self.vip_record(address, |_| ())
    }

    /// A VIP that this node owns for another minute, announced with [`EDGE`].
    pub fn owned_vip(self, address: impl Into<IpAddr>) -> Self {
        self.vip_record(address, |record| record.flags = VIP_REJECT | VIP_OWNED)
    }

    /// A VIP as [`World::owned_vip`] has it, but without flags, and then changed.
    pub fn vip_record(
        mut self,
        address: impl Into<IpAddr>,
        change: impl FnOnce(&mut VipRecord),
    ) -> Self {
        let address = Address::from(address.into());
        let mut record = VipRecord {
            lease_deadline_ns: monotonic_ns() + 60_000_000_000,
            ifindex: INTERFACE,
            flags: 0,
            mac: EDGE.0,
            _pad: [0; 2],
        };
        change(&mut record);
        self.insert(names::VIPS, address, record).unwrap();
        let (word, mask) = hash::filter_bit_of(&address);
        let mut filter = self.array::<u64>(names::VIP_FILTER).unwrap();
        let bits = filter.get(&word, 0).unwrap();
        filter.set(word, bits | mask, 0).unwrap();
        self
    }

    /// A backend.
    pub fn backend(mut self, id: u32, backend: Backend) -> Self {
        self.set(names::BACKENDS, id, backend.record()).unwrap();
        self
    }

    /// A service, new or in place of the one that had the id (and the same VIP, port and protocol).
    pub fn service(mut self, id: u32, mut service: Service) -> Self {
        for (network, length) in service.sources.take().into_iter().flatten() {
            service.flags |= SERVICE_SOURCE_RANGES;
            self.source_range(id, network, length);
        }
        let offset = self.free_slots;
        for slot in &service.slots {
            let index = self.free_slots;
            self.set(names::SLOTS, index, *slot).unwrap();
            self.free_slots += 1;
        }
        let record = service.record(table_word(offset, service.slots.len() as u32));
        self.set(names::SERVICE_RECORDS, id, record).unwrap();
        match service.vip {
            IpAddr::V4(vip) => self.entry_v4(vip.octets(), id, &service),
            IpAddr::V6(vip) => self.entry_v6(Address::from_v6(vip.octets()), id, &service),
        }
        self
    }

    fn entry_v4(&mut self, vip: [u8; 4], id: u32, service: &Service) {
        let port_be = service.port.to_be_bytes();
        let protocol = service.protocol;
        let key = ServiceEntryV4::key(vip, port_be, protocol);
        let entry = ServiceEntryV4 { vip, port_be, protocol, service: id, ..ServiceEntryV4::FREE };
        let (first, second) = hash::service_buckets_v4(key);
        let mut buckets = self.array::<ServiceBucketV4>(names::SERVICES).unwrap();
        // TCP in its first bucket, UDP in its second: both are looked into.
        let index = if protocol == PROTOCOL_TCP { first } else { second };
        let mut bucket = buckets.get(&index, 0).unwrap();
        let free = |place: &&mut ServiceEntryV4| place.protocol == 0 || place.service == id;
        *bucket.entries.iter_mut().find(free).unwrap() = entry;
        buckets.set(index, bucket, 0).unwrap();
    }

    fn entry_v6(&mut self, vip: Address, id: u32, service: &Service) {
        let port_be = service.port.to_be_bytes();
        let protocol = service.protocol;
        let key = ServiceEntryV6::key(port_be, protocol);
        let entry = ServiceEntryV6 { vip, port_be, protocol, service: id, ..ServiceEntryV6::FREE };
        let (first, second) = hash::service_buckets_v6(vip.words(), key);
        let mut buckets = self.array::<ServiceBucketV6>(names::SERVICES_V6).unwrap();
        let index = if protocol == PROTOCOL_TCP { first } else { second };
        let mut bucket = buckets.get(&index, 0).unwrap();
        let free = |place: &&mut ServiceEntryV6| place.protocol == 0 || place.service == id;
        *bucket.entries.iter_mut().find(free).unwrap() = entry;
        buckets.set(index, bucket, 0).unwrap();
    }

    fn source_range(&mut self, id: u32, network: IpAddr, length: u32) {
        // IPv4 networks are the end of IPv4-mapped ones.
        let before = if network.is_ipv4() { 96 } else { 0 };
        let range =
            SourceRange { service_be: id.to_be_bytes(), address: Address::from(network).bytes };
        let key = Key::new(SOURCE_RANGE_SERVICE_BITS + before + length, range);
        let map = self.map_mut(names::SOURCE_RANGES).unwrap();
        let mut ranges: LpmTrie<_, SourceRange, u32> = map.try_into().unwrap();
        ranges.insert(&key, 1, 0).unwrap();
    }

    /// Tunnels from this edge end at this address of the node.
    pub fn tunnel(self, edge: impl Into<IpAddr>, here: impl Into<IpAddr>) -> Self {
        let here = Address::from(here.into());
        self.tunnel_key(TunnelKey { source: edge.into().into(), destination: here })
            .tunnel_key(TunnelKey { source: Address::UNSPECIFIED, destination: here })
    }

    fn tunnel_key(mut self, key: TunnelKey) -> Self {
        self.insert(names::TUNNELS, key, 1u32).unwrap();
        self
    }

    /// Packets can be redirected to `ifindex`; any interface stands for it, for nothing is really sent.
    pub fn redirect_port(mut self, ifindex: u32) -> Self {
        let map = self.map_mut(names::REDIRECT_PORTS).unwrap();
        let mut ports: DevMapHash<_> = map.try_into().unwrap();
        ports.insert(ifindex, INTERFACE, None, 0).unwrap();
        self
    }
}

/// How time passes for what the data path remembers.
impl World {
    /// Makes every entry of flow memory seem last seen at `ticks`.
    pub fn flows_last_seen(mut self, ticks: u32) -> Self {
        let mut memory = self.array::<FlowSet>(names::FLOW_MEMORY).unwrap();
        for index in 0..memory.len() {
            let mut set = memory.get(&index, 0).unwrap();
            for entry in set.entries.iter_mut().filter(|entry| entry.last_seen != 0) {
                let FlowEntry { service, backend, .. } = *entry;
                *entry = FlowEntry::new(entry.fingerprint(), service, backend, ticks);
            }
            memory.set(index, set, 0).unwrap();
        }
        self
    }

    /// Makes every first fragment seem seen at `ticks`.
    pub fn fragments_seen(mut self, ticks: u32) -> Self {
        let map = self.map_mut(names::FRAGMENTS).unwrap();
        let mut fragments: HashMap<_, FragmentKey, FragmentRecord> = map.try_into().unwrap();
        let known: Vec<_> = fragments.iter().collect::<Result<_, _>>().unwrap();
        for (key, record) in known {
            fragments.insert(key, FragmentRecord { seen: ticks, ..record }, 0).unwrap();
        }
        self
    }

    /// Makes the last refusal seem sent so much longer ago.
    pub fn since_last_refusal(mut self, nanoseconds: u64) -> Self {
        let map = self.map_mut(names::REFUSAL_TOKENS).unwrap();
        let mut buckets: PerCpuArray<_, TokenBucket> = map.try_into().unwrap();
        let back = |bucket: &TokenBucket| TokenBucket {
            refilled_ns: bucket.refilled_ns.saturating_sub(nanoseconds),
            ..*bucket
        };
        let values: Vec<_> = buckets.get(&0, 0).unwrap().iter().map(back).collect();
        buckets.set(0, PerCpuValues::try_from(values).unwrap(), 0).unwrap();
        self
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
///
/// # Panics
/// Never: the clock is always there.
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
