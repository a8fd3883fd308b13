//! # detached-context
//!
//! Work of a request ran on a context that does not descend from the request's.
//!
//! ## What it finds
//!
//! While a request runs, an outgoing call or the handler's own wait uses a context whose chain of
//! parents ends at `context.Background()`, `context.TODO()`, `context.WithoutCancel` or at a type
//! that passes no cancellation on. The finding is made when the context is *used*, never when it
//! is made: a context that is never waited on harms nobody.
//!
//! Calls are round trips of `net/http`, calls and streams of gRPC, and what `database/sql` does: queries,
//! statements and the beginning of transactions, over any driver. `db.Query`, `db.Exec` and the like without a
//! context use `context.Background()`. A query is named by its verb and its table, never by its
//! text. Who waits for a connection of the pool is told as that (`sql_conn`), because nothing is
//! running in the database then. So are plain dials (`dial`): `net.Dialer`, `net.Dial` and
//! `net.DialTimeout`, which have no context but `context.Background()`; not those that an HTTP
//! transport, `database/sql`, gRPC or a resolver makes for connections that it keeps.
//!
//! `at` is the line that brought the context in: the one that passes `context.Background()` or
//! `context.TODO()`, or that calls `context.WithoutCancel`, even where a helper that many share
//! makes a `WithTimeout` or the call of it; observer reads that off the machine code of the
//! functions on the stack. A helper that the compiler has put into its callers is named itself: nothing in
//! the code tells whose `Background` it is then. A function that calls `WithoutCancel` at several lines before is named at
//! the line that goes on to the helper. Where nothing is to be seen there, because the context came
//! out of a variable or from a function that has returned, say, it is the line that made the first
//! context without a parent, and without one the line of the call. `context` shows the chain, and `✂`
//! the place where cancellation stops. A value is shown with the type of its key, and with a line where
//! no other line of the program can have put it there. `WithoutCancel` is shown with a line where one
//! function alone, on the stack of what was made from it, has made one for the very call that it is in.
//!
//! ## Why it matters
//!
//! Cancellation and deadlines travel down that chain and nowhere else. Behind the cut, the
//! client's disconnect, the route's timeout and the caller's deadline mean nothing: the call runs
//! as long as it likes.
//!
//! ## Example
//!
//! ```go
//! func (b *Builder) Build(ctx context.Context, id string) (*Report, error) {
//! 	ctx = context.Background() // the request's context ends here
//! 	url := b.store + "/items/" + id
//! 	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
//! 	if err != nil {
//! 		return nil, err
//! 	}
//! 	return b.fetch(req)
//! }
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./rules4 -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -m 0.3 -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/detached/background-timeout
//! ```
//!
//! ```text
//! warning[detached-context]: call to GET 127.0.0.1:41117/slow does not descend
//!     from its request
//!   request  GET /detached/background-timeout   id doc-1 (X-Request-Id)
//!            peer 127.0.0.1:36768
//!   at       main.(*service).onBackgroundTimeout   detached.go:110
//!   call     http GET 127.0.0.1:41117/slow   7.41 ms so far
//!   context  context.Background → WithTimeout 3 s (detached.go:110)
//!   seen     at detached.go:112
//!   help     derive from the request's context at detached.go:110
//! ```
//!
//! ## How to fix
//!
//! Derive from the context that you were given:
//!
//! ```go
//! ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
//! defer cancel()
//! ```
//!
//! If the work must outlive the request (an audit record, a cache that is being filled), say so
//! and bound it:
//!
//! ```go
//! ctx = context.WithoutCancel(ctx)
//! ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
//! ```
//!
//! A type of your own that embeds a `context.Context` must forward `Done`, `Err` and `Deadline`.
//!
//! ## How sure
//!
//! High where the whole chain was seen. observer walks only through types whose layout it knows;
//! the first other type ends the walk, and descent is then *unknown*, not detached, unless the
//! request was cancelled and the context was not.
//!
//! Warning: `Background` or `TODO` used in the handler, or without a deadline in a goroutine that it
//! waits for. Error: that use went on longer than the
//! grace time after the request had been cancelled, or a call without a deadline longer than the grace time after one that
//! the request has had passed: `deadline-dropped` says which count. A call with a later deadline of its own is
//! `deadline-inflated`'s. Info: `WithoutCancel` or a type that cuts on
//! purpose; a warning when the handler waited on it and the request has a deadline or was
//! cancelled.
//!
//! A warning or an info tells of the call as it was when it began (`outcome` `running`), and says nothing of its
//! end. An error is shown once more when the handler has returned, with the call's end where that was seen
//! (`unknown` where it was not).
//!
//! ## When silent
//!
//! - contexts of the standard library and of libraries, used inside the library that made them
//!   (connection pools, transports, exporters): at most info;
//! - work that starts after the response; `sync.Once`, pools and clients made by the first
//!   request; spans that OpenTelemetry's simple processor exports as they end;
//! - a call of a handler that has a `context.AfterFunc` on its request's context: info, since that may cancel what the
//!   call uses. If the call goes on after the cancel, it does not;
//! - a goroutine of its own whose detached context has a deadline of its own: info;
//! - a goroutine of its own without one is an info too, unless the handler waits in its own code
//!   for others while the call begins, and the same code has called so for a request of another
//!   connection: a poller or a pool that the first request starts looks the same until then.
//! - a goroutine that may be an earlier request's of the same connection: one that a handler has started while it served
//!   another than the connection's first request. With `--goroutines` it is known whose it is.

use std::collections::BTreeMap;

use crate::finding::{Finding, Severity, WorkState};
use crate::go::Frame;
use crate::model::{Call, CallId, CallKind, ContextKind, CtxId, Cut, ReqId, Request, Root};

use super::ask::{Answer, Question};
use super::context::Context;
use super::deadline_dropped::Lost;
use super::detached_use::{use_by_call, use_by_wait};
use super::draft::{self, span};
use super::overrun::Over;
use super::past_deadline::PastDeadline;
use super::spawned::{self, Spawned};
use super::timers::Topic;
use super::{deadline, ids, plumbing, site};

/// The rule.
#[derive(Debug, Default)]
pub(super) struct DetachedContext {
    /// Cases that run past their request's cancel, with what was shown and the call that it is about.
    running: BTreeMap<ReqId, (Finding, Option<CallId>)>,
    /// Calls reported when they began, with the deadlines that they have lost: what becomes of them is the same occurrence.
    said: BTreeMap<CallId, Option<Lost>>,
    /// Calls whose requests are being described.
    begun: BTreeMap<CallId, Begun>,
    /// Calls by goroutines of their own.
    pub(super) spawned: Spawned,
    /// Calls that lost a deadline.
    pub(super) past: PastDeadline,
}

/// A call, as it was when it began: by the time its request is described, that may be over.
#[derive(Debug)]
struct Begun {
    pid: u32,
    severity: Severity,
    /// The deadline that it has lost.
    lost: Option<Lost>,
}

/// Calls remembered in `said`.
const SAID: usize = 16_384;

impl DetachedContext {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool + Copy) {
        self.spawned.forget(whose);
        self.past.forget(whose);
        self.running
            .retain(|_, (shown, _)| !whose(shown.process.pid));
        self.begun.retain(|_, begun| !whose(begun.pid));
    }

    /// Forgets a request whose end was not seen well enough to be told.
    pub(super) fn forget_request(&mut self, id: ReqId) {
        self.running.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.begun.len() + self.spawned.len() + self.past.len()
    }

    /// A call begins: on what?
    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        // What waited so long for its connection that it was said then is the same call.
        if !matches!(call.root, Root::Detached(_))
            || !cx.model.is_whole(call.epoch)
            || self.said.contains_key(&id)
        {
            return;
        }
        let Some(request) = running_owner(call, cx) else {
            return;
        };
        let Some(severity) = severity(call, request, cx) else {
            return;
        };
        let begun = Begun {
            pid: call.pid,
            severity,
            lost: Lost::by(call, cx),
        };
        if spawned::is_unbounded(call, request, cx) {
            let request = request.id;
            cx.ask_handler(request, Topic::Detached(id));
        } else {
            let question = Question::Request(cx.reading(request));
            ids::ask(request.id, Topic::Detached(id), question, cx);
        }
        cx.remember(&mut self.begun, id, begun);
    }

    /// The request is described: say it.
    pub(super) fn answer(&mut self, id: CallId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(Begun {
            mut severity, lost, ..
        }) = self.begun.remove(&id)
        else {
            return;
        };
        let Some(owner) = cx.model.call(id).and_then(|call| call.owner) else {
            return;
        };
        let (details, work) = match answer {
            Answer::Request { request, .. } => (request.as_ref(), None),
            Answer::Work(work) => (work.request.as_ref(), Some(work)),
            _ => (None, None),
        };
        if let Some(details) = details {
            ids::keep(owner, details, cx);
        }
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(request) = cx.model.request(owner) else {
            return;
        };
        let Some(unit) = cx.unit(call.pid) else {
            return;
        };
        let spawned =
            work.is_some_and(|work| self.spawned.is_requests(call, request, work, &unit, cx));
        if spawned {
            severity = Severity::Warning;
        }
        if let Some(mut finding) = use_by_call(call, &unit, severity, cx) {
            finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
            finding.message = format!(
                "call to {} does not descend from its request",
                draft::target(call, cx.thresholds)
            );
            if let Some(lost) = &lost {
                lost.put(&mut finding);
            }
            if finding.severity == Severity::Warning && spawned {
                self.spawned.keep(id, finding.clone(), cx);
            }
            self.past.watch(id, finding.clone(), cx);
            cx.report(finding);
            self.said.insert(id, lost);
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.said.len() > SAID {
            self.said.pop_first();
        }
    }

    /// A request worked on after its cancel. True where a detached context is why.
    pub(super) fn overran(&mut self, over: &Over, cx: &mut Context<'_>) -> bool {
        if over.again {
            let Some((mut finding, call)) = self.running.remove(&over.request) else {
                return false;
            };
            finding.evidence.call = draft::call_over(finding.evidence.call.take(), call, cx);
            finding.time_ns = cx.now_ns;
            finding.evidence.after_cancel_ns = Some(over.after_ns);
            finding.evidence.state = Some(WorkState::Ended);
            finding.message = overrun_message(over);
            finding.request = draft::request_of(cx, Some(over.request));
            cx.report_ended(finding, over.request);
            return true;
        }
        let Some((mut finding, call)) = self.explain(over, cx) else {
            return false;
        };
        self.past.overran(over.request);
        let said = call.is_some_and(|call| self.said.contains_key(&call));
        if let Some(call) = call {
            if let Some(lost) = self.said.entry(call).or_default() {
                lost.put(&mut finding);
            }
            self.bound();
        }
        if !over.ended {
            cx.remember(&mut self.running, over.request, (finding.clone(), call));
        }
        match (over.ended, said) {
            (true, true) => cx.report_ended(finding, over.request),
            (true, false) => cx.report(finding),
            (false, true) => cx.report_grown(finding, over.request),
            (false, false) => cx.report_running(finding, over.request),
        }
        true
    }

    /// The finding for work on a detached context, and the call that it is about.
    fn explain(&self, over: &Over, cx: &Context<'_>) -> Option<(Finding, Option<CallId>)> {
        let unit = cx.unit(over.pid)?;
        let severity = if over.has_time {
            Severity::Info
        } else {
            Severity::Error
        };
        let last = || {
            cx.model
                .last_call_of(over.pid, over.goid)
                // A stream may be open while its goroutine does something else. When a dial has failed is not seen; and
                // one that goes on waits, where it can be seen.
                .filter(|call| {
                    call.is_open() && !matches!(call.kind, CallKind::Dial | CallKind::GrpcStream)
                })
        };
        let call = match &over.seen {
            Some(seen) => seen.call.and_then(|id| cx.model.call(id)),
            None => last().filter(|call| call.owner == Some(over.request)),
        };
        let call = call.filter(|call| is_detached_after_cancel(call, cx));
        let mut finding = match call {
            Some(call) => use_by_call(call, &unit, severity, cx)?,
            None => {
                let seen = over.seen.as_ref()?;
                let ctx = cx.model.context(*seen.waits_on.first()?)?;
                let mut finding = use_by_wait(ctx, &unit, &seen.stack, severity, cx)?;
                finding.evidence.waiting_on = Some("Done of a detached context".to_owned());
                finding
            }
        };
        finding.evidence.cancelled_by = Some(over.by);
        finding.evidence.cancelled_at_ns = Some(over.cancelled_ns);
        finding.evidence.after_cancel_ns = Some(over.after_ns);
        if let Some(seen) = &over.seen {
            finding.evidence.state = Some(seen.state);
            finding.evidence.wait_reason.clone_from(&seen.wait_reason);
            finding.evidence.wait_ns = seen.wait_ns;
        }
        if over.ended {
            finding.evidence.state = Some(WorkState::Ended);
        }
        finding.message = overrun_message(over);
        finding.request = draft::request_of(cx, Some(over.request));
        Some((finding, call.map(|call| call.id)))
    }
}

fn overrun_message(over: &Over) -> String {
    let still = if over.ended { "worked" } else { "still works" };
    format!(
        "handler {still} on a detached context {} after {}",
        span(over.after_ns),
        over.by.clause()
    )
}

/// The request that a call is made for, if it runs and nothing of it was lost.
fn running_owner<'a>(call: &Call, cx: &'a Context<'_>) -> Option<&'a Request> {
    cx.model
        .request(call.owner?)
        .filter(|request| request.ended.is_none() && cx.model.is_whole(request.epoch))
}

/// Detached by proof, or by having outlived the request's cancel.
fn is_detached_after_cancel(call: &Call, cx: &Context<'_>) -> bool {
    match call.root {
        Root::Detached(_) => true,
        Root::Request(_) => false,
        Root::Unknown => {
            // In the round trip so long after the cancel: a context that had died would have ended it.
            let node = call.inner.or(call.ctx).and_then(|id| cx.model.context(id));
            node.is_none_or(|ctx| ctx.cancelled.is_none())
        }
    }
}

/// Whether something goes on here that is not its caller's: made ready for the whole process, exported.
pub(super) fn is_aside(frames: &[Frame]) -> bool {
    frames
        .iter()
        .any(|frame| plumbing::is_aside(&frame.function))
}

/// How bad a detached call is when it begins; `None`: as it should be.
fn severity(call: &Call, request: &Request, cx: &Context<'_>) -> Option<Severity> {
    let frames = site::frames(cx.code, call.pid, &call.pcs);
    let spawned = !deadline::is_handlers(call.goid, &frames, request);
    let Root::Detached(cut) = &call.root else {
        return None;
    };
    Some(match cut {
        // Work that was let go, as far as this alone tells: a poller, a refresh.
        _ if spawned => Severity::Info,
        // Something is to happen when the request's context dies, perhaps to this one.
        Cut::Empty if has_after_func(request, cx) => Severity::Info,
        Cut::Empty => Severity::Warning,
        Cut::Without(_) | Cut::Opaque(_) => {
            let bounded = chain_deadline(call.ctx, cx) || request.timeout.is_some();
            if bounded {
                Severity::Warning
            } else {
                Severity::Info
            }
        }
    })
}

/// Whether `context.AfterFunc` waits for the request's end.
fn has_after_func(request: &Request, cx: &Context<'_>) -> bool {
    let contexts = request.contexts.iter();
    contexts.filter_map(|id| cx.model.context(*id)).any(|ctx| {
        ContextKind::of(ctx.type_name.as_deref()) == ContextKind::AfterFunc
            && ctx.root == Root::Request(request.id)
            && ctx.cancelled.is_none()
    })
}

/// Whether a context of the chain above what detaches it, on the request's side, has a deadline.
fn chain_deadline(ctx: Option<CtxId>, cx: &Context<'_>) -> bool {
    let mut next = ctx;
    while let Some(ctx) = next.and_then(|id| cx.model.context(id)) {
        if ctx.deadline_ns.is_some() && matches!(ctx.root, Root::Request(_)) {
            return true;
        }
        next = ctx.parent;
    }
    false
}
