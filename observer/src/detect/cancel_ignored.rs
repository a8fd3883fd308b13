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
//! Where the handler waits, `goroutine` (row `started`) is a goroutine that it has started and that works on: its `go`
//! statement, what it does, and how many more there are. Where the handler has returned, a goroutine that it has started is
//! told of itself, if it sits in a call on the dead context, or inside the function that derived a context from that.
//! With `--goroutines` those are goroutines that handlers start and all that descend from them. Without, they are those
//! that the handler's own goroutine has started and that have made a context or a call for the request, from Go 1.21 on.
//!
//! The finding appears while the work runs, and once more when it has ended, with the time that
//! was wasted. `at` is the innermost line of your code that the goroutine was in, with what it
//! waited for. A goroutine that computes is somewhere else at every look: there it is the line that
//! declares the handler, and `stack` shows where one look found it. Where the work had ended
//! before observer could look, it is the outermost line of your code under the handler.
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
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./rules4 -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -m 0.3 -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/ignored/channel
//! ```
//!
//! ```text
//! error[cancel-ignored]: handler still works 522 ms after the client left
//!   request  GET /ignored/channel   id doc-1 (X-Request-Id)   peer 127.0.0.1:32900
//!   at       main.receives   ignored.go:87   chan receive
//!   via      http.(*conn).serve
//!   context  request
//!   time     0 start ── 300 ms peer closed ── 301 ms cancelled
//!            ── 823 ms still running
//!   help     wait for the context's Done too, or hand the context on to what is
//!            called
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
//! was seen inside a call on the dead context, also where the handler has returned. Medium, warning: the derived context is dead and
//! no call was seen, and nothing on another live context has begun since. A handler that makes a
//! context or a call in each round of a loop, and stops within two of its rounds: warning. Looks at
//! `ctx.Err()` and `time.Sleep` are not seen: a handler that does nothing else in its rounds is an
//! error where they are longer than the grace time, however soon it stops. Where a
//! context above the connection was cancelled (`BaseContext` at shutdown): info, and error from
//! the moment on at which the deadline of `Server.Shutdown` passes, where its context was made by
//! the goroutine that calls it.
//!
//! "The client left" is what the peer of the connection did. It may be a proxy. Go takes the end of what a client sends for
//! its leaving, and cancels the request (golang/go #18527): a client that has closed only its sending half and waits is said
//! to have left, too, and may still get its answer. Few do so. Where `peer_close` is `reset` nobody waits; where it is `fin`,
//! the kernel cannot tell the two apart while the handler runs. Nor is it seen what the client had got by then: a handler that
//! has sent its whole answer and goes on working is told of as well.
//!
//! ## When silent
//!
//! - work that ends within the grace time, clean-up in `defer` included;
//! - the cancel that follows when a handler returns in the normal way;
//! - goroutines of a handler that has returned, and that do nothing on a context of the request: they may have been
//!   started to live on;
//! - goroutines that wait for a `Done`, that work on a context of their own, or that the standard library or plumbing
//!   has started. One that merely waits is named beside its handler only where that waits in `WaitGroup.Wait`;
//! - work that `http.TimeoutHandler` left behind, after its deadline or after the client left, where
//!   its connection's workers cannot be told apart, and in all cases up to Go 1.20, where a goroutine does not say who started it: the
//!   request is unknown, and counted as such;
//! - goroutines that would go on if they were let: woken, but without a processor, or held by the garbage collector. They
//!   are looked at until they do something else; a handler that returns late without having been seen at work is
//!   unknown, and counted as such: on a host that has more to do than it can, whoever stops is late too;
//! - requests of which events were lost: they are unknown, and counted as such.

use std::collections::BTreeMap;

use crate::finding::{
    CancelledBy, Confidence, Evidence, Finding, GoroutineEvidence, RuleName, Severity, WorkState,
};
use crate::model::{ReqId, Request};

use super::chain;
use super::context::Context;
use super::draft::{self, span};
use super::overrun::Over;
use super::{deadline, sight};

pub(super) const HELP: &str =
    "wait for the context's Done too, or hand the context on to what is called";
/// Hits of the handler's goroutine that make a heartbeat: two gaps at least.
const BEATS: usize = 3;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct CancelIgnored {
    /// Cases that run, with what was shown.
    running: BTreeMap<ReqId, Finding>,
}

impl CancelIgnored {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.running.retain(|_, shown| !whose(shown.process.pid));
    }

    /// Forgets a request whose end was not seen well enough to be told.
    pub(super) fn forget_request(&mut self, id: ReqId) {
        self.running.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// (a): the request's own context is dead and its handler works on.
    /// `beside` is a goroutine that works while the handler waits.
    pub(super) fn overran(
        &mut self,
        over: &Over,
        beside: Option<Box<GoroutineEvidence>>,
        cx: &mut Context<'_>,
    ) {
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
        let seen = (over.seen.as_ref(), over.blurred);
        sight::place(&mut finding, &unit, seen, request, cx);
        finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
        let newest = request.contexts.iter().rev().find(|id| {
            cx.model
                .context(**id)
                .is_some_and(|ctx| !ctx.internal && ctx.goid == over.goid)
        });
        finding.context = chain::of_context(cx, newest.copied().or(Some(request.root)));
        finding.evidence = evidence(over, request, cx);
        finding.message = message(over);
        let started_at = beside
            .as_ref()
            .and_then(|beside| beside.started_at.as_ref());
        if started_at.is_some() {
            let place = deadline::place_name(started_at);
            finding.message += &format!(", as does the goroutine started at {place}");
        }
        finding.evidence.goroutine = beside;
        finding.help = HELP.to_owned();
        if over.ended {
            cx.report(finding);
        } else {
            cx.remember(&mut self.running, over.request, finding.clone());
            cx.report_running(finding, over.request);
        }
    }

    /// What `Server.Shutdown` had time for is over: work that still goes on is cut off.
    pub(super) fn shutdown_expired(&mut self, pid: u32, cx: &mut Context<'_>) {
        for (request, shown) in &mut self.running {
            let evidence = &mut shown.evidence;
            let by_shutdown = evidence.cancelled_by == Some(CancelledBy::Shutdown);
            if shown.process.pid != pid || !by_shutdown {
                continue;
            }
            let after_ns = evidence
                .cancelled_at_ns
                .map(|at_ns| cx.now_ns.saturating_sub(at_ns));
            evidence.after_cancel_ns = after_ns;
            shown.severity = Severity::Error;
            shown.time_ns = cx.now_ns;
            shown.message = format!(
                "handler still works {} after the server began to shut down, when Shutdown gave up",
                span(after_ns.unwrap_or_default())
            );
            cx.report_grown(shown.clone(), *request);
        }
    }
}

fn severity(over: &Over, request: &Request) -> Severity {
    if over.has_time {
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

fn evidence(over: &Over, request: &Request, cx: &Context<'_>) -> Evidence {
    let seen = over.seen.as_ref();
    let delivery = request.delivery.filter(|_| over.by == CancelledBy::Client);
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
        peer_closed_at_ns: delivery.map(|delivery| delivery.closed.at_ns),
        peer_close: delivery.map(|delivery| delivery.closed.how),
        delivery_ns: delivery.map(|delivery| delivery.latency_ns),
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
    if over.by != CancelledBy::Shutdown {
        shown.severity = severity(over, request);
    }
    shown.message = message(over);
    shown.evidence.after_cancel_ns = Some(over.after_ns);
    shown.evidence.state = Some(WorkState::Ended);
    let call = over.seen.as_ref().and_then(|seen| seen.call);
    shown.evidence.call = draft::call_over(shown.evidence.call.take(), call, cx);
    shown.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
    shown
}
