//! Goroutines that a request has started: who they are, where they were started, and which of them is at work.
//!
//! Where goroutines are followed, they are known by their ancestry. Elsewhere those are known that have made a context
//! or a call for the request, and that the serving goroutine has started, as Go ≥ 1.21 notes.

use crate::finding::{GoroutineEvidence, WorkState};
use crate::go::{Frame, Stack};
use crate::inspect::{Goroutine, Status, ends_by_itself};
use crate::model::{Call, Ctx, ReqId, Request, Root, Unit};

use super::context::Context;
use super::plumbing::runs_for_caller;
use super::waits::is_held_up;
use super::{origin, overrun, sight, site};

/// Looked at, of one request: the youngest.
const LOOKED_AT: usize = 8;

/// A goroutine of a request that a look found at work.
#[derive(Debug, Clone)]
pub(super) struct AtWork {
    /// Go's number for it.
    pub(super) goid: u64,
    /// The line of its `go` statement, where that is known.
    pub(super) started_at: Option<Frame>,
    /// Running or waiting.
    pub(super) state: WorkState,
    /// Why it waits.
    pub(super) wait_reason: Option<String>,
    /// Return addresses, innermost first.
    pub(super) pcs: Vec<u64>,
    /// Logical frames, innermost first; empty where it was not seen.
    pub(super) stack: Stack,
    /// It computes, sleeps, or waits for what is outside of the process.
    pub(super) alone: bool,
}

impl AtWork {
    /// What is told of it.
    pub(super) fn evidence(&self, others: u64) -> Box<GoroutineEvidence> {
        Box::new(GoroutineEvidence {
            goid: self.goid,
            started_at: self.started_at.clone(),
            state: Some(self.state),
            wait_reason: self.wait_reason.clone(),
            others,
        })
    }
}

/// Goroutines of a request that may be at work, with hints where their descriptors are; each once, the youngest first.
pub(super) fn of(request: &Request, cx: &Context<'_>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = if cx.model.follows_goroutines(request.pid) {
        let spawned = request.spawned.iter().rev();
        let spawned = spawned.filter_map(|id| cx.model.spawned(*id));
        spawned.map(|spawned| (spawned.goid, spawned.g)).collect()
    } else {
        let made = contexts(request, cx).map(|ctx| (ctx.goid, ctx.g));
        let called = calls(request, cx).map(|call| (call.goid, call.g));
        made.chain(called).collect()
    };
    all.sort_unstable_by_key(|(goid, _)| std::cmp::Reverse(*goid));
    all.dedup_by_key(|(goid, _)| *goid);
    all.truncate(LOOKED_AT);
    all
}

/// Addresses of all contexts of a request: whoever waits for the `Done` of one hears of its end, or works on one of its own.
pub(super) fn contexts_of(request: &Request, cx: &Context<'_>) -> Vec<u64> {
    let all = request.contexts.iter().chain([&request.root]);
    let all = all.filter_map(|id| cx.model.context(*id));
    all.filter(|ctx| !ctx.internal).map(|ctx| ctx.ptr).collect()
}

/// What a goroutine does for a request. `None` where it is not known to be the request's, is plumbing's, works on a context
/// of its own, waits for a `Done`, or would go on if it were let.
pub(super) fn see(
    request: &Request,
    goroutine: &Goroutine,
    waits_on: &[u64],
    cx: &Context<'_>,
) -> Option<AtWork> {
    let unit = cx.unit(request.pid)?;
    let started_at = started_at(request, goroutine, &unit, cx)?;
    if !waits_on.is_empty() || works_for_itself(goroutine.goid, request, cx) {
        return None;
    }
    let pcs = goroutine.known_stack();
    let stack = site::walked(cx.code, request.pid, pcs, goroutine.stack_state);
    if is_held_up(goroutine, &stack) {
        return None;
    }
    let reason = goroutine.wait_reason.as_deref();
    let in_call = overrun::call_in(&stack, request.pid, goroutine.goid, cx).is_some();
    Some(AtWork {
        goid: goroutine.goid,
        started_at,
        state: sight::state(goroutine.status),
        wait_reason: reason.map(str::to_owned),
        alone: in_call
            || !matches!(goroutine.status, Status::Waiting | Status::Leaked)
            || reason.is_some_and(ends_by_itself),
        pcs: pcs.to_vec(),
        stack,
    })
}

/// The line of a goroutine's `go` statement, where it is known to descend from the request and is nobody else's.
fn started_at(
    request: &Request,
    goroutine: &Goroutine,
    unit: &Unit,
    cx: &Context<'_>,
) -> Option<Option<Frame>> {
    let pid = request.pid;
    if goroutine.goid == request.goid {
        return None;
    }
    if let Some(spawned) = cx.model.spawned_at(pid, goroutine.goid) {
        let own = spawned.request == request.id;
        let origin = own.then(|| origin::of(spawned, unit, cx)).flatten()?;
        return Some(Some(origin.site));
    }
    if goroutine.parent_goid != Some(request.goid) {
        return None;
    }
    let frames = cx.code.frames(pid, goroutine.gopc);
    let statement = frames.first()?;
    if site::is_user(unit, &statement.function) {
        Some(Some(statement.clone()))
    } else {
        // Whoever called it is on no stack any more.
        runs_for_caller(&statement.function).then_some(None)
    }
}

/// It has made a living context that does not descend from the request's, or sits in a call on one.
fn works_for_itself(goid: u64, request: &Request, cx: &Context<'_>) -> bool {
    let own = Root::Request(request.id);
    let lives =
        |ctx: &Ctx| ctx.goid == goid && ctx.cancelled.is_none() && ctx.cancel_called_ns.is_none();
    contexts(request, cx).any(|ctx| lives(ctx) && ctx.root != own)
        || cx
            .model
            .last_call_of(request.pid, goid)
            .is_some_and(|call| call.is_open() && call.root != own)
}

/// Whether a request's other goroutines are known to work on: with goroutines followed, one lives that the service has started;
/// else one is in a call on the request's context, or has not left the scope of one that it derived from that.
pub(super) fn go_on(request: &Request, cx: &Context<'_>) -> bool {
    let own = Root::Request(request.id);
    if cx.model.follows_goroutines(request.pid) {
        let Some(unit) = cx.unit(request.pid) else {
            return false;
        };
        let mut spawned = request
            .spawned
            .iter()
            .filter_map(|id| cx.model.spawned(*id));
        return spawned.any(|spawned| origin::of(spawned, &unit, cx).is_some());
    }
    calls(request, cx).any(|call| call.is_open() && call.root == own)
        || contexts(request, cx).any(|ctx| ctx.root == own && ctx.cancel_called_ns.is_none())
}

/// The goroutine whose call, or whose read of a body, was killed; `None` where it is the serving one.
pub(super) fn killed(
    owner: Option<ReqId>,
    pid: u32,
    goid: u64,
    cx: &Context<'_>,
) -> Option<Box<GoroutineEvidence>> {
    let request = cx.model.request(owner?)?;
    if request.goid == goid {
        return None;
    }
    let unit = cx.unit(pid)?;
    let spawned = cx.model.spawned_at(pid, goid);
    let origin = spawned.and_then(|spawned| origin::of(spawned, &unit, cx));
    Some(Box::new(GoroutineEvidence {
        goid,
        started_at: origin.map(|origin| origin.site),
        state: None,
        wait_reason: None,
        others: 0,
    }))
}

/// Contexts of a request that other goroutines than the serving one have made.
fn contexts<'a>(request: &'a Request, cx: &'a Context<'_>) -> impl Iterator<Item = &'a Ctx> {
    let all = request
        .contexts
        .iter()
        .filter_map(|id| cx.model.context(*id));
    all.filter(|ctx| !ctx.internal && ctx.goid != request.goid)
}

/// Calls, likewise.
fn calls<'a>(request: &'a Request, cx: &'a Context<'_>) -> impl Iterator<Item = &'a Call> {
    let all = request.calls.iter().filter_map(|id| cx.model.call(*id));
    all.filter(|call| call.goid != request.goid)
}
