//! What a request's other goroutines do while its handler, cancelled, waits for them.

use std::collections::BTreeMap;

use crate::finding::{GoroutineEvidence, WorkState};
use crate::inspect::Inspection;
use crate::model::ReqId;

use super::ask::{Answer, Question};
use super::context::Context;
use super::descendants::{self, AtWork};
use super::overrun::{Over, Overrun};
use super::spawned::waits_for_others;
use super::timers::Topic;

/// Functions that wait for goroutines which the waiter has started.
const JOINS: [&str; 2] = [
    "sync.(*WaitGroup).Wait",
    "golang.org/x/sync/errgroup.(*Group).Wait",
];

/// Looks that wait for the look at the handler.
#[derive(Debug, Default)]
pub(super) struct Beside {
    seen: BTreeMap<(ReqId, u64), (u32, AtWork)>,
}

impl Beside {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.seen.retain(|_, (pid, _)| !whose(*pid));
    }

    /// Forgets a request.
    pub(super) fn forget_request(&mut self, id: ReqId) {
        self.seen.retain(|(of, _), _| *of != id);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// The handler is about to be looked at; what its goroutines do is to be known by then.
    pub(super) fn look(&self, id: ReqId, overrun: &Overrun, cx: &mut Context<'_>) {
        if !overrun.is_about_to_tell(id) {
            return;
        }
        let Some(request) = cx.model.request(id) else {
            return;
        };
        if !cx.model.is_whole(request.epoch) {
            return;
        }
        let (pid, contexts) = (request.pid, descendants::contexts_of(request, cx));
        for (goid, g) in descendants::of(request, cx) {
            let question = Question::work(goid, g, contexts.clone(), None);
            cx.ask(pid, Topic::Beside(id, goid), question);
        }
    }

    /// What one of them does.
    pub(super) fn answer(&mut self, id: ReqId, goid: u64, answer: &Answer, cx: &mut Context<'_>) {
        self.seen.remove(&(id, goid));
        let Answer::Work(work) = answer else { return };
        let Inspection::Alive(goroutine) = &work.goroutine else {
            return;
        };
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let pid = request.pid;
        if let Some(at_work) = descendants::see(request, goroutine, &work.waits_on, cx) {
            cx.remember(&mut self.seen, (id, goid), (pid, at_work));
        }
    }

    /// The goroutine that works while the handler waits. One that waits, too, is told only where the handler waits for it.
    pub(super) fn told(&mut self, over: &Over, cx: &Context<'_>) -> Option<Box<GoroutineEvidence>> {
        let all = self
            .seen
            .range((over.request, 0)..=(over.request, u64::MAX));
        let mut all: Vec<AtWork> = all.map(|(_, (_, at_work))| at_work.clone()).collect();
        self.forget_request(over.request);
        let handler = over.seen.as_ref()?;
        let unit = cx.unit(over.pid)?;
        let reason = handler.wait_reason.as_deref();
        let rests = handler.state == WorkState::Waiting
            && handler.call.is_none()
            && waits_for_others(reason, &handler.stack, &unit);
        if !rests {
            return None;
        }
        let mut frames = handler.stack.iter();
        let joins = frames.any(|frame| JOINS.contains(&&*frame.function));
        all.retain(|at_work| at_work.goid != over.goid && (at_work.alone || joins));
        // Those that wait may wait for the one that does not.
        if all.iter().any(|at_work| at_work.alone) {
            all.retain(|at_work| at_work.alone);
        }
        let (first, others) = all.split_first()?;
        Some(first.evidence(u64::try_from(others.len()).unwrap_or(u64::MAX)))
    }
}
