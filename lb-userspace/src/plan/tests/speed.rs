//! How long plans take; run with `cargo test --release -p lb-userspace --lib plan::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::{NOW, desired, key, one_service, server, service};
use crate::{
    desired::{Desired, ServiceKey},
    plan::{Capacities, Planner},
};

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = run();
    println!("{what}: {:?}", started.elapsed());
    result
}

#[test]
#[ignore = "prints measurements"]
fn one_backend_of_a_thousand_changes() {
    let mut planner = Planner::new(Capacities::default(), [1, 2]);
    let plan = timed("1,000 backends from scratch", || planner.plan(&one_service(0..1000), NOW));
    assert!(!plan.unwrap().is_empty());
    for round in 0..6 {
        let wanted = one_service((0..1000).filter(|number| number % 100 != round));
        let plan = timed("ten backends replaced", || planner.plan(&wanted, NOW + 1)).unwrap();
        println!("  {} changes", plan.changes.len());
        let wanted = one_service((0..1001).filter(|number| *number != round));
        _ = planner.plan(&wanted, NOW + 2).unwrap();
        let wanted = one_service((0..1001).filter(|number| *number != round && *number != 500));
        let plan = timed("one backend removed", || planner.plan(&wanted, NOW + 2)).unwrap();
        println!("  {} changes", plan.changes.len());
        _ = timed("settled", || planner.settle(NOW + 9, 1, &|_, _| false));
    }
}

fn many_services() -> Desired {
    desired((0..10_000u32).map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        // Start and stride differ, so that hardly two services share a table.
        let (start, stride) = (number % 1000, 1 + number / 1000 * 13);
        let backends = (0..10).map(|i| (server(((start + i * stride) % 1000) as u16), 1));
        let key = ServiceKey { vip: [10, a, b, c].into(), ..key("192.0.2.1", 80) };
        (key, service(backends))
    }))
}

#[test]
#[ignore = "prints measurements"]
fn ten_thousand_services() {
    let mut planner = Planner::new(Capacities::default(), [1, 2]);
    let mut wanted = many_services();
    let plan = timed("10,000 services from scratch", || planner.plan(&wanted, NOW)).unwrap();
    println!("  {} changes, {:?}", plan.changes.len(), planner.usage().used);
    assert!(timed("nothing changed", || planner.plan(&wanted, NOW)).unwrap().is_empty());
    let changed = wanted.services.values_mut().nth(5000).unwrap();
    changed.backends.pop_first();
    let plan = timed("one service changed", || planner.plan(&wanted, NOW + 1)).unwrap();
    println!("  {} changes", plan.changes.len());
    planner.set_down(server(3), true);
    let plan = timed("one backend of 1,000 down", || planner.plan(&wanted, NOW + 2)).unwrap();
    println!("  {} changes", plan.changes.len());
    let plan = timed("settled", || planner.settle(NOW + 9, 1, &|_, _| false));
    println!("  {} changes", plan.changes.len());
}
