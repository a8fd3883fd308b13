//! Which goroutine works inside an `http.TimeoutHandler` that has gone: its deadline has passed, or its request was
//! cancelled?
//!
//! The worker is a child of the goroutine that serves the connection, and so are the workers of the
//! connection's other requests. As long as the deadline has not fired, the serving goroutine
//! waits inside this request, so its children are this worker and those that earlier requests left
//! behind. They are therefore read shortly before the deadline, and what was there when an earlier
//! request timed out is not this one's. A cancel comes unannounced; but then the connection, or the stream, is at
//! its end and serves nothing else, so that it is early enough to look once grace is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::CancelledBy;
use crate::inspect::Child;
use crate::model::{Cancel, Ctx, CtxId, ReqId, Request, Root};

use super::ask::{Answer, Question};
use super::context::Context;
use super::overrun::Overrun;
use super::timers::Topic;

/// Creates the worker.
const TIMEOUT_HANDLER: &str = "net/http.(*timeoutHandler).ServeHTTP";
/// How long before the deadline the workers are read, at most; half the time where there is less, and
/// not less than half of that, ns. Some of the daemon's ticks.
const LEAD_NS: u64 = 50_000_000;
/// Connections of which earlier workers are remembered. Without them a request is unknown.
const CONNECTIONS: usize = 4_096;

/// Workers read.
#[derive(Debug, Default)]
pub(super) struct TimeoutWorkers {
    /// Before the deadlines of these contexts.
    read: BTreeMap<CtxId, Read>,
    /// What was there when a deadline fired, by process and serving goroutine.
    earlier: BTreeMap<(u32, u64), BTreeSet<u64>>,
}

#[derive(Debug)]
struct Read {
    pid: u32,
    /// Not later than this.
    at_ns: u64,
    workers: Vec<Child>,
}

impl TimeoutWorkers {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.read.retain(|_, read| !whose(read.pid));
        self.earlier.retain(|(pid, _), _| !whose(*pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.read.len()
    }

    /// If it is a TimeoutHandler's, its worker starts next.
    pub(super) fn context_created(&self, id: CtxId, cx: &mut Context<'_>) {
        let left_ns = handled(id, cx).and_then(|(ctx, _)| ctx.deadline_ns);
        if let Some(left_ns) = left_ns.and_then(|left_ns| u64::try_from(left_ns).ok()) {
            let lead_ns = LEAD_NS.min(left_ns / 2);
            let due_ns = cx.now_ns.saturating_add(left_ns - lead_ns);
            // At even times: one look through all goroutines then serves many requests.
            let even_ns = due_ns.next_multiple_of((lead_ns / 2).max(1));
            cx.later(even_ns.saturating_sub(cx.now_ns), Topic::TimeoutSoon(id));
        }
    }

    /// The deadline is near, and the handler has not returned.
    pub(super) fn look(&self, id: CtxId, cx: &mut Context<'_>) {
        let waits = handled(id, cx).filter(|(ctx, request)| {
            ctx.cancelled.is_none() && request.ended.is_none() && cx.model.is_whole(request.epoch)
        });
        if let Some((ctx, _)) = waits {
            let (pid, parent_goid) = (ctx.pid, ctx.goid);
            let question = Question::Children { parent_goid };
            cx.ask(pid, Topic::TimeoutSoon(id), question);
        }
    }

    /// The workers before the deadline.
    pub(super) fn soon_answer(&mut self, id: CtxId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Children(Some(children)) = answer else {
            return;
        };
        let waits = handled(id, cx).filter(|(ctx, _)| ctx.cancelled.is_none());
        let Some((ctx, _)) = waits else { return };
        let read = Read {
            pid: ctx.pid,
            at_ns: cx.now_ns,
            workers: workers(ctx.pid, children, cx),
        };
        cx.remember(&mut self.read, id, read);
    }

    /// A context died: if it is a TimeoutHandler's, its worker should stop.
    pub(super) fn context_cancelled(
        &mut self,
        id: CtxId,
        overrun: &mut Overrun,
        cx: &mut Context<'_>,
    ) {
        let read = self.read.remove(&id);
        let Some((ctx, request)) = handled(id, cx) else {
            return;
        };
        if !cx.model.is_whole(request.epoch) {
            return;
        }
        if !ctx.died_of_its_deadline() {
            if let Some(cancel) = left(request, cx) {
                let id = request.id;
                // At even times: one look through all goroutines then serves many requests.
                let due_ns = cancel.at_ns.saturating_add(cx.thresholds.grace_ns);
                let even_ns = due_ns.next_multiple_of(LEAD_NS / 2);
                cx.later(even_ns.saturating_sub(cx.now_ns), Topic::TimeoutWorker(id));
            }
            return;
        }
        let Some(cancel) = ctx.cancelled.clone() else {
            return;
        };
        let (pid, parent_goid, request) = (ctx.pid, ctx.goid, request.id);
        let Some(read) = read.filter(|read| read.at_ns < cancel.at_ns) else {
            // Too late for certainty, but not yet if the connection serves nothing else.
            let question = Question::Children { parent_goid };
            cx.ask(pid, Topic::TimeoutWorker(request), question);
            return;
        };
        let place = (pid, parent_goid);
        let all = read.workers.iter().map(|worker| worker.goid).collect();
        let earlier = self.earlier.insert(place, all).unwrap_or_default();
        if self.earlier.len() > CONNECTIONS {
            self.earlier.pop_first();
        }
        let own = read
            .workers
            .iter()
            .filter(|one| !earlier.contains(&one.goid));
        conclude(request, own, &cancel, overrun, cx);
    }

    /// Grace is over since the request of a TimeoutHandler was cancelled.
    pub(super) fn look_behind(&self, id: ReqId, overrun: &Overrun, cx: &mut Context<'_>) {
        // One that has not gone is looked at itself.
        let gone = cx
            .model
            .request(id)
            .filter(|request| cx.model.is_whole(request.epoch) && !overrun.watches(id));
        if let Some(request) = gone {
            let (pid, parent_goid) = (request.pid, request.goid);
            let question = Question::Children { parent_goid };
            cx.ask(pid, Topic::TimeoutWorker(id), question);
        }
    }

    /// The workers after the deadline, or the cancel.
    pub(super) fn late_answer(
        &self,
        id: ReqId,
        answer: &Answer,
        overrun: &mut Overrun,
        cx: &mut Context<'_>,
    ) {
        let children = match answer {
            Answer::Children(Some(children)) => children,
            // Go keeps no parents, or memory refused.
            Answer::Children(None) => {
                cx.model.note_unknown();
                return;
            }
            _ => return,
        };
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let Some(ctx) = request.timeout.and_then(|ctx| cx.model.context(ctx)) else {
            return;
        };
        let cancel = if ctx.died_of_its_deadline() {
            ctx.cancelled.as_ref()
        } else {
            left(request, cx)
        };
        let Some(cancel) = cancel.cloned() else {
            return;
        };
        let earlier = self.earlier.get(&(ctx.pid, ctx.goid));
        let mut own = workers(ctx.pid, children, cx);
        own.retain(|one| earlier.is_none_or(|earlier| !earlier.contains(&one.goid)));
        let younger = |other: &Request| {
            other.pid == request.pid && other.goid == request.goid && other.id > id
        };
        if own.is_empty() {
            // It has stopped.
        } else if cx.model.running().any(younger) {
            // The worker found may be that one's.
            cx.model.note_unknown();
        } else {
            conclude(id, own.iter(), &cancel, overrun, cx);
        }
    }
}

/// The cancel of a request that came before its handler had returned.
fn left<'a>(request: &Request, cx: &'a Context<'_>) -> Option<&'a Cancel> {
    let cancel = cx.model.context(request.root)?.cancelled.as_ref()?;
    (cancel.by != CancelledBy::NormalEnd).then_some(cancel)
}

/// A context that counts as its request's deadline, made by the TimeoutHandler.
fn handled<'a>(id: CtxId, cx: &'a Context<'_>) -> Option<(&'a Ctx, &'a Request)> {
    let ctx = cx.model.context(id)?;
    let Root::Request(request) = ctx.root else {
        return None;
    };
    let request = cx.model.request(request)?;
    (request.timeout == Some(id)).then_some((ctx, request))
}

/// The children that the TimeoutHandler made.
fn workers(pid: u32, children: &[Child], cx: &Context<'_>) -> Vec<Child> {
    let by_handler = |child: &&Child| {
        let frames = cx.code.frames(pid, child.gopc);
        frames
            .iter()
            .any(|frame| &*frame.function == TIMEOUT_HANDLER)
    };
    children.iter().filter(by_handler).copied().collect()
}

/// One can only be this request's; among several none says whose it is.
fn conclude<'a>(
    id: ReqId,
    mut own: impl Iterator<Item = &'a Child>,
    cancel: &Cancel,
    overrun: &mut Overrun,
    cx: &mut Context<'_>,
) {
    match (own.next(), own.next()) {
        (Some(worker), None) => overrun.worker(id, worker, cancel, cx),
        _ => cx.model.note_unknown(),
    }
}
