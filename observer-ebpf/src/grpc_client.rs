//! The gRPC client: calls begin.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::GrpcCalled;
use observer_common::hook::HookId;
use observer_common::probe::grpc;

use crate::memory::USER;
use crate::site::Hit;

/// `google.golang.org/grpc.newClientStream`.
#[uprobe]
pub fn grpc_call(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::GrpcCall) {
        hit.send(|record: &mut GrpcCalled| grpc::called(&USER, hit.layout, &hit.regs, record));
    }
    0
}
