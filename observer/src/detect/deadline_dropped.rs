//! # deadline-dropped
//!
//! The request has a deadline; a call made for it has none.
//!
//! ## What it finds
//!
//! An outgoing call of a request that has a deadline, on a context that does not have it: past the
//! context that `http.TimeoutHandler` gave to its handler, or on a chain that does not descend
//! from the request's. Neither an own deadline nor `http.Client.Timeout` bounds it.
//!
//! `at` is the line of the call. `deadline_site` is the line that set the request's deadline,
//! `remaining_ns` what was left of it when the call began.
//!
//! A call on a detached chain is one mistake, and `detached-context` tells of it, with the lost
//! deadline in its evidence. Only where that rule is off does this one.
//!
//! ## Why it matters
//!
//! When the deadline passes, the client has its error. The call goes on for as long as the other
//! side likes, holds its connection, and keeps a goroutine that nobody waits for.
//!
//! ## Example
//!
//! ```go
//! func Report(w http.ResponseWriter, r *http.Request) {
//! 	build := func(w http.ResponseWriter, _ *http.Request) {
//! 		// The outer request: it knows nothing of the two seconds.
//! 		fetch(r.Context())
//! 	}
//! 	inner := http.HandlerFunc(build)
//! 	http.TimeoutHandler(inner, 2*time.Second, "").ServeHTTP(w, r)
//! }
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./deadlines -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/dropped/past-handler
//! ```
//!
//! ```text
//! warning[deadline-dropped]: call to GET 127.0.0.1:43803/slow has no deadline,
//!     its request has 2 s
//!   request  GET /dropped/past-handler   id doc-1 (X-Request-Id)
//!   at       main.(*service).pastHandler.func1   dropped.go:36
//!   via      http.(*timeoutHandler).ServeHTTP.func1
//!   call     http GET 127.0.0.1:43803/slow   just begun
//!   budget   context deadline   2 s left   of 2 s set at dropped.go:40
//!   context  request
//!   help     hand on the context that has the deadline of dropped.go:40
//! ```
//!
//! ## How to fix
//!
//! Use the request that the handler was given:
//!
//! ```go
//! build := func(w http.ResponseWriter, r *http.Request) {
//! 	fetch(r.Context())
//! }
//! ```
//!
//! ## How sure
//!
//! High: the whole chain of the call was seen, and none of its contexts has a deadline. Warning;
//! error when the call still went on after the request's deadline had passed.
//!
//! The request's deadline is that of `http.TimeoutHandler`, one that the service's own middleware
//! has set before it called the next handler, one above the place where a chain was cut, or the one that
//! its caller sent in a header that observer was told of (`--deadline-header`): then a call on the
//! request's own context has none either.
//!
//! ## When silent
//!
//! - what set the request's deadline called the handler in another way than through `ServeHTTP` or
//!   a router: `next(w, r.WithContext(ctx))` as a plain function, or an interceptor of a gRPC server;
//! - `http.Client.Timeout`, `net.Dialer.Timeout` or a deadline of its own bounds the call;
//! - a call on the request's context beside another that has a timeout: what a handler allows one
//!   call is not what the request has;
//! - where descent or deadline are not known. What a dependency does inside itself, or a goroutine
//!   that the handler let go: info.

use crate::finding::{Confidence, Finding, RuleName, Severity, Timer};
use crate::go::Frame;
use crate::model::{Call, CallId, Request, Root, Unit, in_timeout_worker};

use super::ask::Answer;
use super::chain;
use super::context::Context;
use super::deadline::{Over, spent};
use super::outlived::Outlived;
use super::timers::Topic;
use super::{deadline, detached_context, draft, site};

/// The rule.
#[derive(Debug, Default)]
pub(super) struct DeadlineDropped {
    outlived: Outlived,
}

impl DeadlineDropped {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.outlived.forget(whose);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.outlived.len()
    }

    /// A call begins: has it lost its request's deadline?
    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let detached = matches!(call.root, Root::Detached(_));
        if detached && !cx.thresholds.deadlines.detached_is_off {
            return;
        }
        let Some((finding, over)) = dropped(call, cx) else {
            return;
        };
        let left_ns = over.left_ns(cx.now_ns).unwrap_or(0);
        let wait_ns = left_ns
            .max(0)
            .saturating_add(cx.thresholds.deadlines.tolerance_ns(left_ns));
        self.outlived
            .tell(id, finding, wait_ns, Topic::Dropped(id), cx);
    }

    /// The request's deadline has passed.
    pub(super) fn look(&mut self, id: CallId, cx: &mut Context<'_>) {
        self.outlived.look(id, Topic::Dropped(id), cx);
    }

    /// Whether the call goes on.
    pub(super) fn answer(&mut self, id: CallId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(mut finding) = self.outlived.answer(id, Topic::Dropped(id), answer, cx) else {
            return;
        };
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(request) = call.owner else { return };
        finding.message = format!(
            "call to {} goes on past the request's deadline, which it does not have",
            draft::target(call, cx.thresholds)
        );
        cx.report_grown(finding, request);
    }
}

/// The deadline that a call has lost, as it stood when the call began: by the time that its request is described, both
/// may be over.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    deadline_ns: Option<i64>,
    remaining_ns: Option<i64>,
    site: Option<Frame>,
    header: Option<String>,
    timer: Option<Timer>,
}

impl Lost {
    /// What deadline-dropped would say of a call that begins.
    pub(super) fn by(call: &Call, cx: &Context<'_>) -> Option<Self> {
        let (dropped, _) = dropped(call, cx)?;
        let evidence = dropped.evidence;
        Some(Self {
            deadline_ns: evidence.deadline_ns,
            remaining_ns: evidence.remaining_ns,
            site: evidence.deadline_site,
            header: evidence.deadline_header,
            timer: evidence.timer,
        })
    }

    /// Adds it to what detached-context says of the same call.
    pub(super) fn put(&self, finding: &mut Finding) {
        let evidence = &mut finding.evidence;
        evidence.deadline_ns = self.deadline_ns;
        evidence.remaining_ns = self.remaining_ns;
        evidence.deadline_site.clone_from(&self.site);
        evidence.deadline_header.clone_from(&self.header);
        evidence.timer = self.timer;
    }
}

/// The finding, and the deadline.
fn dropped<'a>(call: &Call, cx: &'a Context<'_>) -> Option<(Finding, Over<'a>)> {
    if call.bounded
        || matches!(call.root, Root::Unknown)
        || cx.model.bound_of(cx.model.context_of_call(call)).is_some()
    {
        return None;
    }
    let request = deadline::running(call, cx)?;
    let sent = deadline::sent(request);
    if matches!(call.root, Root::Request(_)) && request.timeout.is_none() && sent.is_none() {
        return None;
    }
    let unit = cx.unit(call.pid)?;
    let stack = site::frames(cx.code, call.pid, &call.pcs);
    let over = match call.root {
        // Only the handler inside has been given that context.
        Root::Request(_) => deadline::handlers(request, cx)
            .filter(|_| in_timeout_worker(&stack))
            .map(Over::from)
            .or(sent)?,
        Root::Unknown => return None,
        Root::Detached(_) if detached_context::is_aside(&stack) => return None,
        Root::Detached(_) => deadline::beyond_cut(call.ctx, cx)
            .or_else(|| deadline::own(request, &stack, &unit, cx))
            .map(Over::from)
            .or(sent)?,
    };
    let severity = if deadline::is_handlers(call.goid, &stack, request) {
        Severity::Warning
    } else {
        Severity::Info
    };
    let severity = deadline::at_most(&unit, &stack, severity)?;
    Some((found(call, request, over, &unit, stack, severity, cx), over))
}

fn found(
    call: &Call,
    request: &Request,
    over: Over<'_>,
    unit: &Unit,
    stack: crate::go::Stack,
    severity: Severity,
    cx: &Context<'_>,
) -> Finding {
    let mut finding = draft::blank(
        RuleName::DeadlineDropped,
        severity,
        Confidence::High,
        cx.now_ns,
        unit,
    );
    let left_ns = over.left_ns(call.start_ns).unwrap_or(0);
    finding.context = chain::of_call(cx, call);
    finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
    finding.evidence.call = Some(draft::call_evidence(call, cx.thresholds, cx.now_ns));
    let budget = deadline::Budget {
        timer: over.timer(),
        asked_ns: None,
        left_ns,
        over,
    };
    budget.put(&mut finding, unit, cx);
    let target = draft::target(call, cx.thresholds);
    finding.message = if left_ns > 0 {
        format!(
            "call to {target} has no deadline, its request has {}",
            spent(left_ns)
        )
    } else {
        format!("call to {target} has no deadline, its request's has passed")
    };
    let origin = deadline::origin(&finding);
    finding.help = match over {
        Over::Context(_) => format!("hand on the context that has the deadline of {origin}"),
        Over::Caller(..) => format!("give the call a context with the time that {origin} leaves"),
    };
    let at = site::of_client(unit, &stack).cloned();
    draft::place(&mut finding, unit, at.as_ref(), stack);
    finding
}
