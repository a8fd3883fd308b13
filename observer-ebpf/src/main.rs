//! The probes: what runs in the kernel when a Go process hits a site.
//!
//! One file per subject. A program here is thin: it finds its layout block, reserves a record and
//! lets `observer_common::probe` fill it. Nothing is decided here but whether to send.
#![no_std]
#![no_main]

mod context;
mod dial;
mod goroutine;
mod grpc_client;
mod grpc_server;
mod http_client;
mod http_server;
mod maps;
mod memory;
mod process;
mod site;
mod socket;
mod sql;

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

/// Does nothing: what a trap alone costs, for the benchmark.
#[uprobe]
pub fn empty(_ctx: ProbeContext) -> u32 {
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
