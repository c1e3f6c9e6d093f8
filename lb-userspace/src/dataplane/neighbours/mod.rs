//! Next hops: where frames for each backend go, kept true without the kernel's help.
//!
//! The data path forwards past the kernel, so its traffic keeps no neighbour entry fresh. Routes come from the kernel through
//! netlink; whether the next hop is alive, and at which MAC, is asked on the wire several times a second.

use std::{collections::BTreeSet, io, net::IpAddr};

use tokio::sync::mpsc;

use crate::ownership::frames::Mac;

mod actor;
mod answer;
mod probe;
pub(crate) mod route;
pub(crate) mod socket;
mod table;

/// All that is needed to send a packet to a backend past the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface frames leave by; the parent's if the route leads over a VLAN device.
    pub ifindex: u32,
    /// Name of that interface.
    pub interface: String,
    /// VLAN id to tag frames with; 0: none.
    pub vlan: u16,
    /// Source address of packets this host sends there.
    pub source: IpAddr,
    /// Address of the next hop: a router, or the backend itself.
    pub gateway: IpAddr,
    /// The backend itself is the next hop.
    pub on_link: bool,
    /// MAC address of the next hop.
    pub mac: Mac,
    /// MAC address of the interface.
    pub source_mac: Mac,
    /// Largest IP packet the way there takes, in bytes: the smaller of the device's and the route's MTU.
    pub mtu: u32,
}

/// Why nothing can be sent to a backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The routing table has no entry for it.
    #[error("no route")]
    NoRoute,
    /// Its route says unreachable, prohibit or blackhole.
    #[error("its route says unreachable, prohibit or blackhole")]
    Unreachable,
    /// It is one of this host's own addresses.
    #[error("it is an address of this host")]
    Local,
    /// The interface its route names is down or has no carrier.
    #[error("interface {interface} is down or has no carrier")]
    LinkDown {
        /// Name of the interface.
        interface: String,
    },
    /// The interface its route names has no Ethernet address.
    #[error("interface {interface} is not an Ethernet")]
    NotEthernet {
        /// Name of the interface.
        interface: String,
    },
    /// Its route leads over a VLAN device on a VLAN device, or over one whose parent is in another network namespace.
    #[error("interface {interface} is a VLAN device on another one, or its parent is out of sight")]
    StackedVlans {
        /// Name of the interface.
        interface: String,
    },
    /// This host has no address to send from.
    #[error("this host has no source address for it on interface {interface}")]
    NoSource {
        /// Name of the interface.
        interface: String,
    },
    /// The next hop does not answer ARP or neighbour solicitations.
    #[error("next hop {next_hop} does not answer on interface {interface}")]
    NoAnswer {
        /// Address of the next hop.
        next_hop: IpAddr,
        /// Name of the interface.
        interface: String,
    },
    /// The kernel could not be asked.
    #[error("the route lookup failed: {0}")]
    Lookup(String),
}

/// A backend's next hop has become known, has changed or is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopUpdate {
    /// The backend.
    pub backend: IpAddr,
    /// Where to send its packets from now on, or why that is not known.
    pub next_hop: Result<NextHop, Unresolved>,
}

/// Following the next hops could not begin.
#[derive(Debug, thiserror::Error)]
pub enum NextHopsError {
    /// No netlink socket.
    #[error("cannot open a netlink socket for routes and neighbours")]
    Netlink(#[source] io::Error),
    /// No packet socket; needs `CAP_NET_RAW`.
    #[error("cannot open a packet socket to probe next hops (needs CAP_NET_RAW)")]
    Packet(#[source] io::Error),
}

/// Follows the next hops of a set of backends until dropped.
#[derive(Debug)]
pub struct NextHops {
    backends: mpsc::UnboundedSender<BTreeSet<IpAddr>>,
}

impl NextHops {
    /// Starts with no backends, in the calling thread's network namespace and tokio runtime. Every newly watched backend gets
    /// an update within about a second, resolved or not; from then on each change does.
    ///
    /// # Errors
    /// When the sockets cannot be opened.
    pub fn start() -> Result<(Self, mpsc::UnboundedReceiver<NextHopUpdate>), NextHopsError> {
        let (backends, watched) = mpsc::unbounded_channel();
        let (updates, receiver) = mpsc::unbounded_channel();
        let actor = actor::Actor::open(watched, updates)?;
        tokio::spawn(actor.run());
        Ok((Self { backends }, receiver))
    }

    /// Replaces the whole set of backends. Those that stay are not told again; one that was gone in between is.
    pub fn watch(&self, backends: BTreeSet<IpAddr>) {
        // Only fails once nobody reads the updates any more.
        let _ = self.backends.send(backends);
    }
}
