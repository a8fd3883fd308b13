//! Calls on a detached context that go on although their request's deadline has passed, the request itself not being
//! cancelled: what middleware allows, or what the caller said in a header.
//!
//! Where the request's own context dies, `overrun` and `spawned` tell of the same call.

use std::collections::BTreeMap;

use crate::finding::{CallOutcome, Finding, Severity};
use crate::model::{Call, CallId, ReqId, Request};

use super::ask::Answer;
use super::context::Context;
use super::draft::{self, span};
use super::outlived::Outlived;
use super::timers::Topic;

/// Such calls.
#[derive(Debug, Default)]
pub(super) struct PastDeadline {
    outlived: Outlived,
    /// Told, by the request that runs on.
    told: BTreeMap<ReqId, (Finding, CallId)>,
}

impl PastDeadline {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool + Copy) {
        self.outlived.forget(whose);
        self.told.retain(|_, (shown, _)| !whose(shown.process.pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.outlived.len() + self.told.len()
    }

    /// A call was shown; `shown` says which deadline it has lost, if its request had one.
    pub(super) fn watch(&mut self, id: CallId, shown: Finding, cx: &mut Context<'_>) {
        let Some(deadline_ns) = deadline_at_ns(&shown) else {
            return;
        };
        if shown.severity < Severity::Warning {
            return;
        }
        let wait_ns = deadline_ns
            .saturating_sub(cx.now_ns)
            .saturating_add(cx.thresholds.grace_ns);
        let wait_ns = i64::try_from(wait_ns).unwrap_or(i64::MAX);
        self.outlived
            .watch(id, shown, wait_ns, Topic::PastDeadline(id), cx);
    }

    /// Deadline and grace have passed.
    pub(super) fn look(&mut self, id: CallId, cx: &mut Context<'_>) {
        self.outlived.look(id, Topic::PastDeadline(id), cx);
    }

    /// Whether the call goes on: then it is an error.
    pub(super) fn answer(&mut self, id: CallId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(mut finding) = self
            .outlived
            .answer(id, Topic::PastDeadline(id), answer, cx)
        else {
            return;
        };
        let call = cx.model.call(id);
        let Some(request) = call.and_then(|call| uncancelled(call, cx)) else {
            return;
        };
        let request = request.id;
        say(&mut finding, "goes on");
        cx.remember(&mut self.told, request, (finding.clone(), id));
        cx.report_grown(finding, request);
    }

    /// A request works on after its own cancel, for that call or another: its end is told as that of this.
    pub(super) fn overran(&mut self, id: ReqId) {
        self.told.remove(&id);
    }

    /// The handler has returned.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some((mut finding, call)) = self.told.remove(&id) else {
            return;
        };
        finding.time_ns = cx.now_ns;
        finding.evidence.call = draft::call_over(finding.evidence.call.take(), Some(call), cx);
        finding.request = draft::request_of(cx, Some(id));
        say(&mut finding, "went on");
        cx.report_ended(finding, id);
    }
}

/// The request of a call, if its own context lives, as it does until the handler has returned.
fn uncancelled<'a>(call: &Call, cx: &'a Context<'_>) -> Option<&'a Request> {
    let request = cx.model.request(call.owner?)?;
    let root = cx.model.context(request.root)?;
    (root.cancelled.is_none() && cx.model.is_whole(request.epoch)).then_some(request)
}

/// When the deadline passes that a call has lost, monotonic ns.
fn deadline_at_ns(finding: &Finding) -> Option<u64> {
    let start_ns = finding.evidence.call.as_ref()?.start_ns;
    // One that had passed before leaves the call as long as one that passes then.
    let left_ns = finding.evidence.remaining_ns?.max(0);
    Some(start_ns.saturating_add_signed(left_ns))
}

/// Says of a call that it goes, or went, on.
fn say(finding: &mut Finding, goes_on: &str) {
    let Some(call) = &finding.evidence.call else {
        return;
    };
    let until_ns = match (call.outcome, call.duration_ns) {
        (CallOutcome::Unknown, _) | (_, None) => None,
        (_, Some(ns)) => Some(call.start_ns.saturating_add(ns)),
    };
    let past = until_ns
        .zip(deadline_at_ns(finding))
        .map_or_else(String::new, |(until_ns, deadline_ns)| {
            format!("{} ", span(until_ns.saturating_sub(deadline_ns)))
        });
    finding.message = format!(
        "call to {} on a detached context {goes_on} {past}past the request's deadline",
        call.target
    );
}
