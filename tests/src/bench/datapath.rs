//! The suite `datapath`: nanoseconds per packet in the BPF programs alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use aya::programs::Xdp;
use serde_json::{Map, Value};

use super::{
    edge::{Edge, MOVED_V4, PORT, SETTLED_V4, SETTLED_V6, SETTLED_V6_IN_V4},
    median,
    wrapper::{ENCAPSULATE, Expected, Setup, TRANSMIT, Wrapper},
};
use crate::{
    addresses::LAN,
    bpf::{
        Action, INTERFACE,
        traffic::{CLIENT4, CLIENT6, from_router},
    },
    frame::Frame,
};

/// Packets of a round.
const PACKETS: u32 = 1_000_000;
/// Rounds that count; the one before them warms caches up.
const ROUNDS: usize = 9;
/// Distinct flows.
const FLOWS: [u32; 5] = [1, 1000, 100_000, 1_000_000, 10_000_000];
/// Distinct flows of figures that do not depend on them.
const SOME_FLOWS: u32 = 100_000;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    DataPath,
    Own(&'static str),
}

/// A figure in the making.
struct Case {
    name: &'static str,
    /// Part of the figure's place, where there are several.
    flows: Option<u32>,
    target: Target,
    frame: Frame,
    setup: Setup,
    expected: Expected,
    /// Nanoseconds, one a round.
    rounds: Vec<f64>,
}

/// TCP to a VIP's port.
struct Asking {
    vip: IpAddr,
    opens: bool,
}

impl Asking {
    fn established(vip: impl Into<IpAddr>) -> Self {
        Self { vip: vip.into(), opens: false }
    }

    fn new_flow(vip: impl Into<IpAddr>) -> Self {
        Self { vip: vip.into(), opens: true }
    }

    fn frame(&self) -> Frame {
        let packet = match self.vip {
            IpAddr::V4(vip) => from_router().ipv4(CLIENT4, vip),
            IpAddr::V6(vip) => from_router().ipv6(CLIENT6, vip),
        };
        let packet = packet.tcp(1024, PORT);
        let packet = if self.opens { packet.syn() } else { packet.ack(1) };
        packet.payload([0; 20]).build()
    }
}

/// What an established connection to a VIP sends.
pub fn established(vip: Ipv4Addr) -> Frame {
    Asking::established(vip).frame()
}

fn case(name: &'static str, flows: u32, target: Target, frame: Frame, expected: Expected) -> Case {
    let setup = Setup::new(&frame, flows);
    Case { name, flows: None, target, frame, setup, expected, rounds: Vec::new() }
}

fn cases() -> Vec<Case> {
    const SENT: Expected = Expected { action: Action::Transmit, growth: 0 };
    const IN_V4: Expected = Expected { action: Action::Transmit, growth: 20 };
    const IN_V6: Expected = Expected { action: Action::Transmit, growth: 40 };
    const PASSED: Expected = Expected { action: Action::Pass, growth: 0 };
    let nobody: Ipv4Addr = LAN.v4(77);
    let nobody_v6: Ipv6Addr = LAN.v6(77);
    let own = |name, program, expected| {
        case(name, SOME_FLOWS, Target::Own(program), established(SETTLED_V4), expected)
    };
    let bystander = |name, address: IpAddr| {
        case(name, SOME_FLOWS, Target::DataPath, Asking::established(address).frame(), PASSED)
    };
    let mut cases = vec![
        own("floor_ns", TRANSMIT, SENT),
        own("encap_floor_ns", ENCAPSULATE, IN_V4),
        bystander("bystander_ns", nobody.into()),
        bystander("bystander_v6_ns", nobody_v6.into()),
    ];
    let mut by_flows = |name, asking: Asking, expected, all: &[u32]| {
        for &flows in all {
            let case = case(name, flows, Target::DataPath, asking.frame(), expected);
            cases.push(Case { flows: Some(flows), ..case });
        }
    };
    by_flows("established_v4_ns", Asking::established(SETTLED_V4), IN_V4, &FLOWS);
    by_flows("established_v6_ns", Asking::established(SETTLED_V6), IN_V6, &FLOWS);
    let some = &[SOME_FLOWS];
    by_flows("established_v6_in_v4_ns", Asking::established(SETTLED_V6_IN_V4), IN_V4, some);
    by_flows("new_flow_v4_ns", Asking::new_flow(SETTLED_V4), IN_V4, &FLOWS);
    by_flows("new_flow_v6_ns", Asking::new_flow(SETTLED_V6), IN_V6, &FLOWS);
    by_flows("moved_slot_v4_ns", Asking::established(MOVED_V4), IN_V4, &FLOWS[..3]);
    cases
}

/// Measures everything, prints a table, returns the figures.
///
/// # Errors
/// When a program cannot be loaded or run, or does something else than what is measured.
pub fn run() -> Result<Value> {
    let mut edge = Edge::load(INTERFACE)?;
    let mut wrapper = Wrapper::load()?;
    let mut cases = cases();
    // Rounds outside, so that a disturbance of a second spoils one round of some figures, not all of one.
    for round in 0..=ROUNDS {
        for case in &mut cases {
            let nanoseconds = measure(&mut wrapper, edge.program()?, case)
                .with_context(|| format!("cannot measure {}", case.name))?;
            if round > 0 {
                case.rounds.push(nanoseconds);
            }
        }
    }
    print(&cases);
    Ok(figures(&cases))
}

fn measure(wrapper: &mut Wrapper, data_path: &Xdp, case: &mut Case) -> Result<f64> {
    match case.target {
        Target::DataPath => wrapper.test(data_path)?,
        Target::Own(name) => wrapper.test_own(name)?,
    }
    let run = wrapper.run(&case.frame, &mut case.setup, PACKETS)?;
    case.expected.check(&run, &case.setup)?;
    ensure!(!run.time.is_zero(), "the kernel measured no time");
    Ok(run.time.as_nanos() as f64)
}

fn figures(cases: &[Case]) -> Value {
    let mut figures = Map::new();
    for case in cases {
        let value = Value::from(median(&case.rounds));
        match case.flows {
            None => {
                figures.insert(case.name.to_owned(), value);
            }
            Some(flows) => {
                let place = figures.entry(case.name).or_insert_with(|| Map::new().into());
                place[flows.to_string()] = value;
            }
        }
    }
    figures.into()
}

fn print(cases: &[Case]) {
    let of = |name| {
        let case = cases.iter().find(|case| case.name == name);
        case.map_or(f64::NAN, |case| median(&case.rounds))
    };
    let (floor, encap_floor) = (of("floor_ns"), of("encap_floor_ns"));
    println!(
        "{:<26}{:>10}{:>8}{:>8}{:>8}{:>12}",
        "datapath", "flows", "ns", "least", "most", "over floor"
    );
    for case in cases {
        let ns = median(&case.rounds);
        let encapsulates = case.expected.growth > 0;
        let over = ns - if encapsulates { encap_floor } else { floor };
        let least = case.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = case.rounds.iter().copied().fold(0.0, f64::max);
        println!(
            "{:<26}{:>10}{ns:>8.0}{least:>8.0}{most:>8.0}{over:>+12.0}",
            case.name,
            case.flows.map_or_else(String::new, |flows| flows.to_string()),
        );
    }
    println!("(\"over floor\": over encap_floor_ns for what encapsulates, else over floor_ns)");
}
