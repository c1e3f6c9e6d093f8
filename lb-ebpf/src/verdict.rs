//! What a stage may decide.

use aya_ebpf::bindings::xdp_action;
use lb_common::counters::Reason;

/// How a packet leaves the program early.
#[derive(Clone, Copy)]
pub enum Verdict {
    /// Not our business: to the kernel, untouched and uncounted.
    Pass,
    /// Left to the kernel for a reason worth counting.
    Leave(Reason),
    /// Dropped and counted.
    Drop(Reason),
    /// To be answered with a TCP RST or an ICMP port unreachable.
    Refuse(Refusal),
    /// To be answered with fragmentation needed / packet too big, naming the largest IP packet that fits.
    TooBig { mtu: u32 },
    /// Out through the interface it came in: the packet has become its own answer.
    Answer,
}

/// Why a packet is refused.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// No service has the port.
    NoService,
    /// The service has no backend.
    NoBackend,
}

impl Refusal {
    /// As it is counted where the client was told.
    pub const fn told(self) -> Reason {
        match self {
            Self::NoService => Reason::NoService,
            Self::NoBackend => Reason::NoBackend,
        }
    }

    /// As it is counted where the client was not told.
    pub const fn silent(self) -> Reason {
        match self {
            Self::NoService => Reason::NoServiceSilent,
            Self::NoBackend => Reason::NoBackendSilent,
        }
    }
}

/// Where a packet goes that reached the end of the pipeline.
pub enum Action {
    /// Out through the interface it came in.
    Transmit,
    /// Out through another interface; the action is what the redirect helper returned.
    Redirect(u32),
    /// Up to this node's kernel: a packet that was decapsulated.
    Deliver,
}

impl Action {
    /// The XDP action code.
    #[inline(always)]
    pub fn code(self) -> u32 {
        match self {
            Self::Transmit => xdp_action::XDP_TX,
            Self::Redirect(code) => code,
            Self::Deliver => xdp_action::XDP_PASS,
        }
    }
}

/// Result of a stage.
pub type Stage<T> = Result<T, Verdict>;

/// A [`Stage<u32>`] as one word: what a function returns that the verifier checks once, by itself ("global function"). A zero high half
/// means `Ok`.
pub type Outcome = u64;

const PASS: u32 = 1;
const LEAVE: u32 = 2;
const DROP: u32 = 3;
const REFUSE_NO_SERVICE: u32 = 4;
const REFUSE_NO_BACKEND: u32 = 5;
const TOO_BIG: u32 = 6;
const ANSWER: u32 = 7;

/// Packs a stage's result.
#[inline(always)]
pub fn pack(stage: Stage<u32>) -> Outcome {
    let (kind, value) = match stage {
        Ok(value) => (0, value),
        Err(Verdict::Pass) => (PASS, 0),
        Err(Verdict::Leave(reason)) => (LEAVE, reason as u32),
        Err(Verdict::Drop(reason)) => (DROP, reason as u32),
        Err(Verdict::Refuse(Refusal::NoService)) => (REFUSE_NO_SERVICE, 0),
        Err(Verdict::Refuse(Refusal::NoBackend)) => (REFUSE_NO_BACKEND, 0),
        Err(Verdict::TooBig { mtu }) => (TOO_BIG, mtu),
        Err(Verdict::Answer) => (ANSWER, 0),
    };
    u64::from(kind) << 32 | u64::from(value)
}

/// Unpacks what [`pack`] packed.
#[inline(always)]
pub fn unpack(outcome: Outcome) -> Stage<u32> {
    let value = outcome as u32;
    let reason = match Reason::from_index(value) {
        Some(reason) => reason,
        None => Reason::Malformed,
    };
    Err(match (outcome >> 32) as u32 {
        0 => return Ok(value),
        LEAVE => Verdict::Leave(reason),
        DROP => Verdict::Drop(reason),
        REFUSE_NO_SERVICE => Verdict::Refuse(Refusal::NoService),
        REFUSE_NO_BACKEND => Verdict::Refuse(Refusal::NoBackend),
        TOO_BIG => Verdict::TooBig { mtu: value },
        ANSWER => Verdict::Answer,
        _ => Verdict::Pass,
    })
}

/// Gives a missing value its verdict.
pub trait OrVerdict<T> {
    fn or_drop(self, reason: Reason) -> Stage<T>;
    fn or_pass(self) -> Stage<T>;
    fn or_refuse(self) -> Stage<T>;
}

impl<T> OrVerdict<T> for Option<T> {
    #[inline(always)]
    fn or_drop(self, reason: Reason) -> Stage<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(Verdict::Drop(reason)),
        }
    }

    #[inline(always)]
    fn or_pass(self) -> Stage<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(Verdict::Pass),
        }
    }

    #[inline(always)]
    fn or_refuse(self) -> Stage<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(Verdict::Refuse(Refusal::NoService)),
        }
    }
}
