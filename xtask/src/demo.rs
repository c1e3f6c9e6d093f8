//! `cargo xtask demo`: a whole cluster in network namespaces, real traffic, and what happened to it.

use anyhow::Result;

use crate::laboratory;
use crate::setup::Purpose;

/// Runs the verb.
pub fn run() -> Result<()> {
    laboratory::run(Purpose::Lab, &["demo".into()])
}
