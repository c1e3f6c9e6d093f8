//! `sluice keygen`: a fresh secret for `seedFile` or `keyFile`.

use anyhow::Context;

use crate::config;

/// Prints 32 random bytes in base64, on one line.
///
/// # Errors
/// When the system has no randomness, or the line cannot be written.
pub fn run() -> anyhow::Result<()> {
    use std::io::Write;

    let secret = config::generate().context("the system has no randomness to give")?;
    writeln!(std::io::stdout(), "{secret}").context("cannot write the key")
}
