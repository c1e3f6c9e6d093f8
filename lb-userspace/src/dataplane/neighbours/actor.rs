//! Joins the table to the world: netlink, packet sockets and the clock.

use std::{collections::BTreeSet, future, io, net::IpAddr, time::Duration};

use futures::{StreamExt, TryStreamExt, channel::mpsc as netlink_channel, stream};
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    sys::SocketAddr,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use super::{
    NextHopUpdate, NextHopsError, Unresolved, answer,
    probe::Kernel,
    route::{self, Link, Topology},
    socket::{Hears, PacketSocket},
    table::Table,
};
use crate::ownership::frames::Mac;

/// Changes of routes, links and addresses come in bursts: one lookup round serves all within this time.
const SETTLE: Duration = Duration::from_millis(20);
/// Looks everything up again this often: path MTUs the kernel learns are not announced, and a notification may get lost.
const REVIEW: Duration = Duration::from_secs(5);
/// Probes that fall due close together are sent together.
const TICK: Duration = Duration::from_millis(10);
/// Lookups in flight at a time.
const LOOKUPS: usize = 32;

const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Neigh,
    MulticastGroup::Link,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];

type Messages =
    netlink_channel::UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// Owns the table and everything it is fed from.
pub(super) struct Actor {
    watched: mpsc::UnboundedReceiver<BTreeSet<IpAddr>>,
    updates: mpsc::UnboundedSender<NextHopUpdate>,
    netlink: Handle,
    messages: Messages,
    arp: PacketSocket,
    advertisements: PacketSocket,
    table: Table,
    lookup_due: Instant,
}

impl Actor {
    /// Opens the sockets in the calling thread's network namespace.
    pub(super) fn open(
        watched: mpsc::UnboundedReceiver<BTreeSet<IpAddr>>,
        updates: mpsc::UnboundedSender<NextHopUpdate>,
    ) -> Result<Self, NextHopsError> {
        let (connection, netlink, messages) =
            rtnetlink::new_multicast_connection(GROUPS).map_err(NextHopsError::Netlink)?;
        let arp = PacketSocket::open(Hears::Arp).map_err(NextHopsError::Packet)?;
        let advertisements =
            PacketSocket::open(Hears::Advertisements).map_err(NextHopsError::Packet)?;
        // Ends by itself once the last handle is gone.
        tokio::spawn(connection);
        let (table, lookup_due) = (Table::default(), Instant::now());
        Ok(Self { watched, updates, netlink, messages, arp, advertisements, table, lookup_due })
    }

    /// Runs until the watcher or the reader of updates is gone.
    pub(super) async fn run(mut self) {
        self.read_neighbours().await;
        loop {
            let probes =
                self.table.due().map(|due| Instant::from_std(due).max(Instant::now() + TICK));
            let wake = probes.map_or(self.lookup_due, |due| due.min(self.lookup_due));
            let (mut from_arp, mut from_ndp) = ([0; 128], [0; 256]);
            tokio::select! {
                backends = self.watched.recv() => match backends {
                    Some(backends) => {
                        if self.table.watch(&backends) {
                            self.lookup_due = Instant::now();
                        }
                    }
                    None => return,
                },
                message = self.messages.next() => match message {
                    Some((message, _)) => self.notified(message).await,
                    None => {
                        warn!("the netlink connection ended: next hops are not followed any more");
                        return;
                    }
                },
                received = self.arp.receive(&mut from_arp) => self.received(received, &from_arp),
                received = self.advertisements.receive(&mut from_ndp) => self.received(received, &from_ndp),
                () = sleep_until(wake) => {}
                () = self.updates.closed() => return,
            }
            if Instant::now() >= self.lookup_due {
                self.look_up().await;
            }
            // Answers that wait already must be heard before their senders are called silent.
            self.drain();
            for outgoing in self.table.poll(Instant::now().into_std()) {
                if let Err(error) = self.arp.send(outgoing.link, &outgoing.frame) {
                    debug!(ifindex = outgoing.link, %error, "cannot send a probe");
                }
            }
            for update in self.table.take_updates() {
                // A closed channel ends the loop in its next round.
                let _ = self.updates.send(update);
            }
        }
    }

    fn received(&mut self, received: io::Result<(usize, u32)>, buffer: &[u8]) {
        match received {
            Ok((length, link)) => {
                if let Some(answer) = buffer.get(..length).and_then(answer::parse) {
                    self.table.heard(link, answer, Instant::now().into_std());
                }
            }
            // An interface went down, for example: the socket hears the others on.
            Err(error) => debug!(%error, "receiving answers to probes"),
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; 256];
        while let Ok(received) = self.arp.try_receive(&mut buffer) {
            self.received(Ok(received), &buffer);
        }
        while let Ok(received) = self.advertisements.try_receive(&mut buffer) {
            self.received(Ok(received), &buffer);
        }
    }

    async fn notified(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) => {
                self.neighbour(&message, false);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(message)) => {
                self.neighbour(&message, true);
            }
            NetlinkPayload::InnerMessage(_) => self.look_up_soon(),
            NetlinkPayload::Overrun(_) => {
                debug!("netlink notifications were lost: reading everything anew");
                self.read_neighbours().await;
                self.look_up_soon();
            }
            _ => {}
        }
    }

    fn look_up_soon(&mut self) {
        self.lookup_due = self.lookup_due.min(Instant::now() + SETTLE);
    }

    fn neighbour(&mut self, message: &NeighbourMessage, gone: bool) {
        if let Some((address, opinion)) = read_neighbour(message) {
            let opinion = if gone { Kernel::Unknown } else { opinion };
            let now = Instant::now().into_std();
            self.table.kernel_says(message.header.ifindex, address, opinion, now);
        }
    }

    async fn read_neighbours(&mut self) {
        let neighbours: Result<Vec<_>, _> =
            self.netlink.neighbours().get().execute().try_collect().await;
        match neighbours {
            Ok(neighbours) => {
                neighbours.iter().for_each(|message| self.neighbour(message, false));
            }
            Err(error) => debug!(%error, "cannot read the kernel's neighbours: probing instead"),
        }
    }

    /// Looks up the way to every backend.
    async fn look_up(&mut self) {
        self.lookup_due = Instant::now() + REVIEW;
        let backends = self.table.backends();
        if backends.is_empty() {
            return;
        }
        let netlink = &self.netlink;
        let found = match topology(netlink).await {
            Ok(topology) => {
                let topology = &topology;
                stream::iter(backends)
                    .map(|backend| async move { (backend, find(netlink, topology, backend).await) })
                    .buffer_unordered(LOOKUPS)
                    .collect()
                    .await
            }
            Err(error) => {
                let refused = Unresolved::Lookup(error.to_string());
                backends
                    .into_iter()
                    .map(|backend| (backend, Err(refused.clone())))
                    .collect::<Vec<_>>()
            }
        };
        let now = Instant::now().into_std();
        for (backend, path) in found {
            self.table.routed(backend, path, now);
        }
        self.table.drop_unused_probes();
    }
}

async fn topology(netlink: &Handle) -> Result<Topology, rtnetlink::Error> {
    let links = netlink.link().get().execute();
    let links = links.try_filter_map(|message| future::ready(Ok(Link::read(message))));
    let links = links.try_collect().await?;
    let messages: Vec<_> = netlink.address().get().execute().try_collect().await?;
    let mut topology = Topology { links, ..Topology::default() };
    for (link, net) in messages.into_iter().filter_map(route::read_address) {
        topology.addresses.entry(link).or_default().push(net);
    }
    Ok(topology)
}

async fn find(
    netlink: &Handle,
    topology: &Topology,
    backend: IpAddr,
) -> Result<route::Path, Unresolved> {
    let mut routes = Box::pin(netlink.route().get(route::lookup(backend)).execute());
    match routes.next().await {
        Some(Ok(message)) => route::path(backend, &message, topology),
        Some(Err(rtnetlink::Error::NetlinkError(error))) => {
            Err(route::refusal(error.raw_code().saturating_abs()))
        }
        Some(Err(error)) => Err(Unresolved::Lookup(error.to_string())),
        None => Err(Unresolved::NoRoute),
    }
}

/// A neighbour and what the kernel thinks of it.
fn read_neighbour(message: &NeighbourMessage) -> Option<(IpAddr, Kernel)> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => {
                address = Some(IpAddr::from(*value));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => {
                address = Some(IpAddr::from(*value));
            }
            NeighbourAttribute::LinkLayerAddress(value) => {
                mac = Mac::try_from(value.as_slice()).ok();
            }
            _ => {}
        }
    }
    let opinion = match (message.header.state, mac) {
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => Kernel::Permanent(mac),
        (NeighbourState::Reachable, Some(mac)) => Kernel::Confirmed(mac),
        (NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe, Some(mac)) => {
            Kernel::Remembered(mac)
        }
        _ => Kernel::Unknown,
    };
    Some((address?, opinion))
}
