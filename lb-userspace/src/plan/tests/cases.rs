//! Single promises, one situation each.

use lb_common::{
    backend::{BACKEND_DOWN, BACKEND_DRAINING},
    service::{SERVICE_SOURCE_RANGES, SLOT_MOVED, ServiceEntryV4},
};

use super::{NOW, desired, key, model::Maps, one_service, server, service};
use crate::{
    desired::Desired,
    plan::{Capacities, Change, Degraded, Plan, PlanError, Planner, Resource},
};

fn planner() -> Planner {
    Planner::new(Capacities::default(), [1, 2])
}

/// A planner that took over `desired`, and the maps it did it to.
fn planned(desired: &Desired) -> (Planner, Maps) {
    let mut planner = planner();
    let mut maps = Maps::new(1 << 16);
    maps.apply_all(&planner.plan(desired, NOW).unwrap());
    (planner, maps)
}

fn slots(planner: &Planner) -> Vec<lb_common::service::Slot> {
    (0..).map_while(|index| planner.slot(0, index)).collect()
}

fn count(plan: &Plan, which: fn(&Change) -> bool) -> usize {
    plan.changes.iter().filter(|change| which(change)).count()
}

#[test]
fn a_new_service_starts_with_settled_slots() {
    let (planner, _) = planned(&one_service(0..3));
    let view = planner.services().next().unwrap();
    assert_eq!((view.id, view.table, view.moved_slots, view.backends), (0, Some((0, 512)), 0, 3));
    let shares = planner.shares(&view.key);
    assert_eq!(shares.iter().map(|share| share.slots).sum::<u32>(), 512);
    assert!(shares.iter().all(|share| (170..=171).contains(&share.slots)));
}

#[test]
fn a_change_of_one_service_writes_nothing_of_another() {
    let both = |servers: std::ops::Range<u16>| {
        let second = service(servers.map(|number| (server(number), 1)));
        let first = service((0..3).map(|number| (server(number), 1)));
        desired([(key("192.0.2.1", 80), first), (key("192.0.2.2", 80), second)])
    };
    let (mut planner, _) = planned(&both(0..4));
    let plan = planner.plan(&both(0..5), NOW + 1).unwrap();
    let id = planner.service_id(&key("192.0.2.2", 80)).unwrap();
    let kinds: Vec<_> = plan.changes.iter().collect();
    assert!(
        matches!(*kinds, [
            Change::Backend { address, .. },
            Change::Table { .. },
            Change::ServiceRecord { id: changed, .. },
        ] if *address == server(4) && *changed == id),
        "{kinds:?}"
    );
}

#[test]
fn services_with_the_same_backends_share_a_table() {
    let same = |vip| (key(vip, 80), service((0..3).map(|number| (server(number), 1))));
    let (mut planner, _) = planned(&desired([same("192.0.2.1"), same("2001:db8::1")]));
    assert_eq!(planner.usage().used.slots, 512);
    let plan = planner.plan(&desired([same("192.0.2.1")]), NOW).unwrap();
    assert_eq!(count(&plan, |change| matches!(change, Change::Table { .. })), 0);
    assert_eq!(planner.usage().used.slots, 512);
    _ = planner.plan(&Desired::default(), NOW).unwrap();
    assert_eq!(planner.usage().used.slots, 0);
}

#[test]
fn a_removed_backend_stays_draining_until_its_slots_are_settled() {
    let (mut planner, mut maps) = planned(&one_service(0..4));
    let id = planner.backend_id(server(3)).unwrap();
    maps.apply_all(&planner.plan(&one_service(0..3), NOW + 1).unwrap());
    assert_eq!(maps.backends[&id].1, BACKEND_DRAINING);
    let removed = slots(&planner).iter().filter(|slot| slot.previous == id | SLOT_MOVED).count();
    assert_eq!(removed, 128);
    assert!(slots(&planner).iter().all(|slot| slot.current != id));

    assert!(planner.settle(NOW + 2, 5, &|_, _| false).is_empty(), "the grace is not over");
    let needed = slots(&planner).iter().position(|slot| slot.is_moved()).unwrap() as u32;
    maps.apply_all(&planner.settle(NOW + 6, 5, &|_, slot| slot == needed));
    assert_eq!(planner.services().next().unwrap().moved_slots, 1);
    maps.apply_all(&planner.settle(NOW + 6, 5, &|_, _| false));
    assert!(slots(&planner).iter().all(|slot| !slot.is_moved()));
    assert!(!maps.backends.contains_key(&id));
    assert_eq!(planner.backend_id(server(3)), None);
}

#[test]
fn a_backend_that_only_remembered_flows_know_stays_until_its_service_is_settled() {
    let (mut planner, mut maps) = planned(&one_service([0, 1]));
    // Slots of 1 move to 2, where new flows begin; then 2 goes as well, and no slot has it as its previous backend.
    maps.apply_all(&planner.plan(&one_service([0, 2]), NOW + 1).unwrap());
    let id = planner.backend_id(server(2)).unwrap();
    maps.apply_all(&planner.plan(&one_service([0, 3]), NOW + 2).unwrap());
    maps.apply_all(&planner.plan(&one_service([0, 1]), NOW + 3).unwrap());
    assert_eq!(planner.backend_id(server(2)), Some(id));
    maps.apply_all(&planner.settle(NOW + 9, 1, &|_, _| false));
    assert_eq!(planner.backend_id(server(2)), None);
}

#[test]
fn a_backend_that_returns_in_time_keeps_its_id() {
    let (mut planner, mut maps) = planned(&one_service(0..4));
    let id = planner.backend_id(server(3));
    maps.apply_all(&planner.plan(&one_service(0..3), NOW + 1).unwrap());
    maps.apply_all(&planner.plan(&one_service(0..4), NOW + 2).unwrap());
    assert_eq!(planner.backend_id(server(3)), id);
    assert_eq!(maps.backends[&id.unwrap()].1, 0);
    // Flows of the time between are in the memory only, so its slots are still marked.
    let own = slots(&planner).into_iter().filter(|slot| Some(slot.current) == id);
    assert!(own.into_iter().all(|slot| slot.is_moved() && Some(slot.previous_backend()) == id));
}

#[test]
fn a_dead_backend_is_flagged_first_and_leaves_every_slot() {
    let wanted = one_service(0..4);
    let (mut planner, mut maps) = planned(&wanted);
    let id = planner.backend_id(server(1)).unwrap();
    assert!(planner.set_down(server(1), true));
    assert!(!planner.set_down(server(1), true));
    let plan = planner.plan(&wanted, NOW + 1).unwrap();
    let first = &plan.changes[0];
    assert!(matches!(first, Change::Backend { id: down, flags: BACKEND_DOWN, .. } if *down == id));
    maps.apply_all(&plan);
    assert!(slots(&planner).iter().all(|slot| slot.current != id && slot.previous_backend() != id));
    assert_eq!(planner.services().next().unwrap().table.unwrap().1, 512, "the length stays");

    planner.set_down(server(1), false);
    maps.apply_all(&planner.plan(&wanted, NOW + 2).unwrap());
    assert_eq!(maps.backends[&id].1, 0);
    assert!(slots(&planner).iter().any(|slot| slot.current == id && slot.is_moved()));
}

#[test]
fn with_all_backends_down_all_are_used_and_it_is_said() {
    let wanted = one_service(0..3);
    let (mut planner, _) = planned(&wanted);
    let degraded = |planner: &Planner| planner.services().next().unwrap().degraded;
    for number in 0..3 {
        planner.set_down(server(number), true);
    }
    _ = planner.plan(&wanted, NOW + 1).unwrap();
    assert_eq!(degraded(&planner), Some(Degraded::AllDown));
    assert_eq!(planner.shares(&key("192.0.2.1", 80)).len(), 3);
    planner.set_down(server(2), false);
    _ = planner.plan(&wanted, NOW + 2).unwrap();
    assert_eq!(degraded(&planner), None);
    assert!(slots(&planner).iter().all(|slot| Some(slot.current) == planner.backend_id(server(2))));
}

#[test]
fn a_drained_backend_keeps_its_flows_and_gets_no_new_ones() {
    let mut wanted = one_service(0..3);
    let (mut planner, mut maps) = planned(&wanted);
    wanted.backends.get_mut(&server(0)).unwrap().draining = true;
    maps.apply_all(&planner.plan(&wanted, NOW + 1).unwrap());
    let id = planner.backend_id(server(0)).unwrap();
    assert_eq!(maps.backends[&id].1, BACKEND_DRAINING);
    let share = planner.shares(&key("192.0.2.1", 80))[id as usize];
    assert_eq!((share.weight, share.slots), (0, 0));
    assert!(share.previous_slots > 150);
    // Unlike one that the source no longer wants, it is there for good.
    maps.apply_all(&planner.settle(NOW + 9, 1, &|_, _| false));
    assert_eq!(planner.backend_id(server(0)), Some(id));
}

#[test]
fn ranges_come_before_the_flag_and_go_after_it() {
    let with_ranges = |ranges: &[&str]| {
        let mut wanted = one_service(0..2);
        let service = wanted.services.values_mut().next().unwrap();
        service.source_ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        wanted
    };
    let (mut planner, _) = planned(&with_ranges(&[]));
    let plan = planner.plan(&with_ranges(&["10.0.0.1/8", "2001:db8::/32"]), NOW).unwrap();
    assert!(matches!(*plan.changes, [
        Change::AddSourceRange(range),
        Change::ServiceRecord { record, .. },
    ] if range.prefix_length == 32 + 96 + 8 && record.flags & SERVICE_SOURCE_RANGES != 0));
    let plan = planner.plan(&with_ranges(&["10.0.0.2/8"]), NOW).unwrap();
    assert!(plan.is_empty(), "host bits make no difference");
    let plan = planner.plan(&with_ranges(&[]), NOW).unwrap();
    assert!(matches!(*plan.changes, [
        Change::ServiceRecord { record, .. },
        Change::RemoveSourceRange(_),
    ] if record.flags & SERVICE_SOURCE_RANGES == 0));
}

#[test]
fn a_vip_refuses_as_long_as_one_of_its_services_says_so() {
    let port = |port, reject| {
        (key("192.0.2.1", port), super::Service { reject, ..service([(server(0), 1)]) })
    };
    let (mut planner, _) = planned(&desired([port(80, true), port(443, true)]));
    let plan = planner.plan(&desired([port(80, true), port(443, false)]), NOW).unwrap();
    assert!(!plan.changes.iter().any(|change| matches!(change, Change::UpdateVip { .. })));
    let plan = planner.plan(&desired([port(80, false), port(443, false)]), NOW).unwrap();
    let update = Change::UpdateVip { address: "192.0.2.1".parse().unwrap(), reject: false };
    assert!(plan.changes.contains(&update));
}

#[test]
fn errors_name_what_is_too_many_and_change_nothing() {
    let capacities = Capacities { backends: 3, slots: 512, ..Capacities::default() };
    let mut planner = Planner::new(capacities, [1, 2]);
    let few = one_service(0..3);
    _ = planner.plan(&few, NOW).unwrap();

    let error = planner.plan(&one_service(0..4), NOW).unwrap_err();
    assert_eq!(error, PlanError::TooMany { resource: Resource::Backends, needed: 4, limit: 3 });
    assert_eq!(
        error.to_string(),
        "4 backends are needed while the change is made; the maps hold 3"
    );

    let mut more = few.clone();
    more.services.insert(key("192.0.2.9", 80), service([(server(0), 1)]));
    let error = planner.plan(&more, NOW).unwrap_err();
    assert!(
        matches!(error, PlanError::NoSlots { length: 128, used: 512, limit: 512, .. }),
        "{error}"
    );

    more.services.insert(key("192.0.2.9", 80), service([(server(9), 1)]));
    let error = planner.plan(&more, NOW).unwrap_err();
    assert!(matches!(error, PlanError::UnknownBackend { address, .. } if address == server(9)));
    assert!(planner.plan(&few, NOW).unwrap().is_empty());
}

#[test]
fn services_that_find_no_place_leave_no_trace() {
    let mut planner = planner();
    let entry = |number: u32| {
        let vip = [[10].as_slice(), &number.to_be_bytes()[1..]].concat();
        ServiceEntryV4 { vip: vip.try_into().unwrap(), protocol: 6, ..ServiceEntryV4::FREE }
    };
    // Crowd the buckets with entries the planner knows nothing of.
    let crowd = (0..).take_while(|&n| planner.places_v4.insert(entry(n), &mut Vec::new()).is_ok());
    let crowd = crowd.count();
    let many = (1..400).map(|port| (key("192.0.2.1", port), service([(server(0), 1)])));
    let error = planner.plan(&desired(many), NOW).unwrap_err();
    assert!(matches!(error, PlanError::NoPlace { limit: 65_536, .. }), "{error}");
    assert_eq!(planner.places_v4.used(), crowd);
    assert_eq!(planner.usage().used.slots, 0);
    assert!((0..crowd as u32).all(|number| planner.places_v4.get(&entry(number)).is_some()));
}

#[test]
fn a_table_gets_shorter_only_once_it_is_settled_but_sends_new_flows_alike_at_once() {
    let (mut planner, _) = planned(&one_service(0..3));
    let (fresh, _) = planned(&one_service(0..2));
    let table = |planner: &Planner| planner.services().next().unwrap().table.unwrap().1;
    let owner = |planner: &Planner, hash: u64| {
        let index = lb_common::hash::slot_index(hash, table(planner));
        planner.backend_address(planner.slot(0, index).unwrap().current)
    };
    let hashes = || (0..1024u64).map(|i| i << 54);

    _ = planner.plan(&one_service(0..2), NOW + 1).unwrap();
    assert_eq!((table(&planner), table(&fresh)), (512, 256));
    assert!(hashes().all(|hash| owner(&planner, hash) == owner(&fresh, hash)));
    // Every slot has its own past: nobody's flows follow another slot's.
    assert!(slots(&planner).iter().all(|slot| slot.current == slot.previous || slot.is_moved()));

    _ = planner.settle(NOW + 9, 1, &|_, _| false);
    assert_eq!(table(&planner), 256);
    assert!(hashes().all(|hash| owner(&planner, hash) == owner(&fresh, hash)));
}

#[test]
fn without_room_for_a_copy_a_table_is_rewritten_in_place() {
    let capacities = Capacities { slots: 512, ..Capacities::default() };
    let mut planner = Planner::new(capacities, [1, 2]);
    _ = planner.plan(&one_service(0..4), NOW).unwrap();
    let plan = planner.plan(&one_service(0..3), NOW + 1).unwrap();
    assert_eq!(count(&plan, |change| matches!(change, Change::Table { offset: 0, .. })), 1);
    assert_eq!(count(&plan, |change| matches!(change, Change::ServiceRecord { .. })), 0);
    _ = planner.settle(NOW + 9, 1, &|_, _| false);
    assert_eq!(planner.services().next().unwrap().moved_slots, 0);
    assert_eq!(planner.backends().count(), 3);
}

#[test]
fn two_edges_with_other_ids_build_the_same_table() {
    let (first, _) = planned(&one_service(0..5));
    let mut second = planner();
    _ = second.plan(&one_service([9, 4]), NOW).unwrap();
    _ = second.plan(&one_service([4, 9, 0, 3]), NOW + 1).unwrap();
    _ = second.plan(&one_service(0..5), NOW + 2).unwrap();
    assert_ne!(first.backend_id(server(4)), second.backend_id(server(4)));
    let address =
        |planner: &Planner, index| planner.backend_address(planner.slot(0, index)?.current);
    for index in 0..512 {
        assert_eq!(address(&first, index), address(&second, index));
    }
}
