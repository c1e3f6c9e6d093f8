//! The agent's Unix socket: what the read commands ask.
