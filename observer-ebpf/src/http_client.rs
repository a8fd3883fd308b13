//! The HTTP client: calls begin, calls are given up, and bodies die with them.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{BodyFailed, CallCancelled, CallStarted, ConnCancelled};
use observer_common::hook::HookId;
use observer_common::probe::call;

use crate::memory::USER;
use crate::site::Hit;

/// `net/http.(*Transport).roundTrip`.
#[uprobe]
pub fn call_start(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallStart) {
        hit.send(|record: &mut CallStarted| call::started(&USER, hit.layout, &hit.regs, record));
    }
    0
}

/// `net/http.(*Transport).cancelRequest`, up to Go 1.22.
#[uprobe]
pub fn call_cancel(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallCancel) {
        hit.send(|record: &mut CallCancelled| {
            call::cancelled(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.(*persistConn).cancelRequest`.
#[uprobe]
pub fn conn_cancel(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ConnCancel) {
        hit.send(|record: &mut ConnCancelled| {
            call::conn_cancelled(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.(*persistConn).canceled`.
#[uprobe]
pub fn body_fail(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::BodyFail) {
        hit.send(|record: &mut BodyFailed| call::body_failed(&USER, hit.layout, &hit.regs, record));
    }
    0
}
