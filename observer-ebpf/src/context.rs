//! Creation and cancel of contexts.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{
    CANCEL_END, ContextCancelled, ContextCancelledShort, ContextCreated, ContextCreatedShort,
    DeadlineAsked,
};
use observer_common::hook::HookId;
use observer_common::probe::Skip;
use observer_common::probe::context::{self, Detail};

use crate::goroutine;
use crate::memory::USER;
use crate::site::Hit;

/// `context.(*cancelCtx).propagateCancel`, before Go 1.21 `context.propagateCancel`.
#[uprobe]
pub fn context_create(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ContextCreate) {
        create(&hit);
    }
    0
}

#[inline(always)]
fn create(hit: &Hit) {
    let (detail, outer) = context::create_detail(&USER, hit.layout, &hit.regs);
    match detail {
        Detail::None => hit.skip(Skip::Quiet),
        Detail::Short(caller) => hit.send(|record: &mut ContextCreatedShort| {
            context::created_short(&USER, hit.layout, &hit.regs, caller, record).map(|()| false)
        }),
        Detail::Full => hit.send(|record: &mut ContextCreated| {
            context::created(&USER, hit.layout, &hit.regs, outer, record)
        }),
    }
}

/// `context.(*cancelCtx).cancel`.
#[uprobe]
pub fn context_cancel(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::ContextCancel) {
        cancel(&hit);
    }
    0
}

#[inline(always)]
fn cancel(hit: &Hit) {
    let sight = match context::cancel_detail(&USER, hit.layout, &hit.regs) {
        Ok(sight) => sight,
        Err(skip) => return hit.skip(skip),
    };
    if sight.flags & CANCEL_END != 0 {
        goroutine::serves_no_more(hit);
    }
    match sight.detail {
        Detail::None => hit.skip(Skip::Quiet),
        Detail::Short(_) => hit.send(|record: &mut ContextCancelledShort| {
            context::cancelled_short(&USER, hit.layout, &hit.regs, sight, record).map(|()| false)
        }),
        Detail::Full => hit.send(|record: &mut ContextCancelled| {
            context::cancelled(&USER, hit.layout, &hit.regs, sight, record)
        }),
    }
}

/// `context.WithDeadlineCause`, before Go 1.21 `context.WithDeadline`.
#[uprobe]
pub fn deadline_ask(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::DeadlineAsk) {
        hit.send(|record: &mut DeadlineAsked| {
            context::deadline_asked(&USER, hit.layout, &hit.regs, record).map(|()| false)
        });
    }
    0
}
