//! Which rule hears of what: facts, timers and answers, each to those that it concerns, in an order that matters.

use std::sync::Arc;

use crate::correlate::Join;
use crate::model::{CallId, CallKind, Fact, ReqId, Told};

use super::ask::Answer;
use super::beside::Beside;
use super::cancel_ignored::CancelIgnored;
use super::cancel_not_called::CancelNotCalled;
use super::cancel_undelivered::CancelUndelivered;
use super::context::Context;
use super::deadline_dropped::DeadlineDropped;
use super::deadline_inflated::DeadlineInflated;
use super::deadline_not_forwarded::DeadlineNotForwarded;
use super::deadline_too_short::DeadlineTooShort;
use super::derived::Derived;
use super::detached_context::DetachedContext;
use super::goroutine_leak::GoroutineLeak;
use super::goroutine_surge::GoroutineSurge;
use super::health::Counting;
use super::ids;
use super::joins::Joins;
use super::keys;
use super::large_headers::LargeHeaders;
use super::left_behind::{Conclusion, LeftBehind};
use super::listings::Listings;
use super::orphaned_downstream::OrphanedDownstream;
use super::overrun::{Over, Overrun};
use super::premature_cancel::PrematureCancel;
use super::shutdown::Shutdowns;
use super::teller::Teller;
use super::timeout_mismatch::TimeoutMismatch;
use super::timeout_worker::TimeoutWorkers;
use super::timers::Topic;

/// All of them, and what they share.
#[derive(Debug, Default)]
pub(super) struct Rules {
    headers: LargeHeaders,
    overrun: Overrun,
    beside: Beside,
    left: LeftBehind,
    workers: TimeoutWorkers,
    ignored: CancelIgnored,
    derived: Derived,
    detached: DetachedContext,
    pub(super) not_called: CancelNotCalled,
    premature: PrematureCancel,
    shutdowns: Shutdowns,
    undelivered: CancelUndelivered,
    dropped: DeadlineDropped,
    inflated: DeadlineInflated,
    pub(super) mismatch: TimeoutMismatch,
    pub(super) short: DeadlineTooShort,
    pub(super) health: Counting,
    pub(super) joins: Joins,
    not_forwarded: DeadlineNotForwarded,
    orphaned: OrphanedDownstream,
    pub(super) leaks: GoroutineLeak,
    pub(super) listings: Listings,
    pub(super) surges: GoroutineSurge,
    pub(super) teller: Teller,
}

impl Rules {
    /// Forgets what is under way in the processes that `whose` names; what is remembered of their
    /// lines stays.
    pub(super) fn forget_cases(&mut self, whose: impl Fn(u32) -> bool + Copy) {
        self.overrun.forget(whose);
        self.beside.forget(whose);
        self.left.forget(whose);
        self.workers.forget(whose);
        self.ignored.forget(whose);
        self.derived.forget(whose);
        self.detached.forget(whose);
        self.shutdowns.forget(whose);
        self.undelivered.forget(whose);
        self.inflated.forget(whose);
        self.dropped.forget(whose);
        self.health.forget(whose);
        self.not_forwarded.forget(whose);
        self.orphaned.forget(whose);
        self.leaks.forget(whose);
        self.premature.forget(whose);
    }

    pub(super) fn fact(&mut self, fact: Fact, cx: &mut Context<'_>) {
        match fact {
            Fact::RequestStarted(request) => {
                if let Some(join) = self.joins.request_started(request, cx) {
                    self.joined(join, cx);
                }
                self.headers.request_started(request, cx);
                self.teller.request_started(request, cx);
            }
            Fact::RequestCancelled(request) => {
                self.overrun.cancelled(request, cx);
                self.shutdowns.request_cancelled(request, cx);
                self.premature.request_cancelled(request, cx);
                self.undelivered.request_cancelled(request, cx);
                self.detached.spawned.request_cancelled(request, cx);
                self.mismatch.request_cancelled(request, cx);
                self.health.request_cancelled(request, cx);
            }
            Fact::RequestEnded(request) => {
                let over = self.overrun.ended(request, cx);
                self.show(over, cx);
                self.beside.forget_request(request);
                self.detached.past.request_ended(request, cx);
                self.derived.request_ended(request, cx);
                if !self.overrun.watches(request) {
                    self.ignored.forget_request(request);
                    self.detached.forget_request(request);
                }
                self.joins.ask_ended(request, cx);
                self.not_called.request_ended(request, cx);
                self.undelivered.request_ended(request, cx);
                self.health.request_ended(request, cx);
                self.left.request_ended(request, cx);
                self.joins.request_ended(request, cx);
                self.orphaned.request_ended(request, cx);
                self.leaks.request_ended(request, cx);
                self.teller.request_ended(request, cx);
            }
            Fact::AnswerFailed(request) => self.mismatch.answer_failed(request, cx),
            Fact::ContextCreated(ctx) => {
                self.workers.context_created(ctx, cx);
                self.shutdowns.context_created(ctx, cx);
                self.not_called.context_created(ctx, cx);
                self.inflated.context_created(ctx, cx);
                self.short.context_created(ctx, cx);
            }
            Fact::ContextCancelled(ctx) => {
                self.workers.context_cancelled(ctx, &mut self.overrun, cx);
                self.derived.context_cancelled(ctx, cx);
                self.not_called.context_cancelled(ctx, cx);
                if let Some(pid) = self.shutdowns.expired(ctx, cx) {
                    self.overrun.shutdown_expired(pid);
                    self.ignored.shutdown_expired(pid, cx);
                }
                self.mismatch.context_cancelled(ctx, cx);
                self.short.context_cancelled(ctx, cx);
            }
            Fact::CancelCalled(ctx) => {
                self.not_called.cancel_called(ctx, cx);
                self.derived.cancel_called(ctx, cx);
                let over = self.left.cancel_called(ctx, cx);
                let owner = cx.model.context(ctx).and_then(|ctx| ctx.owner);
                self.work_stopped(owner, over, cx);
            }
            // What waits for a connection is told of when it has one, unless it cannot get any.
            Fact::CallStarted(call) if waits(call, cx) => self.premature.call_started(call, cx),
            Fact::CallStarted(call) => {
                self.joins.call_started(call, cx);
                self.teller.call_started(call, cx);
                self.detached.call_started(call, cx);
                self.premature.call_started(call, cx);
                self.inflated.call_started(call, cx);
                self.dropped.call_started(call, cx);
                self.mismatch.call_started(call, cx);
            }
            Fact::CallResumed(call) => {
                self.joins.call_ended(call);
                self.joins.call_started(call, cx);
            }
            Fact::CallEnded(call) => {
                self.teller.call_ended(call, cx);
                if let Some(join) = self.joins.call_ended(call) {
                    self.orphaned.call_ended(call, join, cx);
                }
                let over = self.left.call_ended(call, cx);
                let owner = cx.model.call(call).and_then(|call| call.owner);
                self.work_stopped(owner, over, cx);
            }
            Fact::CallFailed(call) => self.premature.call_failed(call, cx),
            Fact::BodyFailed(call) => self.premature.body_failed(call, cx),
            Fact::PeerClosed(conn) => self.undelivered.peer_closed(conn, cx),
            Fact::ConnectionOver(netns, peer) => self.leaks.connection_over(netns, peer, cx),
            Fact::GoroutineStarted(id) => self.leaks.watch(id, cx),
            Fact::GoroutineEnded(id) => {
                self.leaks.goroutine_ended(id, cx);
                // Of an end that was not told, the time is not known.
                let told = cx.model.spawned(id).map(|spawned| spawned.told);
                if told != Some(Told::Event) {
                    return;
                }
                let over = self.left.goroutine_ended(id, cx);
                let owner = cx.model.spawned(id).map(|spawned| spawned.request);
                self.work_stopped(owner, over, cx);
            }
        }
    }

    pub(super) fn timer(&mut self, topic: Topic, cx: &mut Context<'_>) {
        match topic {
            Topic::Overrun(request) => {
                self.beside.look(request, &self.overrun, cx);
                self.overrun.look(request, cx);
            }
            Topic::LeftBy(request) => self.left.look(request, cx),
            Topic::Behind(request, goid) => self.left.look_at(request, goid, cx),
            Topic::TimeoutSoon(ctx) => self.workers.look(ctx, cx),
            Topic::Derived(ctx) => self.derived.look(ctx, cx),
            Topic::Shutdown(ctx) => self.shutdowns.look(ctx, cx),
            Topic::NotCalled(ctx) => self.not_called.look(ctx, cx),
            Topic::OldContexts => self.not_called.search(cx),
            Topic::PeerClosed(conn) => self.undelivered.look_for_requests(conn, cx),
            Topic::Undelivered(request) => self.undelivered.look(request, cx),
            Topic::Inflated(call) => self.inflated.look(call, cx),
            Topic::Dropped(call) => self.dropped.look(call, cx),
            Topic::PastDeadline(call) => self.detached.past.look(call, cx),
            Topic::LeftBehind(call) => self.detached.spawned.look(call, cx),
            Topic::Orphaned(request) => self.orphaned.look(request, cx),
            Topic::LateIds(request) => {
                if let Some(join) = self.joins.read_ids(request, cx) {
                    self.joined(join, cx);
                }
            }
            Topic::SameConnection(request) => self.joins.look(request, cx),
            Topic::Settled(request) => {
                if let Some(join) = self.joins.settled(request, cx) {
                    self.joined(join, cx);
                }
            }
            Topic::Tell(call) => self.teller.call(call, cx),
            Topic::CallOn(call) => {
                let may = |now_ns| self.joins.may_read(1, now_ns);
                self.teller.ends.look_at_call(call, may, cx);
            }
            Topic::RequestOn(request) => {
                let may = |now_ns| self.joins.may_read(1, now_ns);
                self.teller.ends.look_at_request(request, may, cx);
            }
            Topic::Leak(id) => self.leaks.look(id, cx),
            Topic::Premature(request) => self.premature.settled(request, cx),
            Topic::References(pid) => self.leaks.search(pid, cx),
            Topic::Listing(number) => self.listings.look(number, cx),
            Topic::Listed(number) => {
                for fact in self.listings.settled(number, cx) {
                    self.fact(fact, cx);
                }
            }
            Topic::Count(number) => self.surges.look(number, cx),
            Topic::TimeoutWorker(request) => self.workers.look_behind(request, &self.overrun, cx),
            Topic::LargeHeaders(_)
            | Topic::Beside(..)
            | Topic::Detached(_)
            | Topic::Peers(_)
            | Topic::ContextId(_)
            | Topic::Keys(_)
            | Topic::Sent(_)
            | Topic::OwnIds(_)
            | Topic::CallEnds(..)
            | Topic::RequestEnds(_)
            | Topic::NotForwarded(_)
            | Topic::Crowds(_)
            | Topic::WriteFailed(_) => {}
        }
    }

    pub(super) fn answer(&mut self, topic: Topic, answer: &Answer, cx: &mut Context<'_>) {
        match topic {
            Topic::Overrun(request) => {
                let over = self.overrun.answer(request, answer, cx);
                self.show(over, cx);
            }
            Topic::Beside(request, goid) => self.beside.answer(request, goid, answer, cx),
            Topic::Behind(request, goid) => {
                let conclusion = self.left.answer(request, goid, answer, cx);
                if let Some(Conclusion::Works(goid)) = conclusion {
                    self.health.works_on(request, goid, cx);
                } else {
                    self.work_stopped(Some(request), conclusion, cx);
                }
            }
            Topic::TimeoutSoon(ctx) => self.workers.soon_answer(ctx, answer, cx),
            Topic::TimeoutWorker(request) => {
                self.workers
                    .late_answer(request, answer, &mut self.overrun, cx);
            }
            Topic::Derived(ctx) => self.derived.answer(ctx, answer, cx),
            Topic::Shutdown(ctx) => self.shutdowns.answer(ctx, answer, cx),
            Topic::NotCalled(ctx) => self.not_called.answer(ctx, answer, cx),
            Topic::Detached(call) => self.detached.answer(call, answer, cx),
            Topic::Inflated(call) => self.inflated.answer(call, answer, cx),
            Topic::Dropped(call) => self.dropped.answer(call, answer, cx),
            Topic::PastDeadline(call) => self.detached.past.answer(call, answer, cx),
            Topic::LeftBehind(call) => self.detached.spawned.answer(call, answer, cx),
            Topic::NotForwarded(request) => {
                self.not_forwarded.answer(request, answer, &self.joins, cx);
            }
            Topic::Orphaned(request) => self.orphaned.answer(request, answer, cx),
            Topic::WriteFailed(request) => self.mismatch.write_answer(request, answer, cx),
            Topic::Premature(request) => self.premature.request_answer(request, answer, cx),
            Topic::Peers(number) => self.undelivered.peers_answer(number, answer, cx),
            Topic::Undelivered(request) => self.undelivered.answer(request, answer, cx),
            Topic::ContextId(request) => ids::context_answer(request, answer, cx),
            Topic::Keys(request) => keys::answer(request, answer, cx),
            Topic::Leak(id) => self.leaks.answer(id, answer, cx),
            Topic::References(pid) => self.leaks.searched(pid, answer, cx),
            Topic::Listing(number) => self.listings.answer(number, answer, cx),
            Topic::Count(number) => self.surges.counted(number, answer, cx),
            Topic::Crowds(number) => self.surges.answer(number, answer, cx),
            Topic::Sent(call) => {
                ids::sent_answer(call, answer, cx);
                for join in self.joins.sent(call, cx) {
                    self.joined(join, cx);
                }
            }
            Topic::LateIds(request) => {
                if let Some(join) = self.joins.ids_answer(request, answer, cx) {
                    self.joined(join, cx);
                }
            }
            Topic::LargeHeaders(request) | Topic::OwnIds(request) => {
                ids::keep_answer(request, answer, cx);
            }
            Topic::CallOn(call) => self.teller.ends.call_answer(call, answer, cx),
            Topic::RequestOn(request) => self.teller.ends.request_answer(request, answer, cx),
            Topic::CallEnds(request, call) => self.joins.call_answer(request, call, answer, cx),
            Topic::RequestEnds(request) => self.joins.request_answer(request, answer, cx),
            Topic::PeerClosed(_)
            | Topic::OldContexts
            | Topic::Listed(_)
            | Topic::Tell(_)
            | Topic::SameConnection(_)
            | Topic::Settled(_)
            | Topic::LeftBy(_) => {}
        }
    }

    /// It is known which request a call led to.
    fn joined(&mut self, join: Join, cx: &mut Context<'_>) {
        self.joins.ask_caller(join, cx);
        self.not_forwarded.joined(join, cx);
    }

    /// One root cause, one finding: work on a detached context is detached-context's, any other
    /// work after a cancel is cancel-ignored's.
    fn show(&mut self, over: Option<Arc<Over>>, cx: &mut Context<'_>) {
        let Some(over) = over else { return };
        self.health.overran(&over, cx);
        let beside = self.beside.told(&over, cx);
        if !self.detached.overran(&over, cx) {
            self.ignored.overran(&over, beside, cx);
        }
    }

    /// Something that a request's other goroutines did is over.
    fn work_stopped(
        &mut self,
        request: Option<ReqId>,
        over: Option<Conclusion>,
        cx: &mut Context<'_>,
    ) {
        let Some(request) = request else { return };
        if over == Some(Conclusion::Stopped) {
            self.health.stopped(request, cx.now_ns, cx);
        }
        if !self.left.is_told(request) {
            self.health.work_stopped(request, cx);
        }
    }

    /// Cases that wait for their end.
    #[cfg(test)]
    pub(super) fn cases(&self) -> usize {
        self.overrun.len()
            + self.beside.len()
            + self.left.len()
            + self.workers.len()
            + self.ignored.len()
            + self.derived.len()
            + self.detached.len()
            + self.undelivered.len()
            + self.inflated.len()
            + self.dropped.len()
            + self.not_forwarded.len()
            + self.orphaned.len()
            + self.joins.cases.len()
            + self.joins.unread.len()
            + self.leaks.len()
            + self.premature.len()
    }
}

fn waits(call: CallId, cx: &Context<'_>) -> bool {
    let kind = cx.model.call(call).map(|call| call.kind);
    kind == Some(CallKind::SqlConn)
}
