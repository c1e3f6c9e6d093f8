//! Connections over many changes, with a model of the data path's memory of flows.

use std::{collections::HashMap, net::IpAddr};

use proptest::prelude::*;

use super::{NOW, desired, key, model::Maps, server, service};
use crate::plan::{Capacities, Planner};

/// Connections in the order of their beginning, each with its hash and the backend that knows it.
#[derive(Default)]
struct Connections {
    known: Vec<(u64, IpAddr)>,
    /// The memory of flows on moved slots.
    remembered: HashMap<u64, u32>,
}

impl Connections {
    /// Where the data path sends a packet.
    fn send(&mut self, maps: &Maps, hash: u64, begins: bool) -> Option<IpAddr> {
        let id = maps.service(key("192.0.2.1", 80))?;
        let (_, slot) = maps.slot(id, hash)?;
        let backend = if !slot.is_moved() {
            slot.current
        } else {
            let fresh = if begins { slot.current } else { slot.previous_backend() };
            *self.remembered.entry(hash).or_insert(fresh)
        };
        Some(maps.backends[&backend].0)
    }

    fn begin(&mut self, maps: &Maps, hash: u64) {
        if self.known.iter().all(|(other, _)| *other != hash)
            && let Some(backend) = self.send(maps, hash, true)
        {
            self.known.push((hash, backend));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_connection_stays_with_its_backend_however_often_slots_move(
        steps in proptest::collection::vec((proptest::collection::btree_map(0u16..8, 1u32..4, 1..8), any::<u64>(), any::<bool>(), any::<bool>()), 1..12),
    ) {
        let mut planner = Planner::new(Capacities::default(), [1, 2]);
        let mut maps = Maps::new(1 << 16);
        let mut connections = Connections::default();
        for ((servers, random, all_speak, settle), now) in steps.into_iter().zip(NOW..) {
            let backends = servers.into_iter().map(|(number, weight)| (server(number), weight));
            let wanted = desired([(key("192.0.2.1", 80), service(backends))]);
            let mut plan = planner.plan(&wanted, now).unwrap();
            if settle {
                let id = planner.service_id(&key("192.0.2.1", 80)).unwrap();
                maps.apply_all(&plan);
                let living: Vec<u32> = connections.remembered.keys().filter_map(|&hash| Some(maps.slot(id, hash)?.0)).collect();
                // A connection from before the move that was silent since is not known to the memory yet.
                let silent: Vec<u32> = connections.known.iter().filter_map(|&(hash, _)| Some(maps.slot(id, hash)?.0)).collect();
                plan = planner.settle(now, 0, &|service, slot| service == id && (living.contains(&slot) || silent.contains(&slot)));
            }
            maps.apply_all(&plan);
            for i in 0..16u64 {
                connections.begin(&maps, random.wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
            let speaking = if all_speak { connections.known.clone() } else { connections.known.iter().copied().step_by(3).collect() };
            for (hash, backend) in speaking {
                prop_assert_eq!(connections.send(&maps, hash, false), Some(backend));
            }
        }
    }
}
