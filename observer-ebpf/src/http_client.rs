//! The HTTP client: calls begin, are tried again, are given up, and bodies die with them.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{
    BodyFailed, CallAttempt, CallCancelled, CallRedirected, CallStarted, CallStreamEnded,
    ConnCancelled,
};
use observer_common::hook::HookId;
use observer_common::probe::call;

use crate::memory::USER;
use crate::site::Hit;

/// `net/http.(*Transport).roundTrip`, `golang.org/x/net/http2.(*Transport).RoundTripOpt`.
#[uprobe]
pub fn call_start(ctx: ProbeContext) -> u32 {
    let Some(hit) = Hit::new(&ctx, HookId::CallStart) else {
        return 0;
    };
    match call::head(&USER, hit.layout, &hit.regs) {
        Ok(head) => {
            if head.response != 0 {
                hit.send(|record: &mut CallRedirected| {
                    call::redirected(&USER, hit.layout, &hit.regs, head, record).map(|()| false)
                });
            }
            hit.send(|record: &mut CallStarted| {
                call::started(&USER, hit.layout, &hit.regs, head, record)
            });
        }
        Err(why) => hit.skip(why),
    }
    0
}

/// `(*clientStream).cleanupWriteRequest` of HTTP/2.
#[uprobe]
pub fn call_stream_end(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallStreamEnd) {
        hit.send(|record: &mut CallStreamEnded| {
            call::stream_ended(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.(*Transport).replaceReqCanceler`, up to Go 1.22.
#[uprobe]
pub fn call_attempt(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallAttempt) {
        hit.send(|record: &mut CallAttempt| {
            call::attempted(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.rewindBody`, since Go 1.23.
#[uprobe]
pub fn call_retry(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::CallRetry) {
        hit.send(|record: &mut CallAttempt| {
            call::retried(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
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
