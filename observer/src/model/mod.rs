//! Events → facts: what is known of requests, contexts, calls and goroutines.
//!
//! Pure and bounded: no I/O, no clock (time comes with the input), every table has a limit and a
//! counter. What an address means in the code is asked of [`Code`]. Nothing is judged here.

mod call;
mod canceller;
mod chain;
mod code;
mod connection;
mod context;
mod deadline;
mod fact;
mod goroutine;
mod goroutine_totals;
mod health;
mod ids;
mod instant;
mod keys;
mod latency;
mod on_attempt;
mod on_call;
mod on_cancel;
mod on_conn_over;
mod on_context;
mod on_dial;
mod on_goroutine;
mod on_grpc;
mod on_grpc_call;
mod on_listing;
mod on_request;
mod on_socket;
mod on_sql;
mod process;
mod request;
mod seen;
mod sent;
mod sent_deadline;
mod spawned;
mod stacks;
mod stillborn;
mod strays;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod trace;

pub use call::{Call, CallEnd, CallKind, FailedRead};
pub use code::{Code, ContextKind, Handed, Older, Unit};
pub use connection::{Closed, Connection, parse_peer};
pub use context::{Cancel, Ctx, Cut, Root, Step};
pub use fact::Fact;
pub use goroutine::in_timeout_worker;
pub use goroutine_totals::GoroutineTotals;
pub use health::{Health, WASTED_ROUTES, Wasted};
pub use ids::{CallId, ConnId, CtxId, GoId, ReqId};
pub use latency::Latency;
pub use request::{Delivery, Ending, IoDeadline, Peer, Protocol, Request};
pub use sent::Sent;
pub use sent_deadline::{DeadlineHeader, PlainUnit, SentDeadline};
pub use spawned::{Spawned, Told};
pub use table::Table;
pub use trace::{SpanId, Trace, TraceContext, TraceId};

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::finding::CancelledBy;
use crate::inspect::{ContextId, Listing, RequestDetails};
use crate::stream::Event;

use connection::Connections;
use process::{Process, Processes};
use stacks::Stacks;
use strays::Strays;
use text::Texts;

/// Bounds of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests, running and lately ended.
    pub requests: usize,
    /// Contexts.
    pub contexts: usize,
    /// Outgoing calls.
    pub calls: usize,
    /// Living goroutines that requests have started.
    pub spawned: usize,
    /// Goroutines remembered per process, by each of the maps that name them.
    pub goroutines: usize,
    /// Ended requests kept that left nothing to judge, because work may still begin on their contexts.
    pub ended_settled: usize,
    /// Other ended requests kept: what they made may be judged only after the grace time.
    pub ended_open: usize,
    /// Ended requests kept beyond those, each the last one that its goroutine has served, until a look has shown what they
    /// have left behind.
    pub ended_last: usize,
    /// Cancelled contexts, and ended calls, of no request that are kept.
    pub strays: usize,
    /// Contexts, and calls, remembered of one request: one that never ends loses its oldest.
    pub per_request: usize,
    /// Connections that their peers have closed and their owners have not.
    pub connections: usize,
    /// Connections that both have closed, kept for requests whose peers are learnt afterwards.
    pub connections_over: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: 65_536,
            contexts: 98_304,
            calls: 32_768,
            spawned: 65_536,
            goroutines: 32_768,
            ended_settled: 4_096,
            ended_open: 12_288,
            ended_last: 8_192,
            strays: 8_192,
            per_request: 1_024,
            connections: 16_384,
            connections_over: 1_024,
        }
    }
}

/// What the model counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests whose start was seen.
    pub requests: u64,
    /// Requests that missed an event, or whose work could not be told from another's. Those whose start was not seen
    /// are counted when they end.
    pub unknown: u64,
    /// Values of `Traceparent` that cannot be believed.
    pub traces_broken: u64,
    /// Deadlines in headers of requests that cannot be believed.
    pub deadlines_broken: u64,
    /// Events taken in.
    pub events: u64,
    /// Entries forgotten because a table was full.
    pub evicted: u64,
    /// Goroutines that requests have started.
    pub spawned: u64,
    /// Those of them that have ended.
    pub spawned_ended: u64,
}

/// Everything known now.
#[derive(Debug, Default)]
pub struct Model {
    limits: Limits,
    now_ns: u64,
    realtime_minus_monotonic_ns: i64,
    /// Grows with every loss: what began in an earlier epoch may have missed something.
    epoch: u64,
    totals: Totals,
    /// Headers in which callers say how long they wait, as the probes look for them.
    deadline_headers: Vec<DeadlineHeader>,
    processes: Processes,
    requests: Table<ReqId, Request>,
    contexts: Table<CtxId, Ctx>,
    calls: Table<CallId, Call>,
    spawned: Table<GoId, Spawned>,
    stacks: Stacks,
    texts: Texts,
    connections: Connections,
    strays: Strays,
    /// Running requests by their peer, where that was asked for.
    by_peer: FxHashMap<SocketAddr, Vec<ReqId>>,
    delivery: Latency,
}

impl Model {
    /// An empty model. The clock difference turns wall-clock deadlines into time left.
    #[must_use]
    pub fn new(limits: Limits, realtime_minus_monotonic_ns: i64) -> Self {
        Self {
            limits,
            realtime_minus_monotonic_ns,
            requests: Table::new(limits.requests),
            contexts: Table::new(limits.contexts),
            calls: Table::new(limits.calls),
            spawned: Table::new(limits.spawned),
            connections: Connections::new(limits.connections, limits.connections_over),
            ..Self::default()
        }
    }

    /// Callers say in these headers how long they wait, the best first.
    #[must_use]
    pub fn with_deadline_headers(mut self, headers: Vec<DeadlineHeader>) -> Self {
        self.deadline_headers = headers;
        self
    }

    /// Takes one event at `now_ns`; facts are appended in order.
    pub fn event(&mut self, event: Event<'_>, now_ns: u64, code: &dyn Code, facts: &mut Vec<Fact>) {
        self.now_ns = self.now_ns.max(now_ns);
        self.totals.events += 1;
        if let Event::SocketChanged(record) = event {
            self.socket_changed(record, facts);
            return;
        }
        let header = event.header();
        let seen = facts.len();
        let mut process = self.processes.lend(header.pid, self.limits.goroutines);
        let mut on = On {
            model: self,
            process: &mut process,
            pid: header.pid,
            code,
            facts,
        };
        on.forget_made();
        on.forget_gone();
        on.heard_of(header);
        match event {
            Event::ContextCreated(record) => on.context_created(record),
            Event::ContextCreatedShort(record) => on.context_created_short(record),
            Event::ContextCancelled(record) => on.context_cancelled(record),
            Event::ContextCancelledShort(record) => on.context_cancelled_short(record),
            Event::DeadlineAsked(record) => on.deadline_asked(record),
            Event::RequestStarted(record) => on.request_started(record),
            Event::GrpcStarted(record) => on.grpc_started(record),
            Event::GrpcEnded(record) => on.grpc_ended(record),
            Event::IoDeadlineSet(record) => on.io_deadline_set(record),
            Event::ServerClosing(_) => on.server_closing(),
            Event::ConnHijacked(record) => on.conn_hijacked(record),
            Event::ConnReadError(record) => on.conn_read_error(record),
            Event::CallStarted(record) => on.call_started(record),
            Event::CallRedirected(record) => on.call_redirected(record),
            Event::CallAttempt(record) => on.call_attempt(record),
            Event::CallStreamEnded(record) => on.call_stream_ended(record),
            Event::CallCancelled(record) => on.call_cancelled(record),
            Event::ConnCancelled(record) => on.conn_cancelled(record),
            Event::BodyFailed(record) => on.body_failed(record),
            Event::GrpcCalled(record) => on.grpc_called(record),
            Event::SqlCalled(record) => on.sql_called(record),
            Event::SqlReturned(record) => on.sql_returned(record),
            Event::DialStarted(record) => on.dial_started(record),
            Event::DialDone(record) => on.dial_done(record),
            Event::GoroutineCreated(record) => on.goroutine_created(record),
            Event::GoroutineEnded(record) => on.goroutine_ended(record),
            Event::SocketChanged(_) => {}
        }
        on.keep_strays(seen);
        self.processes.give_back(header.pid, process);
    }

    /// Takes in what a look through the goroutines of a process has found that was over at `ended_ns`; facts are appended
    /// in order. All events up to then must have been taken in.
    pub fn listed(
        &mut self,
        pid: u32,
        (listing, ended_ns): (&Listing, u64),
        code: &dyn Code,
        facts: &mut Vec<Fact>,
    ) {
        let mut process = self.processes.lend(pid, self.limits.goroutines);
        let mut on = On {
            model: self,
            process: &mut process,
            pid,
            code,
            facts,
        };
        on.forget_gone();
        on.listed(listing, ended_ns);
        self.processes.give_back(pid, process);
    }

    /// The wall clock stands so: it was stepped, or has drifted.
    pub const fn set_clock(&mut self, realtime_minus_monotonic_ns: i64) {
        self.realtime_minus_monotonic_ns = realtime_minus_monotonic_ns;
    }

    /// Something was lost: all that is alive may have missed it. Gives how many running requests
    /// became unknown by it.
    pub fn loss(&mut self) -> u64 {
        let running = self
            .requests
            .values()
            .filter(|request| request.ended.is_none() && request.epoch == self.epoch)
            .count();
        self.epoch += 1;
        self.connections.clear();
        for process in self.processes.values_mut() {
            process.asked.clear();
            process.listings.lose(self.now_ns);
        }
        let running = u64::try_from(running).unwrap_or(u64::MAX);
        self.totals.unknown += running;
        running
    }

    /// Something about a request could not be told from another's.
    pub(crate) const fn note_unknown(&mut self) {
        self.totals.unknown += 1;
    }

    /// Forgets a process that has ended.
    pub fn forget_process(&mut self, pid: u32) {
        self.processes.forget(pid);
        let gone = |id: &ReqId| self.requests.get(*id).is_none_or(|of| of.pid == pid);
        self.by_peer.retain(|_, all| {
            all.retain(|id| !gone(id));
            !all.is_empty()
        });
        self.requests.retain(|request| request.pid != pid);
        self.contexts.retain(|ctx| ctx.pid != pid);
        self.calls.retain(|call| call.pid != pid);
        self.spawned.retain(|spawned| spawned.pid != pid);
    }

    /// Latest time seen, monotonic ns.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Counters.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let tables = self.requests.evicted()
            + self.contexts.evicted()
            + self.calls.evicted()
            + self.spawned.evicted()
            + self.connections.evicted();
        Totals {
            evicted: self.totals.evicted + tables,
            ..self.totals
        }
    }

    /// A request.
    #[must_use]
    pub fn request(&self, id: ReqId) -> Option<&Request> {
        self.requests.get(id)
    }

    /// A context.
    #[must_use]
    pub fn context(&self, id: CtxId) -> Option<&Ctx> {
        self.contexts.get(id)
    }

    /// A call.
    #[must_use]
    pub fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.get(id)
    }

    /// A goroutine that a request has started.
    #[must_use]
    pub fn spawned(&self, id: GoId) -> Option<&Spawned> {
        self.spawned.get(id)
    }

    /// The living goroutine with this number, if a request has started it, as an event has told.
    #[must_use]
    pub fn spawned_at(&self, pid: u32, goid: u64) -> Option<&Spawned> {
        let id = self.processes.get(pid)?.spawned.get(&goid)?;
        let spawned = self.spawned.get(*id)?;
        (spawned.told == Told::Event).then_some(spawned)
    }

    /// Whether beginnings and ends of goroutines are told of in this process.
    #[must_use]
    pub fn follows_goroutines(&self, pid: u32) -> bool {
        self.processes
            .get(pid)
            .is_some_and(|process| process.follows_goroutines)
    }

    /// Whether looks tell of the goroutines of some process.
    #[must_use]
    pub fn is_looked_through(&self) -> bool {
        let mut all = self.processes.iter();
        all.any(|(_, process)| process.listings.are_taken())
    }

    /// Goroutines whose requests have ended, and that have not.
    #[must_use]
    pub fn outliving(&self) -> u64 {
        let outlives = |spawned: &&Spawned| {
            let request = self.requests.get(spawned.request);
            spawned.ended_ns.is_none() && request.is_none_or(|of| of.ended.is_some())
        };
        let outliving = self.spawned.values().filter(outlives).count();
        u64::try_from(outliving).unwrap_or(u64::MAX)
    }

    /// The call that a goroutine is in or was in last.
    #[must_use]
    pub fn last_call_of(&self, pid: u32, goid: u64) -> Option<&Call> {
        let id = self.processes.get(pid)?.calls.get(&goid)?;
        self.calls.get(*id)
    }

    /// Contexts, in the order in which they were made.
    pub fn contexts(&self) -> impl DoubleEndedIterator<Item = &Ctx> {
        self.contexts.values()
    }

    /// Contexts made at the same address of code that are alive now.
    #[must_use]
    pub fn alive_like(&self, like: &Ctx) -> u64 {
        let same =
            |ctx: &&Ctx| ctx.pid == like.pid && ctx.pcs == like.pcs && ctx.cancelled.is_none();
        u64::try_from(self.contexts.values().filter(same).count()).unwrap_or(u64::MAX)
    }

    /// Living contexts with a deadline that belong to no request, the youngest first.
    pub fn deadlines_of_nobody(&self, pid: u32) -> impl Iterator<Item = &Ctx> {
        let mut found: Vec<_> = self
            .contexts
            .values()
            .filter(|ctx| ctx.pid == pid && ctx.is_nobodys_deadline())
            .collect();
        found.sort_unstable_by_key(|ctx| std::cmp::Reverse(ctx.id));
        found.into_iter()
    }

    /// Requests running now.
    pub fn running(&self) -> impl Iterator<Item = &Request> {
        self.requests
            .values()
            .filter(|request| request.ended.is_none())
    }

    /// Nothing about it was lost, and its beginning was seen.
    #[must_use]
    pub const fn is_whole(&self, epoch: u64) -> bool {
        epoch == self.epoch
    }

    /// Corrects who cancelled a request, from what memory or the kernel says, and with it what has died of that.
    pub fn correct_cancel(&mut self, id: ReqId, by: CancelledBy) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let root = self.contexts.get_mut(request.root);
        let Some(cancel) = root.and_then(|root| root.cancelled.as_mut()) else {
            return;
        };
        cancel.by = by;
        cancel.origin = by;
        let pcs = Arc::clone(&cancel.pcs);
        for id in &request.contexts {
            let below = self.contexts.get_mut(*id);
            let below = below.and_then(|ctx| ctx.cancelled.as_mut());
            // Cascades carry the stack that they began with.
            if let Some(below) = below.filter(|of| of.by == CancelledBy::Parent && of.pcs == pcs) {
                below.origin = by;
            }
        }
    }

    /// Keeps what a request's memory said; `trace` is the value of its `Traceparent`.
    pub fn set_details(&mut self, id: ReqId, details: Arc<RequestDetails>, trace: Option<&str>) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        request.details = Some(details);
        if request.trace == Trace::None
            && let Some(header) = trace
        {
            request.trace = Trace::of(header);
            self.totals.traces_broken += u64::from(request.trace == Trace::Broken);
        }
    }

    /// Keeps the ID that a middleware holds for a request in a context.
    pub fn set_context_id(&mut self, id: ReqId, found: ContextId) {
        if let Some(request) = self.requests.get_mut(id) {
            request.context_id = Some(found);
        }
    }

    /// From a client's close, as the kernel saw it, to the cancel of its request.
    #[must_use]
    pub const fn delivery(&self) -> &Latency {
        &self.delivery
    }

    /// Entries in all tables: what the bounds bound.
    #[must_use]
    pub fn size(&self) -> usize {
        self.requests.len()
            + self.contexts.len()
            + self.calls.len()
            + self.spawned.len()
            + self.connections.len()
    }
}

/// One event being taken in: the model without the process, the process, and what they need.
struct On<'a> {
    model: &'a mut Model,
    process: &'a mut Process,
    pid: u32,
    code: &'a dyn Code,
    facts: &'a mut Vec<Fact>,
}
