//! # cancel-ignored
//!
//! Work went on after its context had been cancelled.
//!
//! ## What it finds
//!
//! The context of a request was cancelled (the client left, a deadline passed, the connection
//! failed, the server began to shut down), and the handler, or a call that it waits for, was
//! still at work after the grace time (`--grace`, 500 ms). It also finds a derived context that
//! is dead while the goroutine that made it sits in a call on that context or simply works on.
//!
//! The finding appears while the work runs, and once more when it has ended, with the time that
//! was wasted. `at` is the innermost line of your code that the goroutine was in, with what it
//! waited for; where it had ended before observer could look, it is the outermost line of your
//! code under the handler.
//!
//! ## Why it matters
//!
//! Nobody reads the answer any more, yet the request keeps its goroutine, its database
//! connection and its memory. On a slow afternoon clients give up and try again: every retry
//! adds work to the abandoned work, until the service does nothing else.
//!
//! ## Example
//!
//! ```go
//! func GetReport(w http.ResponseWriter, r *http.Request) {
//! 	rows := make(chan Row)
//! 	go query(r.Context(), rows)
//! 	for row := range rows { // waits here although the client has gone
//! 		write(w, row)
//! 	}
//! }
//! ```
//!
//! ## How to fix
//!
//! Wait for the work and for the context, whichever comes first:
//!
//! ```go
//! ctx := r.Context()
//! for {
//! 	select {
//! 	case row, ok := <-rows:
//! 		if !ok {
//! 			return
//! 		}
//! 		write(w, row)
//! 	case <-ctx.Done():
//! 		return
//! 	}
//! }
//! ```
//!
//! In a loop that computes, look at `ctx.Err()` once per round. Hand `ctx` on to everything that
//! takes one: `QueryContext` instead of `Query`, `http.NewRequestWithContext` instead of
//! `http.NewRequest`.
//!
//! ## How sure
//!
//! High, error: the root context was cancelled and the handler had not returned, or the goroutine
//! was seen inside a call on the dead context. Medium, warning: the derived context is dead and
//! no call was seen, and nothing on another live context has begun since. A handler that looks
//! at its context regularly and stops within two of its rounds: warning. Where a
//! context above the connection was cancelled (`BaseContext` at shutdown): info.
//!
//! "The client left" is what the peer of the connection did. It may be a proxy.
//!
//! ## When silent
//!
//! - work that ends within the grace time, clean-up in `defer` included;
//! - the cancel that follows when a handler returns in the normal way;
//! - requests of which events were lost: they are unknown, and counted as such.

use std::collections::BTreeMap;

use crate::finding::{CancelledBy, Confidence, Evidence, Finding, RuleName, Severity, WorkState};
use crate::inspect::Inspection;
use crate::model::{CtxId, ReqId, Request, Root, Unit};

use super::ask::{Answer, Question, Work};
use super::context::Context;
use super::draft::{self, span};
use super::overrun::{self, Over, Seen};
use super::site;
use super::timers::Topic;

const HELP: &str = "wait for the context's Done too, or hand the context on to what is called";
/// Hits of the handler's goroutine that make a heartbeat: two gaps at least.
const BEATS: usize = 3;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct CancelIgnored {
    /// Cases that run, with what was shown.
    running: BTreeMap<ReqId, Finding>,
    /// Cases of derived contexts that run, with what was shown.
    derived: BTreeMap<CtxId, (ReqId, Finding)>,
}

impl CancelIgnored {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.running.retain(|_, shown| !whose(shown.process.pid));
        self.derived
            .retain(|_, (_, shown)| !whose(shown.process.pid));
    }

    /// Forgets a request whose end was not seen well enough to be told.
    pub(super) fn forget_request(&mut self, id: ReqId) {
        self.running.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.derived.len()
    }

    /// (a): the request's own context is dead and its handler works on.
    pub(super) fn overran(&mut self, over: &Over, cx: &mut Context<'_>) {
        let Some(unit) = cx.unit(over.pid) else {
            return;
        };
        let Some(request) = cx.model.request(over.request) else {
            return;
        };
        if over.again {
            let Some(shown) = self.running.remove(&over.request) else {
                return;
            };
            let finding = ended(shown, over, request, cx);
            cx.report_ended(finding, over.request);
            return;
        }
        let mut finding = draft::blank(
            RuleName::CancelIgnored,
            severity(over, request),
            Confidence::High,
            cx.now_ns,
            &unit,
        );
        fill_place(&mut finding, &unit, over.seen.as_ref(), request, cx);
        finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
        let newest = request.contexts.iter().rev().find(|id| {
            cx.model
                .context(**id)
                .is_some_and(|ctx| !ctx.internal && ctx.goid == over.goid)
        });
        finding.context = draft::chain(cx, &[], newest.copied().or(Some(request.root)));
        finding.evidence = evidence(over, cx);
        finding.message = message(over);
        finding.help = HELP.to_owned();
        if over.ended {
            cx.report(finding);
        } else {
            cx.remember(&mut self.running, over.request, finding.clone());
            cx.report_running(finding, over.request);
        }
    }

    /// (b), (c): a derived context died while its request goes on.
    pub(super) fn context_cancelled(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let Root::Request(request) = ctx.root else {
            return;
        };
        // With the request's own context it is (a) that speaks, once this is looked at.
        let by_other = ctx
            .cancelled
            .as_ref()
            .is_some_and(|cancel| cancel.by != CancelledBy::NormalEnd);
        let timeout_handler = cx
            .model
            .request(request)
            .is_some_and(|request| request.timeout == Some(id));
        if by_other && !ctx.internal && ctx.cancel_called_ns.is_none() && !timeout_handler {
            cx.later(cx.thresholds.grace_ns, Topic::Derived(id));
        }
    }

    /// Grace is over for a dead derived context.
    pub(super) fn look(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let Root::Request(request) = ctx.root else {
            return;
        };
        let Some(request) = cx.model.request(request) else {
            return;
        };
        let whole = cx.model.is_whole(ctx.epoch) && cx.model.is_whole(request.epoch);
        if !whole || ctx.cancel_called_ns.is_some() || !still_wanted(request, cx) {
            return;
        }
        let question = Question::Work {
            goid: ctx.goid,
            g: ctx.g,
            contexts: alive(request, cx),
            request: Some(cx.reading(request)),
        };
        cx.ask(ctx.pid, Topic::Derived(id), question);
    }

    /// What the goroutine that made the dead context does.
    pub(super) fn answer(&mut self, id: CtxId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Work(work) = answer else { return };
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let (Root::Request(request_id), pid, goid) = (ctx.root.clone(), ctx.pid, ctx.goid) else {
            return;
        };
        overrun::describe(request_id, work, cx);
        let Some(unit) = cx.unit(pid) else { return };
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let Some(request) = cx.model.request(request_id) else {
            return;
        };
        let Some(cancel) = &ctx.cancelled else { return };
        let said = self
            .derived
            .values()
            .any(|(of, shown)| *of == request_id && shown.process.pid == pid);
        // One that waits for a living context of its request will hear of the request's cancel.
        let listens = !work.waits_on.is_empty();
        if said || listens || ctx.cancel_called_ns.is_some() || !still_wanted(request, cx) {
            return;
        }
        let Some(stack) = stack(work, pid, cx) else {
            return;
        };
        let made = site::frames(cx.code, pid, &ctx.pcs);
        // Only while the function that made the context is still at work: its CancelFunc is due.
        let Some(maker) = site::maker(&made) else {
            return;
        };
        if !stack.iter().any(|frame| frame.function == maker.function) {
            return;
        }
        let sits = overrun::call_in(&stack, pid, goid, cx);
        let call = sits.filter(|call| {
            let on = cx.model.context_of_call(call);
            cx.model.chain_of(on).any(|ctx| ctx.id == id)
        });
        let in_call = call.is_some();
        // In a call that does not hear of this one: if that is wrong, another rule says so.
        if sits.is_some() && !in_call {
            return;
        }
        if !in_call && started_since(goid, id, request, cx) {
            return;
        }
        let (severity, confidence) = if in_call {
            (Severity::Error, Confidence::High)
        } else {
            (Severity::Warning, Confidence::Medium)
        };
        let mut finding = draft::blank(
            RuleName::CancelIgnored,
            severity,
            confidence,
            cx.now_ns,
            &unit,
        );
        let after_ns = cx.now_ns.saturating_sub(cancel.at_ns);
        let by = match cancel.by {
            CancelledBy::Parent => cancel.origin,
            by => by,
        };
        let Inspection::Alive(goroutine) = &work.goroutine else {
            return;
        };
        finding.evidence = Evidence {
            cancelled_by: Some(by),
            cancelled_at_ns: Some(cancel.at_ns),
            after_cancel_ns: Some(after_ns),
            state: Some(overrun::state(goroutine.status)),
            wait_reason: goroutine.wait_reason.as_deref().map(str::to_owned),
            wait_ns: goroutine
                .wait_since_ns
                .map(|since| cx.now_ns.saturating_sub(since)),
            call: call.map(|call| draft::call_evidence(call, cx.thresholds, cx.now_ns)),
            deadline_ns: ctx.deadline_ns,
            ..Evidence::default()
        };
        finding.message = if in_call {
            format!("call still waits {} after {}", span(after_ns), by.clause())
        } else {
            format!("work went on {} after {}", span(after_ns), by.clause())
        };
        finding.context = draft::chain(cx, &[], Some(id));
        finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
        finding.help = HELP.to_owned();
        let at = site::direct(&unit, &stack).cloned();
        draft::place(&mut finding, &unit, at.as_ref(), stack);
        cx.remember(&mut self.derived, id, (request_id, finding.clone()));
        cx.report_running(finding, request_id);
    }

    /// The dead context's CancelFunc was called: the work on it is over.
    pub(super) fn cancel_called(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some((request, shown)) = self.derived.remove(&id) else {
            return;
        };
        derived_ended(shown, request, cx);
    }

    /// The request has ended, and with it work on its derived contexts.
    pub(super) fn request_ended(&mut self, request: ReqId, cx: &mut Context<'_>) {
        if self.derived.is_empty() {
            return;
        }
        let ended: Vec<CtxId> = self
            .derived
            .iter()
            .filter(|(_, (of, _))| *of == request)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.cancel_called(id, cx);
        }
    }
}

/// Work on a derived context that was shown while it ran is over.
fn derived_ended(mut shown: Finding, request: ReqId, cx: &mut Context<'_>) {
    let Some(at_ns) = shown.evidence.cancelled_at_ns else {
        return;
    };
    let after_ns = cx.now_ns.saturating_sub(at_ns);
    shown.time_ns = cx.now_ns;
    shown.evidence.after_cancel_ns = Some(after_ns);
    shown.evidence.state = Some(WorkState::Ended);
    let clause = shown
        .evidence
        .cancelled_by
        .map_or("its context died", CancelledBy::clause);
    let what = if shown.evidence.call.is_some() {
        "call waited"
    } else {
        "work went on"
    };
    shown.message = format!("{what} {} after {clause}", span(after_ns));
    shown.request = draft::request_of(cx, Some(request)).or(shown.request);
    cx.report_ended(shown, request);
}

/// The request runs and its own context lives: else (a) speaks.
fn still_wanted(request: &Request, cx: &Context<'_>) -> bool {
    request.ended.is_none()
        && cx
            .model
            .context(request.root)
            .is_some_and(|root| root.cancelled.is_none())
}

/// Addresses of the request's living contexts, its own among them.
fn alive(request: &Request, cx: &Context<'_>) -> Vec<u64> {
    [request.root]
        .iter()
        .chain(&request.contexts)
        .filter_map(|id| cx.model.context(*id))
        .filter(|ctx| !ctx.internal && ctx.cancelled.is_none())
        .map(|ctx| ctx.ptr)
        .collect()
}

/// The goroutine has begun something on another, living context since this one was made.
fn started_since(goid: u64, dead: CtxId, request: &Request, cx: &Context<'_>) -> bool {
    let Some(died_ns) = cx
        .model
        .context(dead)
        .and_then(|ctx| ctx.cancelled.as_ref())
        .map(|cancel| cancel.at_ns)
    else {
        return true;
    };
    let context = request
        .contexts
        .iter()
        .filter_map(|id| cx.model.context(*id))
        .any(|ctx| {
            ctx.goid == goid && !ctx.internal && ctx.created_ns > died_ns && ctx.cancelled.is_none()
        });
    let call = request
        .calls
        .iter()
        .filter_map(|id| cx.model.call(*id))
        .any(|call| {
            call.goid == goid
                && call.start_ns > died_ns
                && !call.ctx.is_some_and(|of| descends(of, dead, cx))
        });
    context || call
}

/// Whether `of` is `ancestor` or descends from it.
fn descends(of: CtxId, ancestor: CtxId, cx: &Context<'_>) -> bool {
    let mut next = Some(of);
    // Chains are acyclic; the bound is for a table that lies.
    for _ in 0..1024 {
        match next {
            Some(id) if id == ancestor => return true,
            Some(id) => next = cx.model.context(id).and_then(|ctx| ctx.parent),
            None => return false,
        }
    }
    false
}

fn stack(work: &Work, pid: u32, cx: &Context<'_>) -> Option<Vec<crate::go::Frame>> {
    match &work.goroutine {
        Inspection::Alive(goroutine) if !goroutine.stack.is_empty() => {
            Some(site::frames(cx.code, pid, &goroutine.stack))
        }
        _ => None,
    }
}

fn fill_place(
    finding: &mut Finding,
    unit: &Unit,
    seen: Option<&Seen>,
    request: &Request,
    cx: &Context<'_>,
) {
    if let Some(seen) = seen {
        let at = site::direct(unit, &seen.stack).cloned();
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
        finding.site = site::outermost(unit, &stack).cloned();
    }
    finding.confidence = Confidence::Medium;
}

fn severity(over: &Over, request: &Request) -> Severity {
    if over.by == CancelledBy::Shutdown {
        return Severity::Info;
    }
    match heartbeat_ns(request, over.cancelled_ns) {
        Some(tick_ns) if over.after_ns <= tick_ns.saturating_mul(2) => Severity::Warning,
        _ => Severity::Error,
    }
}

/// Median gap between the hits of a goroutine that polls; `None` where there is no regular one.
fn heartbeat_ns(request: &Request, cancelled_ns: u64) -> Option<u64> {
    let beats: Vec<u64> = request
        .beats_ns
        .iter()
        .copied()
        .filter(|at| *at <= cancelled_ns)
        .collect();
    if beats.len() < BEATS {
        return None;
    }
    let mut gaps: Vec<u64> = beats
        .iter()
        .zip(beats.iter().skip(1))
        .map(|(a, b)| b.saturating_sub(*a))
        .collect();
    gaps.sort_unstable();
    let (shortest, longest) = (*gaps.first()?, *gaps.last()?);
    (longest <= shortest.saturating_mul(2))
        .then(|| gaps.get(gaps.len() / 2).copied())
        .flatten()
}

fn evidence(over: &Over, cx: &Context<'_>) -> Evidence {
    let seen = over.seen.as_ref();
    let call = seen
        .and_then(|seen| seen.call)
        .and_then(|id| cx.model.call(id));
    Evidence {
        cancelled_by: Some(over.by),
        cancelled_at_ns: Some(over.cancelled_ns),
        after_cancel_ns: Some(over.after_ns),
        state: Some(match seen {
            _ if over.ended => WorkState::Ended,
            Some(seen) => seen.state,
            None => WorkState::Running,
        }),
        wait_reason: seen.and_then(|seen| seen.wait_reason.clone()),
        wait_ns: seen.and_then(|seen| seen.wait_ns),
        call: call.map(|call| draft::call_evidence(call, cx.thresholds, cx.now_ns)),
        ..Evidence::default()
    }
}

fn message(over: &Over) -> String {
    let after = span(over.after_ns);
    let clause = over.by.clause();
    if over.ended {
        format!("handler worked {after} after {clause}")
    } else {
        format!("handler still works {after} after {clause}")
    }
}

/// The shown finding, now that its case is over.
fn ended(mut shown: Finding, over: &Over, request: &Request, cx: &Context<'_>) -> Finding {
    shown.time_ns = cx.now_ns;
    shown.severity = severity(over, request);
    shown.message = message(over);
    shown.evidence.after_cancel_ns = Some(over.after_ns);
    shown.evidence.state = Some(WorkState::Ended);
    shown.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
    shown
}
