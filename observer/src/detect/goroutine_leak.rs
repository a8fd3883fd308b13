//! # goroutine-leak
//!
//! A goroutine that a request has started is stuck after the request's end.
//!
//! ## What it finds
//!
//! Goroutines of a request, started by its handler or by goroutines that it started, that live on after the request has
//! ended and wait:
//!
//! - for ever: on a nil channel, or in a `select` without cases or with nil channels only;
//! - for something other than the `Done` of their own context, which died more than the grace time ago and whose
//!   CancelFunc they have not called yet, so they are still inside its scope;
//! - on a channel, a lock or the like that nothing refers to any more: neither from the program's variables nor from the
//!   stacks of goroutines that can still run does a way lead there, so nobody is left to wake them;
//! - in the same wait, or the same system call, for longer than `--leak-after` past the end of the request, where at least three goroutines of
//!   one `go` line do so, started by three requests, and none of that line has ended so late: it is told after twice
//!   that time, when one would have.
//!
//! With `--goroutines` it follows goroutines from their start to their end, which costs a trap for each. Without, and where those hooks
//! cannot be had, it looks through all goroutines of the process every few seconds, from Go 1.21 on, and finds those that stay: a goroutine
//! says who has started it. Whose request it was is certain where that one served no other between two looks; else the finding names none.
//!
//! `at` is the line of the `go` statement; where `errgroup` or `sync.WaitGroup.Go` contains it, the line that calls
//! those. The row `waits` names where the goroutine is stuck, outside the standard library, with Go's reason for the wait
//! (`wait_reason`); `stack` shows all of it. `live` says how many of that line have outlived their requests now, `per_hour` how fast they
//! became so many (from a minute on), `stack_bytes` what stack they hold. Of one line no more than 64 are looked at and told of at a time;
//! the others are counted, and are taken to wait and to hold as those do.
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
//! Three such requests, as observer shows them with `--goroutines`:
//!
//! ```text
//! error[goroutine-leak]: goroutine waits on a channel to which no reference was
//!     found, 6.67 s after the end of its request
//!   request  GET /sender   id sender-0 (X-Request-Id)
//!   at       main.sender   aged.go:55   3 live, 6.0 KiB of stack
//!   waits    main.sender.func1   aged.go:55   chan send
//!   time     0 start ───────────── 76.4 µs returned
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
//! High, error, after five seconds (or `--leak-after`): nothing wakes a goroutine from a nil channel, an empty
//! `select` or one of nil channels; and one that waits inside the scope of a dead context without its `Done` was seen to. That nothing refers to
//! what it waits on, two searches of the memory have found, a second apart, the same wait and no reference that was not there before: as the
//! garbage collector finds what it may free, but beside the running program, so it says that none was found. By age: medium, warning;
//! low, info, where it receives, selects, or waits for a `Cond` or a `WaitGroup`, and a search has found that others can get at what it waits on: a
//! worker or a session may wait so in health, and one that was forgotten in a list does, too. It
//! was looked at every few seconds and waited there each time. Whoever was woken in between and waits at the same line again is a leak
//! where a timer may have woken it: a `sleep`, a `time.After`, a ticker. Up to Go 1.26 any channel with room for one value of 24 bytes may be a
//! ticker's. Where what the garbage collector notes proves that
//! it was one wait, the time is shown that it has taken at least; where not, none is. That a system call (`syscall`) is one and the same is
//! known from its thread, which has slept all the time.
//!
//! ## When silent
//!
//! - goroutines that run, or were heard of since: they made a context or a call, or somebody woke them who is no timer;
//! - goroutines that end, however late, and from then on all of that line by age; a first burst of jobs that wait in one place
//!   for longer than twice `--leak-after` is taken for leaks where no search says that others can wake them;
//! - those of a connection that the handler took over, until its client and the service have closed it; for good where the service
//!   closes first;
//! - those of the standard library and of plumbing (connections, pools, exporters), and all that descend from those; so the two of the HTTP
//!   transport that wait for an answer that nobody reads or closes, which `observer goroutines` shows in `persistConn.readLoop`, in a `select`;
//! - where a `Done` of a dead context is among what it waits for: it is about to leave;
//! - references are not searched for in more than 64 MiB of objects with pointers (a warning says so once a process), and up to Go 1.25
//!   not to a `sync.Cond`, whose waiters do not say which it is: there age tells what it can. A word that a function has left behind on a
//!   stack counts as a reference;
//! - goroutines that were started before observer came, or of which events were lost;
//! - without `--goroutines`: all of them up to Go 1.20; those that `sync.WaitGroup.Go` or `errgroup` has started, whose callers only the event
//!   of their start tells; those whose own starter had ended by the next look, `http.TimeoutHandler`'s worker for one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::finding::{Fingerprint, RuleName};
use crate::inspect::{Goroutine, Inspection};
use crate::model::{GoId, Peer, ReqId, Told};

use super::ask::{Answer, Question, Work};
use super::context::Context;
use super::lasting::Wait;
use super::leak_cases::{Case, Cases};
use super::leak_finding::{Kind, dead_context, finding, waits_for_dead};
use super::origin;
use super::references::References;
use super::taken_over::TakenOver;
use super::timers::Topic;

/// Requests that have left a goroutine of one line behind, before age alone says something.
const REQUESTS: usize = 3;
/// Contexts of a request on whose `Done` its goroutines may wait.
const CONTEXTS: usize = 64;
/// Age tells after so many times what makes a leak by age: until then none could have ended so late.
const TIMES: u64 = 2;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct GoroutineLeak {
    cases: Cases,
    taken_over: TakenOver,
    references: References,
}

impl GoroutineLeak {
    /// Forgets what belongs to processes that `whose` names; what is remembered of their lines stays.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.cases.forget(&whose);
        self.taken_over.forget(&whose);
        self.references.forget(&whose);
    }

    /// Forgets the lines of a process that has ended.
    pub(super) fn forget_lines(&mut self, pid: u32) {
        self.cases.forget_lines(pid);
        self.references.forget_process(pid);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len() + self.taken_over.len()
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
        let is_taken_over = request.is_hijacked;
        let ends = match request.peer {
            Peer::At(peer, _) if unit.netns != 0 => Some((unit.netns, peer)),
            _ => None,
        };
        let mut case = Case {
            line: (spawned.pid, key),
            goid: spawned.goid,
            g: spawned.g,
            origin,
            request: request.id,
            told_by: spawned.told,
            info: None,
            is_described: false,
            alive_ns: ended_ns,
            ended_ns,
            is_taken_over,
            wait: None,
            names_done: false,
            stack_bytes: 0,
            is_missed: false,
            told: false,
        };
        if !is_taken_over || cx.model.is_connection_over(request.id, cx.code) {
            self.judge(id, case, cx);
        } else if let Some(ends) = ends {
            // When its connection closes, its memory is another's.
            case.describe(cx);
            self.taken_over.insert(id, ends, case, cx);
        }
    }

    fn judge(&mut self, id: GoId, case: Case, cx: &mut Context<'_>) {
        if self.cases.insert(id, case, cx) {
            cx.later(cx.thresholds.grace_ns, Topic::Leak(id));
        }
    }

    /// A connection is over, which a handler may have taken over: from now on nobody is left to serve.
    pub(super) fn connection_over(&mut self, netns: u64, peer: SocketAddr, cx: &mut Context<'_>) {
        for (id, mut case) in self.taken_over.over((netns, peer)) {
            case.ended_ns = cx.now_ns;
            case.alive_ns = cx.now_ns;
            self.judge(id, case, cx);
        }
    }

    /// It has ended after all.
    pub(super) fn goroutine_ended(&mut self, id: GoId, cx: &mut Context<'_>) {
        self.taken_over.remove(id);
        let Some(case) = self.cases.get(id) else {
            return;
        };
        let over_ns = match case.told_by {
            Told::Event => cx.now_ns,
            // Nobody knows when, since it was last seen.
            Told::Look | Told::Doubtful => case.alive_ns,
        };
        let (line, age_ns) = (case.line, over_ns.saturating_sub(case.ended_ns));
        let late = age_ns > cx.thresholds.leaks.after_ns;
        self.cases.remove(id, cx);
        if late && let Some(line) = self.cases.line(line) {
            line.ends_late = true;
        }
    }

    /// Time to look at it.
    pub(super) fn look(&mut self, id: GoId, cx: &mut Context<'_>) {
        // One that was told with others of its line has a look to come.
        let Some(case) = self.cases.get(id).filter(|case| !case.told) else {
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
            .filter(|_| !case.is_described)
            .map(Context::reading_of_conn);
        let question = Question::work(case.goid, case.g, contexts, reading);
        cx.ask(case.line.0, Topic::Leak(id), question);
    }

    /// What it does.
    pub(super) fn answer(&mut self, id: GoId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Work(work) = answer else {
            self.cases.remove(id, cx);
            return;
        };
        // One that was told with others of its line while this was asked.
        let Some(case) = self.cases.get_mut(id).filter(|case| !case.told) else {
            return;
        };
        if !case.is_described {
            // Nothing is kept of what was read: a request that has ended is memory that may be another's.
            case.describe(cx);
        }
        match &work.goroutine {
            Inspection::Alive(goroutine) => self.seen(id, goroutine, work, cx),
            // Memory is read ahead of the events: the end of the goroutine may be on its way.
            Inspection::Gone if case.told_by != Told::Event => self.cases.remove(id, cx),
            Inspection::Gone if !case.is_missed => {
                case.is_missed = true;
                self.again(id, cx);
            }
            // Its end was not told: the kernel side had to make room.
            Inspection::Gone => {
                *cx.forgotten += 1;
                self.cases.remove(id, cx);
            }
            Inspection::Torn | Inspection::Unknown => self.again(id, cx),
        }
    }

    fn again(&self, id: GoId, cx: &mut Context<'_>) {
        if self.cases.get(id).is_some() {
            cx.later(cx.thresholds.leaks.interval_ns(), Topic::Leak(id));
        }
    }

    fn seen(&mut self, id: GoId, goroutine: &Goroutine, work: &Work, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get_mut(id) else {
            return;
        };
        let Some(unit) = cx.unit(case.line.0) else {
            return;
        };
        case.alive_ns = cx.now_ns;
        let heard_ns = cx.model.spawned(id).map(|spawned| spawned.heard_ns);
        // Whoever is not remembered may have worked between two looks, unless it was one wait.
        let is_heard = heard_ns.is_some();
        let heard_ns = heard_ns.unwrap_or(0);
        let before = case.wait.take();
        let before = before.filter(|wait| heard_ns <= wait.since_ns);
        case.names_done = !work.waits_on.is_empty();
        case.stack_bytes = goroutine.stack_bytes;
        let proved_ns = cx.waits.since_ns(case.line.0, goroutine, cx.now_ns);
        let proved_ns = proved_ns.map(|since_ns| since_ns.max(case.ended_ns).max(heard_ns));
        case.wait = Wait::seen(goroutine, before, proved_ns, cx.now_ns, unit.go_minor);
        let leaving = waits_for_dead(case.request, &work.waits_on, cx);
        let Some(wait) = case.wait.clone().filter(|_| !leaving) else {
            let line = case.line;
            if let Some(line) = self.cases.line(line) {
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
            if wait.is_for_ever {
                self.tell(id, &Kind::ForEver, cx);
                return;
            }
            if waited_ns >= cx.thresholds.grace_ns
                && !wait.loops
                && work.waits_on.is_empty()
                && let Some(dead) = dead_context(id, case, cx)
            {
                self.tell(id, &dead, cx);
                return;
            }
        }
        let ripe_ns = after_ns.saturating_mul(TIMES);
        let (line, request) = (case.line, case.request);
        let may_be_lost = outlived_ns >= proved_after_ns
            && waited_ns >= cx.thresholds.grace_ns
            && wait.is_for_others();
        let is_new = self.cases.line(line).is_some_and(|it| !it.is_searched);
        // What proves more than age is waited for.
        if may_be_lost && self.references.want(line.0, is_new, cx) {
            self.again(id, cx);
            return;
        }
        if waited_ns >= ripe_ns
            && (is_heard || wait.at_least_ns >= Some(ripe_ns))
            && let Some(line) = self.cases.line(line)
        {
            line.ripe.insert(id, request);
        }
        self.by_age(line, cx);
        if self.cases.get(id).is_some_and(|case| !case.told) {
            self.again(id, cx);
        }
    }

    /// Searches for references to what the goroutines of a process wait on.
    pub(super) fn search(&mut self, pid: u32, cx: &mut Context<'_>) {
        let waits = |case: &Case| case.wait.as_ref().is_some_and(Wait::is_for_others);
        let open = self.cases.open(pid).filter(|(_, case)| waits(case));
        let (goids, lines): (Vec<u64>, Vec<_>) =
            open.map(|(_, case)| (case.goid, case.line)).unzip();
        if self.references.search(pid, goids, cx) {
            for line in lines {
                if let Some(line) = self.cases.line(line) {
                    line.is_searched = true;
                }
            }
        }
    }

    /// What such a search has found.
    pub(super) fn searched(&mut self, pid: u32, answer: &Answer, cx: &mut Context<'_>) {
        if let Answer::Unreferenced(Some(found)) = answer {
            self.cases.reached(pid, &found.reached);
        }
        let lost = self.references.found(pid, answer, cx);
        let open = self.cases.open(pid);
        let open = open.filter(|(_, case)| lost.contains(&case.goid));
        // Where its own context says why nobody wakes it, that is told: it names the way out that is missing.
        let why = |(id, case): (GoId, &Case)| {
            let dead = dead_context(id, case, cx).filter(|_| !case.names_done);
            (id, dead.unwrap_or(Kind::Lost))
        };
        for (id, kind) in open.map(why).collect::<Vec<_>>() {
            self.tell(id, &kind, cx);
        }
    }

    /// Tells of the ripe ones of a line, once there are enough of them.
    fn by_age(&mut self, key: (u32, Fingerprint), cx: &mut Context<'_>) {
        let Some(line) = self.cases.line(key) else {
            return;
        };
        let requests: BTreeSet<ReqId> = line.ripe.values().copied().collect();
        if line.ends_late || !(line.told || requests.len() >= REQUESTS) {
            return;
        }
        let is_reached = line.is_reached;
        for id in std::mem::take(&mut line.ripe).into_keys() {
            let wait = self.cases.get(id).and_then(|case| case.wait.as_ref());
            let kind = match wait {
                Some(wait) if is_reached && wait.is_for_work() => Kind::Idle,
                _ => Kind::Age,
            };
            self.tell(id, &kind, cx);
        }
    }

    /// How many of those that are left wait for what, as last seen.
    pub(super) fn waiting(&self) -> BTreeMap<String, u64> {
        self.cases.waiting()
    }

    fn tell(&mut self, id: GoId, kind: &Kind, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get_mut(id) else {
            return;
        };
        case.told = true;
        let case = case.clone();
        let kind_of = self.cases.kind_of(case.line, cx.now_ns);
        if let Some(line) = self.cases.line(case.line) {
            // Of the others, age says enough.
            line.told = true;
            line.looked_at.remove(&id);
            line.ripe.remove(&id);
        }
        if let Some(finding) = finding(&case, kind, &kind_of, cx) {
            cx.report(finding);
        }
    }
}
