//! The gRPC server: handlers begin and return.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{GrpcEnded, GrpcStarted};
use observer_common::hook::HookId;
use observer_common::probe::grpc;

use crate::goroutine;
use crate::memory::USER;
use crate::site::Hit;

/// `google.golang.org/grpc.(*Server).handleStream`.
#[uprobe]
pub fn grpc_start(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::GrpcStart) {
        hit.send(|record: &mut GrpcStarted| {
            grpc::started(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
        goroutine::serves(&hit);
    }
    0
}

/// `google.golang.org/grpc/internal/transport.(*http2Server).writeStatus`, up to 1.68 `WriteStatus`.
#[uprobe]
pub fn grpc_end(ctx: ProbeContext) -> u32 {
    end(&ctx, HookId::GrpcEnd);
    0
}

/// The same of `(*serverHandlerTransport)`.
#[uprobe]
pub fn grpc_http_end(ctx: ProbeContext) -> u32 {
    end(&ctx, HookId::GrpcHttpEnd);
    0
}

/// `google.golang.org/grpc/internal/transport.(*http2Server).streamContextErr`.
#[uprobe]
pub fn grpc_closed(ctx: ProbeContext) -> u32 {
    answer(&ctx, HookId::GrpcClosed);
    0
}

/// `google.golang.org/grpc/internal/transport.(*serverHandlerTransport).write`, up to 1.68 `Write`.
#[uprobe]
pub fn grpc_http_write(ctx: ProbeContext) -> u32 {
    answer(&ctx, HookId::GrpcHttpWrite);
    0
}

#[inline(always)]
fn answer(ctx: &ProbeContext, hook: HookId) {
    if let Some(hit) = Hit::new(ctx, hook) {
        hit.send(|record: &mut GrpcEnded| {
            grpc::answered(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
}

#[inline(always)]
fn end(ctx: &ProbeContext, hook: HookId) {
    if let Some(hit) = Hit::new(ctx, hook) {
        hit.send(|record: &mut GrpcEnded| {
            grpc::ended(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
}
