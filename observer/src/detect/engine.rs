//! The pure core as one object: inputs in, findings and questions out.

use crate::correlate::{JoinTotals, Told};
use crate::finding::{DEFAULT_LIMIT, Emission, Finding, Merger, Phase};
use crate::model::{Code, Fact, GoroutineTotals, Health, Latency, Limits, Model, Totals};
use crate::stream::Event;

use super::ask::{Answer, Ask};
use super::context::{Asks, Context, Thresholds};
use super::relations::Relations;
use super::rules::Rules;
use super::timers::Timers;
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
        self.rules.joins.sees(pid);
        let topic = self.rules.listings.begin(pid);
        let first_ns = self
            .now_ns
            .saturating_add(self.thresholds.leaks.interval_ns());
        self.timers.set(first_ns, topic);
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
        self.rules.listings.forget(pid);
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
            looks: self.model.is_looked_through(),
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
        self.rules.cases()
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
