//! Headers for the steps of a long command, with the time each took.

use std::fmt;
use std::time::{Duration, Instant};

/// Numbers the steps of one command.
pub struct Steps {
    total: usize,
    done: usize,
    began: Instant,
}

impl Steps {
    /// Expects this many steps.
    pub fn new(total: usize) -> Self {
        Self { total, done: 0, began: Instant::now() }
    }

    /// Runs one step between its header and the line that tells how long it took.
    pub fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.done += 1;
        let place = format!("[{}/{}]", self.done, self.total);
        println!("{place} {name} (at {})", Elapsed(self.began.elapsed()));
        let began = Instant::now();
        let result = work();
        let took = Elapsed(began.elapsed());
        match &result {
            Ok(_) => println!("{place} {name}: done in {took}"),
            Err(error) => println!("{place} {name}: failed after {took}: {error:#}"),
        }
        result
    }
}

/// A duration for people: `0.3 s`, `12 s`, `3 min 05 s`.
struct Elapsed(Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{seconds} s"),
            _ => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        for (milliseconds, text) in [(300, "0.3 s"), (12_400, "12 s"), (185_000, "3 min 05 s")] {
            assert_eq!(Elapsed(Duration::from_millis(milliseconds)).to_string(), text);
        }
    }

    #[test]
    fn a_failed_step_hands_its_error_on() {
        let mut steps = Steps::new(1);
        let error = steps.step("x", || -> anyhow::Result<()> { anyhow::bail!("why") }).unwrap_err();
        assert_eq!(error.to_string(), "why");
    }
}
