//! The HTTP server: requests begin, handlers bound their connections or take them over, connections end, one or all.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{
    ConnHijacked, ConnReadError, IoDeadlineSet, RequestStarted, ServerClosing,
};
use observer_common::hook::HookId;
use observer_common::probe::{conn, request};

use crate::goroutine;
use crate::memory::USER;
use crate::site::Hit;

/// `net/http.serverHandler.ServeHTTP` where maps are Swiss maps (Go ≥ 1.24).
///
/// Two programs, not a flag: each is half the work for the verifier.
#[uprobe]
pub fn request_start_swiss(ctx: ProbeContext) -> u32 {
    start::<true>(&ctx);
    0
}

/// `net/http.serverHandler.ServeHTTP` where maps have buckets (Go ≤ 1.23).
#[uprobe]
pub fn request_start_buckets(ctx: ProbeContext) -> u32 {
    start::<false>(&ctx);
    0
}

#[inline(always)]
fn start<const SWISS: bool>(ctx: &ProbeContext) {
    if let Some(hit) = Hit::new(ctx, HookId::RequestStart) {
        hit.send(|record: &mut RequestStarted| {
            request::started::<SWISS, _, _>(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
        goroutine::serves(&hit);
    }
}

/// `golang.org/x/net/http2.(*serverConn).runHandler` where maps are Swiss maps.
#[uprobe]
pub fn http2_start_swiss(ctx: ProbeContext) -> u32 {
    start_by_http2::<true>(&ctx);
    0
}

/// The same where maps have buckets.
#[uprobe]
pub fn http2_start_buckets(ctx: ProbeContext) -> u32 {
    start_by_http2::<false>(&ctx);
    0
}

#[inline(always)]
fn start_by_http2<const SWISS: bool>(ctx: &ProbeContext) {
    if let Some(hit) = Hit::new(ctx, HookId::Http2Start) {
        hit.send(|record: &mut RequestStarted| {
            request::started_by_http2::<SWISS, _, _>(&USER, hit.layout, &hit.regs, record)
                .map(|()| false)
        });
    }
}

/// `net/http.(*connReader).handleReadError`, from Go 1.25 `handleReadErrorLocked`.
#[uprobe]
pub fn conn_read_error(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ConnReadError) {
        hit.send(|record: &mut ConnReadError| {
            conn::read_error(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.(*response).SetReadDeadline`.
#[uprobe]
pub fn read_deadline_set(ctx: ProbeContext) -> u32 {
    io_deadline::<false>(&ctx, HookId::ReadDeadlineSet);
    0
}

/// `net/http.(*response).SetWriteDeadline`.
#[uprobe]
pub fn write_deadline_set(ctx: ProbeContext) -> u32 {
    io_deadline::<true>(&ctx, HookId::WriteDeadlineSet);
    0
}

/// `net/http.(*response).Hijack`.
#[uprobe]
pub fn conn_hijack(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ConnHijack) {
        hit.send(|record: &mut ConnHijacked| {
            conn::hijacked(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.(*Server).Close`.
#[uprobe]
pub fn server_close(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ServerClose) {
        hit.send(|record: &mut ServerClosing| {
            conn::server_closing(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

#[inline(always)]
fn io_deadline<const WRITE: bool>(ctx: &ProbeContext, hook: HookId) {
    if let Some(hit) = Hit::new(ctx, hook) {
        hit.send(|record: &mut IoDeadlineSet| {
            conn::io_deadline_set(&USER, hit.layout, &hit.regs, WRITE, record)
        });
    }
}
