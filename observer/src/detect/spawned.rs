//! Calls on `Background` by goroutines that a handler has started: are they its request's own work?
//!
//! A poller or a pool that the first request makes ready for all looks the same when it calls. What
//! tells them apart is that the handler waits, and that the same code calls so below handlers of
//! more than one connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::finding::{CancelledBy, Finding};
use crate::go::Frame;
use crate::inspect::{Inspection, Status, is_for_work};
use crate::model::{Call, CallId, Cut, ReqId, Request, Root, Unit};

use super::ask::{Answer, Work};
use super::context::Context;
use super::draft::span;
use super::outlived::Outlived;
use super::timers::Topic;
use super::{deadline, site};

/// Stacks remembered, with whose goroutine called so first.
const STACKS: usize = 4096;
/// What a wait for a `sync.WaitGroup` is called up to Go 1.23.
const SEMAPHORE: &str = "semacquire";
/// Packages whose functions do that waiting.
const WAITERS: &[&str] = &[
    "runtime",
    "internal/sync",
    "sync",
    "golang.org/x/sync/errgroup",
];

/// What is known of such calls.
#[derive(Debug, Default)]
pub(super) struct Spawned {
    /// The serving goroutine below which a stack called so first.
    first: BTreeMap<(u32, Arc<[u64]>), u64>,
    /// Calls that are a request's work, as they were shown.
    shown: BTreeMap<CallId, Finding>,
    outlived: Outlived,
}

impl Spawned {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool + Copy) {
        self.first.retain(|(pid, _), _| !whose(*pid));
        self.shown.retain(|_, shown| !whose(shown.process.pid));
        self.outlived.forget(whose);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shown.len() + self.outlived.len()
    }

    /// Whether its handler waits for such a call, and another connection's handler has made one.
    pub(super) fn is_requests(
        &mut self,
        call: &Call,
        request: &Request,
        work: &Work,
        unit: &Unit,
        cx: &Context<'_>,
    ) -> bool {
        let key = (call.pid, Arc::clone(&call.pcs));
        let first = *self.first.entry(key).or_insert(request.goid);
        if self.first.len() > STACKS {
            self.first.pop_first();
        }
        first != request.goid && request.ended.is_none() && waits(work, unit, cx)
    }

    /// A call that is a request's work was shown.
    pub(super) fn keep(&mut self, id: CallId, shown: Finding, cx: &mut Context<'_>) {
        cx.remember(&mut self.shown, id, shown);
    }

    /// A request was cancelled: do its calls go on?
    pub(super) fn request_cancelled(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let calls = request.calls.clone();
        let grace_ns = i64::try_from(cx.thresholds.grace_ns).unwrap_or(i64::MAX);
        for call in calls {
            if let Some(shown) = self.shown.remove(&call) {
                let topic = Topic::LeftBehind(call);
                self.outlived.watch(call, shown, grace_ns, topic, cx);
            }
        }
    }

    /// Grace is over.
    pub(super) fn look(&mut self, id: CallId, cx: &mut Context<'_>) {
        self.outlived.look(id, Topic::LeftBehind(id), cx);
    }

    /// Whether the call goes on: then it is an error, whether its handler has left or waits for it.
    /// That the handler itself does not listen is another rule's.
    pub(super) fn answer(&mut self, id: CallId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(mut finding) = self.outlived.answer(id, Topic::LeftBehind(id), answer, cx) else {
            return;
        };
        let owner = cx.model.call(id).and_then(|call| call.owner);
        let Some(request) = owner.and_then(|owner| cx.model.request(owner)) else {
            return;
        };
        let cancel = cx.model.context(request.root);
        let Some(cancel) = cancel.and_then(|root| root.cancelled.as_ref()) else {
            return;
        };
        // A server that goes away lets its requests end.
        let is_shutdown = request.ended.is_none() && cancel.by == CancelledBy::Shutdown;
        if is_shutdown || !cx.model.is_whole(request.epoch) {
            return;
        }
        let after_ns = cx.now_ns.saturating_sub(cancel.at_ns);
        finding.evidence.cancelled_by = Some(cancel.by);
        finding.evidence.cancelled_at_ns = Some(cancel.at_ns);
        finding.evidence.after_cancel_ns = Some(after_ns);
        let target = finding.evidence.call.as_ref().map(|call| &*call.target);
        finding.message = format!(
            "call to {} on a detached context goes on {} after {}",
            target.unwrap_or_default(),
            span(after_ns),
            cancel.by.clause()
        );
        let id = request.id;
        cx.report_grown(finding, id);
    }
}

/// A call on `Background` or `TODO` that no deadline bounds, by a goroutine other than the handler's.
pub(super) fn is_unbounded(call: &Call, request: &Request, cx: &Context<'_>) -> bool {
    let bound = cx.model.bound_of(cx.model.context_of_call(call));
    let stack = site::frames(cx.code, call.pid, &call.pcs);
    call.root == Root::Detached(Cut::Empty)
        && bound.is_none()
        && !call.bounded
        && !deadline::is_handlers(call.goid, &stack, request)
}

/// The handler's own code waits for other goroutines.
fn waits(work: &Work, unit: &Unit, cx: &Context<'_>) -> bool {
    let Inspection::Alive(goroutine) = &work.goroutine else {
        return false;
    };
    let reason = goroutine.wait_reason.as_deref();
    let stack = site::walked(
        cx.code,
        unit.process.pid,
        &goroutine.stack,
        goroutine.stack_state,
    );
    goroutine.status == Status::Waiting && waits_for_others(reason, &stack, unit)
}

/// Whether code of the service's own waits, in a way in which others are waited for.
pub(super) fn waits_for_others(reason: Option<&str>, stack: &[Frame], unit: &Unit) -> bool {
    let waiter = stack
        .iter()
        .find(|frame| !WAITERS.contains(&frame.package()));
    reason.is_some_and(|reason| is_for_work(reason) || reason == SEMAPHORE)
        && waiter.is_some_and(|frame| site::is_own(unit, &frame.function))
}
