//! When to look at a file that is being changed: once its writer is done. Time is an argument.

use std::time::{Duration, Instant};

/// From the last sign of a finished change to the look at the file.
const QUIET: Duration = Duration::from_millis(50);
/// How long a writer that has the file open may pause: what it has written so far may be half of it.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest a look is put off while changes go on and on.
const PATIENCE: Duration = Duration::from_secs(5);

/// A sign of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Somebody is writing, and has not closed the file.
    Writing,
    /// A change is complete: closed, renamed, removed.
    Settled,
}

/// Collects signs of change into one moment to look.
#[derive(Debug, Default)]
pub struct Debounce {
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    first: Instant,
    due: Instant,
}

impl Debounce {
    /// Takes note of a sign.
    pub fn touch(&mut self, now: Instant, touch: Touch) {
        let wait = match touch {
            Touch::Writing => PAUSE,
            Touch::Settled => QUIET,
        };
        let first = self.pending.as_ref().map_or(now, |pending| pending.first);
        self.pending = Some(Pending { first, due: (now + wait).min(first + PATIENCE) });
    }

    /// How long until a look is due; `None` if nothing has changed.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.due.saturating_duration_since(now))
    }

    /// Is a look due? If so, the signs so far are done with.
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.wait(now).is_some_and(|wait| wait.is_zero());
        if due {
            self.pending = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn nothing_is_due_without_a_sign() {
        let mut debounce = Debounce::default();
        assert_eq!(debounce.wait(Instant::now()), None);
        assert!(!debounce.take_due(Instant::now()));
    }

    #[test]
    fn a_burst_of_changes_is_one_look() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        for at in [0, 20, 40] {
            debounce.touch(start + ms(at), Touch::Settled);
        }
        assert!(!debounce.take_due(start + ms(89)));
        assert!(debounce.take_due(start + ms(90)));
        assert!(!debounce.take_due(start + ms(91)));
    }

    #[test]
    fn a_half_written_file_is_not_looked_at_until_its_writer_closes_it() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        debounce.touch(start, Touch::Writing);
        assert!(!debounce.take_due(start + ms(300)));
        debounce.touch(start + ms(300), Touch::Writing);
        debounce.touch(start + ms(310), Touch::Settled);
        assert_eq!(debounce.wait(start + ms(310)), Some(QUIET));
        assert!(debounce.take_due(start + ms(360)));
    }

    #[test]
    fn a_writer_that_never_closes_does_not_put_the_look_off_forever() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        let looked = (0..100).map(|step| start + ms(100) * step).find(|now| {
            debounce.touch(*now, Touch::Writing);
            debounce.take_due(*now)
        });
        assert_eq!(looked, Some(start + PATIENCE));
    }
}
