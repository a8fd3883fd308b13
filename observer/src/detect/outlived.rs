//! Calls that go on although the request's deadline has passed.
//!
//! Shared by the rules that report such a call when it begins: what becomes of it is the same
//! occurrence, grown. A request of gRPC is read first, as no probe has told by which ID it is known.

use std::collections::BTreeMap;

use crate::finding::{Finding, Severity};
use crate::inspect::Inspection;
use crate::model::{CallId, Protocol, Request};

use super::ask::{Answer, Question};
use super::context::Context;
use super::overrun::call_in;
use super::timers::Topic;
use super::{draft, ids, site};

/// Reported calls, until their request's deadline has passed.
#[derive(Debug, Default)]
pub(super) struct Outlived {
    calls: BTreeMap<CallId, Finding>,
    /// Those whose requests are being read.
    unread: BTreeMap<CallId, Unread>,
}

/// What will be reported as soon as its request is known better.
#[derive(Debug)]
struct Unread {
    finding: Finding,
    /// When the request's deadline has passed, monotonic ns.
    due_ns: u64,
}

impl Outlived {
    /// Reports a call that begins; if it is a mistake, looks at it once `wait_ns` have passed.
    pub(super) fn tell(
        &mut self,
        id: CallId,
        finding: Finding,
        wait_ns: i64,
        topic: Topic,
        cx: &mut Context<'_>,
    ) {
        let owner = cx.model.call(id).and_then(|call| call.owner);
        let request = owner.and_then(|owner| cx.model.request(owner));
        let wait_ns = u64::try_from(wait_ns).unwrap_or(0);
        if let Some(request) = request.filter(|request| is_unread(request)) {
            let question = Question::Request(cx.reading(request));
            let due_ns = cx.now_ns.saturating_add(wait_ns);
            ids::ask(request.id, topic, question, cx);
            cx.remember(&mut self.unread, id, Unread { finding, due_ns });
        } else {
            self.report(id, finding, wait_ns, topic, cx);
        }
    }

    fn report(
        &mut self,
        id: CallId,
        finding: Finding,
        wait_ns: u64,
        topic: Topic,
        cx: &mut Context<'_>,
    ) {
        let owner = cx.model.call(id).and_then(|call| call.owner);
        let Some(owner) = owner.filter(|_| finding.severity >= Severity::Warning) else {
            cx.report(finding);
            return;
        };
        cx.report_running(finding.clone(), owner);
        cx.remember(&mut self.calls, id, finding);
        cx.later(wait_ns, topic);
    }

    /// Looks at a call once `wait_ns` have passed.
    pub(super) fn watch(
        &mut self,
        id: CallId,
        shown: Finding,
        wait_ns: i64,
        topic: Topic,
        cx: &mut Context<'_>,
    ) {
        cx.remember(&mut self.calls, id, shown);
        cx.later(u64::try_from(wait_ns).unwrap_or(0), topic);
    }

    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.calls.retain(|_, shown| !whose(shown.process.pid));
        self.unread
            .retain(|_, unread| !whose(unread.finding.process.pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.calls.len() + self.unread.len()
    }

    /// The deadline has passed: is the goroutine still in the call?
    pub(super) fn look(&mut self, id: CallId, topic: Topic, cx: &mut Context<'_>) {
        let open = cx
            .model
            .call(id)
            .filter(|call| call.is_open() && cx.model.is_whole(call.epoch));
        let Some(call) = open else {
            self.calls.remove(&id);
            return;
        };
        let question = Question::work(call.goid, call.g, Vec::new(), None);
        cx.ask(call.pid, topic, question);
    }

    /// What was shown, if the goroutine is in it: an error now. What was not shown yet, for want of an answer about its
    /// request, is.
    pub(super) fn answer(
        &mut self,
        id: CallId,
        topic: Topic,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Option<Finding> {
        if let Some(unread) = self.unread.remove(&id) {
            self.described(id, unread, topic, answer, cx);
            return None;
        }
        let mut shown = self.calls.remove(&id)?;
        let Answer::Work(work) = answer else {
            return None;
        };
        let Inspection::Alive(goroutine) = &work.goroutine else {
            return None;
        };
        let call = cx.model.call(id)?;
        let stack = site::walked(cx.code, call.pid, &goroutine.stack, goroutine.stack_state);
        let sits = call_in(&stack, call.pid, call.goid, cx).is_some_and(|sits| sits.id == id);
        if !sits {
            return None;
        }
        shown.time_ns = cx.now_ns;
        shown.severity = Severity::Error;
        shown.evidence.call = Some(draft::call_evidence(call, cx.thresholds, cx.now_ns));
        shown.request = draft::request_of(cx, call.owner).or(shown.request);
        Some(shown)
    }

    fn described(
        &mut self,
        id: CallId,
        unread: Unread,
        topic: Topic,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) {
        let Unread {
            mut finding,
            due_ns,
        } = unread;
        let owner = cx.model.call(id).and_then(|call| call.owner);
        if let (Some(owner), Answer::Request { request, .. }) = (owner, answer)
            && let Some(details) = request
        {
            ids::keep(owner, details, cx);
        }
        finding.request = draft::request_of(cx, owner).or(finding.request);
        let wait_ns = due_ns.saturating_sub(cx.now_ns);
        self.report(id, finding, wait_ns, topic, cx);
    }
}

/// No probe reads a gRPC request's metadata, and nobody has asked for it.
const fn is_unread(request: &Request) -> bool {
    matches!(request.protocol, Protocol::Grpc(_))
        && request.details.is_none()
        && request.ended.is_none()
}
