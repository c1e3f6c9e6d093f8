//! Services, described as a test reads.

use std::net::IpAddr;

use lb_common::service::{
    PROTOCOL_TCP, PROTOCOL_UDP, SERVICE_AFFINITY_CLIENT_IP, SERVICE_L2, SERVICE_PASS,
    SERVICE_REJECT, SERVICE_STICKY_UDP, ServiceRecord, Slot,
};

/// A service in the making.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) vip: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: u8,
    pub(super) flags: u32,
    pub(super) since: u32,
    pub(super) slots: Vec<Slot>,
    /// Networks and their prefix lengths; `None`: everybody.
    pub(super) sources: Option<Vec<(IpAddr, u32)>>,
}

/// A TCP service without backends; port 0 is every port no other service has.
pub fn tcp(vip: impl Into<IpAddr>, port: u16) -> Service {
    Service::new(vip.into(), port, PROTOCOL_TCP)
}

/// A UDP service without backends; port 0 is every port no other service has.
pub fn udp(vip: impl Into<IpAddr>, port: u16) -> Service {
    Service::new(vip.into(), port, PROTOCOL_UDP)
}

impl Service {
    const fn new(vip: IpAddr, port: u16, protocol: u8) -> Self {
        let flags = SERVICE_REJECT;
        Self { vip, port, protocol, flags, since: 0, slots: Vec::new(), sources: None }
    }

    /// Its table has a settled slot for each of these backends.
    pub fn to(self, backends: &[u32]) -> Self {
        self.slots(backends.iter().map(|&backend| Slot::settled(backend)).collect())
    }

    /// Its table has one slot, which moved.
    pub fn moved(self, current: u32, previous: u32) -> Self {
        self.slots(vec![Slot::moved(current, previous)])
    }

    /// Its table.
    pub fn slots(mut self, slots: Vec<Slot>) -> Self {
        self.slots = slots;
        self
    }

    const fn flag(mut self, flag: u32) -> Self {
        self.flags |= flag;
        self
    }

    /// Forwarding by rewritten MAC address.
    pub const fn l2(self) -> Self {
        self.flag(SERVICE_L2)
    }

    /// Session affinity by the client's address.
    pub const fn affinity(self) -> Self {
        self.flag(SERVICE_AFFINITY_CLIENT_IP)
    }

    /// Its endpoints are foreign: the kernel delivers.
    pub const fn passed(self) -> Self {
        self.flag(SERVICE_PASS)
    }

    /// UDP flows stay with a moved slot's previous backend.
    pub const fn sticky_udp(self) -> Self {
        self.flag(SERVICE_STICKY_UDP)
    }

    /// Without a backend, packets vanish silently.
    pub const fn silent(mut self) -> Self {
        self.flags &= !SERVICE_REJECT;
        self
    }

    /// Only these networks may use it: `10.1.0.0/16`.
    ///
    /// # Panics
    /// When one is not a network.
    pub fn only_from(mut self, networks: &[&str]) -> Self {
        let network = |text: &&str| {
            let (address, length) = text.split_once('/')?;
            Some((address.parse().ok()?, length.parse().ok()?))
        };
        let parsed = |text| network(text).unwrap_or_else(|| panic!("{text} is not a network"));
        self.sources = Some(networks.iter().map(parsed).collect());
        self
    }

    /// When its id was last given away, in ticks.
    pub const fn since(mut self, ticks: u32) -> Self {
        self.since = ticks;
        self
    }

    pub(super) fn record(&self, table: u64) -> ServiceRecord {
        ServiceRecord {
            table,
            flags: self.flags,
            since: self.since,
            vip: self.vip.into(),
            port_be: self.port.to_be_bytes(),
            protocol: self.protocol,
            ..ServiceRecord::EMPTY
        }
    }
}
