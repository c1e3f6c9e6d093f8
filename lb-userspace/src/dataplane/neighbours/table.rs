//! Backends, the next hops they share, and what has been said about them. Pure: time and events are arguments.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Instant,
};

use super::{
    NextHop, NextHopUpdate, Unresolved,
    answer::Answer,
    probe::{Kernel, Probe, Question, Verdict},
    route::Path,
};
use crate::ownership::frames::{self, Mac};

/// A next hop: an address on a link.
type Key = (u32, IpAddr);

/// Questions asked at a time: their answers fit into the receive buffer of a socket. The others stay due.
const BURST: usize = 128;

/// A frame to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) link: u32,
    pub(super) frame: Vec<u8>,
}

#[derive(Debug, Default)]
struct Backend {
    /// `None` before the first lookup.
    path: Option<Result<Path, Unresolved>>,
    told: Option<Result<NextHop, Unresolved>>,
}

#[derive(Debug)]
struct Shared {
    probe: Probe,
    source: Option<IpAddr>,
    source_mac: Mac,
}

/// The state of all next hops.
#[derive(Debug, Default)]
pub(super) struct Table {
    backends: BTreeMap<IpAddr, Backend>,
    probes: BTreeMap<Key, Shared>,
    kernel: BTreeMap<Key, Kernel>,
    changed: bool,
}

impl Table {
    /// Replaces the set of backends. Are there new ones, to be looked up?
    pub(super) fn watch(&mut self, backends: &BTreeSet<IpAddr>) -> bool {
        self.backends.retain(|address, _| backends.contains(address));
        for address in backends {
            self.backends.entry(*address).or_default();
        }
        self.drop_unused_probes();
        self.backends.values().any(|backend| backend.path.is_none())
    }

    /// The watched backends.
    pub(super) fn backends(&self) -> Vec<IpAddr> {
        self.backends.keys().copied().collect()
    }

    /// Takes the outcome of a lookup.
    pub(super) fn routed(&mut self, backend: IpAddr, path: Result<Path, Unresolved>, now: Instant) {
        let Some(entry) = self.backends.get_mut(&backend) else { return };
        if let Ok(path) = &path {
            let key = (path.link, path.gateway);
            let kernel = self.kernel.get(&key).copied().unwrap_or(Kernel::Unknown);
            let shared = self.probes.entry(key).or_insert_with(|| Shared {
                probe: Probe::new(kernel, spread(path.gateway), now),
                source: None,
                source_mac: path.source_mac,
            });
            shared.source = path.probe_source;
            shared.source_mac = path.source_mac;
        }
        self.changed |= entry.path.as_ref() != Some(&path);
        entry.path = Some(path);
    }

    /// Forgets next hops that no backend's way leads through any more.
    pub(super) fn drop_unused_probes(&mut self) {
        let used: BTreeSet<Key> = self.backends.values().filter_map(Backend::key).collect();
        self.probes.retain(|key, _| used.contains(key));
    }

    /// A frame that came in on `link` said where somebody is.
    pub(super) fn heard(&mut self, link: u32, answer: Answer, now: Instant) {
        self.change((link, answer.address), |probe| {
            probe.heard(answer.mac, answer.overrides, now);
        });
    }

    /// The kernel's opinion of a neighbour. A MAC it merely remembers is news only if it is another than before: its entries
    /// outlive what this table has learnt from the wire.
    pub(super) fn kernel_says(
        &mut self,
        link: u32,
        neighbour: IpAddr,
        opinion: Kernel,
        now: Instant,
    ) {
        let key = (link, neighbour);
        let before = match opinion {
            Kernel::Unknown => self.kernel.remove(&key),
            _ => self.kernel.insert(key, opinion),
        };
        let old_news =
            matches!(opinion, Kernel::Remembered(_)) && before.and_then(mac_of) == mac_of(opinion);
        if !old_news {
            self.change(key, |probe| probe.kernel_says(opinion, now));
        }
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.probes.values().filter_map(|shared| shared.probe.due()).min()
    }

    /// The questions that are due, or the first [`BURST`] of them.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        for (&(link, next_hop), shared) in &mut self.probes {
            if outgoing.len() == BURST {
                break;
            }
            let before = shared.probe.verdict();
            let question = shared.probe.poll(now);
            self.changed |= shared.probe.verdict() != before;
            if let Some(frame) = question.and_then(|question| ask(next_hop, shared, question)) {
                outgoing.push(Outgoing { link, frame });
            }
        }
        outgoing
    }

    /// What has changed since the last call.
    pub(super) fn take_updates(&mut self) -> Vec<NextHopUpdate> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let mut updates = Vec::new();
        for (&address, backend) in &mut self.backends {
            let next_hop = match &backend.path {
                None => continue,
                Some(Err(reason)) => Err(reason.clone()),
                Some(Ok(path)) => {
                    let shared = self.probes.get(&(path.link, path.gateway));
                    match shared.map_or(Verdict::Searching, |shared| shared.probe.verdict()) {
                        // Until the search is over, the way told before serves on.
                        Verdict::Searching => continue,
                        Verdict::Lost => Err(Unresolved::NoAnswer {
                            next_hop: path.gateway,
                            interface: path.interface.clone(),
                        }),
                        Verdict::At(mac) => Ok(next_hop(path, mac)),
                    }
                }
            };
            if backend.told.as_ref() != Some(&next_hop) {
                backend.told = Some(next_hop.clone());
                updates.push(NextHopUpdate { backend: address, next_hop });
            }
        }
        updates
    }

    fn change(&mut self, key: Key, change: impl FnOnce(&mut Probe)) {
        if let Some(shared) = self.probes.get_mut(&key) {
            let before = shared.probe.verdict();
            change(&mut shared.probe);
            self.changed |= shared.probe.verdict() != before;
        }
    }
}

impl Backend {
    fn key(&self) -> Option<Key> {
        let path = self.path.as_ref()?.as_ref().ok()?;
        Some((path.link, path.gateway))
    }
}

fn mac_of(opinion: Kernel) -> Option<Mac> {
    match opinion {
        Kernel::Permanent(mac) | Kernel::Confirmed(mac) | Kernel::Remembered(mac) => Some(mac),
        Kernel::Unknown => None,
    }
}

fn next_hop(path: &Path, mac: Mac) -> NextHop {
    NextHop {
        ifindex: path.ifindex,
        interface: path.interface.clone(),
        vlan: path.vlan,
        source: path.source,
        gateway: path.gateway,
        on_link: path.on_link,
        mac,
        source_mac: path.source_mac,
        mtu: path.mtu,
    }
}

/// The frame that asks; `None` without a source address to ask from.
fn ask(next_hop: IpAddr, shared: &Shared, question: Question) -> Option<Vec<u8>> {
    let known = match question {
        Question::Unicast(mac) => Some(mac),
        Question::Broadcast => None,
    };
    match (shared.source?, next_hop) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let destination = known.unwrap_or(frames::BROADCAST);
            Some(frames::arp_request(source, shared.source_mac, target, destination).into())
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            Some(frames::neighbour_solicitation(source, shared.source_mac, target, known).into())
        }
        _ => None,
    }
}

fn spread(address: IpAddr) -> u8 {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    // Odd, so neighbouring addresses land far apart.
    last.wrapping_mul(157)
}

#[cfg(test)]
mod tests;
