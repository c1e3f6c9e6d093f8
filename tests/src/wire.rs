//! Raw frames in and out of an interface, as they are on the wire.

use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsRawFd, RawFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::{frame::Frame, netns::Netns};

/// The longest frame there is, with all its tags.
const LONGEST: usize = 65_536 + 64;
/// Bytes that may wait to be read.
const BUFFER: usize = 16 << 20;
/// Where a VLAN tag sits: behind the two addresses.
const TAG_OFFSET: usize = 12;

/// An interface, listened to and spoken through below the IP stack.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    place: String,
}

/// A frame seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The frame, its VLAN tags in place.
    pub frame: Frame,
    /// The host itself has sent it.
    pub outgoing: bool,
}

impl Wire {
    /// Listens to `interface` of `ns`, from now on. An XDP program on it comes first: what it drops or
    /// sends back is not seen here, but at the other end of the cable.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(ns: &Netns, interface: &str) -> Result<Self> {
        let place = format!("{interface} in {}", ns.name());
        let socket = ns
            .run(|| open_socket(interface))?
            .with_context(|| format!("cannot listen to {place}"))?;
        Ok(Self { socket, place })
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// When it is longer than the interface's MTU allows, or the interface is down.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        let sent = self.socket.send(frame.bytes());
        let sent = sent.with_context(|| format!("cannot send on {}: {frame:?}", self.place))?;
        ensure!(sent == frame.bytes().len(), "only {sent} bytes were sent of {frame:?}");
        Ok(())
    }

    /// The next frame that came in and is `wanted`; others are skipped.
    ///
    /// # Errors
    /// When none came within `limit`; the message shows what came instead.
    pub fn expect(&self, limit: Duration, mut wanted: impl FnMut(&Frame) -> bool) -> Result<Frame> {
        let mut seen =
            self.collect_until(limit, |captured| !captured.outgoing && wanted(&captured.frame))?;
        Ok(seen.pop().context("nothing seen")?.frame)
    }

    /// All frames, sent ones too, up to the first that is the `last`.
    ///
    /// # Errors
    /// When the last one did not come within `limit`; the message shows what came instead.
    pub fn collect_until(
        &self,
        limit: Duration,
        mut last: impl FnMut(&Captured) -> bool,
    ) -> Result<Vec<Captured>> {
        let deadline = Instant::now() + limit;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("not seen on {} within {limit:?}; but: {}", self.place, listing(&seen));
            }
            if let Some(captured) = self.next(left)? {
                let done = last(&captured);
                seen.push(captured);
                if done {
                    return Ok(seen);
                }
            }
        }
    }

    /// All frames that wait to be read.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn drain(&self) -> Result<Vec<Captured>> {
        let mut seen = Vec::new();
        while let Some(captured) = self.receive(libc::MSG_DONTWAIT)? {
            seen.push(captured);
        }
        Ok(seen)
    }

    fn next(&self, left: Duration) -> Result<Option<Captured>> {
        // A timeout of zero would wait for ever.
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        self.receive(0)
    }

    fn receive(&self, flags: i32) -> Result<Option<Captured>> {
        match receive(self.socket.as_raw_fd(), flags) {
            Ok(captured) => Ok(Some(captured)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("cannot listen to {}", self.place)),
        }
    }
}

fn open_socket(interface: &str) -> Result<Socket> {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // Without a protocol nothing is heard before the socket is bound to its interface.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.set_recv_buffer_size(BUFFER)?;
    let on: i32 = 1;
    // SAFETY: the kernel reads an integer of the size given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            size_of::<i32>() as u32,
        )
    };
    ensure!(set == 0, "PACKET_AUXDATA: {}", io::Error::last_os_error());

    let mut storage = SockAddrStorage::zeroed();
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: all,
        sll_ifindex: if_nametoindex(interface)?.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: a sockaddr_ll fits into the storage, which is made for any address.
    unsafe { *storage.view_as::<libc::sockaddr_ll>() = address };
    // SAFETY: the storage holds an address of exactly this size.
    let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
    socket.bind(&address)?;
    Ok(socket)
}

/// Receives one frame and puts back the tag that the kernel has taken off.
fn receive(socket: RawFd, flags: i32) -> io::Result<Captured> {
    /// Room for control messages, aligned as they need it.
    #[repr(C, align(8))]
    struct Control([u8; 128]);

    let mut bytes = vec![0; LONGEST];
    let mut control = Control([0; 128]);
    // SAFETY: all-zero is a valid value of both structures.
    let (mut sender, mut message): (libc::sockaddr_ll, libc::msghdr) =
        unsafe { (zeroed(), zeroed()) };
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    message.msg_name = (&raw mut sender).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = control.0.len();
    // SAFETY: every pointer in the message is to a live buffer of the length beside it.
    let length = unsafe { libc::recvmsg(socket, &raw mut message, flags) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(length);

    // SAFETY: the kernel has filled in the message.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: a control message the kernel has written, inside `control`.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: a message of this kind carries a tpacket_auxdata.
            let data: libc::tpacket_auxdata =
                unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 && bytes.len() >= TAG_OFFSET {
                let tag = [data.tp_vlan_tpid.to_be_bytes(), data.tp_vlan_tci.to_be_bytes()];
                bytes.splice(TAG_OFFSET..TAG_OFFSET, tag.concat());
            }
        }
        // SAFETY: header points into the message the kernel has filled in.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    let outgoing = sender.sll_pkttype == libc::PACKET_OUTGOING;
    Ok(Captured { frame: Frame(bytes), outgoing })
}

fn listing(seen: &[Captured]) -> String {
    /// Enough to see what went on.
    const SHOWN: usize = 20;
    let lines: Vec<_> = seen
        .iter()
        .rev()
        .take(SHOWN)
        .rev()
        .map(|captured| {
            let way = if captured.outgoing { "out" } else { "in" };
            format!("\n{way}: {:?}", captured.frame)
        })
        .collect();
    format!("{} frames{}", seen.len(), lines.concat())
}
