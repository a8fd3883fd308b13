//! Conditions (b) and (c) of cancel-ignored, of a request that was cancelled and whose handler has returned: a goroutine that it
//! has started works on. What the rule means stands in `cancel_ignored`.
//!
//! That a goroutine lives is not enough, as the handler may have started it to live on: it sits in a call on
//! the dead context, or inside the scope of a context that it has derived from that.

use std::collections::BTreeMap;

use crate::finding::{CancelledBy, Confidence, Evidence, Finding, RuleName, Severity, WorkState};
use crate::inspect::Inspection;
use crate::model::{CallId, Cancel, CtxId, Ending, GoId, ReqId, Request, Root};

use super::ask::{Answer, Question, Work};
use super::cancel_ignored::HELP;
use super::chain;
use super::context::Context;
use super::descendants::{self, AtWork};
use super::draft::{self, span};
use super::overrun::{self, LOOKS, POLL_NS, RETRY_NS};
use super::timers::Topic;
use super::waits::is_held_up;
use super::{busy, deadline, site};

/// A goroutine that is looked at.
#[derive(Debug)]
struct Case {
    pid: u32,
    g: u64,
    looks: u32,
    shown: Option<Shown>,
}

/// One that was told of.
#[derive(Debug)]
struct Shown {
    finding: Finding,
    on: On,
}

/// On what it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// In a call on the dead context.
    Call(CallId),
    /// Inside the scope of a context that it has derived.
    Context(CtxId),
}

/// What a rule has concluded about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// This goroutine works on.
    Works(u64),
    /// What was told of is over.
    Stopped,
}

/// Watches the goroutines of cancelled requests whose handlers have returned.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    cases: BTreeMap<(ReqId, u64), Case>,
}

impl LeftBehind {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.cases.retain(|_, case| !whose(case.pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    /// A handler has returned: was its request cancelled before?
    pub(super) fn request_ended(&self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let (Some(cancel), Some(ended_ns)) = (cancel_of(request, cx), request.ended_ns()) else {
            return;
        };
        // A handler that was late has been told of itself: what it started has the same time from its end on.
        let late = ended_ns.saturating_sub(cancel.at_ns) > cx.thresholds.grace_ns;
        let since_ns = if late { ended_ns } else { cancel.at_ns };
        if descendants::of(request, cx).is_empty() {
            return;
        }
        let due_ns = since_ns.saturating_add(cx.thresholds.grace_ns);
        cx.later(due_ns.saturating_sub(cx.now_ns), Topic::LeftBy(id));
    }

    /// Grace is over: who is left?
    pub(super) fn look(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        if !cx.model.is_whole(request.epoch) {
            return;
        }
        let pid = request.pid;
        for (goid, g) in descendants::of(request, cx) {
            let case = Case {
                pid,
                g,
                looks: 0,
                shown: None,
            };
            cx.remember(&mut self.cases, (id, goid), case);
            self.look_at(id, goid, cx);
        }
    }

    /// Looks at one of them, again or for the first time.
    pub(super) fn look_at(&mut self, id: ReqId, goid: u64, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get(&(id, goid)) else {
            return;
        };
        let (pid, g) = (case.pid, case.g);
        let whole = |request: &&Request| cx.model.is_whole(request.epoch);
        let Some(request) = cx.model.request(id).filter(whole) else {
            self.cases.remove(&(id, goid));
            return;
        };
        let contexts = descendants::contexts_of(request, cx);
        let question = Question::work(goid, g, contexts, None);
        cx.ask(pid, Topic::Behind(id, goid), question);
    }

    /// What it does.
    pub(super) fn answer(
        &mut self,
        id: ReqId,
        goid: u64,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Option<Conclusion> {
        let case = self.cases.get_mut(&(id, goid))?;
        let Answer::Work(work) = answer else {
            self.cases.remove(&(id, goid));
            return None;
        };
        if let Some(shown) = &case.shown {
            let over = match &work.goroutine {
                Inspection::Alive(goroutine) => {
                    let stack =
                        site::walked(cx.code, case.pid, &goroutine.stack, goroutine.stack_state);
                    !stack.is_empty() && !goes_on(shown.on, &stack, (case.pid, goid), cx)
                }
                Inspection::Gone => true,
                Inspection::Torn | Inspection::Unknown => false,
            };
            if over {
                return self.ended(id, goid, cx);
            }
            cx.later(POLL_NS, Topic::Behind(id, goid));
            return None;
        }
        let gone = matches!(work.goroutine, Inspection::Gone);
        if !gone && case.looks < LOOKS && is_blurred(work, case.pid, cx) {
            case.looks += 1;
            cx.later(RETRY_NS, Topic::Behind(id, goid));
            return None;
        }
        let told = self.is_told(id);
        let conclusion = (!told).then(|| conclude(id, work, cx)).flatten();
        let Some((finding, on, case_of)) = conclusion else {
            self.cases.remove(&(id, goid));
            return None;
        };
        let shown = Shown {
            finding: finding.clone(),
            on,
        };
        if let Some(case) = self.cases.get_mut(&(id, goid)) {
            case.shown = Some(shown);
        }
        cx.report_running(finding, case_of);
        cx.later(POLL_NS, Topic::Behind(id, goid));
        Some(Conclusion::Works(goid))
    }

    /// One of the request's goroutines was told of, and works.
    pub(super) fn is_told(&self, id: ReqId) -> bool {
        let mut all = self.cases.range((id, 0)..=(id, u64::MAX));
        all.any(|(_, case)| case.shown.is_some())
    }

    /// A goroutine that outlived its request has ended.
    pub(super) fn goroutine_ended(&mut self, id: GoId, cx: &mut Context<'_>) -> Option<Conclusion> {
        let spawned = cx.model.spawned(id)?;
        self.ended(spawned.request, spawned.goid, cx)
    }

    /// A call is over.
    pub(super) fn call_ended(&mut self, id: CallId, cx: &mut Context<'_>) -> Option<Conclusion> {
        let call = cx.model.call(id)?;
        self.stops(call.owner?, call.goid, On::Call(id), cx)
    }

    /// A CancelFunc was called.
    pub(super) fn cancel_called(&mut self, id: CtxId, cx: &mut Context<'_>) -> Option<Conclusion> {
        let ctx = cx.model.context(id)?;
        let Root::Request(request) = ctx.root else {
            return None;
        };
        self.stops(request, ctx.goid, On::Context(id), cx)
    }

    fn stops(&mut self, id: ReqId, goid: u64, on: On, cx: &mut Context<'_>) -> Option<Conclusion> {
        let shown = self.cases.get(&(id, goid))?.shown.as_ref()?;
        (shown.on == on).then(|| self.ended(id, goid, cx)).flatten()
    }

    fn ended(&mut self, id: ReqId, goid: u64, cx: &mut Context<'_>) -> Option<Conclusion> {
        let Shown { finding, on } = self.cases.remove(&(id, goid))?.shown?;
        let root = cx.model.request(id)?.root;
        cx.report_ended(over(finding, on, cx), root);
        Some(Conclusion::Stopped)
    }
}

/// The cancel that came before the handler had returned, if it asks work to stop.
fn cancel_of<'a>(request: &Request, cx: &'a Context<'_>) -> Option<&'a Cancel> {
    let returned = matches!(request.ended, Some((_, Ending::Normal)));
    let cancel = cx.model.context(request.root)?.cancelled.as_ref()?;
    let asks = !matches!(cancel.by, CancelledBy::NormalEnd | CancelledBy::Shutdown);
    (returned && asks && cx.model.is_whole(request.epoch)).then_some(cancel)
}

fn is_blurred(work: &Work, pid: u32, cx: &Context<'_>) -> bool {
    let Inspection::Alive(goroutine) = &work.goroutine else {
        return true;
    };
    let pcs = goroutine.known_stack();
    let stack = site::walked(cx.code, pid, pcs, goroutine.stack_state);
    pcs.is_empty() || is_held_up(goroutine, &stack)
}

/// Whether a goroutine that was told of is still where it was.
fn goes_on(on: On, stack: &[crate::go::Frame], (pid, goid): (u32, u64), cx: &Context<'_>) -> bool {
    match on {
        On::Call(id) => overrun::call_in(stack, pid, goid, cx).is_some_and(|call| call.id == id),
        On::Context(id) => cx
            .model
            .context(id)
            .is_some_and(|ctx| ctx.cancel_called_ns.is_none() && is_inside(id, stack, cx)),
    }
}

/// The function that made a context is on the stack: its CancelFunc is due.
pub(super) fn is_inside(id: CtxId, stack: &[crate::go::Frame], cx: &Context<'_>) -> bool {
    let Some(ctx) = cx.model.context(id) else {
        return false;
    };
    let made = site::frames(cx.code, ctx.pid, &ctx.pcs);
    site::maker(&made)
        .is_some_and(|maker| stack.iter().any(|frame| frame.function == maker.function))
}

/// What a goroutine is seen to work on for its dead request.
fn works_on(at_work: &AtWork, request: &Request, cx: &Context<'_>) -> Option<On> {
    let own = Root::Request(request.id);
    let goid = at_work.goid;
    if let Some(call) = overrun::call_in(&at_work.stack, request.pid, goid, cx) {
        return (call.root == own).then_some(On::Call(call.id));
    }
    let contexts = request.contexts.iter().rev();
    let mut made = contexts
        .filter_map(|id| cx.model.context(*id))
        .filter(|ctx| {
            let due = ctx.cancelled.is_some() && ctx.cancel_called_ns.is_none();
            ctx.goid == goid && !ctx.internal && ctx.root == own && due
        });
    let ctx = made.find(|ctx| is_inside(ctx.id, &at_work.stack, cx))?;
    // It turned to something else.
    let elsewhere = |call: &crate::model::Call| {
        call.goid == goid && call.start_ns > ctx.created_ns && call.root != own
    };
    let mut calls = request.calls.iter().filter_map(|id| cx.model.call(*id));
    (!calls.any(elsewhere)).then_some(On::Context(ctx.id))
}

fn conclude(id: ReqId, work: &Work, cx: &Context<'_>) -> Option<(Finding, On, CtxId)> {
    let Inspection::Alive(goroutine) = &work.goroutine else {
        return None;
    };
    let request = cx.model.request(id)?;
    let cancel = cancel_of(request, cx)?;
    let at_work = descendants::see(request, goroutine, &work.waits_on, cx)?;
    let on = works_on(&at_work, request, cx)?;
    let unit = cx.unit(request.pid)?;
    let (severity, confidence, ctx, call) = match on {
        On::Call(id) => {
            let call = cx.model.call(id)?;
            (Severity::Error, Confidence::High, call.ctx, Some(call))
        }
        On::Context(id) => (Severity::Warning, Confidence::Medium, Some(id), None),
    };
    let mut finding = draft::blank(
        RuleName::CancelIgnored,
        severity,
        confidence,
        cx.now_ns,
        &unit,
    );
    let after_ns = cx.now_ns.saturating_sub(cancel.at_ns);
    finding.evidence = Evidence {
        cancelled_by: Some(cancel.by),
        cancelled_at_ns: Some(cancel.at_ns),
        cancel_site: draft::cancel_site(&unit, cancel.by, cancel, cx),
        after_cancel_ns: Some(after_ns),
        state: Some(at_work.state),
        wait_reason: at_work.wait_reason.clone(),
        call: call.map(|call| draft::call_evidence(call, cx.thresholds, cx.now_ns)),
        goroutine: Some(at_work.evidence(0)),
        ..Evidence::default()
    };
    finding.message = message(&finding, "still works", after_ns);
    finding.context = chain::of_context(cx, ctx);
    finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
    finding.help = HELP.to_owned();
    let computes = busy::computes(goroutine, &at_work.stack);
    let at = computes
        .then(|| busy::handler(&unit, cx.code, &at_work.pcs))
        .flatten()
        .or_else(|| site::direct(&unit, &at_work.stack).cloned());
    draft::place(&mut finding, &unit, at.as_ref(), at_work.stack);
    Some((finding, on, request.root))
}

/// What was told of, now that it is over.
fn over(mut shown: Finding, on: On, cx: &Context<'_>) -> Finding {
    let cancelled_ns = shown.evidence.cancelled_at_ns.unwrap_or(cx.now_ns);
    let after_ns = cx.now_ns.saturating_sub(cancelled_ns);
    shown.time_ns = cx.now_ns;
    shown.message = message(&shown, "worked", after_ns);
    shown.evidence.after_cancel_ns = Some(after_ns);
    shown.evidence.state = Some(WorkState::Ended);
    let call = match on {
        On::Call(id) => Some(id),
        On::Context(_) => None,
    };
    shown.evidence.call = draft::call_over(shown.evidence.call.take(), call, cx);
    shown
}

fn message(finding: &Finding, does: &str, after_ns: u64) -> String {
    let goroutine = finding.evidence.goroutine.as_ref();
    let started_at = goroutine.and_then(|goroutine| goroutine.started_at.as_ref());
    let who = match started_at {
        Some(_) => format!("goroutine started at {}", deadline::place_name(started_at)),
        None => "goroutine of the request".to_owned(),
    };
    let by = finding.evidence.cancelled_by;
    let clause = by.map_or("its context died", CancelledBy::clause);
    format!("{who} {does} {} after {clause}", span(after_ns))
}
