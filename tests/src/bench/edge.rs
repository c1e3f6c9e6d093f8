//! A data path of full size, its tables filled like a busy edge's: what the measurements run against.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, MapData},
    programs::Xdp,
    util::nr_cpus,
};
use lb_common::{
    address::Address,
    counters::InterfaceRecord,
    hash,
    limits::FLOW_SETS,
    names,
    service::{
        PROTOCOL_TCP, SERVICE_REJECT, ServiceBucketV4, ServiceBucketV6, ServiceEntryV4,
        ServiceEntryV6, ServiceRecord, Slot, table_word,
    },
    settings::Settings,
    vip::VipRecord,
};

use crate::{
    addresses::ROUTED_VIPS,
    bpf::{Backend, EDGE, World, monotonic_ns},
};

/// The port of every service.
pub const PORT: u16 = 80;
/// A service whose slots are all settled.
pub const SETTLED_V4: Ipv4Addr = ROUTED_VIPS.v4(100);
/// A service whose slots have all moved.
pub const MOVED_V4: Ipv4Addr = ROUTED_VIPS.v4(101);
/// A service whose backends are reached over IPv6.
pub const SETTLED_V6: Ipv6Addr = ROUTED_VIPS.v6(100);
/// A service whose backends are reached over IPv4.
pub const SETTLED_V6_IN_V4: Ipv6Addr = ROUTED_VIPS.v6(101);

/// Other services of each family.
const OTHERS: u32 = 4000;
/// Backends of a service.
const BACKENDS: u32 = 10;
/// Slots of a service's table.
const SLOTS: u32 = 16_381;
/// Ids of the backends that are reached over IPv4, then of those over IPv6.
const FIRST_BACKENDS: [u32; 2] = [1, 1 + BACKENDS];

/// The loaded data path.
pub struct Edge {
    bpf: Ebpf,
    /// Id of the next service, which is also the number of its table.
    services: u32,
    tables: u32,
}

impl Edge {
    /// Loads the data path as an agent does by default, for frames that come in through `ifindex`, and fills its tables.
    ///
    /// # Errors
    /// When there is no object, or the kernel refuses it: the data path needs root.
    pub fn load(ifindex: u32) -> Result<Self> {
        let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))? as u32;
        let sets = FLOW_SETS / cpus.next_power_of_two();
        let settings = Settings { flow_set_mask: sets - 1, ..World::settings() };
        let mut bpf = EbpfLoader::new()
            .btf(None)
            .override_global(names::GLOBAL_SETTINGS, &settings, true)
            .load_file(
                env::var_os("SLUICE_BPF_OBJECT")
                    .map_or_else(|| object("sluice-ebpf"), PathBuf::from),
            )
            .context(
                "cannot load the data path's maps; compile it with `cargo xtask build-ebpf`",
            )?;
        let program = bpf.program_mut(names::PROGRAM_XDP).context("the object has no program")?;
        <&mut Xdp>::try_from(program)?
            .load()
            .context("the kernel does not load the data path (are you root?)")?;
        let mut edge = Self { bpf, services: 0, tables: 0 };
        edge.fill(ifindex)?;
        Ok(edge)
    }

    /// The program under test.
    ///
    /// # Errors
    /// Never: it was loaded.
    pub fn program(&mut self) -> Result<&mut Xdp> {
        let program = self.bpf.program_mut(names::PROGRAM_XDP).context("the program is gone")?;
        Ok(program.try_into()?)
    }

    fn fill(&mut self, ifindex: u32) -> Result<()> {
        let interface = InterfaceRecord { mac: EDGE.0, attached: 1, _pad: 0 };
        self.array(names::INTERFACES)?.set(ifindex, interface, 0)?;
        let mut backends = self.array(names::BACKENDS)?;
        for host in 0..BACKENDS {
            let address = 21 + host as u8;
            let [v4, v6] = FIRST_BACKENDS.map(|first| first + host);
            backends.set(v4, Backend::v4(address).behind(ifindex).record(), 0)?;
            backends.set(v6, Backend::v6(address).behind(ifindex).record(), 0)?;
        }
        let [v4, v6] = FIRST_BACKENDS;
        let others = self.table(|slot| Slot::settled(v4 + slot % BACKENDS))?;
        for number in 0..OTHERS {
            let [.., high, low] = number.to_be_bytes();
            self.service(Ipv4Addr::new(198, 18, high, low).into(), others)?;
            let address = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number as u16);
            self.service(address.into(), others)?;
        }
        let settled = self.table(|slot| Slot::settled(v4 + scattered(slot)))?;
        let moved = self.table(|slot| Slot::moved(v4 + scattered(slot), v4 + scattered(!slot)))?;
        let settled_v6 = self.table(|slot| Slot::settled(v6 + scattered(slot)))?;
        self.service(SETTLED_V4.into(), settled)?;
        self.service(MOVED_V4.into(), moved)?;
        self.service(SETTLED_V6.into(), settled_v6)?;
        self.service(SETTLED_V6_IN_V4.into(), settled)
    }

    /// Writes the next table; returns its place.
    fn table(&mut self, slot: impl Fn(u32) -> Slot) -> Result<u64> {
        let offset = self.tables * SLOTS;
        self.tables += 1;
        let mut slots = self.array(names::SLOTS)?;
        for index in 0..SLOTS {
            slots.set(offset + index, slot(index), 0)?;
        }
        Ok(table_word(offset, SLOTS))
    }

    fn service(&mut self, vip: IpAddr, table: u64) -> Result<()> {
        self.services += 1;
        let service = self.services;
        let port_be = PORT.to_be_bytes();
        let protocol = PROTOCOL_TCP;
        let address = Address::from(vip);
        self.vip(address)?;
        let record = ServiceRecord {
            table,
            flags: SERVICE_REJECT,
            vip: address,
            port_be,
            protocol,
            ..ServiceRecord::EMPTY
        };
        self.array(names::SERVICE_RECORDS)?.set(service, record, 0)?;
        match vip {
            IpAddr::V4(vip) => {
                let vip = vip.octets();
                let entry =
                    ServiceEntryV4 { vip, port_be, protocol, service, ..ServiceEntryV4::FREE };
                let key = ServiceEntryV4::key(vip, port_be, protocol);
                self.entry_v4(hash::service_buckets_v4(key), entry)
            }
            IpAddr::V6(_) => {
                let entry = ServiceEntryV6 {
                    vip: address,
                    port_be,
                    protocol,
                    service,
                    ..ServiceEntryV6::FREE
                };
                let key = ServiceEntryV6::key(port_be, protocol);
                self.entry_v6(hash::service_buckets_v6(address.words(), key), entry)
            }
        }
    }

    fn vip(&mut self, address: Address) -> Result<()> {
        let map = self.bpf.map_mut(names::VIPS).context("no VIPs")?;
        let mut vips: HashMap<_, Address, VipRecord> = map.try_into()?;
        let record = VipRecord {
            lease_deadline_ns: monotonic_ns(),
            ifindex: 0,
            flags: 0,
            mac: EDGE.0,
            _pad: [0; 2],
        };
        vips.insert(address, record, 0)?;
        let (word, mask) = hash::filter_bit_of(&address);
        let mut filter = self.array::<u64>(names::VIP_FILTER)?;
        let bits = filter.get(&word, 0)?;
        Ok(filter.set(word, bits | mask, 0)?)
    }

    /// Puts an entry into the emptier one of its two buckets.
    fn entry_v4(&mut self, (first, second): (u32, u32), entry: ServiceEntryV4) -> Result<()> {
        let mut buckets = self.array::<ServiceBucketV4>(names::SERVICES)?;
        let free = |bucket: &ServiceBucketV4| {
            bucket.entries.iter().filter(|place| place.protocol == 0).count()
        };
        let [a, b] = [buckets.get(&first, 0)?, buckets.get(&second, 0)?];
        let (index, mut bucket) = if free(&b) > free(&a) { (second, b) } else { (first, a) };
        let mut places = bucket.entries.iter_mut();
        *places.find(|place| place.protocol == 0).context("no free place")? = entry;
        Ok(buckets.set(index, bucket, 0)?)
    }

    fn entry_v6(&mut self, (first, second): (u32, u32), entry: ServiceEntryV6) -> Result<()> {
        let mut buckets = self.array::<ServiceBucketV6>(names::SERVICES_V6)?;
        let free = |bucket: &ServiceBucketV6| {
            bucket.entries.iter().filter(|place| place.protocol == 0).count()
        };
        let [a, b] = [buckets.get(&first, 0)?, buckets.get(&second, 0)?];
        let (index, mut bucket) = if free(&b) > free(&a) { (second, b) } else { (first, a) };
        let mut places = bucket.entries.iter_mut();
        *places.find(|place| place.protocol == 0).context("no free place")? = entry;
        Ok(buckets.set(index, bucket, 0)?)
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map =
            self.bpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
        Ok(map.try_into()?)
    }
}

/// A backend's number for a slot, in no pattern a branch predictor could learn.
const fn scattered(slot: u32) -> u32 {
    let mixed = slot.wrapping_mul(0x9e37_79b1);
    (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca77) % BACKENDS
}

/// Where a compiled object of lb-ebpf lies.
pub fn object(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../lb-ebpf/target/bpfel-unknown-none/release")
        .join(name)
}
