//! What several hosts told, put on one clock and joined.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::finding::{CallOutcome, JoinedBy};

use super::clocks::{Bounds, HostIndex, Offset, offsets};
use super::ids::Key;
use super::{CallFact, CallSide, JoinTotals, Joiner, RequestFact, ends};

/// Calls and requests kept at once; further ones are counted and left out.
pub const LIMIT: usize = 1 << 20;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// Its name.
    pub name: Arc<str>,
    /// What differs with each boot: who shares it shares a clock.
    pub boot_id: Arc<str>,
}

/// A request or a call that is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A request that was served.
    Request(Box<RequestFact>),
    /// An outgoing call.
    Call(Box<CallFact>),
}

impl Told {
    /// What names it on its host. Observers count from one each: when it began tells those of one process apart.
    fn name(&self, host: HostIndex) -> Name {
        let (is_call, process, number, start_ns) = match self {
            Self::Request(fact) => {
                let request = &fact.request;
                (false, &fact.process, request.number, request.start_ns)
            }
            Self::Call(fact) => (true, &fact.process, fact.number, fact.call.start_ns),
        };
        Name {
            host,
            pid: process.pid,
            start_ticks: process.start_ticks,
            is_call,
            number,
            start_ns,
        }
    }

    /// Moves all of its times, ns.
    pub fn shift(&mut self, by_ns: i64) {
        match self {
            Self::Request(fact) => fact.shift(by_ns),
            Self::Call(fact) => fact.shift(by_ns),
        }
    }
}

/// What no two requests or calls share.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Name {
    host: HostIndex,
    pid: u32,
    /// Of the process, clock ticks since boot.
    start_ticks: u64,
    is_call: bool,
    number: u64,
    start_ns: u64,
}

/// A call and the request that it led to, the request on the call's clock.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The call.
    pub call: Arc<CallFact>,
    /// Where from: the number that was given with it.
    pub call_source: usize,
    /// Name of its host.
    pub call_host: Arc<str>,
    /// The request.
    pub request: RequestFact,
    /// Where from.
    pub request_source: usize,
    /// How they are known to belong together.
    pub by: JoinedBy,
    /// Where the request's host is not the call's.
    pub other_host: Option<OtherHost>,
}

/// The host of a pair's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherHost {
    /// Its name.
    pub name: Arc<str>,
    /// What was added to the request's times, ns.
    pub moved_ns: i64,
    /// By how much that may be wrong, ns.
    pub error_ns: u64,
}

/// A host's clock, as it was estimated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostClock {
    /// Whose.
    pub host: Host,
    /// What is added to its times.
    pub offset: Offset,
}

#[derive(Debug)]
struct Entry<F> {
    fact: Arc<F>,
    host: HostIndex,
    source: usize,
}

/// Everything that was told, until it is joined.
#[derive(Debug, Default)]
pub struct Across {
    hosts: Vec<Host>,
    calls: Vec<Entry<CallFact>>,
    requests: Vec<Entry<RequestFact>>,
    names: HashSet<Name>,
    twice: u64,
    left_out: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Joined {
    /// By the time of the call.
    pub pairs: Vec<Pair>,
    /// By host, in the order in which they were first told of.
    pub clocks: Vec<HostClock>,
    /// Numbers of what was joined and what was not.
    pub totals: JoinTotals,
}

/// One thing that happens, on the common clock; at one moment what begins a call comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Call(usize),
    Request(usize),
    End(usize),
}

impl Across {
    /// Takes one in, once. Times are wall-clock ns of its host.
    pub fn take(&mut self, told: Told, host: &Host, source: usize) {
        let known = self
            .hosts
            .iter()
            .position(|one| one.boot_id == host.boot_id);
        let host = known.unwrap_or_else(|| {
            self.hosts.push(host.clone());
            self.hosts.len() - 1
        });
        let name = told.name(host);
        if self.names.contains(&name) {
            self.twice += 1;
            return;
        }
        if self.names.len() >= LIMIT {
            self.left_out += 1;
            return;
        }
        self.names.insert(name);
        match told {
            Told::Call(fact) if fact.whole => self.calls.push(Entry {
                fact: Arc::from(fact),
                host,
                source,
            }),
            Told::Request(fact) if fact.whole => self.requests.push(Entry {
                fact: Arc::from(fact),
                host,
                source,
            }),
            // Of what may have missed something nothing follows.
            Told::Call(_) | Told::Request(_) => {}
        }
    }

    /// Those that had been told of before.
    #[must_use]
    pub const fn twice(&self) -> u64 {
        self.twice
    }

    /// Those that were too many.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Calls and requests.
    #[must_use]
    pub const fn len(&self) -> (usize, usize) {
        (self.calls.len(), self.requests.len())
    }

    /// Puts all on one clock, and joins.
    #[must_use]
    pub fn join(self) -> Joined {
        let clocks = offsets(self.hosts.len(), &self.bounds());
        let widest = clocks.iter().map(|clock| clock.error_ns).max().unwrap_or(0);
        let of = |host: HostIndex| clocks.get(host).copied().unwrap_or_default();
        let mut all: Vec<(i128, Happens)> = Vec::new();
        for (number, call) in self.calls.iter().enumerate() {
            let offset = of(call.host);
            // Where clocks are not known well, a call runs for as long as it may have run.
            let slack = i128::from(offset.error_ns) + i128::from(widest);
            let (start_ns, over_ns) = (call.fact.call.start_ns, call.fact.over_ns());
            all.push((offset.at(start_ns) - slack, Happens::Call(number)));
            all.push((offset.at(over_ns) + slack, Happens::End(number)));
        }
        for (number, request) in self.requests.iter().enumerate() {
            let start_ns = request.fact.request.start_ns;
            all.push((of(request.host).at(start_ns), Happens::Request(number)));
        }
        all.sort_unstable();
        let (pairs, totals) = self.sweep(&all, &of);
        let hosts = self.hosts.into_iter().zip(clocks);
        Joined {
            pairs,
            clocks: hosts
                .map(|(host, offset)| HostClock { host, offset })
                .collect(),
            totals,
        }
    }

    fn sweep(
        &self,
        all: &[(i128, Happens)],
        of: &impl Fn(HostIndex) -> Offset,
    ) -> (Vec<Pair>, JoinTotals) {
        let mut joiner = Joiner::new(LIMIT);
        joiner.keep_lines();
        let mut pairs = Vec::new();
        let mut taken = (BTreeSet::new(), BTreeSet::new());
        for (_, happens) in all {
            match *happens {
                Happens::Call(number) => {
                    if let Some(call) = self.calls.get(number) {
                        joiner.call_started(number as u64, call.fact.side());
                        if let Some(span) = call.fact.span() {
                            joiner.call_sent(number as u64, span);
                        }
                    }
                }
                Happens::Request(number) => {
                    if let Some(request) = self.requests.get(number) {
                        let may = |call: u64| {
                            let call = usize::try_from(call).ok();
                            let call = call.and_then(|call| self.calls.get(call));
                            call.is_some_and(|call| overlaps(call, request, of))
                        };
                        let side = request.fact.side();
                        joiner.request_started_among(number as u64, &side, may);
                        joiner.seek(number as u64, &side, may);
                    }
                }
                Happens::End(number) => {
                    let join = joiner.call_ended(number as u64);
                    let request = join.and_then(|join| usize::try_from(join.request).ok());
                    if let Some(request) = request {
                        taken.0.insert(number);
                        taken.1.insert(request);
                    }
                    let entries = (
                        self.calls.get(number),
                        request.and_then(|request| self.requests.get(request)),
                    );
                    if let ((Some(call), Some(request)), Some(join)) = (entries, join) {
                        let clocks = (of(call.host), of(request.host));
                        pairs.extend(self.pair(call, request, join.by, clocks));
                    }
                }
            }
        }
        let mut totals = joiner.totals();
        for (call, request) in self.by_connection(&taken.0, &taken.1) {
            if let (Some(call), Some(request)) = (self.calls.get(call), self.requests.get(request))
            {
                let clocks = (of(call.host), of(request.host));
                pairs.extend(self.pair(call, request, JoinedBy::Sockets, clocks));
                totals.joined += 1;
            }
        }
        pairs.sort_by_key(|pair| (pair.call.call.start_ns, pair.call.number));
        (pairs, totals)
    }

    /// Calls and requests that no ID has joined, and that are the two ends of one connection.
    fn by_connection(
        &self,
        calls: &BTreeSet<usize>,
        requests: &BTreeSet<usize>,
    ) -> Vec<(usize, usize)> {
        let free_calls = self.calls.iter().enumerate();
        let free_calls = free_calls.filter(|(number, _)| !calls.contains(number));
        let free_requests = self.requests.iter().enumerate();
        let free_requests = free_requests.filter(|(number, _)| !requests.contains(number));
        ends::join(
            free_calls.map(|(number, call)| (number, call.host, &*call.fact)),
            free_requests.map(|(number, request)| (number, request.host, &*request.fact)),
        )
    }

    /// `None` where their clocks have nothing in common.
    fn pair(
        &self,
        call: &Entry<CallFact>,
        request: &Entry<RequestFact>,
        by: JoinedBy,
        (here, there): (Offset, Offset),
    ) -> Option<Pair> {
        if here.common != there.common {
            return None;
        }
        let other_host = if call.host == request.host {
            None
        } else {
            Some(OtherHost {
                name: Arc::clone(&self.hosts.get(request.host)?.name),
                moved_ns: there.ns.checked_sub(here.ns)?,
                error_ns: here.error_ns.saturating_add(there.error_ns),
            })
        };
        let mut fact = (*request.fact).clone();
        if let Some(other) = &other_host {
            fact.shift(other.moved_ns);
        }
        Some(Pair {
            call: Arc::clone(&call.fact),
            call_source: call.source,
            call_host: Arc::clone(&self.hosts.get(call.host)?.name),
            request: fact,
            request_source: request.source,
            by,
            other_host,
        })
    }

    /// What calls and requests that can only belong together say of their hosts' clocks.
    fn bounds(&self) -> BTreeMap<(HostIndex, HostIndex), Vec<Bounds>> {
        /// The call, the request, and whether there are more of either.
        type Meeting<'a> = (
            Vec<(&'a Entry<CallFact>, CallSide)>,
            Vec<&'a Entry<RequestFact>>,
        );
        let mut meetings: HashMap<Key, Meeting<'_>> = HashMap::new();
        let calls = self.calls.iter().map(|call| (call, call.fact.side()));
        for (call, side) in calls {
            for (key, _) in side.ids.keys() {
                let (calls, _) = meetings.entry(key).or_default();
                calls.push((call, side.clone()));
            }
        }
        for request in &self.requests {
            for (key, _) in request.fact.side().ids.keys() {
                if let Some((_, requests)) = meetings.get_mut(&key) {
                    requests.push(request);
                }
            }
        }
        let mut bounds: BTreeMap<(HostIndex, HostIndex), Vec<Bounds>> = BTreeMap::new();
        for (calls, requests) in meetings.values() {
            // An ID that everybody sends says nothing.
            if calls.len() > FEW || requests.len() > FEW {
                continue;
            }
            let fits = |(call, of): &&(&Entry<CallFact>, CallSide),
                        request: &Entry<RequestFact>| {
                of.fits(&request.fact.side()) && !is_ruled_out(call, request)
            };
            for request in requests {
                let mut mine = calls.iter().filter(|call| fits(call, request));
                let (Some(mine), None) = (mine.next(), mine.next()) else {
                    continue;
                };
                let (call, _) = mine;
                let alike = requests.iter().filter(|one| fits(&mine, one));
                if alike.count() > 1 || call.host == request.host {
                    continue;
                }
                let said = said(&call.fact, &request.fact);
                let (key, said) = if call.host < request.host {
                    ((call.host, request.host), said)
                } else {
                    let turned = Bounds {
                        low_ns: said.high_ns.saturating_neg(),
                        high_ns: said.low_ns.saturating_neg(),
                    };
                    ((request.host, call.host), turned)
                };
                bounds.entry(key).or_default().push(said);
            }
        }
        bounds
    }
}

/// Calls and requests of one ID that are compared with each other.
const FEW: usize = 32;

/// What must be added to the request's times.
fn said(call: &CallFact, request: &RequestFact) -> Bounds {
    let less = |a: u64, b: u64| {
        let difference = i128::from(a) - i128::from(b);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    };
    let start_ns = request.request.start_ns;
    let low_ns = less(call.call.start_ns, start_ns);
    let done = call.call.outcome == CallOutcome::Done;
    let high_ns = match request.ended_ns().filter(|_| done) {
        // It has answered before the call was done.
        Some(ended_ns) => less(call.over_ns(), ended_ns),
        // It began before the call was over.
        None => less(call.over_ns(), start_ns),
    };
    Bounds { low_ns, high_ns }
}

/// One host has one clock: a request that began while a call did not run is not its own. Those that make a call have
/// begun before it.
fn is_ruled_out(call: &Entry<CallFact>, request: &Entry<RequestFact>) -> bool {
    let runs = call.fact.call.start_ns..=call.fact.over_ns();
    call.host == request.host && !runs.contains(&request.fact.request.start_ns)
}

/// Whether the request can have begun while the call ran, as far as their clocks are known.
fn overlaps(
    call: &Entry<CallFact>,
    request: &Entry<RequestFact>,
    of: &impl Fn(HostIndex) -> Offset,
) -> bool {
    if call.host == request.host {
        return !is_ruled_out(call, request);
    }
    let (here, there) = (of(call.host), of(request.host));
    let slack = i128::from(here.error_ns) + i128::from(there.error_ns);
    let begins = there.at(request.fact.request.start_ns);
    let (start, over) = (call.fact.call.start_ns, call.fact.over_ns());
    (here.at(start) - slack..=here.at(over) + slack).contains(&begins)
}
