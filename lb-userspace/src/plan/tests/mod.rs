//! Promises of the planner, checked on a model of the maps.

mod cases;
mod flows;
mod model;
mod prefixes;
mod speed;

use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;

use crate::desired::{
    Backend, BackendKind, Desired, Forwarding, Protocol, Service, ServiceKey, SessionAffinity,
};

/// The time of the first plan, in ticks.
const NOW: u32 = 1000;

fn key(vip: &str, port: u16) -> ServiceKey {
    ServiceKey { vip: vip.parse().unwrap(), port, protocol: Protocol::Tcp }
}

fn server(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    // Every third backend has an IPv6 address.
    if number % 3 == 2 {
        format!("2001:db8:1::{number:x}").parse().unwrap()
    } else {
        [10, 0, high, low].into()
    }
}

fn service(backends: impl IntoIterator<Item = (IpAddr, u32)>) -> Service {
    Service {
        name: "shop/web".into(),
        port_name: None,
        forwarding: Forwarding::Ipip,
        affinity: SessionAffinity::None,
        source_ranges: Default::default(),
        reject: true,
        backends: backends.into_iter().collect(),
        endpoints: Vec::new(),
    }
}

/// A desired state with these services, and the backends they name.
fn desired(services: impl IntoIterator<Item = (ServiceKey, Service)>) -> Desired {
    let services: BTreeMap<_, _> = services.into_iter().collect();
    let backend = Backend { kind: BackendKind::Server, draining: false };
    let backends = services
        .values()
        .flat_map(|service| service.backends.keys())
        .map(|&address| (address, backend.clone()))
        .collect();
    Desired { services, backends }
}

/// One service on these servers with equal weights.
fn one_service(servers: impl IntoIterator<Item = u16>) -> Desired {
    let backends = servers.into_iter().map(|number| (server(number), 1));
    desired([(key("192.0.2.1", 80), service(backends))])
}

/// Services that may exist in random states.
fn all_keys() -> Vec<ServiceKey> {
    ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        .into_iter()
        .flat_map(|vip| [80, 443].map(|port| key(vip, port)))
        .collect()
}

fn any_service() -> impl Strategy<Value = Service> {
    let weight = prop_oneof![3 => Just(1u32), 1 => 1u32..5];
    let backends = proptest::collection::btree_map((0u16..7).prop_map(server), weight, 0..6);
    let ranges = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/16", "2001:db8:9::/48"];
    let ranges = proptest::sample::subsequence(ranges.to_vec(), 0..=ranges.len());
    (backends, ranges, any::<[bool; 4]>()).prop_map(
        |(backends, ranges, [open, l2, sticky, reject])| Service {
            source_ranges: if open {
                Default::default()
            } else {
                ranges.iter().map(|range| range.parse().unwrap()).collect()
            },
            forwarding: if l2 { Forwarding::L2 } else { Forwarding::Ipip },
            affinity: if sticky { SessionAffinity::ClientIp } else { SessionAffinity::None },
            reject,
            ..service(backends)
        },
    )
}

/// A random desired state; some of its backends drain.
fn any_desired() -> impl Strategy<Value = Desired> {
    let services =
        proptest::collection::btree_map(proptest::sample::select(all_keys()), any_service(), 0..6);
    (services, proptest::bits::u8::ANY).prop_map(|(services, draining)| {
        let mut desired = desired(services);
        for number in 0..7 {
            if let Some(backend) = desired.backends.get_mut(&server(number)) {
                backend.draining = draining >> number & 1 == 1 && draining & 1 == 1;
            }
        }
        desired
    })
}
