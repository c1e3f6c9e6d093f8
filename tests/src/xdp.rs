//! The smallest XDP programs: one verdict for every packet.
//!
//! The passing one belongs on every veth end that faces a balancer: such an end takes XDP frames
//! from its peer only while it runs NAPI itself, and reliably so only with a program attached.

use std::{
    ffi::c_long,
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

use crate::netns::Netns;

const BPF_PROG_LOAD: c_long = 5;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
/// The program does not mind packets that span several buffers: without it, no jumbo frames.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// Attach in the driver, not in the generic path.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// What a program says about every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the kernel.
    Pass,
    /// Back to where it came from.
    SendBack,
}

impl Verdict {
    /// `r0 = verdict; exit`.
    const fn instructions(self) -> [u64; 2] {
        let action: u64 = match self {
            Self::Pass => 2,
            Self::SendBack => 3,
        };
        [action << 32 | 0xb7, 0x95]
    }

    /// The loaded program, one for the whole process.
    fn program(self) -> Result<RawFd> {
        type Loaded = OnceLock<Result<OwnedFd, String>>;
        static PASS: Loaded = Loaded::new();
        static SEND_BACK: Loaded = Loaded::new();
        let slot = match self {
            Self::Pass => &PASS,
            Self::SendBack => &SEND_BACK,
        };
        match slot.get_or_init(|| load(&self.instructions()).map_err(|error| error.to_string())) {
            Ok(fd) => Ok(fd.as_raw_fd()),
            Err(error) => Err(anyhow!("cannot load an XDP program: {error}")),
        }
    }
}

/// Head of the kernel's `union bpf_attr` for `BPF_PROG_LOAD`; the rest may be left out.
#[derive(Default)]
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Attaches a program to `interface` in `ns`, in the driver, until the interface goes.
///
/// # Errors
/// When the kernel refuses, or another program is attached through a link.
pub fn attach(ns: &Netns, interface: &str, verdict: Verdict) -> Result<()> {
    let program = verdict.program()?;
    ns.run(|| set_link_xdp(interface, program))?
        .with_context(|| format!("in {}: cannot attach XDP to {interface}", ns.name()))
}

fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        prog_flags: BPF_F_XDP_HAS_FRAGS,
        expected_attach_type: BPF_XDP,
        ..ProgLoad::default()
    };
    attr.prog_name[..7].copy_from_slice(b"lab_xdp");
    // SAFETY: attr and what it points to outlive the call, and its size is passed along.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<ProgLoad>())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor, to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches through netlink, not as a BPF link: the program is to live as long as the interface.
fn set_link_xdp(interface: &str, program: RawFd) -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = if_nametoindex(interface)?;
    link.attributes
        .push(LinkAttribute::Xdp(vec![LinkXdp::Fd(program), LinkXdp::Flags(XDP_FLAGS_DRV_MODE)]));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);

    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (reply, _) = socket.recv_from_full()?;
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)?.payload {
        NetlinkPayload::Error(answer) => {
            ensure!(answer.code.is_none(), answer.to_io());
            Ok(())
        }
        other => Err(anyhow!("unexpected netlink answer: {other:?}")),
    }
}
