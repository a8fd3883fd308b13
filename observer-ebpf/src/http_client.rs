//! The HTTP client: calls begin, bodies are read, calls are given up.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{BodyRead, CallCancelled, CallStarted};
use observer_common::hook::HookId;
use observer_common::probe::call;

use crate::site::{Hit, User};

/// `net/http.(*Transport).roundTrip`.
#[uprobe]
pub fn call_start(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallStart) {
        hit.send(|record: &mut CallStarted| call::started(&User, hit.layout, &hit.regs, record));
    }
    0
}

/// `net/http.(*bodyEOFSignal).Read`.
#[uprobe]
pub fn body_read(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::BodyRead) {
        hit.send(|record: &mut BodyRead| call::body_read(&User, hit.layout, &hit.regs, record));
    }
    0
}

/// `net/http.(*Transport).cancelRequest`, up to Go 1.22.
#[uprobe]
pub fn call_cancel(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallCancel) {
        hit.send(|record: &mut CallCancelled| {
            call::cancelled(&User, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}
