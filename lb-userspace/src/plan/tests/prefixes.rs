//! Random lives of a planner: whatever comes, every moment of every plan is one that packets can live with.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{
    NOW, all_keys, any_desired,
    model::{Fate, Maps},
    server,
};
use crate::{
    desired::{Desired, ServiceKey},
    plan::{Capacities, Plan, Planner},
};

/// Small enough that plans sometimes do not fit.
const CAPACITIES: Capacities =
    Capacities { vips: 3, services: 8, slots: 2560, backends: 9, source_ranges: 12 };

#[derive(Clone, Debug)]
enum Step {
    Plan(Desired),
    Down(u16, bool),
    Settle { grace: u32, needed: u32 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_desired().prop_map(Step::Plan),
        1 => (0u16..7, any::<bool>()).prop_map(|(number, down)| Step::Down(number, down)),
        1 => (0u32..3, 1u32..4).prop_map(|(grace, needed)| Step::Settle { grace, needed }),
    ]
}

const HASHES: [u64; 7] = [
    0,
    0x1fff_ffff << 32,
    0x4321_0000 << 32,
    0x7fff_ffff << 32,
    0x8000_0000 << 32,
    0xc0de_0000 << 32,
    u64::MAX,
];

/// What packets meet: fates by key and hash, and whether clients are allowed.
type Seen = (Vec<Fate>, Vec<Option<bool>>);

fn look(maps: &Maps) -> Seen {
    let sources: [IpAddr; 3] =
        ["10.1.2.3", "10.2.0.1", "2001:db8:9::1"].map(|s| s.parse().unwrap());
    let keys = all_keys();
    let probe = |key: ServiceKey| HASHES.map(|hash| maps.fate(key, hash));
    let ask = |key: ServiceKey| sources.map(|source| maps.allows(key, source));
    (
        keys.iter().flat_map(|&key| probe(key)).collect(),
        keys.iter().flat_map(|&key| ask(key)).collect(),
    )
}

/// Is what is seen in the middle of a plan what was before or what will be?
fn is_between(now: Fate, before: Fate, after: Fate) -> bool {
    if now == before || now == after {
        return true;
    }
    let (Fate::Forwarded(now), Fate::Forwarded(before)) = (now, before) else { return false };
    let Fate::Forwarded(after) = after else {
        // About to be refused or unknown; until then, what it was - a backend just declared dead excepted.
        return now.new == before.new && now.old == before.new;
    };
    // Old flows of a backend that has just died go to the slot's current one until the table is replaced.
    (now.new == before.new || now.new == after.new)
        && (now.old == before.old || now.old == after.old || now.old == before.new)
}

fn apply_watching(maps: &mut Maps, plan: &Plan) -> Result<(), TestCaseError> {
    let before = look(maps);
    let mut end = maps.clone();
    end.apply_all(plan);
    let after = look(&end);
    for change in &plan.changes {
        maps.apply(change);
        let now = look(maps);
        for ((&now, &before), &after) in now.0.iter().zip(&before.0).zip(&after.0) {
            prop_assert!(
                is_between(now, before, after),
                "{now:?} between {before:?} and {after:?} at {change:?}"
            );
        }
        for ((now, before), after) in now.1.iter().zip(&before.1).zip(&after.1) {
            prop_assert!(
                now == before || now == after,
                "{now:?} between {before:?} and {after:?} at {change:?}"
            );
        }
    }
    Ok(())
}

/// Does the model say what the source wants?
fn check_wishes(maps: &Maps, planner: &Planner, desired: &Desired) -> Result<(), TestCaseError> {
    for (key, view) in desired.services.keys().zip(planner.services()) {
        prop_assert_eq!(*key, view.key);
        let wanted = &desired.services[key];
        for hash in HASHES {
            match maps.fate(*key, hash) {
                Fate::Forwarded(target) => prop_assert!(wanted.backends.contains_key(&target.new)),
                fate => {
                    prop_assert_eq!(fate, Fate::NoBackend);
                    prop_assert!(wanted.backends.is_empty());
                }
            }
            if let Some((index, slot)) = maps.slot(view.id, hash) {
                prop_assert_eq!(planner.slot(view.id, index), Some(slot));
            }
        }
    }
    prop_assert_eq!(planner.services().count(), desired.services.len());
    prop_assert_eq!(planner.services().count(), maps.records.len());
    prop_assert_eq!(planner.backends().count(), maps.backends.len());
    for view in planner.backends() {
        prop_assert_eq!(maps.backends[&view.id].0, view.address);
        prop_assert!(view.retired != desired.backends.contains_key(&view.address));
    }
    prop_assert_eq!(planner.usage().used.source_ranges as usize, maps.ranges.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_prefix_of_every_plan_leaves_packets_where_they_were_or_will_be(steps in proptest::collection::vec(any_step(), 1..10)) {
        let mut planner = Planner::new(CAPACITIES, [1, 2]);
        let mut maps = Maps::new(CAPACITIES.slots);
        let mut current = Desired::default();
        for (step, now) in steps.into_iter().zip(NOW..) {
            match step {
                Step::Plan(desired) => {
                    if let Ok(plan) = planner.plan(&desired, now) {
                        apply_watching(&mut maps, &plan)?;
                        current = desired;
                    }
                    // After a failure too: the former state is still the planner's.
                    let again = planner.plan(&current, now);
                    prop_assert!(again.is_ok_and(|plan| plan.is_empty()));
                }
                Step::Down(number, down) => {
                    planner.set_down(server(number), down);
                    match planner.plan(&current, now) {
                        Ok(plan) => apply_watching(&mut maps, &plan)?,
                        Err(_) => _ = planner.set_down(server(number), !down),
                    }
                }
                Step::Settle { grace, needed } => {
                    let plan = planner.settle(now, grace, &|_, slot| slot % needed == 1);
                    apply_watching(&mut maps, &plan)?;
                }
            }
            check_wishes(&maps, &planner, &current)?;
        }
        let plan = planner.plan(&Desired::default(), u32::MAX).unwrap();
        apply_watching(&mut maps, &plan)?;
        let plan = planner.settle(u32::MAX, 0, &|_, _| false);
        apply_watching(&mut maps, &plan)?;
        prop_assert!(maps.is_empty());
        let used = planner.usage().used;
        prop_assert_eq!(used, Capacities { vips: 0, services: 0, slots: 0, backends: 0, source_ranges: 0 });
    }
}
