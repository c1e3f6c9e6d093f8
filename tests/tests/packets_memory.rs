//! Promises to flows while tables change: on a moved slot everybody stays where they began.

use std::net::IpAddr;

use lb_common::{
    flow::{FlowEntry, ticks},
    service::Slot,
};
use sluice_tests::{
    addresses::LAN,
    bpf::{Backend, World, monotonic_ns, move_to_cpu, tcp, traffic::*, udp},
    frame::{Frame, FrameBuilder},
};

const WEB: u32 = 1;
const DNS: u32 = 2;
const WEB6: u32 = 3;

/// Where flows from before the move are.
const BEFORE: u32 = 1;
/// Where flows from after the move go.
const NOW: u32 = 2;
/// A third one.
const THIRD: u32 = 3;

fn host(backend: u32) -> IpAddr {
    LAN.v4(20 + backend as u8).into()
}

fn moved(current: u32, previous: u32) -> World {
    let world = World::new()
        .vip(VIP4)
        .vip(VIP6)
        .backend(BEFORE, Backend::v4(21))
        .backend(NOW, Backend::v4(22))
        .backend(THIRD, Backend::v4(23));
    moves(world, current, previous)
}

fn moves(world: World, current: u32, previous: u32) -> World {
    world
        .service(WEB, tcp(VIP4, 80).moved(current, previous))
        .service(DNS, udp(VIP4, 53).moved(current, previous))
        .service(WEB6, tcp(VIP6, 80).moved(current, previous))
}

fn syn(port: u16) -> Frame {
    asks4().tcp(port, 80).syn().build()
}

fn data(port: u16) -> Frame {
    asks4().tcp(port, 80).ack(1).payload("data").build()
}

fn query(port: u16) -> Frame {
    asks4().udp(port, 53).payload("query").build()
}

fn now() -> u32 {
    ticks(monotonic_ns())
}

/// So many ticks ago, but not before the machine started.
fn ago(ticks: u32) -> u32 {
    now().saturating_sub(ticks).max(1)
}

fn remembered(world: &World) -> Vec<FlowEntry> {
    let sets = world.flow_memory().unwrap();
    let entries = sets.into_iter().flat_map(|set| set.entries);
    entries.filter(|entry| entry.last_seen != 0).collect()
}

#[test]
fn a_settled_slot_reads_and_writes_no_memory() {
    let mut world = moved(NOW, BEFORE);
    world = world.service(WEB, tcp(VIP4, 80).to(&[NOW])).service(DNS, udp(VIP4, 53).to(&[NOW]));
    for port in 40000..40010 {
        for frame in [syn(port), data(port), query(port)] {
            assert_eq!(world.tunnels_to(&frame), host(NOW));
        }
    }
    assert_eq!(remembered(&world), []);
}

#[test]
fn a_connection_that_begins_after_the_move_belongs_to_the_current_backend() {
    let mut world = moved(NOW, BEFORE);
    assert_eq!(world.tunnels_to(&syn(40000)), host(NOW));
    // A later packet is not taken for one of a flow from before.
    assert_eq!(world.tunnels_to(&data(40000)), host(NOW));
    assert_eq!(world.tunnels_to(&syn(40000)), host(NOW));
    let [entry] = remembered(&world)[..] else { panic!("{:?}", remembered(&world)) };
    assert_eq!((u32::from(entry.service), u32::from(entry.backend)), (WEB, NOW));
}

#[test]
fn a_connection_keeps_its_backend_whichever_cpu_its_packets_meet() {
    let mut world = moved(NOW, BEFORE);
    for port in 40000..40010 {
        move_to_cpu(0).unwrap();
        assert_eq!(world.tunnels_to(&syn(port)), host(NOW));
        // The last one the machine has; on a machine with one CPU this says nothing.
        move_to_cpu(aya::util::nr_cpus().unwrap() - 1).unwrap();
        assert_eq!(world.tunnels_to(&data(port)), host(NOW));
    }
}

#[test]
fn a_connection_from_before_the_move_stays_with_the_previous_backend() {
    let mut world = moved(NOW, BEFORE);
    let frames: [fn(FrameBuilder) -> FrameBuilder; 4] = [
        |tcp| tcp.ack(1).payload("data"),
        |tcp| tcp.fin().ack(1),
        |tcp| tcp.rst(),
        |tcp| tcp.syn().ack(1),
    ];
    for (port, flags) in (40000..).zip(frames) {
        let frame = flags(asks4().tcp(port, 80)).build();
        assert_eq!(world.tunnels_to(&frame), host(BEFORE), "{frame:?}");
        assert_eq!(world.tunnels_to(&data(port)), host(BEFORE));
        let frame = flags(asks6().tcp(port, 80)).build();
        assert_eq!(world.tunnels_to(&frame), host(BEFORE), "{frame:?}");
    }
    assert_eq!(world.service_traffic(WEB).unwrap().new_flows, 0);
}

#[test]
fn a_remembered_connection_stays_when_its_slot_moves_again() {
    let mut world = moved(NOW, BEFORE);
    world.tunnels_to(&data(40000));
    world.tunnels_to(&syn(40001));
    let mut world = moves(world, THIRD, NOW);
    assert_eq!(world.tunnels_to(&data(40000)), host(BEFORE));
    assert_eq!(world.tunnels_to(&data(40001)), host(NOW));
    assert_eq!(world.tunnels_to(&syn(40002)), host(THIRD));
    assert_eq!(world.tunnels_to(&data(40003)), host(NOW));
}

#[test]
fn flows_of_a_dead_backend_go_to_the_current_one_at_once() {
    let mut world = moved(NOW, BEFORE);
    world.tunnels_to(&data(40000));
    let mut world = world.backend(BEFORE, Backend::v4(21).down());
    // Remembered or not.
    assert_eq!(world.tunnels_to(&data(40000)), host(NOW));
    assert_eq!(world.tunnels_to(&data(40001)), host(NOW));
    // And they stay there when the dead rises.
    let mut world = world.backend(BEFORE, Backend::v4(21));
    assert_eq!(world.tunnels_to(&data(40000)), host(NOW));
}

#[test]
fn a_memory_of_what_had_the_backends_id_before_is_not_believed() {
    let mut world = moved(NOW, BEFORE);
    world.tunnels_to(&data(40000));
    let mut world = moves(world, NOW, THIRD).backend(BEFORE, Backend::v4(21).since(now() + 1));
    assert_eq!(world.tunnels_to(&data(40000)), host(THIRD));
}

#[test]
fn a_memory_of_what_had_the_services_id_before_is_not_believed() {
    let mut world = moved(NOW, BEFORE);
    world.tunnels_to(&data(40000));
    let mut world = world.service(WEB, tcp(VIP4, 80).moved(NOW, THIRD).since(now() + 1));
    assert_eq!(world.tunnels_to(&data(40000)), host(THIRD));
}

#[test]
fn a_syn_of_a_remembered_flow_is_a_retransmission_only_for_a_moment() {
    let world = moved(NOW, BEFORE);
    let mut world = moves(world, BEFORE, THIRD);
    assert_eq!(world.tunnels_to(&syn(40000)), host(BEFORE));
    let mut world = moves(world, NOW, BEFORE);
    assert_eq!(world.tunnels_to(&syn(40000)), host(BEFORE));
    // Long after, it is a new connection from the same port.
    let mut world = world.flows_last_seen(ago(60));
    assert_eq!(world.tunnels_to(&syn(40000)), host(NOW));
    assert_eq!(world.tunnels_to(&data(40000)), host(NOW));
}

#[test]
fn a_flow_that_was_idle_long_is_still_remembered() {
    let world = moved(NOW, BEFORE);
    let mut world = moves(world, BEFORE, THIRD);
    world.tunnels_to(&syn(40000));
    let mut world = moves(world, NOW, THIRD).flows_last_seen(ago(600));
    assert_eq!(world.tunnels_to(&data(40000)), host(BEFORE));
    assert!(now() - remembered(&world)[0].last_seen < 60);
}

#[test]
fn udp_of_unknown_age_goes_to_the_current_backend_and_stays() {
    let mut world = moved(NOW, BEFORE);
    assert_eq!(world.tunnels_to(&query(40000)), host(NOW));
    let mut world = moves(world, THIRD, BEFORE);
    assert_eq!(world.tunnels_to(&query(40000)), host(NOW));
    assert_eq!(world.tunnels_to(&query(40001)), host(THIRD));
    // New flows on moved slots are counted once.
    assert_eq!(world.service_traffic(DNS).unwrap().new_flows, 2);
}

#[test]
fn udp_stays_with_the_previous_backend_if_the_service_asks_for_it() {
    let sticky = udp(VIP4, 53).sticky_udp().moved(NOW, BEFORE);
    let mut world = moved(NOW, BEFORE).service(DNS, sticky);
    assert_eq!(world.tunnels_to(&query(40000)), host(BEFORE));
    let mut world = world.backend(BEFORE, Backend::v4(21).down());
    assert_eq!(world.tunnels_to(&query(40000)), host(NOW));
    assert_eq!(world.tunnels_to(&query(40001)), host(NOW));
}

#[test]
fn more_flows_than_there_is_memory_for_are_still_forwarded() {
    let mut world = moved(NOW, BEFORE);
    for _ in 0..2 {
        for port in 40000..40200 {
            assert_eq!(world.tunnels_to(&data(port)), host(BEFORE));
        }
    }
    // The one seen last is never the one forgotten.
    let mut world = moves(world, THIRD, NOW);
    assert_eq!(world.tunnels_to(&data(40199)), host(BEFORE));
}

#[test]
fn only_moved_slots_of_a_table_remember() {
    let slots = [Slot::settled(NOW), Slot::moved(THIRD, BEFORE)];
    let mut world = moved(NOW, BEFORE).service(WEB, tcp(VIP4, 80).slots(slots.to_vec()));
    let on_moved = (40000..40010).filter(|&port| {
        let to = world.tunnels_to(&data(port));
        assert!([host(NOW), host(BEFORE)].contains(&to));
        to == host(BEFORE)
    });
    let on_moved = on_moved.count();
    assert!((1..10).contains(&on_moved));
    assert_eq!(remembered(&world).len(), on_moved);
}

#[test]
fn an_icmp_error_finds_the_backend_that_its_flow_is_remembered_at() {
    let mut world = moved(NOW, BEFORE);
    world.tunnels_to(&syn(40000));
    let error = |port| {
        let quoted = reply4().tcp(80, port).build();
        asks4().fragmentation_needed(1400).payload(quoted.bytes()).build()
    };
    assert_eq!(world.tunnels_to(&error(40000)), host(NOW));
    assert_eq!(world.tunnels_to(&error(40001)), host(BEFORE));
    assert_eq!(world.tunnels_to(&data(40001)), host(BEFORE));
}
