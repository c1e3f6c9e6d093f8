//! The agent's state: what is wanted, what is planned, what is in the maps. One lock guards it; changes go through here one by one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::SystemTime,
};

use anyhow::Context as _;
use lb_common::{
    flow::{FlowEntry, ticks},
    hash,
    tunnel::TunnelKey,
    vip::VIP_OWNED,
};

use crate::{
    config::Config,
    dataplane::{
        attach::Attached,
        interfaces::{Interface, interface_for},
        neighbours::{NextHop, NextHopUpdate},
        records::{TunnelSources, backend_record},
        tables::Tables,
    },
    desired::Desired,
    ownership::announcer::Announcement,
    plan::{Change, Plan, Planner},
};

/// How long ARP and NDP are answered after the agent last said so, in nanoseconds.
const LEASE_NS: u64 = 3_000_000_000;
/// A slot stays moved for at least this long: an idle connection may wake up later than others. 15 minutes, in ticks.
const SETTLE_AFTER_TICKS: u32 = 840;
/// A remembered flow that was not seen for this long no longer holds its slot back. 15 minutes, in ticks.
const FLOW_IDLE_TICKS: u32 = 840;

/// A backend as the data path has it.
pub struct Placed {
    /// Address.
    pub address: IpAddr,
    /// `BACKEND_DOWN` and `BACKEND_DRAINING`.
    pub flags: u32,
    /// When the id was given to it, in ticks.
    pub since: u32,
}

/// A VIP as this agent handles it.
pub struct HeldVip {
    /// Interface it is announced on.
    pub interface: String,
    /// Since when it is owned.
    pub since: SystemTime,
}

/// See the module.
pub struct Core {
    /// The configuration that is applied.
    pub config: Config,
    /// What it asks for.
    pub desired: Desired,
    /// The mirror of the maps.
    pub planner: Planner,
    /// The maps.
    pub tables: Tables,
    /// Interfaces with the program on them.
    pub attached: Vec<Attached>,
    /// The same interfaces, with addresses.
    pub interfaces: Vec<Interface>,
    /// Next hops as last told, by backend.
    pub next_hops: HashMap<IpAddr, Result<NextHop, String>>,
    /// Backends in the maps, by id.
    pub placed: BTreeMap<u32, Placed>,
    /// VIPs this agent owns.
    pub held: BTreeMap<IpAddr, HeldVip>,
    /// Why the newest state of the source was refused; empty if it was not.
    pub source_errors: Vec<String>,
    /// When a state of the source was last applied.
    pub last_applied: Option<SystemTime>,
    /// Keys of the flow hash, as compiled into the program.
    pub edge_seed: [u64; 2],
    /// Times a VIP was taken or given up.
    pub transitions: u64,
    sources: TunnelSources,
    cpus: u32,
    service_since: HashMap<u32, u32>,
}

impl Core {
    /// The state of an agent that has attached but applied nothing yet.
    pub fn new(
        config: Config,
        planner: Planner,
        tables: Tables,
        interfaces: Vec<Interface>,
        edge_seed: [u64; 2],
        cpus: u32,
    ) -> Self {
        let prefixes = &config.agent.tunnel_source_prefix;
        let sources = TunnelSources {
            fixed: config.agent.tunnel_source.clone(),
            vary_v4: prefixes.iter().any(|prefix| prefix.addr().is_ipv4()),
            vary_v6: prefixes.iter().any(|prefix| prefix.addr().is_ipv6()),
        };
        Self {
            config,
            desired: Desired::default(),
            planner,
            tables,
            attached: Vec::new(),
            interfaces,
            next_hops: HashMap::new(),
            placed: BTreeMap::new(),
            held: BTreeMap::new(),
            source_errors: Vec::new(),
            last_applied: None,
            edge_seed,
            transitions: 0,
            sources,
            cpus,
            service_since: HashMap::new(),
        }
    }

    /// Applies a configuration's services. What needs a restart is left as it is.
    ///
    /// # Errors
    /// When it does not fit into the maps: the last good state stays.
    pub fn apply(&mut self, config: Config) -> anyhow::Result<()> {
        let desired = config.desired();
        let plan = self.planner.plan(&desired, now_ticks())?;
        let running = self.config.agent.clone();
        self.config = Config { agent: running, ..config };
        self.desired = desired;
        self.carry_out(&plan)?;
        self.hold_vips()?;
        self.renew_leases()?;
        self.source_errors.clear();
        self.last_applied = Some(SystemTime::now());
        Ok(())
    }

    fn carry_out(&mut self, plan: &Plan) -> anyhow::Result<()> {
        for change in &plan.changes {
            match change {
                Change::Backend { id, address, flags, since } => {
                    let known = self.placed.get(id).is_some_and(|placed| placed.since == *since);
                    let placed = Placed { address: *address, flags: *flags, since: *since };
                    self.placed.insert(*id, placed);
                    if !known {
                        self.tables.clear_backend_traffic(*id, self.cpus)?;
                    }
                    self.write_backend(*id);
                }
                Change::RemoveBackend { id } => {
                    self.placed.remove(id);
                }
                Change::ServiceRecord { id, record }
                    if self.service_since.insert(*id, record.since) != Some(record.since) =>
                {
                    self.tables.clear_service_traffic(*id, self.cpus)?;
                }
                _ => {}
            }
            self.tables.apply(change)?;
        }
        Ok(())
    }

    fn write_backend(&self, id: u32) {
        let Some(placed) = self.placed.get(&id) else { return };
        let next_hop = self.next_hops.get(&placed.address).and_then(|found| found.as_ref().ok());
        let record =
            backend_record(placed.address, placed.flags, placed.since, next_hop, &self.sources);
        self.tables.store_backend(id, &record);
    }

    /// Backends whose next hops have to be known: those of the source, and those that only old flows still use.
    pub fn backends(&self) -> BTreeSet<IpAddr> {
        self.placed.values().map(|placed| placed.address).collect()
    }

    /// Takes in a next hop that was found, changed or lost.
    ///
    /// # Errors
    /// When the maps refuse the consequences.
    pub fn next_hop(&mut self, update: NextHopUpdate) -> anyhow::Result<()> {
        let NextHopUpdate { backend, next_hop } = update;
        match &next_hop {
            Ok(found) => {
                tracing::info!(%backend, interface = found.interface, next_hop = %found.gateway, mac = %mac(found.mac), "next hop");
                if !self.interfaces.iter().any(|interface| interface.ifindex == found.ifindex) {
                    self.tables.add_redirect_port(found.ifindex)?;
                }
            }
            Err(why) => tracing::warn!(%backend, %why, "no next hop"),
        }
        let down = next_hop.is_err();
        self.next_hops.insert(backend, next_hop.map_err(|why| why.to_string()));
        let ids: Vec<u32> = self
            .placed
            .iter()
            .filter(|(_, placed)| placed.address == backend)
            .map(|(&id, _)| id)
            .collect();
        for id in ids {
            self.write_backend(id);
        }
        if self.planner.set_down(backend, down) {
            let plan = self.planner.plan(&self.desired, now_ticks())?;
            self.carry_out(&plan)?;
        }
        Ok(())
    }

    /// Owns every VIP: in this version one edge has them all.
    fn hold_vips(&mut self) -> anyhow::Result<()> {
        let wanted: BTreeSet<IpAddr> = self.desired.services.keys().map(|key| key.vip).collect();
        let before = self.held.len();
        self.held.retain(|vip, _| wanted.contains(vip));
        self.transitions += (before - self.held.len()) as u64;
        if !self.config.agent.edge {
            return Ok(());
        }
        for vip in wanted {
            if self.held.contains_key(&vip) {
                continue;
            }
            let Some(interface) = interface_for(vip, &self.interfaces) else { continue };
            let mut record = self.tables.vip_record(vip);
            record.flags |= VIP_OWNED;
            record.ifindex = interface.ifindex;
            record.mac = interface.mac;
            let held = HeldVip { interface: interface.name.clone(), since: SystemTime::now() };
            self.tables.store_vip(vip, record)?;
            tracing::info!(%vip, interface = held.interface, "owned");
            self.held.insert(vip, held);
            self.transitions += 1;
        }
        Ok(())
    }

    /// Keeps ARP and NDP answered for a while longer.
    ///
    /// # Errors
    /// When the maps refuse.
    pub fn renew_leases(&mut self) -> anyhow::Result<()> {
        let deadline = monotonic_ns() + LEASE_NS;
        for &vip in self.held.keys() {
            let mut record = self.tables.vip_record(vip);
            record.lease_deadline_ns = deadline;
            self.tables.store_vip(vip, record)?;
        }
        Ok(())
    }

    /// Stops answering for VIPs, so that nobody is led here while the program is detached.
    ///
    /// # Errors
    /// When the maps refuse.
    pub fn release_vips(&mut self) -> anyhow::Result<()> {
        for (vip, _) in std::mem::take(&mut self.held) {
            let mut record = self.tables.vip_record(vip);
            record.flags &= !VIP_OWNED;
            self.tables.store_vip(vip, record)?;
        }
        Ok(())
    }

    /// What is to be announced.
    pub fn announcements(&self) -> BTreeMap<IpAddr, Announcement> {
        let announcement = |(&vip, _): (&IpAddr, &HeldVip)| {
            let record = self.tables.vip_record(vip);
            (vip, Announcement { ifindex: record.ifindex, mac: record.mac })
        };
        self.held.iter().map(announcement).collect()
    }

    /// Takes in the interfaces as they are now: their addresses decide which tunnels end here.
    ///
    /// # Errors
    /// When the maps refuse.
    pub fn set_local_addresses(&mut self, addresses: &BTreeSet<IpAddr>) -> anyhow::Result<()> {
        let Some(edges) = &self.config.edges else { return Ok(()) };
        let mut tunnels = Vec::new();
        for &local in addresses {
            let destination = local.into();
            let of_family = edges.iter().filter(|edge| edge.is_ipv4() == local.is_ipv4());
            let sources = of_family.map(|&edge| edge.into());
            let any = lb_common::address::Address::UNSPECIFIED;
            let keys = sources.chain([any]).map(|source| TunnelKey { source, destination });
            tunnels.extend(keys);
        }
        self.tables.set_tunnels(&tunnels).context("tunnels that end here")
    }

    /// Lets slots forget that they moved once no flow needs to know.
    ///
    /// # Errors
    /// When the maps refuse.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        let now = now_ticks();
        let mut needed: BTreeSet<(u32, u32)> = BTreeSet::new();
        let lengths: HashMap<u32, u32> = self
            .planner
            .services()
            .filter(|service| service.moved_slots > 0)
            .filter_map(|service| Some((service.id, service.table?.1)))
            .collect();
        if !lengths.is_empty() {
            for (entry, ..) in self.tables.remembered() {
                let service = u32::from(entry.service);
                if let Some(&length) = lengths.get(&service)
                    && now.saturating_sub(entry.last_seen) < FLOW_IDLE_TICKS
                {
                    needed.insert((service, hash::slot_index(entry.fingerprint(), length)));
                }
            }
        }
        let needed_by = |service: u32, slot: u32| needed.contains(&(service, slot));
        let plan = self.planner.settle(now, SETTLE_AFTER_TICKS, &needed_by);
        self.carry_out(&plan)
    }

    /// Does a remembered flow still speak of its service and backend?
    pub fn is_current(&self, entry: &FlowEntry) -> bool {
        let service = self.service_since.get(&u32::from(entry.service));
        let backend = self.placed.get(&u32::from(entry.backend));
        service.is_some_and(|since| entry.last_seen >= *since)
            && backend.is_some_and(|backend| entry.last_seen >= backend.since)
    }
}

/// A MAC address as people write it.
pub fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of the data path.
pub fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs())
}

/// The present in [`ticks`].
pub fn now_ticks() -> u32 {
    ticks(monotonic_ns())
}
