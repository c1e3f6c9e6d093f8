//! The life of one next hop: asked for, known, doubted, lost. Time is an argument.

use std::time::{Duration, Instant};

use crate::ownership::frames::Mac;

/// A known next hop is asked again this long after its last sign of life.
const REST: Duration = Duration::from_millis(400);
/// How long each question may go unanswered.
const PATIENCE: Duration = Duration::from_millis(150);
/// A lost next hop is searched for this often.
const SEARCH: Duration = Duration::from_millis(500);

/// Questions to everybody, after the one to the known MAC, before a next hop counts as lost: a frame or two may get lost.
const BROADCASTS: u32 = 2;
/// The same for a next hop never heard of: there was no question to a known MAC.
const FIRST_BROADCASTS: u32 = 3;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The MAC that is thought to be right.
    Unicast(Mac),
    /// Everybody on the link.
    Broadcast,
}

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too early to say.
    Searching,
    /// It does not answer.
    Lost,
    /// It is at this MAC.
    At(Mac),
}

/// The kernel's opinion of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Set by the administrator: not to be asked about.
    Permanent(Mac),
    /// Confirmed a moment ago.
    Confirmed(Mac),
    /// Remembered, perhaps outdated.
    Remembered(Mac),
    /// Unknown, or given up.
    Unknown,
}

#[derive(Debug)]
enum State {
    Searching { asked: u32, due: Instant },
    Lost { due: Instant },
    Resting { mac: Mac, due: Instant },
    Asked { mac: Mac, broadcasts: u32, due: Instant },
    Permanent { mac: Mac },
}

/// The probe of one next hop on one link.
#[derive(Debug)]
pub(super) struct Probe {
    state: State,
    /// Varies a little between next hops, so that their probes spread out.
    rest: Duration,
}

impl Probe {
    /// A probe for a next hop; `spread` is any number that differs between next hops.
    pub(super) fn new(kernel: Kernel, spread: u8, now: Instant) -> Self {
        let rest = REST - Duration::from_millis(u64::from(spread) % 64);
        let mut probe = Self { state: State::Searching { asked: 0, due: now }, rest };
        probe.kernel_says(kernel, now);
        probe
    }

    /// What is known now.
    pub(super) fn verdict(&self) -> Verdict {
        match self.state {
            State::Searching { .. } => Verdict::Searching,
            State::Lost { .. } => Verdict::Lost,
            State::Resting { mac, .. } | State::Asked { mac, .. } | State::Permanent { mac } => {
                Verdict::At(mac)
            }
        }
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Searching { due, .. }
            | State::Lost { due }
            | State::Resting { due, .. }
            | State::Asked { due, .. } => Some(due),
            State::Permanent { .. } => None,
        }
    }

    /// Goes on if it is time to. Each wait starts at `now`, so that a process that was held up does not take its own pause
    /// for its neighbour's silence.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Question> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let (state, question) = match self.state {
            State::Searching { asked, .. } if asked < FIRST_BROADCASTS => {
                (State::Searching { asked: asked + 1, due: now + PATIENCE }, Question::Broadcast)
            }
            State::Resting { mac, .. } => {
                (State::Asked { mac, broadcasts: 0, due: now + PATIENCE }, Question::Unicast(mac))
            }
            State::Asked { mac, broadcasts, .. } if broadcasts < BROADCASTS => (
                State::Asked { mac, broadcasts: broadcasts + 1, due: now + PATIENCE },
                Question::Broadcast,
            ),
            State::Searching { .. } | State::Lost { .. } | State::Asked { .. } => {
                (State::Lost { due: now + SEARCH }, Question::Broadcast)
            }
            State::Permanent { .. } => return None,
        };
        self.state = state;
        Some(question)
    }

    /// The next hop has been heard from `mac`. Without `overrides` another MAC that works is kept.
    pub(super) fn heard(&mut self, mac: Mac, overrides: bool, now: Instant) {
        let keep = match self.state {
            State::Permanent { .. } => true,
            State::Resting { mac: known, .. } | State::Asked { mac: known, .. } => {
                known != mac && !overrides
            }
            State::Searching { .. } | State::Lost { .. } => false,
        };
        if !keep {
            self.state = State::Resting { mac, due: now + self.rest };
        }
    }

    /// The kernel's opinion has changed. A MAC it only remembers is asked at once; one that fell silent for us is not believed.
    pub(super) fn kernel_says(&mut self, kernel: Kernel, now: Instant) {
        self.state = match (kernel, &self.state) {
            (Kernel::Permanent(mac), _) => State::Permanent { mac },
            (Kernel::Confirmed(mac), _) => State::Resting { mac, due: now + self.rest },
            (Kernel::Remembered(_), State::Lost { .. }) => return,
            // Old news must not put off the end of a doubt.
            (
                Kernel::Remembered(mac),
                State::Resting { mac: known, .. } | State::Asked { mac: known, .. },
            ) if mac == *known => return,
            (Kernel::Remembered(mac), _) => State::Resting { mac, due: now },
            (Kernel::Unknown, &State::Permanent { mac }) => State::Resting { mac, due: now },
            (Kernel::Unknown, _) => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 0xa];
    const B: Mac = [2, 0, 0, 0, 0, 0xb];

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Runs the probe from `from` until `until` (ms), with a neighbour that answers as told; the questions with their times.
    fn run(
        probe: &mut Probe,
        start: Instant,
        range: std::ops::Range<u64>,
        answer: impl Fn(Question) -> Option<Mac>,
    ) -> Vec<(u64, Question)> {
        let mut asked = Vec::new();
        for at in range {
            let now = start + ms(at);
            if let Some(question) = probe.poll(now) {
                asked.push((at, question));
                if let Some(mac) = answer(question) {
                    probe.heard(mac, true, now);
                }
            }
        }
        asked
    }

    fn at(holder: Mac) -> impl Fn(Question) -> Option<Mac> {
        move |question| match question {
            Question::Unicast(mac) => (mac == holder).then_some(holder),
            Question::Broadcast => Some(holder),
        }
    }

    #[test]
    fn an_unknown_next_hop_is_asked_for_at_once() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Unknown, 0, start);
        assert_eq!(probe.verdict(), Verdict::Searching);
        assert_eq!(probe.poll(start), Some(Question::Broadcast));
        probe.heard(A, false, start);
        assert_eq!(probe.verdict(), Verdict::At(A));
    }

    #[test]
    fn one_that_never_answers_is_lost_within_half_a_second_and_searched_for_on_and_on() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Unknown, 0, start);
        let asked = run(&mut probe, start, 0..2000, |_| None);
        assert_eq!(
            asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [0, 150, 300, 450, 950, 1450, 1950]
        );
        assert!(asked.iter().all(|(_, question)| *question == Question::Broadcast));
        assert_eq!(probe.verdict(), Verdict::Lost);
    }

    #[test]
    fn a_known_one_is_only_asked_by_unicast() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        let asked = run(&mut probe, start, 0..1300, at(A));
        assert_eq!(asked, [400, 800, 1200].map(|at| (at, Question::Unicast(A))));
    }

    #[test]
    fn a_mac_that_changes_right_after_an_answer_is_followed_within_a_second() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        let asked = run(&mut probe, start, 0..1000, at(B));
        assert_eq!(asked[..2], [(400, Question::Unicast(A)), (550, Question::Broadcast)]);
        assert_eq!(probe.verdict(), Verdict::At(B));
    }

    #[test]
    fn one_that_vanishes_right_after_an_answer_is_lost_within_a_second() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        run(&mut probe, start, 0..850, |_| None);
        assert_eq!(probe.verdict(), Verdict::At(A));
        run(&mut probe, start, 850..1000, |_| None);
        assert_eq!(probe.verdict(), Verdict::Lost);
    }

    #[test]
    fn one_that_returns_is_found_by_the_next_search() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        run(&mut probe, start, 0..1000, |_| None);
        let asked = run(&mut probe, start, 1000..1501, at(B));
        assert_eq!(asked[0].1, Question::Broadcast);
        assert_eq!(probe.verdict(), Verdict::At(B));
    }

    #[test]
    fn two_lost_frames_lose_no_next_hop() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        run(&mut probe, start, 0..700, |_| None);
        run(&mut probe, start, 700..2000, at(A));
        assert_eq!(probe.verdict(), Verdict::At(A));
    }

    #[test]
    fn a_pause_of_this_process_is_not_the_neighbours_silence() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        let late = start + ms(5000);
        assert_eq!(probe.poll(late), Some(Question::Unicast(A)));
        assert_eq!(probe.poll(late + ms(1)), None);
        assert_eq!(probe.verdict(), Verdict::At(A));
    }

    #[test]
    fn an_answer_that_does_not_override_leaves_a_mac_that_works() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        probe.heard(B, false, start);
        assert_eq!(probe.verdict(), Verdict::At(A));
        probe.heard(B, true, start);
        assert_eq!(probe.verdict(), Verdict::At(B));
    }

    #[test]
    fn what_the_kernel_remembers_serves_at_once_and_is_checked_at_once() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Remembered(A), 0, start);
        assert_eq!(probe.verdict(), Verdict::At(A));
        assert_eq!(probe.poll(start), Some(Question::Unicast(A)));
    }

    #[test]
    fn a_lost_one_comes_back_by_the_kernels_confirmation_but_not_by_its_memory() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Confirmed(A), 0, start);
        run(&mut probe, start, 0..1000, |_| None);
        probe.kernel_says(Kernel::Remembered(A), start + ms(1000));
        assert_eq!(probe.verdict(), Verdict::Lost);
        probe.kernel_says(Kernel::Confirmed(A), start + ms(1000));
        assert_eq!(probe.verdict(), Verdict::At(A));
    }

    #[test]
    fn a_permanent_neighbour_is_never_asked() {
        let start = Instant::now();
        let mut probe = Probe::new(Kernel::Permanent(A), 0, start);
        assert_eq!(run(&mut probe, start, 0..3000, |_| None), []);
        probe.heard(B, true, start);
        assert_eq!(probe.verdict(), Verdict::At(A));
        probe.kernel_says(Kernel::Unknown, start + ms(3000));
        assert_eq!(probe.poll(start + ms(3000)), Some(Question::Unicast(A)));
    }
}
