//! The smallest XDP program, on the veth ends that face a balancer.
//!
//! A veth end takes XDP frames from its peer only while it runs NAPI itself, and reliably so only
//! with a program of its own attached.

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

/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

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

/// Attaches the program to `interface` in `ns`, until the interface goes.
pub(crate) fn attach(ns: &Netns, interface: &str) -> Result<()> {
    let program = program()?;
    ns.run(|| set_link_xdp(interface, program))?
        .with_context(|| format!("in {}: cannot attach XDP_PASS to {interface}", ns.name()))
}

/// The loaded program, one for the whole process.
fn program() -> Result<RawFd> {
    static PROGRAM: OnceLock<Result<OwnedFd, String>> = OnceLock::new();
    let loaded = PROGRAM.get_or_init(|| load().map_err(|error| error.to_string()));
    match loaded {
        Ok(fd) => Ok(fd.as_raw_fd()),
        Err(error) => Err(anyhow!("cannot load the XDP_PASS program: {error}")),
    }
}

fn load() -> io::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: PASS.len() as u32,
        insns: PASS.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        prog_flags: BPF_F_XDP_HAS_FRAGS,
        expected_attach_type: BPF_XDP,
        ..ProgLoad::default()
    };
    attr.prog_name[..8].copy_from_slice(b"lab_pass");
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
