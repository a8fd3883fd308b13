//! # premature-cancel
//!
//! The context died while work still wanted it.
//!
//! ## What it finds
//!
//! A call was in flight on a context and failed because that context was cancelled, or a call
//! was started on a context that was dead already, and the cancel was the handler's own doing:
//! the handler returned or panicked, or a goroutine cancelled before it read the body, whoever had
//! made the call. It also finds a healthy request that was cancelled by the server's read deadline while
//! its client was still there.
//!
//! `at` is the line of the work that was killed. `cancel` is the line that cancelled, where code
//! did, or the line that panicked. `goroutine` (row `started`) is the goroutine whose work was killed, where that is not
//! the handler's; with `--goroutines` its `go` statement, too. Of a read deadline, `timer` says whose it was, `asked_ns` how
//! long it allowed, `timer_site` which line set it (where a handler did through
//! `http.ResponseController`, from Go 1.20 on), and `server` what the server's own timeouts are.
//!
//! ## Why it matters
//!
//! The failure is a race: it depends on whether the goroutine or the handler is faster, so it
//! passes every test and comes with load. What it kills is often what nobody looks at, a cache
//! that stays empty or an audit record that is missing.
//!
//! ## Example
//!
//! ```go
//! func Order(w http.ResponseWriter, r *http.Request) {
//! 	order := accept(r)
//! 	go func() {
//! 		// r.Context() is cancelled as soon as Order returns
//! 		if err := audit.Record(r.Context(), order); err != nil {
//! 			log.Print(err)
//! 		}
//! 	}()
//! 	w.WriteHeader(http.StatusAccepted)
//! }
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./rules4 -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/premature/async
//! ```
//!
//! ```text
//! error[premature-cancel]: call to GET 127.0.0.1:41117/slow was killed: it was
//!     running when the handler returned
//!   request  GET /premature/async   id doc-1 (X-Request-Id)
//!   at       main.(*service).async.func1   premature.go:47
//!   started  goroutine 30
//!   call     http GET 127.0.0.1:41117/slow   101 ms
//!   context  request
//!   time     0 start ── 61.3 µs call ── 101 ms handler ended ── 101 ms call failed
//!   help     give asynchronous work a context of its own: `context.WithoutCancel`
//!            and a timeout
//! ```
//!
//! ## How to fix
//!
//! Give work that outlives its request a context that keeps the values and not the cancel, and a
//! deadline of its own:
//!
//! ```go
//! ctx := context.WithoutCancel(r.Context())
//! go func() {
//! 	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
//! 	defer cancel()
//! 	if err := audit.Record(ctx, order); err != nil {
//! 		log.Print(err)
//! 	}
//! }()
//! ```
//!
//! Read a body to its end before `defer cancel()` runs, that is, in the same function. A read
//! deadline that a handler sets with `http.ResponseController` goes on counting when the body has
//! been read: lift it with `SetReadDeadline(time.Time{})` before long work. (`net/http` lifts the
//! one of `Server.ReadTimeout` itself.)
//!
//! ## How sure
//!
//! High. Error: a call on the context was in flight and failed through the cancel, or began on
//! the dead context, where it cannot succeed, or reading its body failed because the cancel had
//! closed the connection. A small body that had arrived before the cancel is read all the same,
//! and nothing is said. Warning: a read deadline cancelled a request that had no call under way.
//! For a read deadline it is the cause of the cancel that tells: the error is a timeout of the
//! connection and not its end. Where the handler only waited, it is gone before anything can
//! look, and the request's path names the place.
//!
//! ## When silent
//!
//! - a cancel function of your own that stops *another* goroutine's call or read: `errgroup`,
//!   hedged requests, first answer wins;
//! - for the same reason, work that a handler left running on a context that a middleware made and
//!   cancels when the handler returns (`defer cancel()` around `next.ServeHTTP`): the stack of that
//!   cancel is the one of a handler that stops the losers of a race which a helper began;
//! - plain dials that have no `Dialer.Timeout`: whether one had failed before is not to be seen;
//! - bodies over HTTP/2, whose streams end in another way; rows of `database/sql` that die while
//!   they are read, and queries inside a transaction, whose end cannot be seen;
//! - a goroutine that is merely still alive when its context dies;
//! - requests of which events were lost: they are unknown, and counted as such.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{CallOutcome, CancelledBy, Confidence, Evidence, Finding, RuleName, Severity};
use crate::go::Stack;
use crate::model::{Call, CallId, Cancel, CtxId, ReqId, Request, Root, Unit};

use super::ask::Answer;
use super::chain;
use super::context::Context;
use super::draft::{self, span};
use super::timers::Topic;
use super::{deadline, descendants, io_deadline, site};

/// The rule.
#[derive(Debug, Default)]
pub(super) struct PrematureCancel {
    /// Calls said already: a call fails once.
    said: BTreeSet<CallId>,
    /// Requests said to be killed by a read deadline before a call of theirs was seen to fail.
    announced: BTreeSet<ReqId>,
    /// What is going to be said of requests, once it is known whether they had ended before they were looked at.
    looked_at: BTreeMap<ReqId, LookedAt>,
}

/// A request that a read deadline has cancelled.
#[derive(Debug)]
struct LookedAt {
    pid: u32,
    /// When, ns.
    at_ns: u64,
    /// Where its goroutine was: the next request may have begun on it.
    stack: Stack,
    /// The rest.
    finding: Finding,
}

/// How a handler ended, by the function that cancelled its request's context or unwound to that. A
/// deferred function alone, as HTTP/2 has it, runs in every case.
const ENDINGS: &[(&str, &str)] = &[
    ("runtime.gopanic", "the handler panicked"),
    ("runtime.Goexit", "the handler left by `runtime.Goexit`"),
    ("net/http.(*conn).serve", "the handler returned"),
];

const LIFT: &str = "clear the read deadline once the body is read: `SetReadDeadline(time.Time{})`";

/// From a look at memory until the events before it are known, ns.
const SETTLED_NS: u64 = 100_000_000;
/// Calls remembered in `said`.
const SAID: usize = 16_384;

impl PrematureCancel {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.looked_at.retain(|_, looked_at| !whose(looked_at.pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.looked_at.len()
    }

    /// A read deadline of the service's own killed a request whose client is still there.
    pub(super) fn request_cancelled(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        // On the serving goroutine it is the handler's own read of the body that timed out.
        let by_deadline = cancel_of(request.root, cx).is_some_and(|cancel| {
            cancel.by == CancelledBy::ReadDeadline && cancel.goid != request.goid
        });
        if !by_deadline || !cx.model.is_whole(request.epoch) {
            return;
        }
        cx.ask_handler(id, Topic::Premature(id));
    }

    /// What the killed request was doing.
    pub(super) fn request_answer(&mut self, id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Work(work) = answer else { return };
        super::overrun::describe(id, work, cx);
        let Some(request) = cx.model.request(id) else {
            return;
        };
        if has_failed(request, cx) {
            // Said already, with the line of the call.
            return;
        }
        let Some(unit) = cx.unit(request.pid) else {
            return;
        };
        let Some(cancel) = cancel_of(request.root, cx) else {
            return;
        };
        let stack = match &work.goroutine {
            crate::inspect::Inspection::Alive(goroutine) => {
                let (pcs, state) = (&goroutine.stack, goroutine.stack_state);
                site::walked(cx.code, request.pid, pcs, state)
            }
            _ => Stack::default(),
        };
        let pid = request.pid;
        let mut finding = draft::blank(
            RuleName::PrematureCancel,
            Severity::Warning,
            Confidence::High,
            cx.now_ns,
            &unit,
        );
        finding.message =
            "read deadline cancelled a request whose client is still there".to_owned();
        finding.evidence = Evidence {
            cancelled_by: Some(cancel.by),
            cancelled_at_ns: Some(cancel.at_ns),
            ..Evidence::default()
        };
        if let Some(passed) = io_deadline::of_reads(request, work.conn.as_ref(), cancel.at_ns) {
            passed.tell(&mut finding.evidence, &unit, cx);
        }
        finding.evidence.server = work.conn.as_ref().and_then(io_deadline::limits);
        finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
        finding.context = chain::of_context(cx, Some(request.root));
        finding.help = LIFT.to_owned();
        let looked_at = LookedAt {
            pid,
            at_ns: cx.now_ns,
            stack,
            finding,
        };
        cx.remember(&mut self.looked_at, id, looked_at);
        cx.later(SETTLED_NS, Topic::Premature(id));
    }

    /// Says of a request that was looked at what became clear since.
    pub(super) fn settled(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(looked_at) = self.looked_at.remove(&id) else {
            return;
        };
        let (Some(request), Some(unit)) = (cx.model.request(id), cx.unit(looked_at.pid)) else {
            return;
        };
        if has_failed(request, cx) {
            return;
        }
        let ended_ns = request.ended_ns();
        let mut finding = looked_at.finding;
        if ended_ns.is_none_or(|ended_ns| ended_ns > looked_at.at_ns) {
            let at = site::direct(&unit, &looked_at.stack).cloned();
            draft::place(&mut finding, &unit, at.as_ref(), looked_at.stack);
        }
        self.announced.insert(id);
        if self.announced.len() > SAID {
            self.announced.pop_first();
        }
        cx.report_running(finding, id);
    }

    /// A call begins: on a context that its request's end has killed?
    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(cancel) = call.ctx.and_then(|ctx| cancel_of(ctx, cx)) else {
            return;
        };
        // Its own goroutine killed it before: the call cannot succeed.
        let own = cancel.origin == CancelledBy::Code && cancel.goid == call.goid;
        let dead = own || ended_normally(&cancel) || cancel.origin == CancelledBy::ReadDeadline;
        if !matches!(call.root, Root::Request(_)) || !dead {
            return;
        }
        self.say(id, &cancel, cx);
    }

    /// A call failed because its context died.
    pub(super) fn call_failed(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(cancel) = call.ctx.and_then(|ctx| cancel_of(ctx, cx)) else {
            return;
        };
        let serving = call
            .owner
            .and_then(|owner| cx.model.request(owner))
            .is_some_and(|request| request.goid == call.goid);
        let by_end = ended_normally(&cancel) && !serving;
        let read_deadline = cancel.origin == CancelledBy::ReadDeadline;
        if by_end || read_deadline {
            self.say(id, &cancel, cx);
        }
    }

    /// Reading a body failed because its call's context died.
    pub(super) fn body_failed(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(cancel) = call.ctx.and_then(|ctx| cancel_of(ctx, cx)) else {
            return;
        };
        // Whoever reads after its own cancel wanted both. Another goroutine may have meant to stop
        // the read.
        let reader = call.failed_read.as_ref().map(|read| read.goid);
        let own = reader == Some(cancel.goid);
        let by_reader = cancel.origin == CancelledBy::Code && own;
        let read_deadline = cancel.origin == CancelledBy::ReadDeadline && !own;
        if by_reader || ended_normally(&cancel) || read_deadline {
            self.say(id, &cancel, cx);
        }
    }

    fn say(&mut self, id: CallId, cancel: &Cancel, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(unit) = cx.unit(call.pid) else {
            return;
        };
        let whole = cx.model.is_whole(call.epoch) && draft::is_owner_whole(cx.model, call.owner);
        if !whole || !self.said.insert(id) {
            return;
        }
        if self.said.len() > SAID {
            self.said.pop_first();
        }
        let owner = call.owner;
        let Some(finding) = killed(call, cancel, &unit, cx) else {
            return;
        };
        match owner.filter(|owner| self.announced.remove(owner)) {
            // The request was said already; this is what became of it.
            Some(owner) => cx.report_ended(finding, owner),
            None => cx.report(finding),
        }
    }
}

/// A call of it has failed.
fn has_failed(request: &Request, cx: &Context<'_>) -> bool {
    let killed = |call: &CallId| cx.model.call(*call).is_some_and(|call| call.failed);
    request.calls.iter().any(killed)
}

/// The first cancel of a context.
fn cancel_of(ctx: CtxId, cx: &Context<'_>) -> Option<Cancel> {
    cx.model.context(ctx)?.cancelled.clone()
}

fn ended_normally(cancel: &Cancel) -> bool {
    cancel.by == CancelledBy::NormalEnd || cancel.origin == CancelledBy::NormalEnd
}

/// What killed the context, for a sentence: of a handler that ended, how, where its frames tell.
fn clause(cancel: &Cancel, pid: u32, cx: &Context<'_>) -> &'static str {
    if cancel.origin != CancelledBy::NormalEnd {
        return cancel.origin.clause();
    }
    let frames = site::frames(cx.code, pid, &cancel.pcs);
    let known = frames.iter().find_map(|frame| {
        let (_, clause) = ENDINGS.iter().find(|(name, _)| *name == &*frame.function)?;
        Some(*clause)
    });
    known.unwrap_or("the handler ended")
}

const fn remedy(cancel: &Cancel) -> &'static str {
    match cancel.origin {
        CancelledBy::ReadDeadline => LIFT,
        _ => "give asynchronous work a context of its own: `context.WithoutCancel` and a timeout",
    }
}

fn killed(call: &Call, cancel: &Cancel, unit: &Unit, cx: &Context<'_>) -> Option<Finding> {
    let read = call.failed_read.as_ref();
    let pcs = read.map_or(&call.pcs, |read| &read.pcs);
    let stack = site::frames(cx.code, call.pid, pcs);
    let at = site::of_client(unit, &stack)?.clone();
    let mut finding = draft::blank(
        RuleName::PrematureCancel,
        Severity::Error,
        Confidence::High,
        cx.now_ns,
        unit,
    );
    let target = draft::target(call, cx.thresholds);
    let goid = read.map_or(call.goid, |read| read.goid);
    let canceller = site::frames(cx.code, call.pid, &cancel.pcs);
    let begun = call.start_ns > cancel.at_ns;
    let mut call_evidence = draft::call_evidence(call, cx.thresholds, cx.now_ns);
    call_evidence.outcome = CallOutcome::Cancelled;
    finding.evidence = Evidence {
        cancelled_by: Some(cancel.origin),
        cancelled_at_ns: Some(cancel.at_ns),
        cancel_site: site::direct(unit, &canceller).cloned(),
        call: Some(call_evidence),
        goroutine: descendants::killed(call.owner, call.pid, goid, cx),
        ..Evidence::default()
    };
    if cancel.origin == CancelledBy::ReadDeadline
        && let Some(request) = call.owner.and_then(|owner| cx.model.request(owner))
        && let Some(passed) = io_deadline::of_reads(request, None, cancel.at_ns)
    {
        passed.tell(&mut finding.evidence, unit, cx);
    }
    let owner = call.owner.and_then(|owner| cx.model.request(owner));
    let (why, help) = if owner.is_some_and(|request| request.is_stillborn) {
        (
            "its context was dead before its request began, since a read deadline has passed on the connection"
                .to_owned(),
            LIFT,
        )
    } else if cancel.origin == CancelledBy::Code && begun {
        (
            format!(
                "it began {} after its own goroutine cancelled the context",
                span(call.start_ns.saturating_sub(cancel.at_ns))
            ),
            "use the parent's context for what comes after the cancel",
        )
    } else if cancel.origin == CancelledBy::Code {
        (
            "its context was cancelled before its body was read".to_owned(),
            "read the body before the function returns, or return the cancel function with it",
        )
    } else if begun {
        (
            format!(
                "it began {} after {}",
                span(call.start_ns.saturating_sub(cancel.at_ns)),
                clause(cancel, call.pid, cx)
            ),
            remedy(cancel),
        )
    } else {
        (
            format!("it was running when {}", clause(cancel, call.pid, cx)),
            remedy(cancel),
        )
    };
    let goroutine = finding.evidence.goroutine.as_ref();
    let started_at = goroutine.and_then(|goroutine| goroutine.started_at.as_ref());
    let whose = started_at.map_or_else(String::new, |_| {
        let place = deadline::place_name(started_at);
        format!(" by the goroutine started at {place}")
    });
    finding.message = format!("call to {target}{whose} was killed: {why}");
    finding.help = help.to_owned();
    finding.request = draft::request_of(cx, call.owner);
    finding.context = chain::of_call(cx, call);
    draft::place(&mut finding, unit, Some(&at), stack);
    Some(finding)
}
