//! The programs that run in the kernel.
#![no_std]
#![no_main]

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common as _;

/// Does nothing, so that the build has a program to link.
#[uprobe]
pub fn nothing(_ctx: ProbeContext) -> u32 {
    0
}

/// GPL-compatible, so that the kernel allows its GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
