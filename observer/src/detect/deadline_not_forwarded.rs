//! # deadline-not-forwarded
//!
//! A call has a deadline, and the process that it calls was not told of it.
//!
//! ## What it finds
//!
//! Two observed processes: in one a call has a deadline, in the other the request that this call led
//! to came without one, or with a later one. Over HTTP a deadline goes on only where caller and callee have agreed on
//! a header for it: name that header (`--deadline-header`, up to two), without it the rule is silent.
//!
//! `at` is the line of the call in the caller, `deadline_site` the line that set its deadline. `downstream` is the
//! request in the process that was called, with the line of its handler: `remaining_ns` there is what the
//! caller still had when that request began, `deadline_ns` what the request was given.
//!
//! ## Why it matters
//!
//! The caller waits for 300 ms. Whoever is called does not know it: it asks its database for up to 30 seconds, tries
//! again, calls others. When the connection is closed early it may hear of it. Behind a proxy, over
//! HTTP/1 with an unread body, or in a queue of its own it never does.
//!
//! ## Example
//!
//! ```go
//! ctx, cancel := context.WithTimeout(r.Context(), 300*time.Millisecond)
//! defer cancel()
//! req, _ := http.NewRequestWithContext(ctx, "GET", store+"/report", nil)
//! resp, err := client.Do(req) // store is not told of the 300 ms
//! ```
//!
//! Two of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./chain/budget -listen 127.0.0.1:8082) &
//! (cd tests/targets && go run ./chain/budget -listen 127.0.0.1:8081 \
//!     -faulty -next http://127.0.0.1:8082) &
//! sudo observer run --port 8081 --port 8082 --deadline-header X-Timeout-Ms
//! curl -H 'X-Request-Id: doc-1' -H 'X-Timeout-Ms: 1000' http://127.0.0.1:8081/lost
//! ```
//!
//! ```text
//! warning[deadline-not-forwarded]: budget was not told that this call has 995 ms
//!     left
//!   request  GET /lost   id doc-1 (X-Request-Id)
//!   process  budget (pid 21902)   go1.27.3
//!   at       main.(*hop).lost   main.go:99
//!   budget   1 s left   995 ms below   set at main.go:93
//!   below    budget (pid 21901)   GET /lost   same request ID (medium)
//!            main.(*hop).lost   main.go:89
//!   time     0 start ── 41.3 µs call ── 4.86 ms start below ── 1 s deadline
//!   help     send what is left of the deadline, and let budget live by it
//! ```
//!
//! ## How to fix
//!
//! Send what is left, and let the process that is called live by it:
//!
//! ```go
//! if at, ok := ctx.Deadline(); ok {
//! 	left := time.Until(at).Milliseconds()
//! 	req.Header.Set("X-Timeout-Ms", strconv.FormatInt(left, 10))
//! }
//! ```
//!
//! ## How sure
//!
//! Warning. Medium where trace or request ID, method, path and time fit, and fit nothing else, and where no ID tells but both were read
//! to be the two ends of one connection of HTTP/1 (`joined_by: sockets`). High where the request
//! names the very span that the call has sent (`parent_id`).
//!
//! ## When silent
//!
//! - no header was named (`--deadline-header`): plain HTTP has none;
//! - the request was given no more than its caller had left when the call began, give or take the tolerance
//!   (`--deadline-tolerance`): what is lost on the way, no sender can know;
//! - the header is there, and what it says is broken: counted (`deadlines_broken`), and nothing follows from it;
//! - the caller's deadline had passed when the request began;
//! - calls and requests that nothing joins, or that could be joined in more than one way; without an ID also those of which the
//!   request is answered within milliseconds;
//! - where events were lost.

use std::collections::BTreeMap;

use crate::correlate::{Join, Pair};
use crate::finding::{
    Causes, Confidence, Evidence, Finding, Fingerprint, Routes, RuleName, Severity, Timer,
};
use crate::go::{Frame, Stack};
use crate::inspect::Inspection;
use crate::model::{Call, CallId, ReqId, SentDeadline, Unit};

use super::ask::{Answer, Question};
use super::context::Context;
use super::deadline::{Deadlines, hands_on, spent};
use super::hop::{Below, Case};
use super::joins::Joins;
use super::timers::Topic;
use super::{site, tell};

/// Handlers that are looked for in one second, at most: each costs a few reads of memory. The others are told of
/// without their line.
const A_SECOND: u32 = 100;
const SECOND_NS: u64 = 1_000_000_000;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct DeadlineNotForwarded {
    /// By the request whose handler is asked for.
    cases: BTreeMap<ReqId, (u32, Join)>,
    since_ns: u64,
    looks: u32,
}

impl DeadlineNotForwarded {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.cases.retain(|_, (pid, _)| !whose(*pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    /// A request begins, and its call is known: does it know of the call's deadline?
    pub(super) fn joined(&mut self, join: Join, cx: &mut Context<'_>) {
        let id = ReqId(join.request);
        if let Some((_, known)) = self.cases.get_mut(&id) {
            *known = join;
            return;
        }
        let Some(request) = cx.model.request(id) else {
            return;
        };
        if !misses(join, cx) {
            return;
        }
        if cx.now_ns.saturating_sub(self.since_ns) >= SECOND_NS {
            (self.since_ns, self.looks) = (cx.now_ns, 0);
        }
        if self.looks >= A_SECOND {
            report(join, Below::default(), cx);
            return;
        }
        self.looks += 1;
        let question = Question::work(request.goid, request.g, Vec::new(), None);
        let pid = request.pid;
        cx.remember(&mut self.cases, id, (pid, join));
        cx.ask(pid, Topic::NotForwarded(id), question);
    }

    /// Where its handler is.
    pub(super) fn answer(
        &mut self,
        id: ReqId,
        answer: &Answer,
        joins: &Joins,
        cx: &mut Context<'_>,
    ) {
        let Some((pid, join)) = self.cases.remove(&id) else {
            return;
        };
        // By now it may be known better, or be in doubt.
        let open = cx.model.call(CallId(join.call)).is_some_and(Call::is_open);
        let now = joins.joined(CallId(join.call));
        let Some(join) = now.or((!open).then_some(join)) else {
            return;
        };
        if join.request != id.0 {
            return;
        }
        let stack = match answer {
            Answer::Work(work) => match &work.goroutine {
                Inspection::Alive(goroutine) => {
                    site::walked(cx.code, pid, &goroutine.stack, goroutine.stack_state)
                }
                _ => Stack::default(),
            },
            _ => Stack::default(),
        };
        let handler = cx
            .unit(pid)
            .and_then(|unit| handler(&unit, &stack).cloned());
        let below = Below {
            site: handler,
            stack,
            ..Below::default()
        };
        report(join, below, cx);
    }
}

/// The handler on a stack: what the innermost router or `ServeHTTP` has called, or that itself where it is the service's.
fn handler<'a>(unit: &Unit, stack: &'a [Frame]) -> Option<&'a Frame> {
    let calls = stack
        .iter()
        .position(|frame| hands_on(&frame.function) || site::serves(&frame.function))?;
    let from = stack.get(..=calls)?.iter().rev();
    let mut user = from.filter(|frame| site::is_user(unit, &frame.function));
    user.next().or_else(|| site::outermost(unit, stack))
}

/// Whether the request does not know how long its caller waits. Cheap: every request that has a call is asked.
fn misses(join: Join, cx: &Context<'_>) -> bool {
    let (Some(call), Some(request)) = (
        cx.model.call(CallId(join.call)),
        cx.model.request(ReqId(join.request)),
    ) else {
        return false;
    };
    let told = match &request.sent_deadline {
        SentDeadline::None => None,
        SentDeadline::Is(ns, _) => Some(*ns),
        SentDeadline::Unknown | SentDeadline::Broken => return false,
    };
    let Some(bound) = cx.model.bound_of(cx.model.context_of_call(call)) else {
        return false;
    };
    let left_ns = |at_ns| super::deadline::left_ns(bound, at_ns);
    let (Some(sent), Some(left)) = (left_ns(call.start_ns), left_ns(request.start_ns)) else {
        return false;
    };
    lost(told, (sent, left), 0, &cx.thresholds.deadlines)
}

/// Whether a caller that had `sent_ns` when the call began, and `left_ns` when the request did, give or take an error
/// between their clocks, has not handed that on. What passes between the two nobody could have told.
fn lost(
    told_ns: Option<i64>,
    (sent_ns, left_ns): (i64, i64),
    error_ns: u64,
    deadlines: &Deadlines,
) -> bool {
    let error_ns = i64::try_from(error_ns).unwrap_or(i64::MAX);
    left_ns > error_ns && told_ns.is_none_or(|ns| deadlines.exceeds(ns, sent_ns))
}

fn report(join: Join, below: Below, cx: &mut Context<'_>) {
    // By now it may be known better: gRPC's requests begin as those of `net/http`.
    if !misses(join, cx) {
        return;
    }
    let call = cx.model.call(CallId(join.call));
    let request = cx.model.request(ReqId(join.request));
    let (Some(call), Some(request)) = (
        call.and_then(|call| tell::call(call, cx)),
        request.and_then(|request| tell::request(request, cx)),
    ) else {
        return;
    };
    if !call.whole || !request.whole {
        return;
    }
    let case = Case {
        call: &call,
        request: &request,
        by: join.by,
        call_host: None,
        other_host: None,
        below,
    };
    if let Some(finding) = finding(&case) {
        cx.report(finding);
    }
}

/// Judges a call and its request that were told of.
#[must_use]
pub fn judge(pair: &Pair, deadlines: &Deadlines) -> Option<Finding> {
    let case = Case::of(pair, Below::default());
    let told = match &case.request.sent_deadline {
        SentDeadline::None => None,
        SentDeadline::Is(ns, _) => Some(*ns),
        SentDeadline::Unknown | SentDeadline::Broken => return None,
    };
    let sent_ns = case.call.deadline.as_ref()?.left_ns;
    let times_ns = (sent_ns, case.left_below_ns()?);
    if !lost(told, times_ns, case.error_ns(), deadlines) {
        return None;
    }
    finding(&case)
}

fn finding(case: &Case<'_>) -> Option<Finding> {
    let (call, request) = (case.call, case.request);
    let deadline = call.deadline.as_ref()?;
    let left_ns = case.left_below_ns()?;
    let name = &request.process.name;
    let at_ns = request.request.start_ns;
    let message = match request.sent_deadline.ns() {
        Some(ns) => format!(
            "{name} was given {} for this call, which has {} left",
            spent(ns),
            spent(left_ns)
        ),
        None => format!(
            "{name} was not told that this call has {} left",
            spent(left_ns)
        ),
    };
    Some(Finding {
        id: 0,
        fingerprint: Fingerprint(0),
        rule: RuleName::DeadlineNotForwarded,
        severity: Severity::Warning,
        confidence: if case.other_host.is_none() {
            case.by.confidence()
        } else {
            Confidence::Medium
        },
        message,
        time_ns: at_ns,
        process: call.process.clone(),
        request: call.request.clone(),
        causes: Causes::default(),
        site: call.site.clone(),
        caller: call.caller.clone(),
        stack: call.stack.clone(),
        context: call.context.clone(),
        evidence: Evidence {
            call: Some(call.call.clone()),
            deadline_ns: Some(deadline.set_ns),
            remaining_ns: Some(deadline.left_ns),
            deadline_site: deadline.site.clone(),
            timer: Some(Timer::Context),
            downstream: Some(Box::new(case.downstream())),
            ..Evidence::default()
        },
        count: 1,
        first_seen_ns: at_ns,
        last_seen_ns: at_ns,
        help: format!("send what is left of the deadline, and let {name} live by it"),
        related: Vec::new(),
        routes: Routes::default(),
    })
}
