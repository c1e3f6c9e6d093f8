//! What a table of packets says: packet in, verdict and packet out.

use std::net::IpAddr;

use lb_common::counters::Reason;

use super::{Action, Outcome, Program};
use crate::frame::{Frame, check};

impl Program {
    #[track_caller]
    fn outcome(&mut self, frame: &Frame) -> Outcome {
        self.run(frame).unwrap()
    }

    #[track_caller]
    fn expect(&mut self, frame: &Frame, action: Action, reasons: &[Reason]) -> Frame {
        let outcome = self.outcome(frame);
        assert!(
            outcome.action == action && outcome.reasons == reasons,
            "{action:?} {reasons:?} expected of {frame:?}\nbut there is {outcome:?}"
        );
        outcome.frame
    }

    #[track_caller]
    fn expect_frame(
        &mut self,
        frame: &Frame,
        action: Action,
        reasons: &[Reason],
        expected: &Frame,
    ) {
        let out = self.expect(frame, action, reasons);
        assert!(out == *expected, "{frame:?}\nbecame {out:?}\nbut should be {expected:?}");
    }

    /// The frame goes to the kernel untouched and uncounted.
    #[track_caller]
    pub fn passes(&mut self, frame: &Frame) {
        self.expect_frame(frame, Action::Pass, &[], frame);
    }

    /// The frame goes to the kernel untouched, and is counted.
    #[track_caller]
    pub fn leaves(&mut self, frame: &Frame, reason: Reason) {
        self.expect_frame(frame, Action::Pass, &[reason], frame);
    }

    /// The frame goes to the kernel as another one.
    #[track_caller]
    pub fn delivers(&mut self, frame: &Frame, expected: &Frame) {
        self.expect_frame(frame, Action::Pass, &[], expected);
    }

    /// The frame is dropped and counted once.
    #[track_caller]
    pub fn drops(&mut self, frame: &Frame, reason: Reason) {
        self.expect(frame, Action::Drop, &[reason]);
    }

    /// Out where it came in goes exactly this frame.
    #[track_caller]
    pub fn sends(&mut self, frame: &Frame, expected: &Frame) {
        self.expect_frame(frame, Action::Transmit, &[], expected);
    }

    /// Out through another interface goes exactly this frame.
    #[track_caller]
    pub fn redirects(&mut self, frame: &Frame, expected: &Frame) {
        self.expect_frame(frame, Action::Redirect, &[], expected);
    }

    /// Exactly this answer goes back, and its reason is counted.
    #[track_caller]
    pub fn refuses(&mut self, frame: &Frame, reason: Reason, expected: &Frame) {
        self.expect_frame(frame, Action::Transmit, &[reason], expected);
    }

    /// Some answer goes back and its reason is counted: the answer, whose checksums are right.
    #[track_caller]
    pub fn answers(&mut self, frame: &Frame, reason: Reason) -> Frame {
        let answer = self.expect(frame, Action::Transmit, &[reason]);
        check(&answer).unwrap();
        answer
    }

    /// The frame is tunnelled: to where, the outer destination.
    #[track_caller]
    pub fn tunnels_to(&mut self, frame: &Frame) -> IpAddr {
        let out = self.expect(frame, Action::Transmit, &[]);
        let addresses = out.dissect().addresses();
        assert!(addresses.len() >= 2, "{frame:?}\nis not in a tunnel: {out:?}");
        addresses[0].1
    }
}
