//! A packet socket: whole Ethernet frames of one protocol, on all interfaces of this network namespace.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::ownership::frames::Mac;

/// What a [`PacketSocket`] hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    /// Nothing: it only sends.
    Nothing,
    /// ARP.
    Arp,
    /// ICMPv6 neighbour advertisements.
    Advertisements,
}

/// An `AF_PACKET` socket that never blocks.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: AsyncFd<OwnedFd>,
}

impl PacketSocket {
    /// Opens one in the calling thread's network namespace; needs `CAP_NET_RAW` and a tokio runtime.
    pub(crate) fn open(hears: Hears) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointers. Protocol 0 hears nothing until bind, so no frame slips past the filter.
        let raw = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the call above has just made this descriptor, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        match hears {
            Hears::Nothing => {}
            Hears::Arp => bind(&fd, libc::ETH_P_ARP)?,
            Hears::Advertisements => {
                only_advertisements(&fd)?;
                bind(&fd, libc::ETH_P_IPV6)?;
            }
        }
        // A socket that hears nothing is only ever written to.
        let interest =
            if hears == Hears::Nothing { Interest::WRITABLE } else { Interest::READABLE };
        // SAFETY: the descriptor is open, and stays so until the AsyncFd that owns it deregisters and drops it.
        Ok(Self { fd: unsafe { AsyncFd::register_with_interest(fd, interest) }? })
    }

    /// Sends a frame out of an interface. A full queue is an error: these frames are repeated anyway.
    pub(crate) fn send(&self, ifindex: u32, frame: &[u8]) -> io::Result<()> {
        let protocol = u16::from_ne_bytes([frame[12], frame[13]]);
        let address = link_address(ifindex, protocol);
        // SAFETY: both pointers and lengths describe live values of this frame.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                size_of_u32::<libc::sockaddr_ll>(),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for a frame: its length in `buffer`, and the interface it came in by.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        loop {
            let mut guard = self.fd.readable().await?;
            if let Ok(result) = guard.try_io(|_| self.try_receive(buffer)) {
                return result;
            }
        }
    }

    /// As [`Self::receive`], but [`io::ErrorKind::WouldBlock`] if there is none.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        loop {
            let (received, from) = self.receive_any(buffer)?;
            // Frames for other hosts, or of a VLAN this one has no device for: the kernel ignores them, too.
            if from.sll_pkttype != libc::PACKET_OTHERHOST {
                return Ok((received, from.sll_ifindex.cast_unsigned()));
            }
        }
    }

    fn receive_any(&self, buffer: &mut [u8]) -> io::Result<(usize, libc::sockaddr_ll)> {
        let mut from = link_address(0, 0);
        let mut length = size_of_u32::<libc::sockaddr_ll>();
        // SAFETY: all pointers and lengths describe live, writable values of this function and its caller.
        let received = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok((received, from))
    }

    /// Has the interface's filter let a multicast MAC in. The kernel counts per socket: as many leaves end it.
    pub(crate) fn join(&self, ifindex: u32, group: Mac) -> io::Result<()> {
        self.membership(libc::PACKET_ADD_MEMBERSHIP, ifindex, group)
    }

    /// Takes back one [`Self::join`].
    pub(crate) fn leave(&self, ifindex: u32, group: Mac) -> io::Result<()> {
        self.membership(libc::PACKET_DROP_MEMBERSHIP, ifindex, group)
    }

    fn membership(&self, option: libc::c_int, ifindex: u32, group: Mac) -> io::Result<()> {
        let mut request = libc::packet_mreq {
            mr_ifindex: ifindex.cast_signed(),
            mr_type: libc::PACKET_MR_MULTICAST as u16,
            mr_alen: group.len() as u16,
            mr_address: [0; 8],
        };
        request.mr_address[..group.len()].copy_from_slice(&group);
        set_option(self.fd.get_ref(), libc::SOL_PACKET, option, &request)
    }
}

fn bind(fd: &OwnedFd, protocol: libc::c_int) -> io::Result<()> {
    let address = link_address(0, (protocol as u16).to_be());
    // SAFETY: pointer and length describe a live value.
    checked(unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of_u32::<libc::sockaddr_ll>())
    })?;
    Ok(())
}

/// Attaches a filter: next header ICMPv6 (at 20), type neighbour advertisement (at 54). All other IPv6 never reaches us.
fn only_advertisements(fd: &OwnedFd) -> io::Result<()> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD_BYTE, 0, 0, 20),
        step(JUMP_IF_EQUAL, 0, 3, 58),
        step(LOAD_BYTE, 0, 0, 54),
        step(JUMP_IF_EQUAL, 0, 1, 136),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

fn set_option<T>(
    fd: &OwnedFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: pointer and length describe a live value; the kernel copies it, and what a filter points to, before returning.
    checked(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (value as *const T).cast(),
            size_of_u32::<T>(),
        )
    })?;
    Ok(())
}

/// `protocol` in network order.
fn link_address(ifindex: u32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: ifindex.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: [0; 8],
    }
}

const fn size_of_u32<T>() -> libc::socklen_t {
    mem::size_of::<T>() as libc::socklen_t
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
