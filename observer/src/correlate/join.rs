//! Joins requests to the calls that made them.
//!
//! Calls wait here while they run; a request that begins meanwhile looks for its own among them. One
//! that is the only one left whose IDs, method and path fit is taken for it. Where several fit, none
//! is: a call that may have another's request has none.
//!
//! What a call itself has sent is known a moment later, if at all: a request that names a span waits for that.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::ids::Key;
use super::{CallSide, RequestSide};
use crate::finding::JoinedBy;
use crate::model::{SpanId, TraceId};

/// Running calls of one ID that are told apart; with more, none of them is joined.
const PER_ID: usize = 32;
/// Requests that wait to hear what calls have sent.
const WAITING: usize = 64;
/// Running calls at once.
pub const DEFAULT_LIMIT: usize = 32_768;

/// A call and its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// The call, by the number that its owner gave it.
    pub call: u64,
    /// The request, likewise.
    pub request: u64,
    /// How they are known to belong together.
    pub by: JoinedBy,
}

/// What became of requests that could have had a call here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JoinTotals {
    /// Joined to one call.
    pub joined: u64,
    /// Several calls, or several requests, fitted: nothing is claimed.
    pub ambiguous: u64,
    /// Calls forgotten because there were too many.
    pub evicted: u64,
}

/// What the sender of a `traceparent` calls itself.
pub type Span = (TraceId, SpanId);

#[derive(Debug)]
struct Entry {
    side: CallSide,
    state: State,
    /// What it has sent; `None`: nobody has read it.
    sent: Option<Option<Span>>,
}

/// A request that names a span.
#[derive(Debug)]
struct Waiting {
    span: Span,
    /// Calls that may be its own.
    calls: Vec<u64>,
    /// It was counted as ambiguous.
    ambiguous: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No request yet.
    Free,
    /// It has one.
    Joined(Join),
    /// It may have one that another may have, too.
    Doubtful,
}

/// Running calls by their IDs.
#[derive(Debug)]
pub struct Joiner {
    limit: usize,
    calls: BTreeMap<u64, Entry>,
    by_key: FxHashMap<Key, Row>,
    waiting: BTreeMap<u64, Waiting>,
    /// Calls without an ID are kept, too.
    keeps_lines: bool,
    totals: JoinTotals,
}

#[derive(Debug, Default)]
struct Row {
    calls: Vec<u64>,
    /// Calls of this ID beyond those that are told apart.
    beyond: usize,
}

impl Default for Joiner {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl Joiner {
    /// For at most `limit` running calls.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            calls: BTreeMap::new(),
            by_key: FxHashMap::default(),
            waiting: BTreeMap::new(),
            keeps_lines: false,
            totals: JoinTotals::default(),
        }
    }

    /// From now on calls without an ID are kept, too: what they have sent may tell.
    pub fn keep_lines(&mut self) {
        if std::mem::replace(&mut self.keeps_lines, true) {
            return;
        }
        let lines = self.calls.iter();
        let lines = lines.filter_map(|(call, entry)| Some((*call, entry.side.line()?)));
        for (call, line) in lines.collect::<Vec<_>>() {
            self.list(call, line);
        }
    }

    fn list(&mut self, call: u64, key: Key) {
        let row = self.by_key.entry(key).or_default();
        if row.calls.len() < PER_ID {
            row.calls.push(call);
        } else {
            row.beyond += 1;
        }
    }

    fn keys(&self, side: &CallSide) -> Vec<Key> {
        let line = side.line().filter(|_| self.keeps_lines);
        side.ids.keys().map(|(key, _)| key).chain(line).collect()
    }

    /// A call begins. Numbers rise.
    pub fn call_started(&mut self, call: u64, side: CallSide) {
        let keys = self.keys(&side);
        if keys.is_empty() {
            return;
        }
        if self.calls.len() >= self.limit
            && let Some((oldest, _)) = self.calls.first_key_value()
        {
            let oldest = *oldest;
            self.totals.evicted += 1;
            self.call_ended(oldest);
        }
        for key in keys {
            self.list(call, key);
        }
        let state = State::Free;
        let sent = None;
        self.calls.insert(call, Entry { side, state, sent });
    }

    /// A call is over: no request that begins from now on is its own. Gives the one that is.
    pub fn call_ended(&mut self, call: u64) -> Option<Join> {
        let entry = self.calls.remove(&call)?;
        self.waiting.retain(|_, waiting| {
            let Some(place) = waiting.calls.iter().position(|one| *one == call) else {
                return true;
            };
            waiting.calls.remove(place);
            // One that is over and may have sent the span leaves the others in doubt.
            entry.sent.is_some_and(|sent| sent != Some(waiting.span))
        });
        for key in self.keys(&entry.side) {
            let Some(row) = self.by_key.get_mut(&key) else {
                continue;
            };
            match row.calls.iter().position(|one| *one == call) {
                Some(place) => {
                    row.calls.remove(place);
                }
                None => row.beyond = row.beyond.saturating_sub(1),
            }
            if row.calls.is_empty() && row.beyond == 0 {
                self.by_key.remove(&key);
            }
        }
        match entry.state {
            State::Joined(join) => Some(join),
            State::Free | State::Doubtful => None,
        }
    }

    /// A request begins. Gives its call, if there is only one that it can be.
    pub fn request_started(&mut self, request: u64, side: &RequestSide) -> Option<Join> {
        self.request_started_among(request, side, |_| true)
    }

    /// The same among the calls that `may` does not rule out.
    pub fn request_started_among(
        &mut self,
        request: u64,
        side: &RequestSide,
        may: impl Fn(u64) -> bool,
    ) -> Option<Join> {
        if self.calls.is_empty() {
            return None;
        }
        // The strongest ID that any call has decides: a trace tells more than what clients make up.
        for (key, by) in side.ids.keys() {
            let Some(row) = self.by_key.get(&key) else {
                continue;
            };
            if row.beyond > 0 {
                self.totals.ambiguous += 1;
                return None;
            }
            let fitting: Vec<u64> = row
                .calls
                .iter()
                .copied()
                .filter(|call| may(*call) && self.fits(*call, side))
                .collect();
            if !fitting.is_empty() {
                return self.choose(&fitting, request, by);
            }
        }
        None
    }

    /// A request that has just begun names a span: of which calls that may be its own is not known yet what they have
    /// sent? Also the join, where that is known of all of them.
    pub fn seek(
        &mut self,
        request: u64,
        side: &RequestSide,
        may: impl Fn(u64) -> bool,
    ) -> (Vec<u64>, Option<Join>) {
        let none = (Vec::new(), None);
        let Some(span) = side.ids.trace.zip(side.ids.parent) else {
            return none;
        };
        let mut calls = Vec::new();
        let keys = side.ids.keys().map(|(key, _)| key).chain(side.line());
        for key in keys {
            let Some(row) = self.by_key.get(&key) else {
                continue;
            };
            if row.beyond > 0 && !matches!(key, Key::Line(..)) {
                return none;
            }
            let fitting = row.calls.iter().copied();
            calls.extend(fitting.filter(|call| may(*call) && self.fits(*call, side)));
        }
        calls.sort_unstable();
        calls.dedup();
        if calls.is_empty() {
            return none;
        }
        let unread = |call: &u64| self.calls.get(call).is_some_and(|one| one.sent.is_none());
        let unread: Vec<u64> = calls.iter().copied().filter(unread).collect();
        let has_one = |call: &u64| self.request_of(*call) == Some(request);
        let waiting = Waiting {
            span,
            ambiguous: !calls.iter().any(has_one),
            calls,
        };
        self.waiting.insert(request, waiting);
        if self.waiting.len() > WAITING {
            self.waiting.pop_first();
        }
        (unread, self.decide(request).map(|(join, _)| join))
    }

    /// What a running call has sent was read. Gives the joins that follow; one that is only surer now is none.
    pub fn call_sent(&mut self, call: u64, sent: Option<Span>) -> Vec<Join> {
        let Some(entry) = self.calls.get_mut(&call) else {
            return Vec::new();
        };
        entry.sent = Some(sent);
        let about = |waiting: &Waiting| waiting.calls.contains(&call);
        let waiting = self.waiting.iter().filter(|(_, waiting)| about(waiting));
        let waiting: Vec<u64> = waiting.map(|(request, _)| *request).collect();
        let decided = waiting.into_iter();
        decided
            .filter_map(|request| self.decide(request))
            .filter_map(|(join, is_new)| is_new.then_some(join))
            .collect()
    }

    /// A running call has sent this ID; one that has the ID of its own request keeps that.
    pub fn call_sent_id(&mut self, call: u64, (header, value): (Arc<str>, Arc<str>)) {
        let Some(entry) = self.calls.get_mut(&call) else {
            return;
        };
        if entry.side.ids.request.is_none() {
            entry.side.ids.request = Some((Arc::clone(&header), Arc::clone(&value)));
            self.list(call, Key::Request(header, value));
        }
    }

    /// Calls without a request that may be this one's by method, path and every ID that is known. No ID says that one is.
    #[must_use]
    pub fn candidates(&self, side: &RequestSide) -> Vec<u64> {
        let row = side.line().and_then(|line| self.by_key.get(&line));
        let calls = row.into_iter().flat_map(|row| row.calls.iter().copied());
        calls.filter(|call| self.may_be(*call, side)).collect()
    }

    /// Running calls that may be a request's by method and path, with what is known of them.
    #[must_use]
    pub fn rivals(&self, side: &RequestSide) -> Vec<(u64, CallSide)> {
        let row = side.line().and_then(|line| self.by_key.get(&line));
        let calls = row.into_iter().flat_map(|row| row.calls.iter());
        let fits = |call: &u64| {
            let entry = self.calls.get(call).filter(|entry| entry.side.fits(side))?;
            Some((*call, entry.side.clone()))
        };
        calls.filter_map(fits).collect()
    }

    /// Whether a call runs.
    #[must_use]
    pub fn runs(&self, call: u64) -> bool {
        self.calls.contains_key(&call)
    }

    /// Whether nothing rules out that a request without a call is this call's.
    fn may_be(&self, call: u64, side: &RequestSide) -> bool {
        let Some(entry) = self.calls.get(&call) else {
            return false;
        };
        // Nobody who could make one span of another is between the two ends of one connection.
        let span = side.ids.trace.zip(side.ids.parent);
        let another = matches!((entry.sent, span), (Some(sent), Some(_)) if sent != span);
        !another && !matches!(entry.state, State::Joined(_)) && entry.side.fits(side)
    }

    /// A running call and a request are the two ends of one connection. Joins them unless an ID says otherwise, or either
    /// has another already; `ambiguous`: the request was counted as that when it began.
    pub fn share_connection(
        &mut self,
        call: u64,
        (request, side): (u64, &RequestSide),
        ambiguous: bool,
    ) -> Option<Join> {
        let mut others = self.calls.keys().map(|call| self.request_of(*call));
        if others.any(|other| other == Some(request)) || !self.may_be(call, side) {
            return None;
        }
        let by = JoinedBy::Sockets;
        let join = Join { call, request, by };
        self.set(call, State::Joined(join));
        self.totals.joined += 1;
        let counted = u64::from(ambiguous);
        self.totals.ambiguous = self.totals.ambiguous.saturating_sub(counted);
        Some(join)
    }

    /// The request of a running call.
    #[must_use]
    pub fn joined(&self, call: u64) -> Option<Join> {
        match self.calls.get(&call)?.state {
            State::Joined(join) => Some(join),
            State::Free | State::Doubtful => None,
        }
    }

    fn request_of(&self, call: u64) -> Option<u64> {
        self.joined(call).map(|join| join.request)
    }

    /// Once it is known what every call has sent that may be a request's own: exactly one of those without
    /// another request has sent its span. Also whether the two were not joined before.
    fn decide(&mut self, request: u64) -> Option<(Join, bool)> {
        let waiting = self.waiting.get(&request)?;
        let mut mine = Vec::new();
        for call in &waiting.calls {
            if self.calls.get(call)?.sent? == Some(waiting.span) {
                mine.push(*call);
            }
        }
        let waiting = self.waiting.remove(&request)?;
        mine.retain(|call| self.request_of(*call).is_none_or(|other| other == request));
        let [call] = mine[..] else {
            return None;
        };
        // Who hands on what came in names no span of its own: that is the trace, and no more.
        let handed_on = self.calls.get(&call)?.side.ids.parent == Some(waiting.span.1);
        let by = if handed_on {
            JoinedBy::Trace
        } else {
            JoinedBy::ParentId
        };
        let before = self.joined(call);
        if before.is_some_and(|join| join.by == by) {
            return None;
        }
        for other in waiting.calls.into_iter().filter(|other| *other != call) {
            if self.request_of(other) == Some(request) {
                self.set(other, State::Doubtful);
                self.totals.joined = self.totals.joined.saturating_sub(1);
            }
        }
        let join = Join { call, request, by };
        self.set(call, State::Joined(join));
        if before.is_none() {
            self.totals.joined += 1;
            let counted = u64::from(waiting.ambiguous);
            self.totals.ambiguous = self.totals.ambiguous.saturating_sub(counted);
        }
        Some((join, before.is_none()))
    }

    /// Numbers of what was joined and what was not.
    #[must_use]
    pub const fn totals(&self) -> JoinTotals {
        self.totals
    }

    /// Running calls.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    #[cfg(test)]
    pub(super) fn by_key_is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    #[cfg(test)]
    pub(super) fn waiting_is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets calls that `gone` names.
    pub fn forget(&mut self, gone: impl Fn(u64) -> bool) {
        let all: Vec<u64> = self
            .calls
            .keys()
            .copied()
            .filter(|call| gone(*call))
            .collect();
        for call in all {
            self.call_ended(call);
        }
    }

    fn fits(&self, call: u64, side: &RequestSide) -> bool {
        self.calls
            .get(&call)
            .is_some_and(|entry| entry.side.fits(side))
    }

    fn choose(&mut self, fitting: &[u64], request: u64, by: JoinedBy) -> Option<Join> {
        let state = |call: &u64| self.calls.get(call).map(|entry| entry.state);
        let waits = |call: &&u64| !matches!(state(call), Some(State::Joined(_)));
        // A gateway's call has its request already when the gateway calls on by the same ID.
        let waiting: Vec<u64> = fitting.iter().filter(waits).copied().collect();
        if let [call] = waiting[..]
            && state(&call) == Some(State::Free)
        {
            let join = Join { call, request, by };
            self.set(call, State::Joined(join));
            self.totals.joined += 1;
            return Some(join);
        }
        self.totals.ambiguous += 1;
        let doubtful = if waiting.is_empty() {
            fitting
        } else {
            &waiting
        };
        for call in doubtful {
            self.set(*call, State::Doubtful);
        }
        None
    }

    fn set(&mut self, call: u64, state: State) {
        if let Some(entry) = self.calls.get_mut(&call) {
            entry.state = state;
        }
    }
}
