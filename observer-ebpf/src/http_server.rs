//! The HTTP server: requests begin, connections end.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{ConnReadError, RequestStarted};
use observer_common::hook::HookId;
use observer_common::probe::{conn, request};

use crate::site::{Hit, User};

/// `net/http.serverHandler.ServeHTTP`.
#[uprobe]
pub fn request_start(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::RequestStart) {
        hit.send(|record: &mut RequestStarted| {
            request::started(&User, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}

/// `net/http.(*connReader).handleReadError`, from Go 1.25 `handleReadErrorLocked`.
#[uprobe]
pub fn conn_read_error(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ConnReadError) {
        hit.send(|record: &mut ConnReadError| {
            conn::read_error(&User, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}
