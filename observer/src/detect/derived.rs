//! Conditions (b) and (c) of cancel-ignored: a context made for a request is dead, and the
//! goroutine that made it works on. What the rule means stands in `cancel_ignored`.

use std::collections::BTreeMap;

use crate::finding::{CancelledBy, Confidence, Evidence, Finding, RuleName, Severity, WorkState};
use crate::go::Stack;
use crate::inspect::{Goroutine, Inspection};
use crate::model::{CallId, CtxId, ReqId, Request, Root};

use super::ask::{Answer, Question, Work};
use super::busy;
use super::cancel_ignored::HELP;
use super::chain;
use super::context::Context;
use super::draft::{self, span};
use super::overrun;
use super::timers::Topic;
use super::waits::is_held_up;
use super::{descendants, ids, sight, site};

/// Work that goes on.
#[derive(Debug)]
struct Case {
    request: ReqId,
    /// The call that it sits in.
    call: Option<CallId>,
    shown: Finding,
}

/// Watches derived contexts.
#[derive(Debug, Default)]
pub(super) struct Derived {
    /// Cases that run, with what was shown.
    running: BTreeMap<CtxId, Case>,
}

impl Derived {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.running
            .retain(|_, case| !whose(case.shown.process.pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len()
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
        let reading = Some(cx.reading(request));
        let question = Question::work(ctx.goid, ctx.g, alive(request, cx), reading);
        ids::ask(request.id, Topic::Derived(id), question, cx);
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
            .running
            .values()
            .any(|case| case.request == request_id && case.shown.process.pid == pid);
        // One that waits for a living context of its request will hear of the request's cancel.
        let listens = !work.waits_on.is_empty();
        if said || listens || ctx.cancel_called_ns.is_some() || !still_wanted(request, cx) {
            return;
        }
        let Some((goroutine, stack)) = at_rest(work, pid, cx) else {
            return;
        };
        if is_held_up(goroutine, &stack) {
            cx.later(overrun::POLL_NS, Topic::Derived(id));
            return;
        }
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
        let by = cancel.root_by();
        finding.evidence = Evidence {
            cancelled_by: Some(by),
            cancelled_at_ns: Some(cancel.at_ns),
            cancel_site: draft::cancel_site(&unit, by, cancel, cx),
            after_cancel_ns: Some(after_ns),
            state: Some(sight::state(goroutine.status)),
            wait_reason: goroutine.wait_reason.as_deref().map(str::to_owned),
            wait_ns: cx.waits.at_least_ns(pid, goroutine, cx.now_ns),
            call: call.map(|call| draft::call_evidence(call, cx.thresholds, cx.now_ns)),
            deadline_ns: ctx.deadline_ns,
            goroutine: descendants::see(request, goroutine, &[], cx)
                .map(|at_work| at_work.evidence(0)),
            ..Evidence::default()
        };
        let call = call.map(|call| call.id);
        finding.message = if in_call {
            format!("call still waits {} after {}", span(after_ns), by.clause())
        } else {
            format!("work went on {} after {}", span(after_ns), by.clause())
        };
        finding.context = chain::of_context(cx, Some(id));
        finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
        finding.help = HELP.to_owned();
        let at = busy::computes(goroutine, &stack)
            .then(|| busy::handler(&unit, cx.code, &goroutine.stack))
            .flatten()
            .or_else(|| site::direct(&unit, &stack).cloned());
        draft::place(&mut finding, &unit, at.as_ref(), stack);
        let case = Case {
            request: request_id,
            call,
            shown: finding.clone(),
        };
        cx.remember(&mut self.running, id, case);
        cx.report_running(finding, id);
    }

    /// The dead context's CancelFunc was called: the work on it is over.
    pub(super) fn cancel_called(&mut self, id: CtxId, cx: &mut Context<'_>) {
        if let Some(case) = self.running.remove(&id) {
            ended(id, case, cx);
        }
    }

    /// The request has ended, and with it work on its derived contexts.
    pub(super) fn request_ended(&mut self, request: ReqId, cx: &mut Context<'_>) {
        if self.running.is_empty() {
            return;
        }
        let ended: Vec<CtxId> = self
            .running
            .iter()
            .filter(|(_, case)| case.request == request)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.cancel_called(id, cx);
        }
    }
}

/// Work on a derived context that was shown while it ran is over.
fn ended(id: CtxId, case: Case, cx: &mut Context<'_>) {
    let Case {
        request,
        call,
        mut shown,
    } = case;
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
    shown.evidence.call = draft::call_over(shown.evidence.call.take(), call, cx);
    let what = if shown.evidence.call.is_some() {
        "call waited"
    } else {
        "work went on"
    };
    shown.message = format!("{what} {} after {clause}", span(after_ns));
    shown.request = draft::request_of(cx, Some(request)).or(shown.request);
    cx.report_ended(shown, id);
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

/// A goroutine whose stack could be seen.
fn at_rest<'a>(work: &'a Work, pid: u32, cx: &Context<'_>) -> Option<(&'a Goroutine, Stack)> {
    match &work.goroutine {
        Inspection::Alive(goroutine) if !goroutine.stack.is_empty() => {
            let (pcs, state) = (&goroutine.stack, goroutine.stack_state);
            Some((goroutine, site::walked(cx.code, pid, pcs, state)))
        }
        _ => None,
    }
}
