//! Goroutines that requests start: whose they are, when they begin and end. Of all others nothing leaves the kernel.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use observer_common::event::{GoroutineCreated, GoroutineEnded};
use observer_common::hook::HookId;
use observer_common::layout::FOLLOW_GOROUTINES;
use observer_common::mem::MemRead;
use observer_common::probe::Skip;
use observer_common::probe::goroutine::{self, Birth};
use observer_common::regs::Registers;

use crate::maps;
use crate::memory::USER;
use crate::site::Hit;

/// The call of `runtime.runqput` in `runtime.newproc.func1`.
#[uprobe]
pub fn goroutine_create(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::GoroutineCreate)
        && let Err(skip) = create(&hit)
    {
        hit.skip(skip);
    }
    0
}

#[inline(always)]
fn create(hit: &Hit) -> Result<(), Skip> {
    let creator = goroutine::creator(&USER, hit.layout, &hit.regs)?;
    let Some(serving) = maps::followed(hit.pid, creator) else {
        return Err(Skip::Quiet);
    };
    let Some(gopc) = goroutine::statement(&USER, hit.layout, &hit.regs)? else {
        return Err(Skip::Quiet);
    };
    let birth = Birth {
        goid: goroutine::made(&USER, hit.layout, &hit.regs)?,
        creator,
        gopc,
    };
    maps::follow(hit.pid, birth.goid, serving);
    hit.send(|record: &mut GoroutineCreated| {
        goroutine::created(&USER, hit.layout, &hit.regs, birth, record)
    });
    Ok(())
}

/// `runtime.goexit0`, from Go 1.22 on its call of `runtime.gdestroy`.
#[uprobe]
pub fn goroutine_end(ctx: ProbeContext) -> u32 {
    if let Some(hit) = Hit::new(&ctx, HookId::GoroutineEnd) {
        match goroutine::ending(&USER, hit.layout, &hit.regs) {
            Ok(goid) if maps::unfollow(hit.pid, goid) => {
                hit.send(|record: &mut GoroutineEnded| {
                    goroutine::ended(&hit.regs, goid, record);
                    Ok(false)
                });
            }
            Ok(_) => hit.skip(Skip::Quiet),
            Err(skip) => hit.skip(skip),
        }
    }
    0
}

/// The current goroutine begins to serve a request.
#[inline(always)]
pub fn serves(hit: &Hit) {
    if let Some(goid) = current(hit) {
        maps::follow(hit.pid, goid, goid);
    }
}

/// The current goroutine has served its request.
#[inline(always)]
pub fn serves_no_more(hit: &Hit) {
    if let Some(goid) = current(hit) {
        maps::unfollow(hit.pid, goid);
    }
}

/// Its number, where goroutines are followed at all.
#[inline(always)]
fn current(hit: &Hit) -> Option<u64> {
    if !hit.layout.has(FOLLOW_GOROUTINES) {
        return None;
    }
    USER.word(hit.regs.g().wrapping_add(u64::from(hit.layout.g_goid)))
}
