//! The maps of a loaded object, typed: what a plan's changes write, and what the commands read back.

use std::{collections::HashMap as StdHashMap, net::IpAddr};

use aya::{
    Ebpf,
    maps::{HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie, xdp::DevMapHash},
};
use lb_common::{
    address::Address,
    backend::BackendRecord,
    counters::{InterfaceRecord, Reason, TrafficCounter},
    flow::{FlowSet, FlowTupleSet},
    limits, names,
    service::{ServiceBucketV4, ServiceBucketV6, ServiceRecord, Slot, SourceRange},
    tunnel::TunnelKey,
    vip::VipRecord,
};

use super::{
    load::{LoadError, Shape, take},
    mmap::MappedArray,
    pins::PinDirectory,
};
use crate::plan::Change;

/// A map refused a change.
#[derive(Debug, thiserror::Error)]
#[error("cannot change {map}")]
pub struct ApplyError {
    map: &'static str,
    #[source]
    source: RefusedError,
}

/// What the kernel said.
#[derive(Debug, thiserror::Error)]
enum RefusedError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Devmap(#[from] aya::maps::xdp::XdpMapError),
}

fn refused(map: &'static str) -> impl FnOnce(MapError) -> ApplyError {
    move |source| ApplyError { map, source: source.into() }
}

/// All maps of the data path.
pub struct Tables {
    vips: HashMap<MapData, Address, VipRecord>,
    vip_filter: MappedArray<u64>,
    services: MappedArray<ServiceBucketV4>,
    services_v6: MappedArray<ServiceBucketV6>,
    service_records: MappedArray<ServiceRecord>,
    slots: MappedArray<Slot>,
    backends: MappedArray<BackendRecord>,
    flow_memory: MappedArray<FlowSet>,
    flow_tuples: MappedArray<FlowTupleSet>,
    source_ranges: LpmTrie<MapData, SourceRange, u32>,
    tunnels: HashMap<MapData, TunnelKey, u32>,
    interfaces: MappedArray<InterfaceRecord>,
    redirect_ports: DevMapHash<MapData>,
    service_counters: PerCpuArray<MapData, TrafficCounter>,
    backend_counters: PerCpuArray<MapData, TrafficCounter>,
    drops: PerCpuArray<MapData, u64>,
    /// What was written to `vips`, so that ownership and refusal can change one without the other.
    vip_records: StdHashMap<IpAddr, VipRecord>,
}

impl Tables {
    /// Takes the maps out of a loaded object and maps the arrays into memory.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn new(ebpf: &mut Ebpf, shape: &Shape) -> Result<Self, LoadError> {
        macro_rules! typed {
            ($name:expr) => {
                take(ebpf, $name)?
                    .try_into()
                    .map_err(|source| LoadError::Map { name: $name, source })?
            };
        }
        Ok(Self {
            vips: typed!(names::VIPS),
            vip_filter: mapped(ebpf, names::VIP_FILTER, limits::VIP_FILTER_WORDS)?,
            services: mapped(ebpf, names::SERVICES, limits::SERVICE_BUCKETS_V4)?,
            services_v6: mapped(ebpf, names::SERVICES_V6, limits::SERVICE_BUCKETS_V6)?,
            service_records: mapped(ebpf, names::SERVICE_RECORDS, limits::MAX_SERVICES)?,
            slots: mapped(ebpf, names::SLOTS, shape.slots)?,
            backends: mapped(ebpf, names::BACKENDS, limits::MAX_BACKENDS)?,
            flow_memory: mapped(ebpf, names::FLOW_MEMORY, shape.flow_sets)?,
            flow_tuples: mapped(ebpf, names::FLOW_TUPLES, shape.flow_sets)?,
            source_ranges: typed!(names::SOURCE_RANGES),
            tunnels: typed!(names::TUNNELS),
            interfaces: mapped(ebpf, names::INTERFACES, limits::MAX_IFINDEX)?,
            redirect_ports: typed!(names::REDIRECT_PORTS),
            service_counters: typed!(names::SERVICE_COUNTERS),
            backend_counters: typed!(names::BACKEND_COUNTERS),
            drops: typed!(names::DROPS),
            vip_records: StdHashMap::new(),
        })
    }

    /// Applies one change of a plan. A new backend has no next hop yet: see [`Tables::store_backend`].
    ///
    /// # Errors
    /// When a hash map or trie refuses, which only a full one does.
    pub fn apply(&mut self, change: &Change) -> Result<(), ApplyError> {
        match change {
            Change::Backend { .. } => {}
            Change::RemoveBackend { id } => self.backends.store(*id, &BackendRecord::EMPTY),
            Change::Table { offset, slots } => {
                for (index, slot) in (*offset..).zip(slots.iter()) {
                    self.slots.store(index, slot);
                }
            }
            Change::ServiceRecord { id, record } => {
                if record.table == 0 {
                    // Going: packets that find the id must not find a table.
                    self.service_records.store_words(*id, record, 0..WORDS_OF_RECORD);
                } else {
                    self.service_records.store(*id, record);
                }
            }
            Change::ServiceEntryV4(write) => {
                let mut bucket = self.services.load(write.bucket);
                bucket.entries[write.place as usize] = write.entry;
                let first = write.place as usize * 2;
                // The key goes last, and first where the place becomes free: an entry is never found half written.
                let order =
                    if write.entry.protocol == 0 { [first, first + 1] } else { [first + 1, first] };
                self.services.store_words(write.bucket, &bucket, order);
            }
            Change::ServiceEntryV6(write) => {
                let mut bucket = self.services_v6.load(write.bucket);
                bucket.entries[write.place as usize] = write.entry;
                let first = write.place as usize * 4;
                // Port, protocol and service share the third word.
                let order = if write.entry.protocol == 0 {
                    [first + 2, first, first + 1]
                } else {
                    [first, first + 1, first + 2]
                };
                self.services_v6.store_words(write.bucket, &bucket, order);
            }
            Change::AddSourceRange(key) => self
                .source_ranges
                .insert(&lpm_trie::Key::new(key.prefix_length, key.data), 1, 0)
                .map_err(refused(names::SOURCE_RANGES))?,
            Change::RemoveSourceRange(key) => {
                ignore_missing(
                    self.source_ranges.remove(&lpm_trie::Key::new(key.prefix_length, key.data)),
                )
                .map_err(refused(names::SOURCE_RANGES))?;
            }
            Change::AddVip { address, reject } | Change::UpdateVip { address, reject } => {
                let mut record = self.vip_record(*address);
                record.flags = if *reject {
                    record.flags | lb_common::vip::VIP_REJECT
                } else {
                    record.flags & !lb_common::vip::VIP_REJECT
                };
                self.store_vip(*address, record)?;
            }
            Change::RemoveVip { address } => {
                self.vip_records.remove(address);
                ignore_missing(self.vips.remove(&Address::from(*address)))
                    .map_err(refused(names::VIPS))?;
            }
            Change::VipFilter { word, value } => self.vip_filter.store(*word, value),
        }
        Ok(())
    }

    /// The record of a VIP as last written; one that nobody owns if it is new.
    pub fn vip_record(&self, address: IpAddr) -> VipRecord {
        let new =
            VipRecord { lease_deadline_ns: 0, ifindex: 0, flags: 0, mac: [0; 6], _pad: [0; 2] };
        self.vip_records.get(&address).copied().unwrap_or(new)
    }

    /// Writes a VIP's record.
    ///
    /// # Errors
    /// When the map is full.
    pub fn store_vip(&mut self, address: IpAddr, record: VipRecord) -> Result<(), ApplyError> {
        self.vips.insert(Address::from(address), record, 0).map_err(refused(names::VIPS))?;
        self.vip_records.insert(address, record);
        Ok(())
    }

    /// The record of a backend.
    pub fn backend(&self, id: u32) -> BackendRecord {
        self.backends.load(id)
    }

    /// Writes a backend's record; `resolved` last, so that nothing is sent by half a record.
    pub fn store_backend(&self, id: u32, record: &BackendRecord) {
        // Word 2 holds the flags. The MAC addresses (words 0 and 1) are whole words by themselves and may change while packets flow.
        self.backends.store_words(id, record, [3, 4, 5, 6, 7, 0, 1, 2]);
    }

    /// Makes an interface known: its MAC address, and as a place to redirect to.
    ///
    /// # Errors
    /// When the devmap is full or the driver cannot be redirected to.
    pub fn add_interface(&mut self, ifindex: u32, mac: [u8; 6]) -> Result<(), ApplyError> {
        self.interfaces.store(ifindex, &InterfaceRecord { mac, attached: 1, _pad: 0 });
        self.add_redirect_port(ifindex)
    }

    /// Makes an interface known as a place to redirect to.
    ///
    /// # Errors
    /// When the devmap is full.
    pub fn add_redirect_port(&mut self, ifindex: u32) -> Result<(), ApplyError> {
        self.redirect_ports
            .insert(ifindex, ifindex, None, 0)
            .map_err(|error| ApplyError { map: names::REDIRECT_PORTS, source: error.into() })
    }

    /// Replaces the tunnels that end here.
    ///
    /// # Errors
    /// When the map is full.
    pub fn set_tunnels(&mut self, wanted: &[TunnelKey]) -> Result<(), ApplyError> {
        let old: Vec<TunnelKey> = self.tunnels.keys().filter_map(Result::ok).collect();
        for key in wanted {
            self.tunnels.insert(key, 1, 0).map_err(refused(names::TUNNELS))?;
        }
        for key in old.iter().filter(|key| !wanted.contains(key)) {
            ignore_missing(self.tunnels.remove(key)).map_err(refused(names::TUNNELS))?;
        }
        Ok(())
    }

    /// Traffic of a service, all CPUs together.
    pub fn service_traffic(&self, id: u32) -> TrafficCounter {
        sum(&self.service_counters, id)
    }

    /// Traffic of a backend, all CPUs together.
    pub fn backend_traffic(&self, id: u32) -> TrafficCounter {
        sum(&self.backend_counters, id)
    }

    /// Starts a service's counter anew, whose id belonged to another service before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear_service_traffic(&mut self, id: u32, cpus: u32) -> Result<(), ApplyError> {
        clear(&mut self.service_counters, id, cpus).map_err(refused(names::SERVICE_COUNTERS))
    }

    /// Starts a backend's counter anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn clear_backend_traffic(&mut self, id: u32, cpus: u32) -> Result<(), ApplyError> {
        clear(&mut self.backend_counters, id, cpus).map_err(refused(names::BACKEND_COUNTERS))
    }

    /// Packets by reason, all CPUs together.
    pub fn drops(&self) -> Vec<(Reason, u64)> {
        let count = |reason: Reason| {
            self.drops.get(&(reason as u32), 0).map_or(0, |values| values.iter().sum())
        };
        Reason::ALL.iter().map(|&reason| (reason, count(reason))).collect()
    }

    /// Remembered flows with who they are, in no order; free entries left out.
    pub fn remembered(
        &self,
    ) -> impl Iterator<Item = (lb_common::flow::FlowEntry, u32, usize)> + '_ {
        (0..self.flow_memory.len()).flat_map(|index| {
            let set = self.flow_memory.load(index);
            (0..lb_common::flow::FLOW_WAYS)
                .map(move |way| (set.entries[way], index, way))
                .filter(|(entry, ..)| entry.last_seen != 0)
        })
    }

    /// Who a remembered flow is, by its place.
    pub fn tuple(&self, index: u32, way: usize) -> lb_common::flow::FlowTuple {
        self.flow_tuples.load(index).tuples[way]
    }
}

const WORDS_OF_RECORD: usize = size_of::<ServiceRecord>() / 8;

fn mapped<T: aya::Pod>(
    ebpf: &Ebpf,
    name: &'static str,
    entries: u32,
) -> Result<MappedArray<T>, LoadError> {
    let map = ebpf.map(name).ok_or(LoadError::Missing(name))?;
    let Map::Array(data) = map else {
        return Err(LoadError::Missing(name));
    };
    MappedArray::new(data.fd(), entries).map_err(|source| LoadError::Mmap { name, source })
}

fn sum(counters: &PerCpuArray<MapData, TrafficCounter>, id: u32) -> TrafficCounter {
    let mut total = TrafficCounter::default();
    for counter in counters.get(&id, 0).iter().flat_map(|values| values.iter()) {
        total.packets += counter.packets;
        total.bytes += counter.bytes;
        total.new_flows += counter.new_flows;
    }
    total
}

fn clear(
    counters: &mut PerCpuArray<MapData, TrafficCounter>,
    id: u32,
    cpus: u32,
) -> Result<(), MapError> {
    let zeros = vec![TrafficCounter::default(); cpus as usize];
    let zeros = aya::maps::PerCpuValues::try_from(zeros).map_err(MapError::IoError)?;
    counters.set(id, zeros, 0)
}

/// Removing what is not there is no failure.
fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(call)) if call.io_error.raw_os_error() == Some(libc::ENOENT) => {
            Ok(())
        }
        other => other,
    }
}

/// Pins every map of a loaded object, in place of what an earlier agent left.
///
/// # Errors
/// When the file system refuses.
pub fn pin_maps(ebpf: &Ebpf, pins: &PinDirectory) -> anyhow::Result<()> {
    use anyhow::Context as _;
    for (name, map) in ebpf.maps().filter(|(name, _)| !name.starts_with('.')) {
        pins.remove(name)?;
        map.pin(pins.pin(name)).with_context(|| format!("cannot pin {name}"))?;
    }
    Ok(())
}
