//! Which backend a flow goes to: source ranges, keyed hash, one slot.

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::{
    address::Address,
    counters::Reason,
    hash,
    service::{
        SERVICE_AFFINITY_CLIENT_IP, SERVICE_PASS, SERVICE_REJECT, SERVICE_SOURCE_RANGES,
        SOURCE_RANGE_SERVICE_BITS, ServiceRecord, SourceRange, table_place,
    },
};

use crate::{
    flow_memory::{self, Asking, Begin},
    maps::{SERVICE_RECORDS, SLOTS, SOURCE_RANGES, setting},
    verdict::{Refusal, Stage, Verdict},
};

/// A flow as it is hashed: the client first, whatever packet told of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Flow<A> {
    pub client: A,
    pub vip: A,
    /// Client's port first, as they lie in the packet.
    pub ports: u32,
    pub protocol: u32,
    pub begin: Begin,
}

impl<A> Flow<A> {
    /// Between these two, but of no known ports yet.
    #[inline(always)]
    pub fn unknown(client: A, vip: A) -> Self {
        Self { client, vip, ports: 0, protocol: 0, begin: Begin::Unknown }
    }

    /// The VIP's port.
    #[inline(always)]
    pub fn port_be(&self) -> u16 {
        (self.ports >> 16) as u16
    }
}

/// Addresses of one family, as words that lie in the packet.
pub trait Family: Copy {
    /// Hashes the whole flow, or the client alone.
    fn hash(flow: &Flow<Self>, client_only: bool) -> u64;
    /// The address as a map key.
    fn address(self) -> Address;
    /// The same in two words.
    fn words(self) -> [u64; 2];
}

impl Family for u32 {
    #[inline(always)]
    fn hash(flow: &Flow<Self>, client_only: bool) -> u64 {
        let key = setting!(edge_seed);
        if client_only {
            hash::client_v4(key, flow.client, flow.vip)
        } else {
            hash::flow_v4(key, flow.client, flow.vip, flow.ports, flow.protocol as u8)
        }
    }

    #[inline(always)]
    fn address(self) -> Address {
        Address::from_v4(self.to_ne_bytes())
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        // ::ffff:a.b.c.d
        [0, u64::from(self) << 32 | 0xffff_0000]
    }
}

impl Family for [u64; 2] {
    #[inline(always)]
    fn hash(flow: &Flow<Self>, client_only: bool) -> u64 {
        let key = setting!(edge_seed);
        if client_only {
            hash::client_v6(key, flow.client, flow.vip)
        } else {
            hash::flow_v6(key, flow.client, flow.vip, flow.ports, flow.protocol as u8)
        }
    }

    #[inline(always)]
    fn address(self) -> Address {
        // SAFETY: sixteen bytes either way.
        Address { bytes: unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(self) } }
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        self
    }
}

/// What was chosen for a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Choice {
    pub hash: u64,
    pub service: u32,
    pub backend: u32,
    /// `SERVICE_*` bits.
    pub service_flags: u32,
    /// 1 where the packet begins a flow.
    pub new_flow: u32,
}

/// Chooses the backend of a flow of a service.
#[inline(always)]
pub fn choose<A: Family>(service: u32, flow: &Flow<A>) -> Stage<Choice> {
    let Some(record) = SERVICE_RECORDS.get(service) else {
        return Err(Verdict::Refuse(Refusal::NoBackend));
    };
    let flags = record.flags;
    if flags & (SERVICE_PASS | SERVICE_SOURCE_RANGES) != 0 {
        if flags & SERVICE_PASS != 0 {
            return Err(Verdict::Leave(Reason::ServicePassed));
        }
        if !source_allowed(service, &flow.client.address()) {
            return Err(Verdict::Drop(Reason::SourceNotAllowed));
        }
    }
    let hash = A::hash(flow, flags & SERVICE_AFFINITY_CLIENT_IP != 0);
    // One volatile load: offset and length always belong together.
    // SAFETY: a reference is a valid pointer.
    let (offset, length) =
        table_place(unsafe { core::ptr::read_volatile(&raw const record.table) });
    if length == 0 {
        return no_backend(flags);
    }
    let Some(slot) = SLOTS.get(offset + hash::slot_index(hash, length)) else {
        return no_backend(flags);
    };
    let slot = *slot;
    let mut choice = Choice {
        service,
        backend: slot.current,
        service_flags: flags,
        hash,
        new_flow: u32::from(flow.begin == Begin::Now),
    };
    if slot.is_moved() {
        let recalled = recall(service, record, slot, hash, flow);
        choice.backend = recalled as u32;
        if flow.begin == Begin::Unknown && recalled & flow_memory::NEW_FLOW != 0 {
            choice.new_flow = 1;
        }
    }
    Ok(choice)
}

#[inline(always)]
fn no_backend<T>(service_flags: u32) -> Stage<T> {
    if service_flags & SERVICE_REJECT == 0 {
        return Err(Verdict::Drop(Reason::NoBackendSilent));
    }
    Err(Verdict::Refuse(Refusal::NoBackend))
}

/// Not inlined: what is asked takes much of the little stack there is.
#[inline(never)]
fn recall<A: Family>(
    service: u32,
    record: &ServiceRecord,
    slot: lb_common::service::Slot,
    hash: u64,
    flow: &Flow<A>,
) -> u64 {
    let asking = Asking {
        hash,
        slot,
        service,
        service_since: record.since,
        service_flags: record.flags,
        begin: flow.begin as u32,
    };
    // SAFETY: a reference is valid.
    let recalled = unsafe { flow_memory::sluice_recall(&asking) };
    if recalled & flow_memory::NEW_FLOW != 0 {
        flow_memory::note(recalled, hash, flow);
    }
    recalled
}

#[inline(never)]
fn source_allowed(service: u32, client: &Address) -> bool {
    let range = SourceRange { service_be: service.to_be_bytes(), address: client.bytes };
    SOURCE_RANGES.get(&Key::new(SOURCE_RANGE_SERVICE_BITS + 128, range)).is_some()
}
