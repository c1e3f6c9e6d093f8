//! What a plan consists of: single changes of the maps, and why no plan could be made.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use lb_common::{
    limits,
    service::{
        SOURCE_RANGE_SERVICE_BITS, ServiceEntryV4, ServiceEntryV6, ServiceRecord, Slot, SourceRange,
    },
};

use super::two_choice::Write;
use crate::desired::ServiceKey;

/// One change of the maps. The data plane applies changes one by one, in the order of the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write or update a backend's record. The next hop is the data plane's to add.
    Backend {
        /// Index into `backends`.
        id: u32,
        /// Where packets go.
        address: IpAddr,
        /// `BACKEND_DOWN` and `BACKEND_DRAINING`; all other bits are the data plane's.
        flags: u32,
        /// When the id was given to this backend, in ticks.
        since: u32,
    },
    /// Empty a backend's record; nothing refers to it any more.
    RemoveBackend {
        /// Index into `backends`.
        id: u32,
    },
    /// Write a table. The place is unused, or holds a table of the same length that packets read while it is replaced: every slot must
    /// be written by one 64-bit store.
    Table {
        /// First slot.
        offset: u32,
        /// What to write.
        slots: Arc<[Slot]>,
    },
    /// Write a service's record; `ServiceRecord::EMPTY` when the service is gone. The table word must be written by one 64-bit store.
    ServiceRecord {
        /// Index into `service_records`.
        id: u32,
        /// What to write.
        record: ServiceRecord,
    },
    /// Write a place in `services`: a free place gets an entry, or an entry's place becomes free. The word that holds the protocol goes
    /// last, and alone when the place becomes free.
    ServiceEntryV4(Write<ServiceEntryV4>),
    /// Write a place in `services_v6`, as above.
    ServiceEntryV6(Write<ServiceEntryV6>),
    /// Add a key to `source_ranges`.
    AddSourceRange(SourceRangeKey),
    /// Remove a key from `source_ranges`.
    RemoveSourceRange(SourceRangeKey),
    /// Add a VIP; ownership is the data plane's to add.
    AddVip {
        /// The VIP.
        address: IpAddr,
        /// Refuse ports without service: `VIP_REJECT`.
        reject: bool,
    },
    /// Change whether a VIP refuses; its ownership stays as it is.
    UpdateVip {
        /// The VIP.
        address: IpAddr,
        /// Refuse ports without service: `VIP_REJECT`.
        reject: bool,
    },
    /// Remove a VIP.
    RemoveVip {
        /// The VIP.
        address: IpAddr,
    },
    /// Write a word of `vip_filter`, by one 64-bit store.
    VipFilter {
        /// Index into `vip_filter`.
        word: u32,
        /// What to write.
        value: u64,
    },
}

/// A key of the `source_ranges` trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceRangeKey {
    /// Prefix length in bits, service and IPv4-mapping included.
    pub prefix_length: u32,
    /// Service and network address.
    pub data: SourceRange,
}

impl SourceRangeKey {
    /// The key that allows `range` for a service.
    pub fn new(service: u32, range: IpNet) -> Self {
        let mapped = match range {
            IpNet::V4(_) => 96,
            IpNet::V6(_) => 0,
        };
        Self {
            prefix_length: SOURCE_RANGE_SERVICE_BITS + mapped + u32::from(range.prefix_len()),
            data: SourceRange {
                service_be: service.to_be_bytes(),
                address: lb_common::address::Address::from(range.network()).bytes,
            },
        }
    }
}

/// An ordered list of changes.
#[must_use = "the planner takes the changes for applied"]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be applied in this order. What is new comes first: backends, tables, source ranges, service records, service entries, VIPs;
    /// what goes comes after it, the other way round.
    pub changes: Vec<Change>,
}

impl Plan {
    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// How much the maps hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Entries of `vips`.
    pub vips: u32,
    /// Entries of `service_records`; at most 65,536.
    pub services: u32,
    /// Entries of `slots`.
    pub slots: u32,
    /// Entries of `backends`; at most 65,536.
    pub backends: u32,
    /// Entries of `source_ranges`.
    pub source_ranges: u32,
}

impl Default for Capacities {
    /// The sizes in the object file.
    fn default() -> Self {
        Self {
            vips: limits::MAX_VIPS,
            services: limits::MAX_SERVICES,
            slots: limits::MAX_SLOTS,
            backends: limits::MAX_BACKENDS,
            source_ranges: limits::MAX_SOURCE_RANGES,
        }
    }
}

/// What is counted against a capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Entries of `vips`.
    Vips,
    /// Entries of `service_records`.
    Services,
    /// Entries of `backends`.
    Backends,
    /// Entries of `source_ranges`.
    SourceRanges,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vips => "VIPs",
            Self::Services => "services",
            Self::Backends => "backends",
            Self::SourceRanges => "source ranges",
        })
    }
}

/// Why no plan could be made. Nothing changed then: the former state stays, and another plan can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A map is too small. What goes away makes room for later plans only.
    #[error("{needed} {resource} are needed while the change is made; the maps hold {limit}")]
    TooMany {
        /// What is too many.
        resource: Resource,
        /// How many would be in use while the changes are applied.
        needed: usize,
        /// How many there can be.
        limit: u32,
    },
    /// No range of `slots` is long enough for a table.
    #[error(
        "no {length} neighbouring slots are free for the Maglev table of {service}: {used} of {limit} slots are in use"
    )]
    NoSlots {
        /// Whose table it is.
        service: ServiceKey,
        /// Length of the table.
        length: u32,
        /// Slots in use while the change is made.
        used: u32,
        /// Slots in all.
        limit: u32,
    },
    /// No place in the buckets can be made free for a service.
    #[error(
        "no free place for {service}: {used} of {limit} places for services of this family are in use"
    )]
    NoPlace {
        /// Who does not fit.
        service: ServiceKey,
        /// Places in use while the change is made.
        used: usize,
        /// Places in all.
        limit: usize,
    },
    /// The source named a backend in a service but did not describe it.
    #[error("service {service} names backend {address}, which is not described")]
    UnknownBackend {
        /// Who names it.
        service: ServiceKey,
        /// The backend's address.
        address: IpAddr,
    },
}

impl PlanError {
    /// Checks a number against its limit.
    pub(super) fn check(resource: Resource, needed: usize, limit: u32) -> Result<(), Self> {
        if needed > limit as usize {
            return Err(Self::TooMany { resource, needed, limit });
        }
        Ok(())
    }
}
