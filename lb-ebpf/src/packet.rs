//! Access to the packet: the only pointer arithmetic, and every bounds check.

use core::mem::size_of;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
};

/// Integers and arrays: what may be read from and written to a packet.
///
/// Single bytes are left out on purpose: the compiler turns `start + 1 > end` into `end > start`, from which the verifier learns
/// nothing. Load the 16-bit word a byte is in.
///
/// # Safety
///
/// Every bit pattern must be valid and there must be no padding.
pub unsafe trait Wire: Copy {}

// SAFETY: integers, and arrays of them, have neither padding nor invalid patterns.
unsafe impl Wire for u16 {}
// SAFETY: as above.
unsafe impl Wire for u32 {}
// SAFETY: as above.
unsafe impl Wire for u64 {}
// SAFETY: as above.
unsafe impl<T: Wire, const N: usize> Wire for [T; N] {}
// SAFETY: as above.
unsafe impl Wire for [u8; 2] {}
// SAFETY: as above.
unsafe impl Wire for [u8; 4] {}

/// A packet on its way through the program. Offsets count from the Ethernet header.
///
/// A multi-buffer packet (jumbo frame) is seen up to the end of its first buffer; headers always lie there.
pub struct Packet {
    context: *mut xdp_md,
    data: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        let mut packet = Self { context, data: 0, end: 0 };
        packet.refresh();
        packet
    }

    /// The packet of a function that is verified by itself. A frame without Ethernet header cannot get there, but the verifier has
    /// to be told, and before any check at a variable offset: the compiler drops checks that follow from those, the verifier does not see why.
    #[inline(always)]
    pub fn of_frame(context: *mut xdp_md) -> Option<Self> {
        let packet = Self::new(context);
        packet.load::<[u16; 7]>(0)?;
        Some(packet)
    }

    /// Reads anew where the packet lies.
    #[inline(always)]
    pub fn refresh(&mut self) {
        // SAFETY: the kernel hands every XDP program a valid context.
        let (data, end) = unsafe { ((*self.context).data, (*self.context).data_end) };
        (self.data, self.end) = (opaque(data as usize), opaque(end as usize));
    }

    /// Reads a value at `offset`; `None` where the packet's first buffer ends before it does.
    #[inline(always)]
    pub fn load<T: Wire>(&self, offset: usize) -> Option<T> {
        let start = self.data + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: in bounds as just checked; `Wire` types take any bytes, and BPF loads from packets need no alignment on the
        // CPUs the kernel supports it for.
        Some(unsafe { *(start as *const T) })
    }

    /// Writes a value at `offset`; `None` where the packet's first buffer ends before it does.
    #[inline(always)]
    pub fn store<T: Wire>(&mut self, offset: usize, value: T) -> Option<()> {
        let start = self.data + offset;
        if start + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `load`.
        unsafe { *(start as *mut T) = value };
        Some(())
    }

    /// The `N` bytes at `offset`, checked once and then accessed freely; `None` where the first buffer ends before.
    #[inline(always)]
    pub fn window<const N: usize>(&mut self, offset: usize) -> Option<Window<'_, N>> {
        let start = self.data + offset;
        if start + N > self.end {
            return None;
        }
        Some(Window { start, packet: core::marker::PhantomData })
    }

    /// Bytes in the first buffer, all of the packet unless it is a jumbo frame.
    #[inline(always)]
    pub fn linear_length(&self) -> usize {
        self.end - self.data
    }

    /// Bytes of the whole packet.
    #[inline(always)]
    pub fn length(&self) -> usize {
        // SAFETY: the context is valid.
        unsafe { bpf_xdp_get_buff_len(self.context) as usize }
    }

    /// Does the packet hold `bytes` bytes? Asks for the length of all buffers only where the first one is too short.
    #[inline(always)]
    pub fn holds(&self, bytes: usize) -> bool {
        bytes <= self.linear_length() || bytes <= self.length()
    }

    /// Adds `bytes` in front. What was at offset 0 is then at `bytes`. `None` where the driver left no room.
    #[inline(always)]
    pub fn grow_head(&mut self, bytes: usize) -> Option<()> {
        self.adjust_head(-(bytes as i32))
    }

    /// Removes `bytes` from the front.
    #[inline(always)]
    pub fn shrink_head(&mut self, bytes: usize) -> Option<()> {
        self.adjust_head(bytes as i32)
    }

    #[inline(always)]
    fn adjust_head(&mut self, delta: i32) -> Option<()> {
        // SAFETY: the context is valid; old pointers are replaced right after.
        let result = unsafe { bpf_xdp_adjust_head(self.context, delta) };
        self.refresh();
        if result == 0 { Some(()) } else { None }
    }

    /// Cuts the packet to `length` bytes.
    #[inline(always)]
    pub fn truncate(&mut self, length: usize) -> Option<()> {
        let delta = length as i32 - self.length() as i32;
        if delta >= 0 {
            return Some(());
        }
        // SAFETY: as in `adjust_head`.
        let result = unsafe { bpf_xdp_adjust_tail(self.context, delta) };
        self.refresh();
        if result == 0 { Some(()) } else { None }
    }

    /// The context, for functions that are verified by themselves; [`Packet::refresh`] after they may have moved the packet.
    #[inline(always)]
    pub fn context(&self) -> *mut xdp_md {
        self.context
    }

    /// Index of the interface the packet came in through.
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        // SAFETY: the context is valid.
        unsafe { (*self.context).ingress_ifindex }
    }
}

/// Hides where an address comes from. Knowing that it fits 32 bits, the compiler would drop bounds checks that follow from others by
/// arithmetic; the verifier, which wants to see a check on the very pointer that is used, cannot follow such reasoning.
#[inline(always)]
pub fn opaque(address: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut address = address;
        // SAFETY: moves a register to itself (an empty template confuses the line table).
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) address, options(pure, nomem, nostack)) };
        address
    }
    #[cfg(not(target_arch = "bpf"))]
    address
}

/// `N` bytes of a packet, known to be there.
pub struct Window<'a, const N: usize> {
    start: usize,
    packet: core::marker::PhantomData<&'a mut Packet>,
}

/// What a window holds besides [`Wire`] types: bytes, whose bounds were checked with the window's.
///
/// # Safety
///
/// As for [`Wire`].
pub unsafe trait Field: Copy {}
// SAFETY: see `Wire`.
unsafe impl<T: Wire> Field for T {}
// SAFETY: an integer.
unsafe impl Field for u8 {}

impl<const N: usize> Window<'_, N> {
    /// Reads a value `OFFSET` bytes into the window; a place outside of it does not compile.
    #[inline(always)]
    pub fn get<const OFFSET: usize, T: Field>(&self) -> T {
        const { assert!(OFFSET + size_of::<T>() <= N) };
        // SAFETY: within the window, which was checked against the packet's end; see `Packet::load`.
        unsafe { *((self.start + OFFSET) as *const T) }
    }

    /// Writes a value `OFFSET` bytes into the window; a place outside of it does not compile.
    #[inline(always)]
    pub fn put<const OFFSET: usize, T: Field>(&mut self, value: T) {
        const { assert!(OFFSET + size_of::<T>() <= N) };
        // SAFETY: as in `get`.
        unsafe { *((self.start + OFFSET) as *mut T) = value };
    }
}
