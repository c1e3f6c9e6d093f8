//! Is the agent alive, and is it ready? The main loop says so, `/healthz` and `/readyz` repeat it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the agent knows of its own health; share it in an `Arc`.
#[derive(Debug)]
pub struct Health {
    /// The longest a healthy main loop is silent.
    tolerance: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_beat: Instant,
    /// Why it is not ready.
    waiting_for: Option<String>,
}

impl Health {
    /// An agent that is alive and not ready: it waits for `reason`. Its main loop must [beat](Self::beat) more often than
    /// every `tolerance`.
    pub fn new(tolerance: Duration, reason: impl Into<String>) -> Self {
        let state = State { last_beat: Instant::now(), waiting_for: Some(reason.into()) };
        Self { tolerance, state: Mutex::new(state) }
    }

    /// The main loop has come round.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        self.with(|state| state.last_beat = now);
    }

    /// Attached, and the first state is applied.
    pub fn set_ready(&self) {
        self.with(|state| state.waiting_for = None);
    }

    /// Not ready, for a reason that completes the sentence "not ready: ...".
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.with(|state| state.waiting_for = Some(reason.into()));
    }

    /// Why the agent is not ready; `None`: it is.
    pub fn not_ready(&self) -> Option<String> {
        self.with(|state| state.waiting_for.clone())
    }

    /// For how long the main loop has been silent, if that is longer than it should be.
    pub fn stalled(&self, now: Instant) -> Option<Duration> {
        let silence = now.saturating_duration_since(self.with(|state| state.last_beat));
        (silence > self.tolerance).then_some(silence)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_main_loop_that_beats_is_alive() {
        let health = Health::new(TOLERANCE, "starting");
        let now = Instant::now();
        health.beat_at(now + TOLERANCE);
        assert_eq!(health.stalled(now + 2 * TOLERANCE), None);
    }

    #[test]
    fn a_silent_main_loop_is_stalled_for_as_long_as_it_is_silent() {
        let health = Health::new(TOLERANCE, "starting");
        let now = Instant::now();
        health.beat_at(now);
        assert_eq!(health.stalled(now + 2 * TOLERANCE), Some(2 * TOLERANCE));
    }

    #[test]
    fn an_agent_is_not_ready_until_it_says_so() {
        let health = Health::new(TOLERANCE, "starting");
        assert_eq!(health.not_ready().as_deref(), Some("starting"));
        health.set_ready();
        assert_eq!(health.not_ready(), None);
        health.set_not_ready("eth0 is gone");
        assert_eq!(health.not_ready().as_deref(), Some("eth0 is gone"));
    }
}
