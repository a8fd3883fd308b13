//! # timeout-mismatch
//!
//! A timeout and the context's deadline disagree, and the timeout is the shorter one.
//!
//! ## What it finds
//!
//! `http.Client.Timeout` that is shorter than the deadline of the context that the call was made
//! with; and `http.Server.WriteTimeout`, or a write deadline that a handler has set, that fired
//! while the context still had time. Differences within the tolerance (`--deadline-tolerance`) do
//! not count.
//!
//! A small answer is not written before its handler has returned: if it is too late then, that is told as well, of a context
//! that the handler still had when the write deadline passed.
//!
//! `at` is the line of the call or of the write. Where that is not to be seen, it is the declaration of the handler, as one
//! of its calls or contexts tells it: of an answer that is written when the handler has returned, and of one that is
//! written from more than some eight functions below the line. `timer` is the timeout, `asked_ns` its length,
//! `timer_site` the line that set it where a handler did, `deadline_ns` the context's deadline when it
//! was made, `deadline_site` its line, `remaining_ns` what was left of it, and `server` what the
//! server's own timeouts are.
//!
//! ## Why it matters
//!
//! Two clocks rule one call, in two places of the code, and the one that nobody looks at wins. The
//! route promises five seconds; the client gives up after one, or the server drops an answer that
//! was ready in time, and neither says so: the handler sees a failed call, the client an empty
//! reply.
//!
//! ## Example
//!
//! ```go
//! var client = &http.Client{Timeout: time.Second}
//!
//! func Report(w http.ResponseWriter, r *http.Request) {
//! 	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
//! 	defer cancel()
//! 	req, _ := http.NewRequestWithContext(ctx, "GET", storeURL, nil)
//! 	resp, err := client.Do(req) // has one second
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./deadlines -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/mismatch/client
//! ```
//!
//! ```text
//! info[timeout-mismatch]: http.Client.Timeout of 200 ms is shorter than the
//!     context's 2 s
//!   request  GET /mismatch/client   id doc-1 (X-Request-Id)
//!   at       main.(*service).clientFires   mismatch.go:44
//!   budget   http.Client.Timeout 200 ms   1.8 s left
//!            of 2 s set at mismatch.go:41
//!   context  request → WithTimeout 2 s (mismatch.go:41)
//!            → WithDeadline 200 ms (mismatch.go:44)
//!   help     make Client.Timeout longer than any deadline, and let the context
//!            rule
//! ```
//!
//! ## How to fix
//!
//! Let the context rule and keep the timeout as a safety net above it: a `Client.Timeout` longer
//! than the longest deadline, a `WriteTimeout` longer than the longest route, or a route's own with
//! `http.ResponseController.SetWriteDeadline`.
//!
//! ## How sure
//!
//! High for `http.Client.Timeout`: both deadlines were seen. Info, once for each line, when it is
//! shorter; warning when it fired while the context had time left. A write deadline is known by
//! the error that the connection keeps. From Go 1.20 on, one that the handler set through
//! `http.ResponseController` is known with its line and its length, and takes the place of the
//! server's. Otherwise the server's fields tell: where it fired after the server's own had passed,
//! it is taken for that; medium, because the handler may have set another on the `net.Conn` itself. When such another
//! passes is not known, so that the context of a handler that frees it before it returns cannot be told to have had time.
//!
//! ## When silent
//!
//! - the timeout is as long as the context's deadline or longer;
//! - `http.Server.WriteTimeout` fires over HTTP/2: it ends a stream, and the connection keeps no error;
//! - the context has no deadline: then there is one clock;
//! - read deadlines: where one kills a request, `premature-cancel` says so;
//! - deadlines on a hijacked connection, or on one that the service has dialled: no context hangs on
//!   them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::finding::{CancelledBy, Confidence, Finding, RuleName, Severity, Timer};
use crate::model::{CallId, Ctx, CtxId, ReqId};

use super::ask::{Answer, Question};
use super::chain;
use super::context::Context;
use super::deadline::{Budget, spent};
use super::failed_write::FailedWrite;
use super::timers::Topic;
use super::{deadline, draft, ids, overrun, site};

/// Stacks remembered of which the difference was told.
const SAID: usize = 4096;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct TimeoutMismatch {
    /// Stacks of which the difference was told, and of which context.
    said: BTreeMap<(u32, Arc<[u64]>), CtxId>,
}

/// A timeout, and the deadline of the context that it cuts short.
struct Mismatch<'a> {
    timeout: &'a Ctx,
    over: &'a Ctx,
    /// Time left of the context's when the timeout fires or has fired, ns.
    spare_ns: i64,
}

impl TimeoutMismatch {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.said.retain(|(pid, _), _| !whose(*pid));
    }

    /// A call begins: is `http.Client.Timeout` shorter than its context's deadline?
    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        let Some(call) = cx.model.call(id) else {
            return;
        };
        let Some(mismatch) = cx
            .model
            .bound_of(cx.model.context_of_call(call))
            .and_then(|timeout| mismatch(timeout, timeout.deadline_at_ns()?, cx))
        else {
            return;
        };
        let key = (call.pid, Arc::clone(&mismatch.timeout.pcs));
        if self.said.contains_key(&key) {
            return;
        }
        let Some(mut finding) = of_client(&mismatch, Severity::Info, cx) else {
            return;
        };
        finding.message = format!(
            "http.Client.Timeout of {} is shorter than the context's {}",
            spent(mismatch.timeout.deadline_ns.unwrap_or(0)),
            spent(deadline::left_ns(mismatch.over, mismatch.timeout.created_ns).unwrap_or(0))
        );
        deadline::about_call(&mut finding, call, cx);
        let timeout = mismatch.timeout.id;
        cx.report(finding);
        self.said.insert(key, timeout);
        if self.said.len() > SAID {
            self.said.pop_first();
        }
    }

    /// A context died: was it `http.Client.Timeout`, with time left?
    pub(super) fn context_cancelled(&self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        if !ctx.died_of_its_deadline() {
            return;
        }
        let Some(mismatch) = mismatch(ctx, cx.now_ns, cx) else {
            return;
        };
        let Some(mut finding) = of_client(&mismatch, Severity::Warning, cx) else {
            return;
        };
        finding.message = format!(
            "http.Client.Timeout of {} fired with {} of the context's deadline left",
            spent(ctx.deadline_ns.unwrap_or(0)),
            spent(mismatch.spare_ns)
        );
        let call = cx
            .model
            .last_call_of(ctx.pid, ctx.goid)
            .filter(|call| call.ctx == Some(id));
        match call {
            Some(call) => deadline::about_call(&mut finding, call, cx),
            None => finding.request = draft::request_of(cx, ctx.owner),
        }
        // The call that was told of when it began is the same occurrence.
        let key = (ctx.pid, Arc::clone(&ctx.pcs));
        match ctx.owner.filter(|_| self.said.get(&key) == Some(&id)) {
            Some(owner) => cx.report_grown(finding, owner),
            None => cx.report(finding),
        }
    }

    /// A request was cancelled: where a write failed, memory knows why.
    pub(super) fn request_cancelled(&self, id: ReqId, cx: &mut Context<'_>) {
        Self::ask_why(id, cx);
    }

    /// What the handler had left to be written could not be: memory knows why.
    pub(super) fn answer_failed(&self, id: ReqId, cx: &mut Context<'_>) {
        Self::ask_why(id, cx);
    }

    fn ask_why(id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let had_time = FailedWrite::of(request, cx).is_some_and(|failed| failed.had_time(cx));
        if !cx.model.is_whole(request.epoch) || !had_time {
            return;
        }
        let question = Question::Request(cx.reading(request));
        ids::ask(id, Topic::WriteFailed(id), question, cx);
    }

    /// Why the write failed.
    pub(super) fn write_answer(&self, id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Request {
            request: details,
            conn: Some(conn),
        } = answer
        else {
            return;
        };
        if overrun::write_error(conn) != Some(CancelledBy::WriteDeadline) {
            return;
        }
        if let Some(details) = details {
            ids::keep(id, details, cx);
        }
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let Some(unit) = cx.unit(request.pid) else {
            return;
        };
        let failed = FailedWrite::of(request, cx);
        if let Some(finding) = failed.and_then(|failed| failed.tell(conn, &unit, cx)) {
            cx.report(finding);
        }
    }
}

/// The context of a client's timeout that ends, at `at_ns`, before the deadline above it.
fn mismatch<'a>(timeout: &'a Ctx, at_ns: u64, cx: &'a Context<'_>) -> Option<Mismatch<'a>> {
    let whole = cx.model.is_whole(timeout.epoch) && draft::is_owner_whole(cx.model, timeout.owner);
    if !whole {
        return None;
    }
    let over = cx
        .model
        .bound_of(timeout.parent.filter(|_| !timeout.is_cut()))?;
    let spare_ns = deadline::left_ns(over, at_ns)?;
    let differs = spare_ns > cx.thresholds.deadlines.tolerance_ns(timeout.deadline_ns?);
    (differs && deadline::is_client_timeout(timeout, cx)).then_some(Mismatch {
        timeout,
        over,
        spare_ns,
    })
}

fn of_client(mismatch: &Mismatch<'_>, severity: Severity, cx: &Context<'_>) -> Option<Finding> {
    let timeout = mismatch.timeout;
    let unit = cx.unit(timeout.pid)?;
    let stack = site::frames(cx.code, timeout.pid, &timeout.pcs);
    let at = site::of_client(&unit, &stack).cloned();
    let rule = RuleName::TimeoutMismatch;
    let severity = deadline::at_most(&unit, &stack, severity)?;
    let mut finding = draft::blank(rule, severity, Confidence::High, cx.now_ns, &unit);
    finding.context = chain::of_context(cx, Some(timeout.id));
    let budget = Budget {
        timer: Timer::ClientTimeout,
        asked_ns: timeout.deadline_ns,
        left_ns: mismatch.spare_ns,
        over: mismatch.over.into(),
    };
    budget.put(&mut finding, &unit, cx);
    finding.help = "make Client.Timeout longer than any deadline, and let the context rule".into();
    draft::place(&mut finding, &unit, at.as_ref(), stack);
    Some(finding)
}
