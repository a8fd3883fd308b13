//! Scenes: records go in at their times, facts or findings come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use super::code::FakeCode;
use super::records::{REAL_MINUS_MONOTONIC_NS, Record};
use super::{MS, PID};
use crate::detect::{
    Answer, Ask, Count, Crowds, Deadlines, Engine, LeakTimes, PeerAddress, Question, Searched,
    SurgeLimits, Thresholds, Work,
};
use crate::finding::{Emission, Finding};
use crate::inspect::{
    Child, ConnState, ContextId, Ends, Goroutine, Inspection, Listing, RequestDetails, StackState,
    Status, Unreferenced, ValueKey, ValueLink,
};
use crate::model::{DeadlineHeader, Fact, Limits, Model, PlainUnit};

/// A model that is fed by hand.
pub(crate) struct ModelScene {
    pub(crate) model: Model,
    pub(crate) code: FakeCode,
}

impl ModelScene {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self {
            model: Model::new(limits, REAL_MINUS_MONOTONIC_NS),
            code: FakeCode::default(),
        }
    }

    /// Takes a record at a time; gives the facts.
    pub(crate) fn take(&mut self, at_ms: u64, record: &Record) -> Vec<Fact> {
        let mut facts = Vec::new();
        let event = record.event();
        self.model.event(event, at_ms * MS, &self.code, &mut facts);
        facts
    }

    /// Takes in what a look through all goroutines has found at a time; gives the facts.
    pub(crate) fn looks(&mut self, at_ms: u64, listing: &Listing) -> Vec<Fact> {
        let mut facts = Vec::new();
        let listing = Listing {
            begun_ns: at_ms * MS,
            ..listing.clone()
        };
        self.model
            .listed(PID, (&listing, at_ms * MS), &self.code, &mut facts);
        facts
    }
}

/// What memory says of a goroutine.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// It waits with this stack.
    Waits(Vec<u64>, &'static str),
    /// It is in a system call with this stack, and its thread has given up its processor so often; `None`: that runs.
    InCall(Vec<u64>, Option<u64>),
    /// It runs: no stack.
    Runs,
    /// It runs, and these are its outermost frames.
    Computes(Vec<u64>),
    /// It was put off its thread with this stack.
    Preempted(Vec<u64>),
    /// It has ended.
    Gone,
    /// It could not be seen.
    Torn,
}

/// An engine, and a process that answers its questions at once.
pub(crate) struct Scene {
    pub(crate) engine: Engine,
    pub(crate) code: FakeCode,
    /// Goroutines; those not here are gone.
    pub(crate) goroutines: BTreeMap<u64, Seen>,
    /// Return addresses of the `go` statements of goroutines, and who started them.
    pub(crate) started: BTreeMap<u64, (u64, u64)>,
    /// When the runtime has noted that a goroutine waits, ns.
    pub(crate) noted: BTreeMap<u64, u64>,
    /// Channels that goroutines wait on.
    pub(crate) channels: BTreeMap<u64, Vec<u64>>,
    /// Contexts on whose `Done` goroutines wait.
    pub(crate) waits_on: Vec<u64>,
    /// Children by parent; `None`: Go keeps no parents.
    pub(crate) children: Option<BTreeMap<u64, Vec<Child>>>,
    pub(crate) details: Option<Arc<RequestDetails>>,
    pub(crate) conn: Option<ConnState>,
    /// What a middleware keeps in a context.
    pub(crate) context_id: Option<ContextId>,
    /// Keys of values in contexts, by the address of the value.
    pub(crate) keys: BTreeMap<u64, Arc<ValueKey>>,
    /// What calls carry, by `*http.Request`.
    pub(crate) sent: BTreeMap<u64, Vec<Option<&'static str>>>,
    /// Peers and own ports by `*http.Request`.
    pub(crate) peers: BTreeMap<u64, (&'static str, Option<u16>)>,
    /// Client's ports of the connections that goroutines wait on, and that requests came over, by goroutine and by
    /// `*http.Request`.
    pub(crate) ends: (BTreeMap<u64, u16>, BTreeMap<u64, u16>),
    /// What the looks through all goroutines find, one after the other; then nothing.
    pub(crate) listings: VecDeque<Listing>,
    /// How many goroutines there are; `None`: not all could be read.
    pub(crate) count: Option<Count>,
    /// What those of a statement do; `None`: nobody could look.
    pub(crate) crowds: Option<Crowds>,
    /// Waits on what nothing refers to, of all goroutines.
    /// Whether goroutines wait on timers, and how often they have stopped, by goid; on none, and never.
    pub(crate) stops: BTreeMap<u64, (bool, u8)>,
    /// Goroutines whose channels no timer can feed.
    pub(crate) wait_on_others: BTreeSet<u64>,
    /// How long a search for references takes, ns.
    pub(crate) search_ns: u64,
    pub(crate) unreferenced: Option<Vec<Unreferenced>>,
    /// Questions, in order.
    pub(crate) asked: Vec<Ask>,
    /// Emissions with their times, ms.
    pub(crate) shown: Vec<(u64, Emission)>,
    now_ms: u64,
}

/// What goroutines wait on in a `select`.
const A_CHANNEL: u64 = 0x5e1;
/// Longest step of the scene's clock, ms; it stops at every timer.
const STEP_MS: u64 = 10;

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Deadlines::default())
    }

    /// With other thresholds of the rules about deadlines.
    pub(crate) fn with(deadlines: Deadlines) -> Self {
        Self::told(deadlines, &[])
    }

    /// Callers say in these headers, as milliseconds, how long they wait.
    pub(crate) fn told(deadlines: Deadlines, headers: &[&str]) -> Self {
        let thresholds = Thresholds {
            grace_ns: 500 * MS,
            id_headers: vec!["X-Request-Id".to_owned()],
            deadline_headers: headers
                .iter()
                .map(|name| DeadlineHeader {
                    name: (*name).into(),
                    plain: PlainUnit::Ms,
                })
                .collect(),
            redact_path: false,
            leaks: LeakTimes {
                after_ns: 30_000 * MS,
                proved_after_ns: 5_000 * MS,
            },
            surges: SurgeLimits::default(),
            deadlines,
        };
        Self {
            engine: Engine::new(Limits::default(), thresholds, REAL_MINUS_MONOTONIC_NS),
            code: FakeCode::default(),
            goroutines: BTreeMap::new(),
            started: BTreeMap::new(),
            noted: BTreeMap::new(),
            channels: BTreeMap::new(),
            waits_on: Vec::new(),
            children: Some(BTreeMap::new()),
            details: None,
            conn: None,
            context_id: None,
            keys: BTreeMap::new(),
            sent: BTreeMap::new(),
            peers: BTreeMap::new(),
            ends: <(BTreeMap<u64, u16>, BTreeMap<u64, u16>)>::default(),
            listings: VecDeque::new(),
            count: None,
            crowds: None,
            stops: BTreeMap::new(),
            wait_on_others: BTreeSet::new(),
            search_ns: MS,
            unreferenced: None,
            asked: Vec::new(),
            shown: Vec::new(),
            now_ms: 0,
        }
    }

    /// Lets time pass until `at_ms`, then takes a record.
    pub(crate) fn take(&mut self, at_ms: u64, record: &Record) {
        self.until(at_ms);
        self.engine.event(record.event(), at_ms * MS, &self.code);
        self.respond();
    }

    /// The same for records that are there before anybody could have asked anything.
    pub(crate) fn take_at_once(&mut self, at_ms: u64, records: &[&Record]) {
        self.until(at_ms);
        for record in records {
            self.engine.event(record.event(), at_ms * MS, &self.code);
        }
        self.respond();
    }

    /// A record that is there before the timers that were due, as on a busy host.
    pub(crate) fn take_late(&mut self, at_ms: u64, record: &Record) {
        self.now_ms = at_ms;
        self.engine.event(record.event(), at_ms * MS, &self.code);
        self.respond();
    }

    /// Lets time pass.
    pub(crate) fn until(&mut self, at_ms: u64) {
        while self.now_ms < at_ms {
            let due_ms = self
                .engine
                .next_ns()
                .map_or(at_ms, |at_ns| at_ns.div_ceil(MS));
            let step_ms = due_ms.clamp(self.now_ms + 1, self.now_ms + STEP_MS);
            self.now_ms = step_ms.min(at_ms);
            self.engine.tick(self.now_ms * MS, &self.code);
            self.respond();
        }
    }

    /// A goroutine waits with this stack.
    pub(crate) fn waits(&mut self, goid: u64, stack: &[&str]) {
        let seen = Seen::Waits(self.code.pcs(stack), "chan receive");
        self.goroutines.insert(goid, seen);
    }

    /// All findings shown, first occurrences only.
    pub(crate) fn findings(&self) -> Vec<&Finding> {
        self.shown
            .iter()
            .filter_map(|(_, emission)| match emission {
                Emission::Finding(finding) => Some(&**finding),
                Emission::Update(..) => None,
            })
            .collect()
    }

    /// The only emission, a first occurrence, with its time.
    pub(crate) fn only(&self) -> (u64, &Finding) {
        match &self.shown[..] {
            [(at_ms, Emission::Finding(finding))] => (*at_ms, finding),
            other => panic!("not one finding: {other:#?}"),
        }
    }

    /// Nothing was shown.
    pub(crate) fn silent(&self) {
        assert!(self.shown.is_empty(), "{:#?}", self.shown);
    }

    fn respond(&mut self) {
        loop {
            for emission in self.engine.take_emitted() {
                self.shown.push((self.now_ms, emission));
            }
            let asks = self.engine.take_asks();
            if asks.is_empty() {
                return;
            }
            for ask in asks {
                let answer = self.answer(&ask.question);
                self.engine
                    .answer(ask.id, &answer, self.now_ms * MS, &self.code);
                self.asked.push(ask);
            }
        }
    }

    fn answer(&mut self, question: &Question) -> Answer {
        match question {
            Question::Work {
                goid,
                contexts,
                request,
                ..
            } => Answer::Work(Box::new(Work {
                goroutine: self.inspect(*goid),
                waits_on: contexts
                    .iter()
                    .copied()
                    .filter(|ctx| self.waits_on.contains(ctx))
                    .collect(),
                request: self.details.clone().filter(|_| request.is_some()),
                conn: self.conn.clone().filter(|_| request.is_some()),
            })),
            Question::Request(_) => Answer::Request {
                request: self.details.clone(),
                conn: self.conn.clone(),
            },
            Question::Children { parent_goid } => Answer::Children(
                self.children
                    .as_ref()
                    .map(|all| all.get(parent_goid).cloned().unwrap_or_default()),
            ),
            Question::ContextId { .. } => Answer::ContextId(self.context_id.clone()),
            Question::Keys { values } => {
                let key = |value: &ValueLink| Some((*value, self.keys.get(&value.data)?.clone()));
                Answer::Keys(values.iter().filter_map(key).collect())
            }
            Question::Sent { request, .. } => Answer::Sent(self.sent.get(request).map(|values| {
                let values = values.iter();
                values.map(|value| value.map(Arc::from)).collect()
            })),
            Question::CallEnds { goid, .. } => Answer::Ends(self.ends.0.get(goid).map(ends)),
            Question::RequestEnds(of) => Answer::Ends(self.ends.1.get(&of.request).map(ends)),
            Question::Listing => {
                let listing = self.listings.pop_front().unwrap_or_default();
                Answer::Listing(Some(Listing {
                    begun_ns: self.now_ms * MS,
                    ..listing
                }))
            }
            Question::Count => Answer::Count(self.count.clone()),
            Question::Crowds { .. } => match &self.crowds {
                Some(crowds) => Answer::Crowds(crowds.clone()),
                None => Answer::Unknown,
            },
            Question::Unreferenced { goids } => {
                let asked = |one: &&Unreferenced| goids.contains(&one.goid);
                let found = self.unreferenced.as_ref();
                Answer::Unreferenced(found.map(|all| {
                    let is_lost = |goid: &u64| all.iter().any(|one| one.goid == *goid);
                    let mut reached = goids.clone();
                    reached.retain(|goid| !is_lost(goid));
                    reached.sort_unstable();
                    Searched {
                        lost: all.iter().filter(asked).cloned().collect(),
                        reached,
                        took_ns: self.search_ns,
                    }
                }))
            }
            Question::Peers { requests } => {
                let peers = requests.iter().map(|one| self.peers.get(&one.request));
                let peer = |&(remote, local_port): &(&str, _)| PeerAddress {
                    remote: Arc::from(remote),
                    local_port,
                };
                Answer::Peers(peers.map(|found| found.map(peer)).collect())
            }
        }
    }

    fn inspect(&self, goid: u64) -> Inspection {
        let (mut outer, mut sleeps) = (Vec::new(), None);
        let (status, stack, wait_reason) = match self.goroutines.get(&goid) {
            None | Some(Seen::Gone) => return Inspection::Gone,
            Some(Seen::Torn) => return Inspection::Torn,
            Some(Seen::Runs) => (Status::Running, Vec::new(), None),
            Some(Seen::InCall(stack, so_often)) => {
                sleeps = *so_often;
                (Status::Syscall, stack.clone(), None)
            }
            Some(Seen::Computes(frames)) => {
                outer.clone_from(frames);
                (Status::Running, Vec::new(), None)
            }
            Some(Seen::Preempted(stack)) => (Status::Runnable, stack.clone(), None),
            Some(Seen::Waits(stack, reason)) => {
                (Status::Waiting, stack.clone(), Some(Arc::from(*reason)))
            }
        };
        // Unless a test says otherwise, a select has a channel to wait on.
        let selects = wait_reason.as_deref() == Some("select");
        let some = if selects { vec![A_CHANNEL] } else { Vec::new() };
        let waiting_channels = self.channels.get(&goid).cloned().unwrap_or(some);
        Inspection::Alive(Box::new(Goroutine {
            goid,
            g_addr: 0,
            status,
            wait_reason,
            wait_since_ns: self.noted.get(&goid).copied(),
            stack_state: if stack.is_empty() {
                StackState::None
            } else {
                StackState::Whole
            },
            stack,
            outer,
            gopc: self.started.get(&goid).map_or(0, |(gopc, _)| *gopc),
            startpc: 0,
            parent_goid: self.started.get(&goid).map(|(_, parent)| *parent),
            waiting_channels,
            waits_on_others: self.wait_on_others.contains(&goid),
            waits_on_timer: self.stops.get(&goid).is_some_and(|(timer, _)| *timer),
            stops: self.stops.get(&goid).map_or(0, |(_, stops)| *stops),
            sleeps,
            stack_bytes: 2048,
        }))
    }
}

fn ends(port: &u16) -> Ends {
    Ends {
        client: SocketAddr::from(([127, 0, 0, 1], *port)),
        server: SocketAddr::from(([127, 0, 0, 1], 8080)),
    }
}
