//! The programs that `cargo xtask bench` measures with: a wrapper around the data path, and the floors to compare with.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[path = "bench/setup.rs"]
mod setup;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX},
    btf_maps::{Array, PerCpuArray, ProgramArray},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::checksum;
use setup::Setup;

#[btf_map(name = "bench_setup")]
static SETUP: Array<Setup, 1> = Array::new();

/// The program under test.
#[btf_map(name = "bench_target")]
static TARGET: ProgramArray<1> = ProgramArray::new();

/// Frames that came through.
#[btf_map(name = "bench_frames")]
static FRAMES: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Makes the next flow's packet of what the previous round left, and hands it to the program under test.
#[xdp(frags)]
pub fn bench_wrapper(context: XdpContext) -> u32 {
    if prepare(&context).is_some() {
        // SAFETY: nothing here needs dropping.
        unsafe { TARGET.tail_call(&context, 0) };
    }
    XDP_ABORTED
}

/// Sends the next flow's packet; frames of `BPF_F_TEST_XDP_LIVE_FRAMES` come back as they were left.
#[xdp(frags)]
pub fn bench_generate(context: XdpContext) -> u32 {
    match prepare(&context) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
}

/// The floor.
#[xdp(frags)]
pub fn bench_transmit(_context: XdpContext) -> u32 {
    XDP_TX
}

/// The floor of encapsulation: room for an outer IPv4 header, and constants written there.
#[xdp(frags)]
pub fn bench_encapsulate(context: XdpContext) -> u32 {
    match encapsulate(&context) {
        Some(()) => XDP_TX,
        None => XDP_ABORTED,
    }
}

/// The far end: counts frames and ends their way.
#[xdp(frags)]
pub fn bench_count(_context: XdpContext) -> u32 {
    if let Some(frames) = FRAMES.get_ptr_mut(0) {
        // SAFETY: this CPU's own copy; XDP programs are not preempted by one another.
        unsafe { *frames += 1 };
    }
    XDP_DROP
}

/// Offsets in the frame.
const LINK: usize = 14;
const CHECKSUM: usize = LINK + 10;
const SOURCE_V4: usize = LINK + 14;
const PORT_V4: usize = LINK + 20;
const SOURCE_V6: usize = LINK + 22;
const PORT_V6: usize = LINK + 40;
/// Bytes that every frame of the bench has at least.
const HEADERS: usize = PORT_V6 + 4;
/// First source port.
const FIRST_PORT: u16 = 1024;

#[inline(always)]
fn prepare(context: &XdpContext) -> Option<()> {
    let setup = SETUP.get_ptr_mut(0)?;
    // SAFETY: measurements run one after the other.
    let setup = unsafe { &mut *setup };
    let grown = opaque(context.data_end() - context.data()) as u32 - setup.length;
    if grown != 0 {
        move_head(context, grown as i32)?;
    }
    let start = bytes::<HEADERS>(context)?;
    let flow = setup.next;
    setup.next = if flow + 1 < setup.flows { flow + 1 } else { 0 };
    put(start, 0, setup.link);
    let source = flow as u16;
    let port = (FIRST_PORT + (flow >> 16) as u16).to_be();
    if setup.ipv6 == 0 {
        put(start, SOURCE_V4, source);
        put(start, PORT_V4, port);
        put(start, CHECKSUM, checksum::finish(u64::from(setup.header_sum) + u64::from(source)));
    } else {
        put(start, SOURCE_V6, source);
        put(start, PORT_V6, port);
    }
    Some(())
}

/// Hides that a length is a difference: the compiler would turn it into sums of pointers, which the verifier does not allow.
#[inline(always)]
fn opaque(length: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut length = length;
        // SAFETY: moves a register to itself.
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) length, options(pure, nomem, nostack)) };
        length
    }
    #[cfg(not(target_arch = "bpf"))]
    length
}

#[inline(always)]
fn encapsulate(context: &XdpContext) -> Option<()> {
    /// Ethernet, and an IPv4 header with IPv4 inside.
    const HEADER: [u16; 17] = [
        0x0002, 0, 0x2100, 0x0002, 0, 0x0e00, 0x0008, 0x0045, 0x5000, 0, 0x0040, 0x0440, 0, 0x0a0a,
        0x0b00, 0x0a0a, 0x1500,
    ];
    move_head(context, -20)?;
    let start = bytes::<34>(context)?;
    put(start, 0, HEADER);
    Some(())
}

#[inline(always)]
fn move_head(context: &XdpContext, bytes: i32) -> Option<()> {
    // SAFETY: the context is valid; where the packet lies is read anew afterwards.
    let result = unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), bytes) };
    if result == 0 { Some(()) } else { None }
}

/// The packet's start, if it has `N` bytes.
#[inline(always)]
fn bytes<const N: usize>(context: &XdpContext) -> Option<usize> {
    let start = context.data();
    if start + N > context.data_end() { None } else { Some(start) }
}

/// Writes within what [`bytes`] checked.
#[inline(always)]
fn put<T>(start: usize, offset: usize, value: T) {
    // SAFETY: in bounds, as the verifier makes sure; packets may be written to unaligned.
    unsafe { ((start + offset) as *mut T).write_unaligned(value) };
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The licence the kernel asks for.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
