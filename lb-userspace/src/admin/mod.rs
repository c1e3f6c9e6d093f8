//! The agent's Unix socket: what the read commands ask.
//!
//! The agent serves the [views](view) as JSON over HTTP; [`AdminSocket`] is its end, [`AdminClient`] the command line's.

pub mod client;
mod explain;
pub mod server;
mod status;
pub mod view;

pub use client::{AdminClient, ClientError};
pub use server::{AdminSocket, Inspect, InspectError, SocketError};

/// Where the agent listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/sluice.sock";
