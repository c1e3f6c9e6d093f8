//! Attaching the XDP program: native where the driver can, generic otherwise; swapped in place where an earlier agent left its link.

use std::path::{Path, PathBuf};

use aya::programs::{
    Xdp, XdpMode as AyaMode,
    links::{FdLink, LinkError, PinnedLink},
    xdp::XdpLink,
};
use lb_common::names;

use super::pins::{PinDirectory, PinError};
use crate::{admin::view::XdpMode, config};

/// Why the program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another XDP program sits there.
    #[error(
        "interfaces: {0} has another XDP program already; detach it (ip link set dev {0} xdp off), or find out whose it is with `bpftool net`"
    )]
    Busy(String),
    /// The driver cannot, and `xdpMode: native` asks for it.
    #[error(
        "xdpMode: the driver of {interface} cannot run XDP natively here; use xdpMode: auto or generic"
    )]
    NotNative {
        /// Interface.
        interface: String,
        /// What the kernel says.
        #[source]
        source: aya::programs::ProgramError,
    },
    /// Any other refusal.
    #[error("cannot attach the XDP program to {interface}")]
    Refused {
        /// Interface.
        interface: String,
        /// What the kernel says.
        #[source]
        source: aya::programs::ProgramError,
    },
    /// The link cannot be kept.
    #[error("cannot pin the link of {interface} at {path}")]
    Pin {
        /// Interface.
        interface: String,
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: aya::pin::PinError,
    },
    /// The kernel made no link.
    #[error("cannot keep the link of {interface}: kernel 5.9 or newer is needed")]
    NoLink {
        /// Interface.
        interface: String,
        /// What is wrong.
        #[source]
        source: LinkError,
    },
    /// The old link's pin is in the way.
    #[error(transparent)]
    Directory(#[from] PinError),
}

/// An interface with the program on it. Dropping it leaves the program attached: the link is pinned.
#[derive(Debug)]
pub struct Attached {
    /// Interface.
    pub interface: String,
    /// How it runs there.
    pub mode: XdpMode,
    link: PinnedLink,
    pin: String,
}

impl Attached {
    /// Detaches the program.
    ///
    /// # Errors
    /// When the pin cannot be removed.
    pub fn detach(self) -> std::io::Result<()> {
        // The last reference goes with the returned link.
        self.link.unpin().map(drop)
    }

    /// Name of the pinned link.
    pub fn pin(&self) -> &str {
        &self.pin
    }
}

/// Attaches `program` to an interface, or swaps it in on the link an earlier agent left pinned.
///
/// # Errors
/// See [`AttachError`].
pub fn attach(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    wanted: config::XdpMode,
    pins: &PinDirectory,
) -> Result<Attached, AttachError> {
    let allowed = |mode| match wanted {
        config::XdpMode::Auto => true,
        config::XdpMode::Native => mode == XdpMode::Native,
        config::XdpMode::Generic => mode == XdpMode::Generic,
    };
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let pin = pin_name(interface, mode);
        if allowed(mode)
            && let Some(link) = take_over(program, &pins.pin(&pin))
        {
            tracing::info!(interface, "swapped the XDP program in place");
            return keep(link, interface, mode, pin, pins);
        }
        pins.remove(&pin)?;
    }
    let (link, mode) = attach_anew(program, interface, ifindex, wanted)?;
    keep(link, interface, mode, pin_name(interface, mode), pins)
}

/// The mode is part of the name: the kernel does not tell it of a link.
fn pin_name(interface: &str, mode: XdpMode) -> String {
    match mode {
        XdpMode::Native => format!("link_{interface}_native"),
        XdpMode::Generic => format!("link_{interface}_generic"),
    }
}

fn keep(
    link: FdLink,
    interface: &str,
    mode: XdpMode,
    pin: String,
    pins: &PinDirectory,
) -> Result<Attached, AttachError> {
    let path = pins.pin(&pin);
    let link = link.pin(&path).map_err(|source| AttachError::Pin {
        interface: interface.into(),
        path,
        source,
    })?;
    Ok(Attached { interface: interface.into(), mode, link, pin })
}

/// Swaps the program on a pinned link: packets meet either the old or the new one, never none. A link whose interface is gone
/// refuses.
fn take_over(program: &mut Xdp, path: &Path) -> Option<FdLink> {
    let link = PinnedLink::from_pin(path).ok()?.unpin().ok()?;
    let id = program.attach_to_link(XdpLink::try_from(link).ok()?).ok()?;
    FdLink::try_from(program.take_link(id).ok()?).ok()
}

fn attach_anew(
    program: &mut Xdp,
    interface: &str,
    ifindex: u32,
    wanted: config::XdpMode,
) -> Result<(FdLink, XdpMode), AttachError> {
    let busy = |error: &aya::programs::ProgramError| {
        matches!(error, aya::programs::ProgramError::SyscallError(call)
            if call.io_error.raw_os_error() == Some(libc::EBUSY))
    };
    let mut attempt = |mode| {
        let id = program.attach_to_if_index(ifindex, mode)?;
        program.take_link(id)
    };
    let native = match wanted {
        config::XdpMode::Generic => None,
        _ => Some(attempt(AyaMode::Driver)),
    };
    let (link, mode) = match native {
        Some(Ok(link)) => (link, XdpMode::Native),
        Some(Err(error)) if busy(&error) => return Err(AttachError::Busy(interface.into())),
        Some(Err(source)) if wanted == config::XdpMode::Native => {
            return Err(AttachError::NotNative { interface: interface.into(), source });
        }
        other => {
            if let Some(Err(error)) = other {
                let why: &dyn std::error::Error = &error;
                tracing::warn!(
                    interface,
                    error = why,
                    "no native XDP here: using the generic, slower one"
                );
            }
            match attempt(AyaMode::Skb) {
                Ok(link) => (link, XdpMode::Generic),
                Err(error) if busy(&error) => return Err(AttachError::Busy(interface.into())),
                Err(source) => {
                    return Err(AttachError::Refused { interface: interface.into(), source });
                }
            }
        }
    };
    let link = FdLink::try_from(link)
        .map_err(|source| AttachError::NoLink { interface: interface.into(), source })?;
    Ok((link, mode))
}

/// The XDP program of a loaded object.
pub fn program(ebpf: &mut aya::Ebpf) -> Option<&mut Xdp> {
    ebpf.program_mut(names::PROGRAM_XDP)?.try_into().ok()
}
