//! Calls that go on although the request's deadline has passed.
//!
//! Shared by the rules that report such a call when it begins: what becomes of it is the same
//! occurrence, grown.

use std::collections::BTreeMap;

use crate::finding::{Finding, Severity};
use crate::inspect::Inspection;
use crate::model::CallId;

use super::ask::{Answer, Question};
use super::context::Context;
use super::overrun::call_in;
use super::timers::Topic;
use super::{draft, site};

/// Reported calls, until their request's deadline has passed.
#[derive(Debug, Default)]
pub(super) struct Outlived {
    calls: BTreeMap<CallId, Finding>,
}

impl Outlived {
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
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.calls.len()
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

    /// What was shown, if it is: an error now.
    pub(super) fn answer(
        &mut self,
        id: CallId,
        answer: &Answer,
        cx: &Context<'_>,
    ) -> Option<Finding> {
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
}
