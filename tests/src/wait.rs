//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `probe` until it succeeds.
///
/// # Errors
/// The last error of `probe`, with `what` as context, once `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error)
                    .with_context(|| format!("gave up waiting after {limit:?}: {what}"));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Waits until `condition` holds.
///
/// # Errors
/// When `limit` has passed first; the message names `what`.
pub fn until_true(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    until(what, limit, || {
        anyhow::ensure!(condition(), "the condition does not hold");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_wait_tells_what_was_awaited_and_the_last_error() {
        let error = until("the moon", Duration::from_millis(30), || -> Result<()> {
            anyhow::bail!("still dark")
        })
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the moon") && text.contains("still dark"), "{text}");
    }
}
