//! A laboratory of network namespaces for Sluice's tests, its demo and its benches.
//!
//! [`topology::Lab`] wires client, router, switch, edges and servers; [`agent::Agent`] runs the
//! real `sluice` in one of them; [`servers`] are real servers, [`client::Client`] asks them.
//! [`bpf::World`] is the data path alone, frame by frame, without any network.
//! Everything is a guard that undoes itself when dropped, also while a test panics.

pub mod addresses;
pub mod agent;
pub mod bench;
pub mod bpf;
pub mod client;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod dns;
pub mod frame;
pub mod host;
pub mod http;
pub mod iperf;
pub mod link;
pub mod mac;
pub mod names;
pub mod netns;
pub mod process;
pub mod servers;
pub mod stale;
pub mod stats;
pub mod tally;
pub mod topology;
pub mod wait;
pub mod wire;
pub mod xdp;
