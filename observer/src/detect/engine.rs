//! The pure core as one object: inputs in, findings and questions out.

use std::sync::Arc;

use crate::correlate::{JoinTotals, Told};
use crate::finding::{CancelledBy, DEFAULT_LIMIT, Emission, Finding, Merger, Phase};
use crate::model::{Code, Fact, GoroutineTotals, Health, Latency, Limits, Model, ReqId, Totals};
use crate::stream::Event;

use super::ask::{Answer, Ask};
use super::beside::Beside;
use super::cancel_ignored::CancelIgnored;
use super::cancel_not_called::CancelNotCalled;
use super::cancel_undelivered::CancelUndelivered;
use super::context::{Asks, Context, Thresholds};
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
use super::large_headers::LargeHeaders;
use super::left_behind::{Conclusion, LeftBehind};
use super::orphaned_downstream::OrphanedDownstream;
use super::overrun::Overrun;
use super::premature_cancel::PrematureCancel;
use super::relations::Relations;
use super::shutdown::Shutdowns;
use super::teller::Teller;
use super::timeout_mismatch::TimeoutMismatch;
use super::timeout_worker::TimeoutWorkers;
use super::timers::{Timers, Topic};
use super::waits::Waits;

/// Model, rules and merging. Deterministic: the same inputs in the same order give the same
/// findings.
#[derive(Debug)]
pub struct Engine {
    model: Model,
    rules: Rules,
    thresholds: Thresholds,
    timers: Timers,
    asks: Asks,
    waits: Waits,
    merger: Merger,
    relations: Relations,
    facts: Vec<Fact>,
    found: Vec<(Finding, Phase)>,
    emitted: Vec<Emission>,
    forgotten: u64,
    /// Latest time that was given, ns.
    now_ns: u64,
}

#[derive(Debug, Default)]
struct Rules {
    headers: LargeHeaders,
    overrun: Overrun,
    beside: Beside,
    left: LeftBehind,
    workers: TimeoutWorkers,
    ignored: CancelIgnored,
    derived: Derived,
    detached: DetachedContext,
    not_called: CancelNotCalled,
    premature: PrematureCancel,
    shutdowns: Shutdowns,
    undelivered: CancelUndelivered,
    dropped: DeadlineDropped,
    inflated: DeadlineInflated,
    mismatch: TimeoutMismatch,
    short: DeadlineTooShort,
    health: Counting,
    joins: Joins,
    not_forwarded: DeadlineNotForwarded,
    orphaned: OrphanedDownstream,
    leaks: GoroutineLeak,
    surges: GoroutineSurge,
    teller: Teller,
}

impl Engine {
    /// A new engine. The clock difference is realtime minus monotonic, ns.
    #[must_use]
    pub fn new(limits: Limits, thresholds: Thresholds, realtime_minus_monotonic_ns: i64) -> Self {
        let model = Model::new(limits, realtime_minus_monotonic_ns)
            .with_deadline_headers(thresholds.deadline_headers.clone());
        Self {
            model,
            rules: Rules::default(),
            thresholds,
            timers: Timers::default(),
            asks: Asks::default(),
            waits: Waits::default(),
            merger: Merger::new(DEFAULT_LIMIT),
            relations: Relations::default(),
            facts: Vec::new(),
            found: Vec::new(),
            emitted: Vec::new(),
            forgotten: 0,
            now_ns: 0,
        }
    }

    /// Takes an event that happened at `now_ns`, after everything that was due before.
    pub fn event(&mut self, event: Event<'_>, now_ns: u64, code: &dyn Code) {
        self.advance(now_ns, code);
        self.model.event(event, now_ns, code, &mut self.facts);
        if self.facts.is_empty() {
            return;
        }
        let mut facts = std::mem::take(&mut self.facts);
        for fact in facts.drain(..) {
            self.with(now_ns, code, |rules, cx| rules.fact(fact, cx));
        }
        self.facts = facts;
        self.merge();
    }

    /// Events were lost here. Gives how many running requests became unknown.
    pub fn loss(&mut self) -> u64 {
        // Whatever was asked was asked about what is unknown now.
        self.asks
            .waiting
            .retain(|_, (_, topic)| topic.needs_no_events());
        self.rules.forget_cases(|_| true);
        self.rules.joins.clear();
        self.model.loss()
    }

    /// Everything up to `now_ns` has been taken in.
    pub fn tick(&mut self, now_ns: u64, code: &dyn Code) {
        self.advance(now_ns, code);
        self.merger.tick(now_ns, &mut self.emitted);
    }

    fn advance(&mut self, now_ns: u64, code: &dyn Code) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some((at_ns, topic)) = self.timers.due(now_ns) {
            self.with(at_ns, code, |rules, cx| rules.timer(topic, cx));
            self.merge();
        }
    }

    /// The wall clock stands so from now on: it was stepped, or has drifted.
    pub const fn clock(&mut self, realtime_minus_monotonic_ns: i64) {
        self.model.set_clock(realtime_minus_monotonic_ns);
    }

    /// Takes the answer to a question.
    pub fn answer(&mut self, id: u64, answer: &Answer, now_ns: u64, code: &dyn Code) {
        let Some((pid, topic)) = self.asks.waiting.remove(&id) else {
            return;
        };
        if let Some(goroutine) = answer.goroutine() {
            self.waits.looked(pid, goroutine, now_ns);
        }
        self.with(now_ns, code, |rules, cx| rules.answer(topic, answer, cx));
        self.merge();
    }

    /// A process is observed from now on.
    pub fn process_started(&mut self, pid: u32) {
        if !self.thresholds.surges.is_off {
            let topic = self.rules.surges.begin(pid);
            self.timers.set(self.now_ns, topic);
        }
    }

    /// A process is no more: nothing about it will be learnt.
    pub fn process_ended(&mut self, pid: u32) {
        self.model.forget_process(pid);
        self.rules.forget_cases(|of| of == pid);
        self.rules.not_called.forget(pid, &self.model);
        self.rules.mismatch.forget(|of| of == pid);
        self.rules.short.forget(|of| of == pid);
        self.rules.leaks.forget_lines(pid);
        self.rules.surges.forget(pid);
        self.rules.joins.forget_gone(&self.model);
        self.waits.forget(pid);
    }

    /// The last words: counts that were not shown yet.
    pub fn finish(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.merger.flush(now_ns, &mut self.emitted);
    }

    /// Questions asked since the last time.
    pub fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks.open)
    }

    /// From now on every request and every call is told of.
    pub const fn tell_all(&mut self) {
        self.rules.teller.listen();
        self.rules.joins.tell();
    }

    /// What is told since the last time.
    pub fn take_told(&mut self) -> Vec<Told> {
        self.rules.teller.take()
    }

    /// Tells of what still runs.
    pub fn tell_rest(&mut self, now_ns: u64, code: &dyn Code) {
        self.with(now_ns, code, |rules, cx| rules.teller.rest(cx));
    }

    /// What is to be shown since the last time.
    pub fn take_emitted(&mut self) -> Vec<Emission> {
        std::mem::take(&mut self.emitted)
    }

    /// When the next timer is due, monotonic ns.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        self.timers.next_ns()
    }

    /// Counters of the model; what the rules had to forget is counted with it.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let totals = self.model.totals();
        Totals {
            evicted: totals.evicted + self.timers.dropped() + self.forgotten,
            ..totals
        }
    }

    /// From clients' closes, as the kernel saw them, to the cancels of their requests.
    #[must_use]
    pub const fn delivery(&self) -> &Latency {
        self.model.delivery()
    }

    /// How far cancels and deadlines travelled.
    #[must_use]
    pub fn health(&self) -> Health {
        let counting = &self.rules.health;
        counting.figures(self.now_ns, &self.model, &self.thresholds)
    }

    /// How many goroutines there are, and how many live on after their requests.
    #[must_use]
    pub fn goroutines(&self) -> GoroutineTotals {
        let totals = self.model.totals();
        GoroutineTotals {
            total: self.rules.surges.total(),
            started: totals.spawned,
            ended: totals.spawned_ended,
            outliving: self.model.outliving(),
            waiting: self.rules.leaks.waiting(),
        }
    }

    /// Calls that were joined to the requests that they led to, and what could not be told.
    #[must_use]
    pub const fn joins(&self) -> JoinTotals {
        self.rules.joins.totals()
    }

    /// Findings forgotten because the table was full.
    #[must_use]
    pub const fn findings_evicted(&self) -> u64 {
        self.merger.evicted()
    }

    /// The model, to look at.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Cases that wait for their end.
    #[cfg(test)]
    pub(super) fn cases(&self) -> usize {
        self.rules.overrun.len()
            + self.rules.beside.len()
            + self.rules.left.len()
            + self.rules.workers.len()
            + self.rules.ignored.len()
            + self.rules.derived.len()
            + self.rules.detached.len()
            + self.rules.undelivered.len()
            + self.rules.inflated.len()
            + self.rules.dropped.len()
            + self.rules.not_forwarded.len()
            + self.rules.orphaned.len()
            + self.rules.joins.cases.len()
            + self.rules.joins.unread.len()
            + self.rules.leaks.len()
    }

    fn with(
        &mut self,
        now_ns: u64,
        code: &dyn Code,
        work: impl FnOnce(&mut Rules, &mut Context<'_>),
    ) {
        let mut cx = Context {
            model: &mut self.model,
            code,
            thresholds: &self.thresholds,
            now_ns,
            timers: &mut self.timers,
            asks: &mut self.asks,
            waits: &self.waits,
            found: &mut self.found,
            forgotten: &mut self.forgotten,
        };
        work(&mut self.rules, &mut cx);
    }

    fn merge(&mut self) {
        if self.found.is_empty() {
            return;
        }
        for (mut finding, phase) in self.found.drain(..) {
            let (health, thresholds) = (&mut self.rules.health, &self.thresholds);
            health.found(
                &finding,
                phase,
                (&self.model, thresholds),
                &mut self.forgotten,
            );
            let others = if self.relations.relate(&mut finding) {
                finding.related.clone()
            } else {
                Vec::new()
            };
            let (id, now_ns) = (finding.id, finding.time_ns);
            self.merger.report(finding, phase, &mut self.emitted);
            for other in others {
                self.merger.relate(other, id, now_ns, &mut self.emitted);
            }
        }
    }
}

impl Rules {
    /// Forgets what is under way in the processes that `whose` names; what is remembered of their
    /// lines stays.
    fn forget_cases(&mut self, whose: impl Fn(u32) -> bool + Copy) {
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
    }

    fn fact(&mut self, fact: Fact, cx: &mut Context<'_>) {
        match fact {
            Fact::RequestStarted(request) => {
                if let Some(join) = self.joins.request_started(request, cx) {
                    self.not_forwarded.joined(join, cx);
                }
                self.headers.request_started(request, cx);
            }
            Fact::RequestCancelled(request) => {
                self.overrun.cancelled(request, cx);
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
                self.derived.request_ended(request, cx);
                if !self.overrun.watches(request) {
                    self.ignored.forget_request(request);
                    self.detached.forget_request(request);
                }
                self.not_called.request_ended(request, cx);
                self.undelivered.request_ended(request, cx);
                self.health.request_ended(request, cx);
                self.left.request_ended(request, cx);
                self.joins.request_ended(request, cx);
                self.orphaned.request_ended(request, cx);
                self.leaks.request_ended(request, cx);
                self.teller.request_ended(request, cx);
            }
            Fact::ContextCreated(ctx) => {
                self.workers.context_created(ctx, cx);
                self.not_called.context_created(ctx, cx);
                self.inflated.context_created(ctx, cx);
                self.short.context_created(ctx, cx);
            }
            Fact::ContextCancelled(ctx) => {
                self.workers.context_cancelled(ctx, &mut self.overrun, cx);
                self.derived.context_cancelled(ctx, cx);
                self.not_called.context_cancelled(ctx, cx);
                if let Some(pid) = self.shutdowns.expired(ctx, cx) {
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
            Fact::GoroutineStarted(id) => self.leaks.watch(id, cx),
            Fact::GoroutineEnded(id) => {
                self.leaks.goroutine_ended(id, cx);
                let over = self.left.goroutine_ended(id, cx);
                let owner = cx.model.spawned(id).map(|spawned| spawned.request);
                self.work_stopped(owner, over, cx);
            }
        }
    }

    fn timer(&mut self, topic: Topic, cx: &mut Context<'_>) {
        match topic {
            Topic::Overrun(request) => {
                self.beside.look(request, &self.overrun, cx);
                self.overrun.look(request, cx);
            }
            Topic::LeftBy(request) => self.left.look(request, cx),
            Topic::Behind(request, goid) => self.left.look_at(request, goid, cx),
            Topic::TimeoutSoon(ctx) => self.workers.look(ctx, cx),
            Topic::Derived(ctx) => self.derived.look(ctx, cx),
            Topic::NotCalled(ctx) => self.not_called.look(ctx, cx),
            Topic::PeerClosed(conn) => self.undelivered.look_for_requests(conn, cx),
            Topic::Undelivered(request) => self.undelivered.look(request, cx),
            Topic::Inflated(call) => self.inflated.look(call, cx),
            Topic::Dropped(call) => self.dropped.look(call, cx),
            Topic::LeftBehind(call) => self.detached.spawned.look(call, cx),
            Topic::Orphaned(request) => self.orphaned.look(request, cx),
            Topic::LateIds(request) => self.joins.read_ids(request, cx),
            Topic::SameConnection(request) => self.joins.look(request, cx),
            Topic::Settled(request) => {
                if let Some(join) = self.joins.settled(request, cx) {
                    self.not_forwarded.joined(join, cx);
                }
            }
            Topic::Tell(call) => self.teller.call(call, cx),
            Topic::Leak(id) => self.leaks.look(id, cx),
            Topic::Count(number) => self.surges.look(number, cx),
            Topic::TimeoutWorker(request) => self.workers.look_behind(request, &self.overrun, cx),
            Topic::LargeHeaders(_)
            | Topic::Beside(..)
            | Topic::Shutdown(_)
            | Topic::Detached(_)
            | Topic::Premature(_)
            | Topic::Peers(_)
            | Topic::ContextId(_)
            | Topic::Sent(_)
            | Topic::CallEnds(..)
            | Topic::RequestEnds(_)
            | Topic::NotForwarded(_)
            | Topic::Crowds(_)
            | Topic::WriteFailed(_) => {}
        }
    }

    fn answer(&mut self, topic: Topic, answer: &Answer, cx: &mut Context<'_>) {
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
            Topic::LargeHeaders(request) => LargeHeaders::answer(request, answer, cx),
            Topic::Derived(ctx) => self.derived.answer(ctx, answer, cx),
            Topic::Shutdown(ctx) => self.shutdowns.answer(ctx, answer, cx),
            Topic::NotCalled(ctx) => self.not_called.answer(ctx, answer, cx),
            Topic::Detached(call) => self.detached.answer(call, answer, cx),
            Topic::Inflated(call) => self.inflated.answer(call, answer, cx),
            Topic::Dropped(call) => self.dropped.answer(call, answer, cx),
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
            Topic::Leak(id) => self.leaks.answer(id, answer, cx),
            Topic::Count(number) => self.surges.counted(number, answer, cx),
            Topic::Crowds(number) => self.surges.answer(number, answer, cx),
            Topic::Sent(call) => {
                ids::sent_answer(call, answer, cx);
                for join in self.joins.sent(call, cx) {
                    self.not_forwarded.joined(join, cx);
                }
            }
            Topic::LateIds(request) => {
                if let Some(join) = self.joins.ids_answer(request, answer, cx) {
                    self.not_forwarded.joined(join, cx);
                }
            }
            Topic::CallEnds(request, call) => self.joins.call_answer(request, call, answer, cx),
            Topic::RequestEnds(request) => self.joins.request_answer(request, answer, cx),
            Topic::PeerClosed(_)
            | Topic::Tell(_)
            | Topic::SameConnection(_)
            | Topic::Settled(_)
            | Topic::LeftBy(_) => {}
        }
    }

    /// One root cause, one finding: work on a detached context is detached-context's, any other
    /// work after a cancel is cancel-ignored's.
    fn show(&mut self, over: Option<Arc<super::overrun::Over>>, cx: &mut Context<'_>) {
        let Some(over) = over else { return };
        self.health.overran(&over, cx);
        if over.by == CancelledBy::Shutdown && !over.ended {
            self.shutdowns.began(over.pid, cx);
        }
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
}

fn waits(call: crate::model::CallId, cx: &Context<'_>) -> bool {
    let kind = cx.model.call(call).map(|call| call.kind);
    kind == Some(crate::model::CallKind::SqlConn)
}
