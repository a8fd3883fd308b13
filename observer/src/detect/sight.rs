//! What a goroutine at work for a request was seen to do, and where to place that.

use crate::finding::{Confidence, Finding, WorkState};
use crate::go::{Frame, Stack};
use crate::inspect::{Goroutine, Status};
use crate::model::{CallId, CtxId, Request, Unit};

use super::context::Context;
use super::waits::is_held_up;
use super::{busy, draft, overrun, site};

/// What was seen of the work.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Logical frames, innermost first.
    pub(super) stack: Stack,
    /// Why it waits.
    pub(super) wait_reason: Option<String>,
    /// For how long at least, ns.
    pub(super) wait_ns: Option<u64>,
    /// Running or waiting.
    pub(super) state: WorkState,
    /// Contexts on whose `Done` it waits.
    pub(super) waits_on: Vec<CtxId>,
    /// The call it sits in.
    pub(super) call: Option<CallId>,
    /// The handler's declaration, where the goroutine computes.
    pub(super) busy_in: Option<Frame>,
}

/// What a look at a goroutine showed.
pub(super) enum Sight {
    /// What it does.
    Clear(Seen),
    /// On a thread, or moving.
    Blurred,
    /// It would go on if it were let.
    HeldUp,
    /// Not in the handler any more.
    Left,
}

/// Makes sense of a goroutine at work for a request: the serving one, or a TimeoutHandler's worker.
pub(super) fn see(
    (pid, goid, worker): (u32, u64, bool),
    goroutine: &Goroutine,
    waits_on: &[u64],
    request: &Request,
    cx: &Context<'_>,
) -> Sight {
    let pcs = goroutine.known_stack();
    let stack = site::walked(cx.code, pid, pcs, goroutine.stack_state);
    let busy_in = busy::computes(goroutine, &stack)
        .then(|| cx.unit(pid))
        .flatten()
        .and_then(|unit| busy::handler(&unit, cx.code, pcs));
    if goroutine.stack.is_empty() && busy_in.is_none() {
        return Sight::Blurred;
    }
    if !worker && !stack.iter().any(|frame| site::serves(&frame.function)) {
        return Sight::Left;
    }
    if is_held_up(goroutine, &stack) {
        return Sight::HeldUp;
    }
    let waits_on = overrun::detached(request, cx)
        .filter(|ctx| waits_on.contains(&ctx.ptr))
        .map(|ctx| ctx.id)
        .collect();
    Sight::Clear(Seen {
        call: overrun::call_in(&stack, pid, goid, cx).map(|call| call.id),
        state: state(goroutine.status),
        wait_reason: goroutine.wait_reason.as_deref().map(str::to_owned),
        wait_ns: cx.waits.at_least_ns(pid, goroutine, cx.now_ns),
        waits_on,
        busy_in,
        stack,
    })
}

/// Where the work was: as seen, else the handler, from any stack of its goroutine. `blurred`: it was looked at and could not be
/// seen, so it computes.
pub(super) fn place(
    finding: &mut Finding,
    unit: &Unit,
    (seen, blurred): (Option<&Seen>, bool),
    request: &Request,
    cx: &Context<'_>,
) {
    if let Some(seen) = seen {
        let innermost = || site::direct(unit, &seen.stack).cloned();
        let at = seen.busy_in.clone().or_else(innermost);
        draft::place(finding, unit, at.as_ref(), seen.stack.clone());
        return;
    }
    // Never seen at rest: any stack of this goroutine tells the handler.
    let contexts = request
        .contexts
        .iter()
        .filter_map(|id| cx.model.context(*id));
    let calls = request.calls.iter().filter_map(|id| cx.model.call(*id));
    let known = contexts
        .filter(|ctx| ctx.goid == request.goid && !ctx.internal)
        .map(|ctx| &ctx.pcs)
        .chain(
            calls
                .filter(|call| call.goid == request.goid)
                .map(|call| &call.pcs),
        )
        .next();
    if let Some(pcs) = known {
        let stack = site::frames(cx.code, request.pid, pcs);
        finding.site = blurred
            .then(|| busy::handler(unit, cx.code, pcs))
            .flatten()
            .or_else(|| site::outermost(unit, &stack).cloned());
    }
    finding.confidence = Confidence::Medium;
}

/// The state that a status means to a reader.
pub(super) const fn state(status: Status) -> WorkState {
    match status {
        Status::Waiting => WorkState::Waiting,
        _ => WorkState::Running,
    }
}
