//! The Sluice agent: from a source's wishes to BPF maps, in one direction.
//!
//! ```text
//! source (file) ─► desired state ─► plan (pure) ─► data plane (BPF)
//! ```

pub mod admin;
pub mod agent;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod desired;
pub mod ownership;
pub mod plan;
pub mod source;
pub mod telemetry;
