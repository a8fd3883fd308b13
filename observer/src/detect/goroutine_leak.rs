//! # goroutine-leak
//!
//! A goroutine that a request has started is stuck after the request's end.
//!
//! ## What it finds
//!
//! Goroutines of a request, started by its handler or by goroutines that it started, that live on after the request has
//! ended and wait:
//!
//! - for ever: on a nil channel, or in a `select` without cases;
//! - for something other than the `Done` of their own context, which died more than the grace time ago and whose
//!   CancelFunc they have not called yet, so they are still inside its scope;
//! - in the same wait for longer than `--leak-after` past the end of the request, where at least three goroutines of
//!   one `go` line do so, started by three requests, and none of that line has ended so late.
//!
//! It follows goroutines from their start to their end, which costs a trap for each: only with `--goroutines`.
//!
//! `at` is the line of the `go` statement; where `errgroup` or `sync.WaitGroup.Go` contains it, the line that calls
//! those. `stack` shows where the goroutine waits, `live` how many of that line have outlived their requests now,
//! `per_hour` how fast they became so many (from a minute on), `stack_bytes` the stack that they hold, as far as they were
//! looked at.
//!
//! ## Why it matters
//!
//! A goroutine that nobody wakes keeps its stack, all that it refers to, and often a connection or a lock. One in a
//! thousand requests is enough: memory grows by the day, and the service ends when there is none left.
//!
//! ## Example
//!
//! ```go
//! func GetPrice(w http.ResponseWriter, r *http.Request) {
//! 	prices := make(chan Price)
//! 	// Nobody receives after the timeout: then it waits for ever.
//! 	go func() { prices <- ask(r.Context()) }()
//! 	select {
//! 	case price := <-prices:
//! 		write(w, price)
//! 	case <-time.After(time.Second):
//! 		http.Error(w, "too slow", http.StatusGatewayTimeout)
//! 	}
//! }
//! ```
//!
//! Three such requests, as observer shows them with `--goroutines --leak-after 2s`:
//!
//! ```text
//! warning[goroutine-leak]: goroutine still waits 2.77 s after the end of its
//!     request
//!   request  GET /sender   id sender-0 (X-Request-Id)
//!   at       main.sender   aged.go:55   chan send   3 live, 6.0 KiB of stack
//!   time     0 start ───────────── 45.4 µs returned
//!   help     give it a way out: room in the channel, or its context's Done in
//!            every wait
//! ```
//!
//! ## How to fix
//!
//! Give every goroutine a way out that does not depend on somebody else: room in the channel for what it sends, or its
//! context's `Done` in every wait:
//!
//! ```go
//! prices := make(chan Price, 1)
//! ```
//!
//! ```go
//! select {
//! case prices <- price:
//! case <-ctx.Done():
//! }
//! ```
//!
//! ## How sure
//!
//! High, error, after five seconds (or `--leak-after`): nothing wakes a goroutine from a nil channel or an empty
//! `select`; and one that waits inside the scope of a dead context without its `Done` was seen to. By age: medium, warning. It
//! was looked at every few seconds and waited there each time; a goroutine that works between two looks, makes no context
//! and no call, and waits at the same line again looks the same. Where what the garbage collector notes proves that
//! it was one wait, the time is shown that it has taken at least; where not, none is.
//!
//! ## When silent
//!
//! - goroutines that run, or were heard of since: they made a context or a call;
//! - goroutines that end, however late, and from then on all of that line by age; while nobody knows that yet, a job
//!   that waits for longer than `--leak-after` in one place is taken for a leak;
//! - goroutines that sleep, wait for the network, or for a new timer each time, wake by themselves: twice that time;
//! - those of a connection that the handler took over, of the standard library and of plumbing (connections,
//!   pools, exporters), and all that descend from those;
//! - where a `Done` of a dead context is among what it waits for: it is about to leave;
//! - where the hooks of goroutines are off; goroutines that were started before observer came, or of which events
//!   were lost.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Fingerprint, RequestInfo, RuleName};
use crate::inspect::{Goroutine, Inspection};
use crate::model::{GoId, ReqId};

use super::ask::{Answer, Question, Work};
use super::context::Context;
use super::draft;
use super::lasting::Wait;
use super::leak_finding::{Kind, KindOf, dead_context, finding, waits_for_dead};
use super::origin::{self, Origin};
use super::timers::Topic;
use super::waits::is_for_ever;

/// Requests that have left a goroutine of one line behind, before age alone says something.
const REQUESTS: usize = 3;
/// Goroutines of one line that are looked at, until it is told; the others are only counted.
const LOOKED_AT: usize = 64;
/// Goroutines remembered of all lines.
const CASES: usize = 16_384;
/// Lines remembered.
const LINES: usize = 4096;
/// Looks within the time that makes a leak by age.
const LOOKS: u64 = 4;
/// Least time between two looks, ns.
const LEAST_NS: u64 = 100_000_000;
/// Contexts of a request on whose `Done` its goroutines may wait.
const CONTEXTS: usize = 64;
/// A rate is told from so much time, ns.
const RATE_NS: u64 = 60_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;
/// So many times as long for loops of waits.
const TIMES: u64 = 2;

/// When a goroutine that has outlived its request is a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeakTimes {
    /// By its age alone, ns.
    pub after_ns: u64,
    /// Where nothing can wake it, ns.
    pub proved_after_ns: u64,
}

impl Default for LeakTimes {
    fn default() -> Self {
        Self {
            after_ns: 30_000_000_000,
            proved_after_ns: 5_000_000_000,
        }
    }
}

impl LeakTimes {
    /// Between two looks at one goroutine, ns.
    fn interval_ns(&self) -> u64 {
        (self.after_ns / LOOKS)
            .min(self.proved_after_ns)
            .max(LEAST_NS)
    }
}

/// The rule.
#[derive(Debug, Default)]
pub(super) struct GoroutineLeak {
    /// Goroutines that have outlived their requests.
    cases: BTreeMap<GoId, Case>,
    lines: BTreeMap<(u32, Fingerprint), Line>,
}

/// What is known of the goroutines of one `go` line.
#[derive(Debug, Default)]
struct Line {
    /// One has ended later than what makes a leak by age.
    ends_late: bool,
    /// A leak by age was told.
    told: bool,
    /// Those that are looked at.
    looked_at: BTreeSet<GoId>,
    /// Those that are only counted: the oldest takes the place of one that is gone.
    counted: BTreeSet<GoId>,
    /// Those that have waited for long enough, with their requests.
    ripe: BTreeMap<GoId, ReqId>,
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) line: (u32, Fingerprint),
    pub(super) origin: Origin,
    pub(super) request: ReqId,
    /// The request, described at the first look.
    pub(super) info: Option<RequestInfo>,
    /// Its end, ns.
    pub(super) ended_ns: u64,
    /// The wait that it was seen in last.
    pub(super) wait: Option<Wait>,
    /// Stack that it held then, bytes.
    pub(super) stack_bytes: u64,
    /// It was looked for and not found, and nobody has told of its end yet.
    is_missed: bool,
    pub(super) told: bool,
}

impl GoroutineLeak {
    /// Forgets what belongs to processes that `whose` names; what is remembered of their lines stays.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.cases.retain(|_, case| !whose(case.line.0));
        for ((pid, _), line) in &mut self.lines {
            if whose(*pid) {
                line.looked_at.clear();
                line.counted.clear();
                line.ripe.clear();
            }
        }
    }

    /// Forgets the lines of a process that has ended.
    pub(super) fn forget_lines(&mut self, pid: u32) {
        self.lines.retain(|(of, _), _| *of != pid);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    /// A request has ended: who is left of it?
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let left = cx.model.request(id).map(|request| request.spawned.clone());
        for left in left.into_iter().flatten() {
            self.watch(left, cx);
        }
    }

    /// Watches a goroutine whose request has ended, maybe before it began.
    pub(super) fn watch(&mut self, id: GoId, cx: &mut Context<'_>) {
        let Some(spawned) = cx.model.spawned(id) else {
            return;
        };
        let Some(request) = cx.model.request(spawned.request) else {
            return;
        };
        let (Some(ended_ns), Some(unit)) = (request.ended_ns(), cx.unit(spawned.pid)) else {
            return;
        };
        if !cx.model.is_whole(request.epoch) {
            return;
        }
        let Some(origin) = origin::of(spawned, &unit, cx) else {
            return;
        };
        let module = &unit.process.module;
        let key = Fingerprint::of(RuleName::GoroutineLeak, module, Some(&origin.site));
        let (key, request) = ((spawned.pid, key), request.id);
        if self.lines.len() >= LINES && !self.lines.contains_key(&key) {
            *cx.forgotten += 1;
            return;
        }
        let line = self.lines.entry(key).or_default();
        let is_looked_at = line.looked_at.len() < LOOKED_AT;
        if self.cases.len() >= CASES {
            *cx.forgotten += 1;
            // A line that has enough of them must not make others blind, nor itself.
            if !is_looked_at {
                return;
            }
            self.make_room(cx);
        }
        let line = self.lines.entry(key).or_default();
        if is_looked_at {
            line.looked_at.insert(id);
        } else {
            line.counted.insert(id);
        }
        let case = Case {
            line: key,
            origin,
            request,
            info: None,
            ended_ns,
            wait: None,
            stack_bytes: 0,
            is_missed: false,
            told: false,
        };
        self.cases.insert(id, case);
        if is_looked_at {
            cx.later(cx.thresholds.grace_ns, Topic::Leak(id));
        }
    }

    /// Forgets one goroutine: the youngest of the line that has the most to count, or else the oldest of all.
    fn make_room(&mut self, cx: &mut Context<'_>) {
        let fullest = self.lines.values().max_by_key(|line| line.counted.len());
        let youngest = fullest.and_then(|line| line.counted.last().copied());
        let oldest = || self.cases.keys().next().copied();
        if let Some(id) = youngest.or_else(oldest) {
            self.drop_case(id, cx);
        }
    }

    /// It has ended after all.
    pub(super) fn goroutine_ended(&mut self, id: GoId, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get(&id) else {
            return;
        };
        let (line, age_ns) = (case.line, cx.now_ns.saturating_sub(case.ended_ns));
        let late = age_ns > cx.thresholds.leaks.after_ns;
        self.drop_case(id, cx);
        if late && let Some(line) = self.lines.get_mut(&line) {
            line.ends_late = true;
        }
    }

    fn drop_case(&mut self, id: GoId, cx: &mut Context<'_>) {
        let case = self.cases.remove(&id);
        let Some(line) = case.and_then(|case| self.lines.get_mut(&case.line)) else {
            return;
        };
        line.counted.remove(&id);
        line.ripe.remove(&id);
        if line.looked_at.remove(&id)
            && let Some(next) = line.counted.pop_first()
        {
            line.looked_at.insert(next);
            cx.later(LEAST_NS, Topic::Leak(next));
        }
    }

    /// Time to look at it.
    pub(super) fn look(&mut self, id: GoId, cx: &mut Context<'_>) {
        // One that was told with others of its line has a look to come.
        let Some(case) = self.cases.get(&id).filter(|case| !case.told) else {
            return;
        };
        let Some(spawned) = cx.model.spawned(id) else {
            self.drop_case(id, cx);
            return;
        };
        let request = cx.model.request(case.request);
        let made = request.into_iter().flat_map(|request| {
            let contexts = request.contexts.iter().rev().take(CONTEXTS);
            contexts.chain([&request.root]).copied().collect::<Vec<_>>()
        });
        let contexts = made
            .filter_map(|ctx| cx.model.context(ctx).map(|ctx| ctx.ptr))
            .collect();
        let reading = request
            .filter(|_| case.info.is_none())
            .map(Context::reading_of_conn);
        let question = Question::work(spawned.goid, spawned.g, contexts, reading);
        cx.ask(spawned.pid, Topic::Leak(id), question);
    }

    /// What it does.
    pub(super) fn answer(&mut self, id: GoId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Work(work) = answer else {
            self.drop_case(id, cx);
            return;
        };
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        if case.info.is_none() {
            if work.conn.as_ref().is_some_and(|conn| conn.hijacked) {
                self.drop_case(id, cx);
                return;
            }
            // Nothing else is kept of what was read: a request that has ended is memory that may be another's.
            case.info = draft::request_of(cx, Some(case.request));
        }
        match &work.goroutine {
            Inspection::Alive(goroutine) => self.seen(id, goroutine, work, cx),
            // Memory is read ahead of the events: the end of the goroutine may be on its way.
            Inspection::Gone if !case.is_missed => {
                case.is_missed = true;
                self.again(id, cx);
            }
            // Its end was not told: the kernel side had to make room.
            Inspection::Gone => {
                *cx.forgotten += 1;
                self.drop_case(id, cx);
            }
            Inspection::Torn | Inspection::Unknown => self.again(id, cx),
        }
    }

    fn again(&self, id: GoId, cx: &mut Context<'_>) {
        if self.cases.contains_key(&id) {
            cx.later(cx.thresholds.leaks.interval_ns(), Topic::Leak(id));
        }
    }

    fn seen(&mut self, id: GoId, goroutine: &Goroutine, work: &Work, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        let heard_ns = cx.model.spawned(id).map_or(0, |spawned| spawned.heard_ns);
        let before = case.wait.take();
        let before = before.filter(|wait| heard_ns <= wait.since_ns);
        case.stack_bytes = goroutine.stack_bytes;
        let proved_ns = cx.waits.since_ns(case.line.0, goroutine, cx.now_ns);
        let proved_ns = proved_ns.map(|since_ns| since_ns.max(case.ended_ns).max(heard_ns));
        case.wait = Wait::seen(goroutine, before, proved_ns, cx.now_ns);
        let leaving = waits_for_dead(case.request, &work.waits_on, cx);
        let Some(wait) = case.wait.clone().filter(|_| !leaving) else {
            let line = case.line;
            if let Some(line) = self.lines.get_mut(&line) {
                line.ripe.remove(&id);
            }
            self.again(id, cx);
            return;
        };
        let times = &cx.thresholds.leaks;
        let waited_ns = cx.now_ns.saturating_sub(wait.since_ns);
        let (after_ns, proved_after_ns) = (times.after_ns, times.proved_after_ns);
        let outlived_ns = cx.now_ns.saturating_sub(case.ended_ns);
        if outlived_ns >= proved_after_ns {
            if is_for_ever(&wait.reason) {
                self.tell(id, &Kind::ForEver, cx);
                return;
            }
            if waited_ns >= cx.thresholds.grace_ns
                && !wait.loops
                && work.waits_on.is_empty()
                && let Some(dead) = dead_context(id, case.request, cx)
            {
                self.tell(id, &dead, cx);
                return;
            }
        }
        let ripe_ns = after_ns.saturating_mul(if wait.loops { TIMES } else { 1 });
        let (line, request) = (case.line, case.request);
        if waited_ns >= ripe_ns
            && let Some(line) = self.lines.get_mut(&line)
        {
            line.ripe.insert(id, request);
        }
        self.by_age(line, cx);
        if self.cases.get(&id).is_some_and(|case| !case.told) {
            self.again(id, cx);
        }
    }

    /// Tells of the ripe ones of a line, once there are enough of them.
    fn by_age(&mut self, key: (u32, Fingerprint), cx: &mut Context<'_>) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        let requests: BTreeSet<ReqId> = line.ripe.values().copied().collect();
        if line.ends_late || !(line.told || requests.len() >= REQUESTS) {
            return;
        }
        line.told = true;
        for id in std::mem::take(&mut line.ripe).into_keys() {
            self.tell(id, &Kind::Age, cx);
        }
    }

    /// All of a line that are known to live.
    fn kind_of(&self, line: (u32, Fingerprint), now_ns: u64) -> KindOf {
        let cases = self.cases.values();
        let cases = cases.filter(|case| case.line == line && !case.is_missed);
        let (mut live, mut stack_bytes, mut oldest_ns) = (0u64, 0u64, now_ns);
        for case in cases {
            live += 1;
            stack_bytes = stack_bytes.saturating_add(case.stack_bytes);
            oldest_ns = oldest_ns.min(case.ended_ns);
        }
        let span_ns = now_ns.saturating_sub(oldest_ns);
        let per_hour = u128::from(live) * u128::from(HOUR_NS) / u128::from(span_ns.max(1));
        KindOf {
            live,
            per_hour: (span_ns >= RATE_NS).then(|| u64::try_from(per_hour).unwrap_or(u64::MAX)),
            stack_bytes,
        }
    }

    /// How many of those that are left wait for what, as last seen.
    pub(super) fn waiting(&self) -> BTreeMap<String, u64> {
        let mut waiting = BTreeMap::new();
        for wait in self.cases.values().filter_map(|case| case.wait.as_ref()) {
            *waiting.entry(wait.reason.clone()).or_default() += 1;
        }
        waiting
    }

    fn tell(&mut self, id: GoId, kind: &Kind, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        case.told = true;
        let case = case.clone();
        let kind_of = self.kind_of(case.line, cx.now_ns);
        if let Some(line) = self.lines.get_mut(&case.line) {
            line.looked_at.remove(&id);
        }
        if let Some(finding) = finding(&case, kind, &kind_of, cx) {
            cx.report(finding);
        }
    }
}
