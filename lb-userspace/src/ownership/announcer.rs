//! Tells the network which VIPs are here: gratuitous ARP and unsolicited neighbour advertisements, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use super::frames::{self, Mac};
use crate::dataplane::neighbours::socket::{Hears, PacketSocket};

/// When a new VIP is announced, since it was taken: at once, and again in case those frames got lost.
const BURST: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(1000)];
/// From then on, so often; give or take [`JITTER`].
const REFRESH: Duration = Duration::from_secs(60);
/// VIPs taken together must not be announced together forever.
const JITTER: Duration = Duration::from_secs(10);
/// A packet socket that cannot be opened is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// How a VIP is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Index of the interface to announce it on.
    pub ifindex: u32,
    /// MAC address that answers for it.
    pub mac: Mac,
}

/// Frames sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnouncementCounts {
    /// Gratuitous ARP requests.
    pub garp_request: u64,
    /// Gratuitous ARP replies.
    pub garp_reply: u64,
    /// Unsolicited neighbour advertisements.
    pub unsolicited_na: u64,
}

#[derive(Debug, Default)]
struct Counters {
    garp_request: AtomicU64,
    garp_reply: AtomicU64,
    unsolicited_na: AtomicU64,
}

type Owned = BTreeMap<IpAddr, Announcement>;

/// What the announcer is told to do. In order, so that a VIP given up and taken again counts as new.
#[derive(Debug)]
enum Order {
    Own(Owned),
    Repeat(BTreeSet<IpAddr>),
}

/// Announces a set of VIPs until dropped.
#[derive(Debug)]
pub struct Announcer {
    orders: mpsc::UnboundedSender<Order>,
    counters: Arc<Counters>,
}

impl Announcer {
    /// Starts with no VIPs, in the calling thread's network namespace and tokio runtime. Without the right to open packet
    /// sockets (`CAP_NET_RAW`) it warns and keeps trying.
    pub fn start() -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        let socket = open();
        tokio::spawn(run(socket, received, Arc::clone(&counters)));
        Self { orders, counters }
    }

    /// Replaces the whole set. New VIPs, and those whose interface or MAC is another now, are announced at once.
    pub fn own(&self, owned: BTreeMap<IpAddr, Announcement>) {
        self.order(Order::Own(owned));
    }

    /// Announces these VIPs anew, as if just taken: their link has come up, or a rival has announced them. Those not owned are
    /// ignored.
    pub fn repeat(&self, vips: BTreeSet<IpAddr>) {
        self.order(Order::Repeat(vips));
    }

    fn order(&self, order: Order) {
        // Only fails when the runtime is shutting down.
        let _ = self.orders.send(order);
    }

    /// Frames sent so far, by kind.
    pub fn counts(&self) -> AnnouncementCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AnnouncementCounts {
            garp_request: read(&self.counters.garp_request),
            garp_reply: read(&self.counters.garp_reply),
            unsolicited_na: read(&self.counters.unsolicited_na),
        }
    }
}

/// When one VIP is announced next. Time and chance are arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Schedule {
    taken: Instant,
    sent: usize,
    due: Instant,
}

impl Schedule {
    fn new(now: Instant) -> Self {
        Self { taken: now, sent: 0, due: now }
    }

    /// Notes that the VIP has just been announced; `chance` is uniform over all values.
    fn announced(&mut self, now: Instant, chance: u16) {
        self.sent += 1;
        self.due = match BURST.get(self.sent) {
            Some(after) => self.taken + *after,
            None => now + REFRESH - JITTER + JITTER * 2 * u32::from(chance) / u32::from(u16::MAX),
        };
    }
}

/// The announced VIPs with their schedules.
type Scheduled = BTreeMap<IpAddr, (Announcement, Schedule)>;

async fn run(
    mut socket: Option<PacketSocket>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    counters: Arc<Counters>,
) {
    let mut scheduled = Scheduled::new();
    loop {
        let due = scheduled.values().map(|(_, schedule)| schedule.due).min();
        let due =
            due.map(|due| if socket.is_some() { due } else { due.max(Instant::now() + RETRY) });
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Own(owned)) => {
                    replace(&mut scheduled, &owned, socket.as_ref(), Instant::now());
                }
                Some(Order::Repeat(vips)) => repeat(&mut scheduled, &vips, Instant::now()),
                None => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
        if socket.is_none() {
            socket = open();
            if let Some(socket) = &socket {
                scheduled.iter().for_each(|(vip, (how, _))| join(socket, *vip, *how));
            }
        }
        let Some(socket) = &socket else { continue };
        let now = Instant::now();
        for (vip, (how, schedule)) in &mut scheduled {
            if schedule.due <= now {
                announce(socket, *vip, *how, &counters);
                schedule.announced(now, chance());
            }
        }
    }
}

fn open() -> Option<PacketSocket> {
    PacketSocket::open(Hears::Nothing)
        .inspect_err(|error| warn!(%error, "cannot announce VIPs: no packet socket"))
        .ok()
}

/// Brings the schedule in line with what is owned now, and the multicast memberships with it.
fn replace(scheduled: &mut Scheduled, owned: &Owned, socket: Option<&PacketSocket>, now: Instant) {
    scheduled.retain(|vip, (how, _)| {
        let stays = owned.get(vip) == Some(how);
        if let Some(socket) = socket.filter(|_| !stays) {
            leave(socket, *vip, *how);
        }
        stays
    });
    for (vip, how) in owned {
        scheduled.entry(*vip).or_insert_with(|| {
            if let Some(socket) = socket {
                join(socket, *vip, *how);
            }
            (*how, Schedule::new(now))
        });
    }
}

/// Starts the schedules of these VIPs anew.
fn repeat(scheduled: &mut Scheduled, vips: &BTreeSet<IpAddr>, now: Instant) {
    for (_, (_, schedule)) in scheduled.iter_mut().filter(|(vip, _)| vips.contains(vip)) {
        *schedule = Schedule::new(now);
    }
}

fn announce(socket: &PacketSocket, vip: IpAddr, how: Announcement, counters: &Counters) {
    let send = |frame: &[u8], counter: &AtomicU64| match socket.send(how.ifindex, frame) {
        Ok(()) => {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => warn!(%vip, ifindex = how.ifindex, %error, "cannot announce a VIP"),
    };
    match vip {
        IpAddr::V4(vip) => {
            send(&frames::gratuitous_arp_request(vip, how.mac), &counters.garp_request);
            send(&frames::gratuitous_arp_reply(vip, how.mac), &counters.garp_reply);
        }
        IpAddr::V6(vip) => {
            send(&frames::unsolicited_advertisement(vip, how.mac), &counters.unsolicited_na);
        }
    }
}

/// Lets neighbour solicitations for a VIP through the interface's multicast filter: the VIP is not the kernel's address, so the
/// kernel does not.
fn join(socket: &PacketSocket, vip: IpAddr, how: Announcement) {
    if let Some(group) = solicited(vip)
        && let Err(error) = socket.join(how.ifindex, group)
    {
        warn!(%vip, ifindex = how.ifindex, %error, "cannot join the VIP's solicited-node group");
    }
}

fn leave(socket: &PacketSocket, vip: IpAddr, how: Announcement) {
    if let Some(group) = solicited(vip)
        && let Err(error) = socket.leave(how.ifindex, group)
    {
        // The interface is gone, and the membership with it.
        debug!(%vip, ifindex = how.ifindex, %error, "cannot leave the VIP's solicited-node group");
    }
}

fn solicited(vip: IpAddr) -> Option<Mac> {
    match vip {
        IpAddr::V4(_) => None,
        IpAddr::V6(vip) => Some(frames::multicast_mac(frames::solicited_node(vip))),
    }
}

fn chance() -> u16 {
    // Without randomness there is merely no jitter.
    getrandom::u32().map_or(u16::MAX / 2, |value| value as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOW: Announcement = Announcement { ifindex: 2, mac: [2, 0, 0, 0, 0, 1] };

    fn owned(vips: &[&str]) -> Owned {
        vips.iter().map(|vip| (vip.parse().unwrap(), HOW)).collect()
    }

    #[test]
    fn a_new_vip_is_announced_at_once_then_in_a_burst_then_each_minute() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let mut at = Vec::new();
        for _ in 0..5 {
            at.push(schedule.due - start);
            schedule.announced(schedule.due, u16::MAX / 2);
        }
        assert_eq!(at[..3], BURST);
        assert!(at[3].abs_diff(Duration::from_secs(61)) < Duration::from_millis(1));
        assert!(at[4].abs_diff(Duration::from_secs(121)) < Duration::from_millis(1));
    }

    #[test]
    fn a_vip_that_stays_keeps_its_schedule_and_one_that_moves_starts_anew() {
        let start = Instant::now();
        let mut scheduled = Scheduled::new();
        replace(&mut scheduled, &owned(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), None, start);
        scheduled.values_mut().for_each(|(_, schedule)| schedule.announced(start, 0));
        let mut next = owned(&["10.0.0.1", "10.0.0.2"]);
        next.values_mut().last().unwrap().ifindex = 3;
        replace(&mut scheduled, &next, None, start);
        let sent: Vec<_> = scheduled.values().map(|(_, schedule)| schedule.sent).collect();
        assert_eq!(sent, [1, 0]);
    }

    #[test]
    fn only_the_vips_to_repeat_start_anew() {
        let start = Instant::now();
        let mut scheduled = Scheduled::new();
        replace(&mut scheduled, &owned(&["10.0.0.1", "10.0.0.2"]), None, start);
        scheduled.values_mut().for_each(|(_, schedule)| schedule.announced(start, 0));
        repeat(&mut scheduled, &owned(&["10.0.0.2", "10.0.0.9"]).into_keys().collect(), start);
        let sent: Vec<_> = scheduled.values().map(|(_, schedule)| schedule.sent).collect();
        assert_eq!(sent, [1, 0]);
    }

    proptest! {
        #[test]
        fn refreshes_stay_around_a_minute(chance in any::<u16>()) {
            let start = Instant::now();
            let mut schedule = Schedule { taken: start, sent: BURST.len(), due: start };
            schedule.announced(start, chance);
            let wait = schedule.due - start;
            prop_assert!(wait >= REFRESH - JITTER && wait <= REFRESH + JITTER);
        }
    }
}
