//! # orphaned-downstream
//!
//! A call was given up, and the process that it called worked on.
//!
//! ## What it finds
//!
//! Two observed processes: in one a call ended because its context died (a deadline passed, its own
//! client left, code cancelled it), in the other the request that this call had led to was still
//! at work after the grace time (`--grace`, 500 ms).
//!
//! `at` is the line of the call in the caller, `downstream` the request in the process that was
//! called, with the line at which its handler stood. Call and request are joined by the trace
//! (`traceparent`) or by the request ID that came in and went on in the same header; for gRPC in the metadata. Where neither
//! tells, both being on one connection of HTTP/1 does (`joined_by: sockets`), between processes of one network namespace.
//!
//! The finding appears while the work runs, and once more when it has ended, with the time that
//! was spent for nobody. Why the process that was called did not stop is told by `cancel-ignored` or
//! `cancel-undelivered` there; `related` names that finding.
//!
//! ## Why it matters
//!
//! The caller has answered its client, or tries again. What works on below holds a goroutine, a
//! connection to the database and a place in every queue, for an answer that nobody reads. Under
//! load each retry adds one more.
//!
//! ## Example
//!
//! ```go
//! // front
//! ctx, cancel := context.WithTimeout(r.Context(), 300*time.Millisecond)
//! defer cancel()
//! req, _ := http.NewRequestWithContext(ctx, "GET", store+"/report", nil)
//! req.Header.Set("X-Request-Id", r.Header.Get("X-Request-Id"))
//! resp, err := client.Do(req) // gives up after 300 ms
//!
//! // store
//! func report(w http.ResponseWriter, r *http.Request) {
//! 	build() // takes two seconds, and never looks at r.Context()
//! }
//! ```
//!
//! The same in a demo shop, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./shop/store -listen 127.0.0.1:8082) &
//! (cd tests/targets && go run ./shop/front -listen 127.0.0.1:8081 \
//!     -store http://127.0.0.1:8082) &
//! sudo observer run --port 8081 --port 8082
//! curl -H 'X-Request-Id: doc-1' 'http://127.0.0.1:8081/bundle?id=1'
//! ```
//!
//! ```text
//! error[orphaned-downstream]: store still works 515 ms after this call to it was
//!     given up: the deadline passed
//!   request  GET /bundle   id doc-1 (X-Request-Id)
//!   process  front (pid 11659)   go1.26.8
//!   at       …ample.com/observer-targets/shop/front/storeclient.(*Client).Bundle
//!            shop/front/storeclient/storeclient.go:84
//!   budget   400 ms left   399 ms below   set at shop/front/api/api.go:160
//!   below    store (pid 11658)   POST /bundle   same request ID (high)
//!            shop/store/catalog/catalog.go:78
//!   help     let the handler in store stop when its request's context is …
//! ```
//!
//! `budget` says what the call had left when it began, and what it still had when the request `below` did; behind `below` stands
//! how the two are known to belong together, and how sure that is. Where there is no room for all, the course in time goes
//! first (`-v` shows everything).
//!
//! ## How to fix
//!
//! Make the handler that was called stop when its request's context is cancelled. Where that context
//! never is (the body is not read, a proxy keeps the connection open), hand the deadline on, so that
//! the process below knows by itself when to stop.
//!
//! ## How sure
//!
//! Error. High where the request names the very span that the call has sent (`parent_id`), or was cancelled by its
//! client right when the call was given up.
//! Medium where trace or request ID, method, path and time fit, and fit nothing else, and where both were read to be the two ends
//! of one connection. With files of several hosts the difference of their clocks is estimated, and
//! what the estimate may be wrong by is taken from the time that was wasted.
//!
//! ## When silent
//!
//! - work that ends within the grace time after the call was given up, or later without having been seen at work: it
//!   may have waited for a processor;
//! - calls and requests without an ID that both processes know, unless the connection tells: that is, over HTTP/2 and gRPC,
//!   through a proxy, from one container's network to another's, in files of several hosts, and where the call was given up within
//!   milliseconds;
//! - those that could be joined in more than one way: they are counted as ambiguous (`joins` in `stats`);
//! - a handler behind `http.TimeoutHandler` that was answered for: `cancel-ignored` tells of it;
//! - connections that were hijacked;
//! - where events were lost.

use std::collections::BTreeMap;

use crate::correlate::{Join, Pair, RequestFact};
use crate::finding::{
    CallOutcome, CancelledBy, Causes, Confidence, Evidence, Finding, Fingerprint, JoinedBy, Routes,
    RuleName, Severity, Timer, WorkState,
};
use crate::inspect::Inspection;
use crate::model::{CallEnd, CallId, ReqId};

use super::ask::{Answer, Question};
use super::context::Context;
use super::draft::span;
use super::hop::{Below, Case};
use super::overrun::{LOOKS, POLL_NS, RETRY_NS};
use super::sight::{Seen, Sight, see};
use super::timers::Topic;
use super::{site, tell};

/// The rule.
#[derive(Debug, Default)]
pub(super) struct OrphanedDownstream {
    /// By the request that works on.
    watches: BTreeMap<ReqId, Watch>,
}

#[derive(Debug)]
struct Watch {
    pid: u32,
    call: CallId,
    by: JoinedBy,
    given_up_ns: u64,
    looks: u32,
    shown: Option<Finding>,
}

impl OrphanedDownstream {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.watches.retain(|_, watch| {
            let caller = watch.shown.as_ref().map(|shown| shown.process.pid);
            !whose(watch.pid) && !caller.is_some_and(&whose)
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// A call that led to a request is over.
    pub(super) fn call_ended(&mut self, id: CallId, join: Join, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some((given_up_ns, CallEnd::Cancelled)) = call.ended else {
            return;
        };
        let id = ReqId(join.request);
        let works = cx
            .model
            .request(id)
            .filter(|request| request.ended.is_none());
        let Some(request) = works else { return };
        let watch = Watch {
            pid: request.pid,
            call: call.id,
            by: join.by,
            given_up_ns,
            looks: 0,
            shown: None,
        };
        cx.remember(&mut self.watches, id, watch);
        cx.later(cx.thresholds.grace_ns, Topic::Orphaned(id));
    }

    /// Grace is over, or the last look was not good enough.
    pub(super) fn look(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(watch) = self.watches.get(&id) else {
            return;
        };
        let Some(request) = sound(id, watch, cx) else {
            self.watches.remove(&id);
            return;
        };
        let question = Question::Work {
            goid: request.goid,
            g: request.g,
            contexts: Vec::new(),
            request: Some(cx.reading(request)),
        };
        cx.ask(watch.pid, Topic::Orphaned(id), question);
    }

    /// What the goroutine below does.
    pub(super) fn answer(&mut self, id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        let Answer::Work(work) = answer else {
            self.watches.remove(&id);
            return;
        };
        super::overrun::describe(id, work, cx);
        let hijacked = work.conn.as_ref().is_some_and(|conn| conn.hijacked);
        let Some(request) = sound(id, watch, cx).filter(|_| !hijacked) else {
            self.watches.remove(&id);
            return;
        };
        let sight = match &work.goroutine {
            Inspection::Alive(goroutine) => see(
                (watch.pid, request.goid, false),
                goroutine,
                &[],
                request,
                cx,
            ),
            Inspection::Gone => Sight::Left,
            _ => Sight::Blurred,
        };
        let seen = match sight {
            Sight::Left => {
                self.watches.remove(&id);
                return;
            }
            Sight::HeldUp => {
                cx.later(POLL_NS, Topic::Orphaned(id));
                return;
            }
            Sight::Blurred if watch.looks < LOOKS => {
                watch.looks += 1;
                cx.later(RETRY_NS, Topic::Orphaned(id));
                return;
            }
            Sight::Blurred => None,
            Sight::Clear(seen) => Some(seen),
        };
        let Some(finding) = told(id, watch, below(watch.pid, seen, cx), cx) else {
            self.watches.remove(&id);
            return;
        };
        watch.shown = Some(finding.clone());
        cx.report_running(finding, id);
    }

    /// The handler below has returned.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(watch) = self.watches.remove(&id) else {
            return;
        };
        let ended_ns = cx.model.request(id).and_then(|request| request.ended_ns());
        let Some(ended_ns) = ended_ns else { return };
        let late = ended_ns.saturating_sub(watch.given_up_ns) > cx.thresholds.grace_ns;
        // Where nobody has seen it at work, it may have been held up on its way out.
        let seen = watch.shown.is_some() || watch.looks > 0;
        if !late || !seen || !whole(id, &watch, cx) {
            return;
        }
        let shown = watch.shown.as_ref().and_then(|shown| {
            let below = shown.evidence.downstream.as_deref()?;
            Some(Below {
                site: below.site.clone(),
                stack: below.stack.clone(),
                wait_reason: below.wait_reason.clone(),
                wait_ns: below.wait_ns,
                state: None,
            })
        });
        let Some(finding) = told(id, &watch, shown.unwrap_or_default(), cx) else {
            return;
        };
        if watch.shown.is_some() {
            cx.report_ended(finding, id);
        } else {
            // It ended after its grace time, before a look was good enough.
            cx.report(finding);
        }
    }
}

/// The request, if it is at work and nothing was lost of it and of its call.
fn sound<'a>(id: ReqId, watch: &Watch, cx: &'a Context<'_>) -> Option<&'a crate::model::Request> {
    cx.model
        .request(id)
        .filter(|request| request.ended.is_none() && whole(id, watch, cx))
}

/// Nothing was lost of either side, and the call did not end well after all.
fn whole(id: ReqId, watch: &Watch, cx: &Context<'_>) -> bool {
    let request = cx.model.request(id);
    let call = cx.model.call(watch.call);
    request.is_some_and(|request| cx.model.is_whole(request.epoch))
        && call.is_some_and(|call| {
            matches!(call.ended, Some((_, CallEnd::Cancelled))) && cx.model.is_whole(call.epoch)
        })
}

fn below(pid: u32, seen: Option<Seen>, cx: &Context<'_>) -> Below {
    let Some(seen) = seen else {
        return Below::default();
    };
    let innermost = || {
        let unit = cx.unit(pid)?;
        site::direct(&unit, &seen.stack).cloned()
    };
    Below {
        site: seen.busy_in.clone().or_else(innermost),
        stack: seen.stack,
        wait_reason: seen.wait_reason,
        wait_ns: seen.wait_ns,
        state: Some(seen.state),
    }
}

fn told(id: ReqId, watch: &Watch, below: Below, cx: &Context<'_>) -> Option<Finding> {
    let call = tell::call(cx.model.call(watch.call)?, cx)?;
    let request = tell::request(cx.model.request(id)?, cx)?;
    let case = Case {
        call: &call,
        request: &request,
        by: watch.by,
        call_host: None,
        other_host: None,
        below,
    };
    Some(finding(&case, cx.thresholds.grace_ns))
}

/// Judges a call and its request that were told of.
#[must_use]
pub fn judge(pair: &Pair, below: Below, grace_ns: u64) -> Option<Finding> {
    let (call, request) = (&*pair.call, &pair.request);
    let given_up = call.given_up_by.is_some() && call.call.outcome == CallOutcome::Cancelled;
    let case = Case::of(pair, below);
    let now_ns = request.ended_ns().unwrap_or(request.until_ns);
    let sure_ns = grace_ns.saturating_add(case.error_ns());
    let late = now_ns.saturating_sub(call.over_ns()) > sure_ns;
    (given_up && late).then(|| finding(&case, grace_ns))
}

/// What is told of a case. The request is known up to its `until_ns`.
#[must_use]
pub fn finding(case: &Case<'_>, grace_ns: u64) -> Finding {
    let (call, request) = (case.call, case.request);
    let given_up_ns = call.over_ns();
    let now_ns = request.ended_ns().unwrap_or(request.until_ns);
    let after_ns = now_ns
        .saturating_sub(given_up_ns)
        .saturating_sub(case.error_ns());
    let by = call.given_up_by.unwrap_or(CancelledBy::Unknown);
    let name = &request.process.name;
    let ended = request.ended_ns().is_some();
    let works = if ended { "worked" } else { "still works" };
    let deadline = call.deadline.as_ref();
    Finding {
        id: 0,
        fingerprint: Fingerprint(0),
        rule: RuleName::OrphanedDownstream,
        severity: Severity::Error,
        confidence: confidence(case, given_up_ns, grace_ns),
        message: format!(
            "{name} {works} {} after this call to it was given up: {}",
            span(after_ns),
            by.clause()
        ),
        time_ns: now_ns,
        process: call.process.clone(),
        request: call.request.clone(),
        causes: Causes::default(),
        site: call.site.clone(),
        caller: call.caller.clone(),
        stack: call.stack.clone(),
        context: call.context.clone(),
        evidence: Evidence {
            cancelled_by: Some(by),
            cancel_site: call.given_up_site.clone(),
            cancelled_at_ns: Some(given_up_ns),
            after_cancel_ns: Some(after_ns),
            state: Some(if ended {
                WorkState::Ended
            } else {
                case.below.state.unwrap_or(WorkState::Running)
            }),
            call: Some(call.call.clone()),
            deadline_ns: deadline.map(|deadline| deadline.set_ns),
            remaining_ns: deadline.map(|deadline| deadline.left_ns),
            deadline_site: deadline.and_then(|deadline| deadline.site.clone()),
            timer: deadline.map(|_| Timer::Context),
            downstream: Some(Box::new(case.downstream())),
            ..Evidence::default()
        },
        count: 1,
        first_seen_ns: now_ns,
        last_seen_ns: now_ns,
        help: help(request),
        related: Vec::new(),
        routes: Routes::default(),
    }
}

/// Its client leaving right then is the call being given up.
fn confidence(case: &Case<'_>, given_up_ns: u64, grace_ns: u64) -> Confidence {
    let left = matches!(case.request.cancelled, Some((CancelledBy::Client, at_ns))
        if at_ns >= given_up_ns && at_ns.saturating_sub(given_up_ns) < grace_ns);
    if case.other_host.is_some() {
        Confidence::Medium
    } else if left {
        Confidence::High
    } else {
        case.by.confidence()
    }
}

fn help(request: &RequestFact) -> String {
    let name = &request.process.name;
    if request.cancelled.is_some() {
        format!("let the handler in {name} stop when its request's context is cancelled")
    } else {
        format!(
            "{name} was not told that its caller left: read the body there, or hand it the deadline"
        )
    }
}
