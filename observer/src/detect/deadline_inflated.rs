//! # deadline-inflated
//!
//! More time was asked for than the request has left.
//!
//! ## What it finds
//!
//! A `WithTimeout` or `WithDeadline` whose time is longer than what the request has left, by more
//! than the tolerance (`--deadline-tolerance`). Under a parent with a sooner deadline it has no
//! effect: the parent's holds. On a context that does not descend from the request's it has one:
//! a call on it may run on when the request is over. The same holds for a deadline that the caller sent in a
//! header (`--deadline-header`): no context knows of it, and `deadline_header` names it.
//!
//! `at` is the line that asked. `asked_ns` is what it asked for, `remaining_ns` what the request
//! had left, and `deadline_site` the line that set the request's deadline.
//!
//! ## Why it matters
//!
//! Whoever reads the line believes that the call has 30 seconds. It has what is left of the
//! request, and the retry, the fallback or the alert that is tuned to 30 seconds never comes.
//! Behind a detached context it is worse: the caller has given up and the call goes on.
//!
//! ## Example
//!
//! ```go
//! func (c *Client) Rates(ctx context.Context) (*Rates, error) {
//! 	// The request has 2 s.
//! 	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
//! 	defer cancel()
//! 	return c.fetch(ctx)
//! }
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./deadlines -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/inflated/clamped
//! ```
//!
//! ```text
//! info[deadline-inflated]: asks for 10 s where 1 s are left: without effect
//!   request  GET /inflated/clamped   id doc-1 (X-Request-Id)
//!   at       main.(*service).asksForMore   inflated.go:30
//!   via      http.(*conn).serve > main.limited.ServeHTTP
//!   budget   context deadline 10 s   1 s left   of 1 s set at main.go:59
//!   context  request → WithTimeout 1 s (main.go:59)
//!            → WithTimeout (inflated.go:30)
//!   help     ask for less than what the deadline of main.go:59 leaves, or for
//!            nothing
//! ```
//!
//! ## How to fix
//!
//! Ask for a part of what is left, or for nothing: a context without a deadline of its own has its
//! parent's.
//!
//! ```go
//! if deadline, ok := ctx.Deadline(); ok {
//! 	sooner := deadline.Add(-100 * time.Millisecond)
//! 	ctx, cancel = context.WithDeadline(ctx, sooner)
//! }
//! ```
//!
//! ## How sure
//!
//! High: both deadlines were seen. Info: without effect, because the parent's deadline is sooner.
//! Warning: the handler makes a call through a detached context that has longer than the request.
//! Error: that call still went on when the request's deadline had passed.
//!
//! The request's deadline is that of `http.TimeoutHandler`, one that the service's own middleware
//! has set, or one above the place where a chain was cut.
//!
//! ## When silent
//!
//! - the difference is within the tolerance: 10 %, and at least 20 ms;
//! - the deadline upstream is not known;
//! - the standard library asked. A dependency that asks by habit, or a goroutine that the handler
//!   let go with a deadline of its own: info.

use crate::finding::{Confidence, Finding, RuleName, Severity, Timer};
use crate::model::{Call, CallId, Ctx, CtxId, Request, Root, Unit};

use super::ask::Answer;
use super::chain;
use super::context::Context;
use super::deadline::{Over, spent};
use super::outlived::Outlived;
use super::timers::Topic;
use super::{deadline, draft, site};

/// The rule.
#[derive(Debug, Default)]
pub(super) struct DeadlineInflated {
    outlived: Outlived,
}

/// More than was left: what was asked, what was left, and whose deadline that was.
struct Inflated<'a> {
    ctx: &'a Ctx,
    asked_ns: i64,
    left_ns: i64,
    over: Over<'a>,
}

impl DeadlineInflated {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.outlived.forget(whose);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.outlived.len()
    }

    /// A context was made: is its parent's deadline sooner than the one asked for?
    pub(super) fn context_created(&self, id: CtxId, cx: &mut Context<'_>) {
        let Some(inflated) = clamped(id, cx) else {
            return;
        };
        let Some(unit) = cx.unit(inflated.ctx.pid) else {
            return;
        };
        if let Some(mut finding) = found(&inflated, Severity::Info, &unit, cx) {
            finding.message = format!(
                "asks for {} where {} are left: without effect",
                spent(inflated.asked_ns),
                spent(inflated.left_ns)
            );
            finding.request = draft::request_of(cx, inflated.ctx.owner);
            cx.report(finding);
        }
    }

    /// A call begins: does its detached context have longer than the request?
    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(request) = deadline::running(call, cx) else {
            return;
        };
        let Some((ctx, unit)) = detached_bound(call, request, cx) else {
            return;
        };
        let stack = site::frames(cx.code, call.pid, &call.pcs);
        let detached = matches!(call.root, Root::Detached(_));
        let inside = deadline::beyond_cut(call.ctx, cx)
            .or_else(|| deadline::own(request, &stack, &unit, cx))
            .filter(|_| detached);
        let over = inside.map(Over::from).or_else(|| deadline::sent(request));
        let Some(over) = over else { return };
        let (Some(asked_ns), Some(left_ns)) = (ctx.deadline_ns, over.left_ns(ctx.created_ns))
        else {
            return;
        };
        if !cx.thresholds.deadlines.exceeds(asked_ns, left_ns) {
            return;
        }
        let severity = if deadline::is_handlers(call.goid, &stack, request) {
            Severity::Warning
        } else {
            Severity::Info
        };
        let inflated = Inflated {
            ctx,
            asked_ns,
            left_ns,
            over,
        };
        let wait_ns = over
            .left_ns(cx.now_ns)
            .unwrap_or(0)
            .saturating_add(cx.thresholds.deadlines.tolerance_ns(left_ns));
        let Some(severity) = deadline::at_most(&unit, &stack, severity) else {
            return;
        };
        let Some(mut finding) = found(&inflated, severity, &unit, cx) else {
            return;
        };
        let what = if detached { "detached call" } else { "call" };
        finding.message = format!(
            "{what} to {} has {} where the request has {}",
            draft::target(call, cx.thresholds),
            spent(asked_ns),
            spent(left_ns)
        );
        deadline::about_call(&mut finding, call, cx);
        self.outlived
            .tell(id, finding, wait_ns, Topic::Inflated(id), cx);
    }

    /// The request's deadline has passed.
    pub(super) fn look(&mut self, id: CallId, cx: &mut Context<'_>) {
        self.outlived.look(id, Topic::Inflated(id), cx);
    }

    /// Whether the call goes on.
    pub(super) fn answer(&mut self, id: CallId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(mut finding) = self.outlived.answer(id, Topic::Inflated(id), answer, cx) else {
            return;
        };
        let Some((owner, target)) = cx
            .model
            .call(id)
            .and_then(|call| Some((call.owner?, draft::target(call, cx.thresholds))))
        else {
            return;
        };
        let detached = cx
            .model
            .call(id)
            .is_some_and(|call| matches!(call.root, Root::Detached(_)));
        let what = if detached { "detached call" } else { "call" };
        finding.message = format!(
            "{what} to {target} goes on past the request's deadline: it asked for {}",
            finding.evidence.asked_ns.map_or_else(String::new, spent)
        );
        cx.report_grown(finding, owner);
    }
}

/// A context of a request whose parent's deadline is sooner than what was asked for.
fn clamped<'a>(id: CtxId, cx: &'a Context<'_>) -> Option<Inflated<'a>> {
    let ctx = cx.model.context(id)?;
    let asked_ns = ctx.asked_ns?;
    if ctx.is_cut() || ctx.internal || !cx.model.is_whole(ctx.epoch) {
        return None;
    }
    ctx.owner?;
    if !draft::is_owner_whole(cx.model, ctx.owner) {
        return None;
    }
    let over = cx.model.bound_of(ctx.parent)?;
    let left_ns = deadline::left_ns(over, ctx.created_ns)?;
    cx.thresholds
        .deadlines
        .exceeds(asked_ns, left_ns)
        .then_some(Inflated {
            ctx,
            asked_ns,
            left_ns,
            over: over.into(),
        })
}

/// The context of the request's own that bounds a call which its deadline does not reach.
fn detached_bound<'a>(
    call: &Call,
    request: &Request,
    cx: &'a Context<'_>,
) -> Option<(&'a Ctx, std::sync::Arc<Unit>)> {
    let may = match call.root {
        Root::Detached(_) => true,
        // Nothing in its chain knows of what the caller sent.
        Root::Request(_) => deadline::sent(request).is_some(),
        Root::Unknown => false,
    };
    if !may {
        return None;
    }
    let ctx = cx.model.bound_of(cx.model.context_of_call(call))?;
    let its = ctx.owner == Some(request.id) && !deadline::is_client_timeout(ctx, cx);
    Some((ctx, cx.unit(call.pid)?)).filter(|_| its)
}

fn found(
    inflated: &Inflated<'_>,
    severity: Severity,
    unit: &Unit,
    cx: &Context<'_>,
) -> Option<Finding> {
    let ctx = inflated.ctx;
    let made = site::frames(cx.code, ctx.pid, &ctx.pcs);
    // What the standard library asks for is nobody's line.
    let maker = site::maker(&made)?;
    if !site::is_user(unit, &maker.function) {
        return None;
    }
    let at = site::direct(unit, &made).cloned();
    let mut finding = draft::blank(
        RuleName::DeadlineInflated,
        severity,
        Confidence::High,
        cx.now_ns,
        unit,
    );
    finding.context = chain::of_context(cx, Some(ctx.id));
    let budget = deadline::Budget {
        timer: Timer::Context,
        asked_ns: Some(inflated.asked_ns),
        left_ns: inflated.left_ns,
        over: inflated.over,
    };
    budget.put(&mut finding, unit, cx);
    finding.help = format!(
        "ask for less than what the deadline of {} leaves, or for nothing",
        deadline::origin(&finding)
    );
    draft::place(&mut finding, unit, at.as_ref(), made);
    Some(finding)
}
