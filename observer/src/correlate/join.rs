//! Joins requests to the calls that made them.
//!
//! Calls wait here while they run; a request that begins meanwhile looks for its own among them. One
//! that is the only one left whose IDs, method and path fit is taken for it. Where several fit, none
//! is: a call that may have another's request has none.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::ids::Key;
use super::{CallSide, RequestSide};
use crate::finding::JoinedBy;

/// Running calls of one ID that are told apart; with more, none of them is joined.
const PER_ID: usize = 32;
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

#[derive(Debug)]
struct Entry {
    side: CallSide,
    state: State,
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
            totals: JoinTotals::default(),
        }
    }

    /// A call begins. Numbers rise.
    pub fn call_started(&mut self, call: u64, side: CallSide) {
        if side.ids.is_empty() {
            return;
        }
        if self.calls.len() >= self.limit
            && let Some((oldest, _)) = self.calls.first_key_value()
        {
            let oldest = *oldest;
            self.totals.evicted += 1;
            self.call_ended(oldest);
        }
        for (key, _) in side.ids.keys() {
            let row = self.by_key.entry(key).or_default();
            if row.calls.len() < PER_ID {
                row.calls.push(call);
            } else {
                row.beyond += 1;
            }
        }
        let state = State::Free;
        self.calls.insert(call, Entry { side, state });
    }

    /// A call is over: no request that begins from now on is its own. Gives the one that is.
    pub fn call_ended(&mut self, call: u64) -> Option<Join> {
        let entry = self.calls.remove(&call)?;
        for (key, _) in entry.side.ids.keys() {
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
    pub(super) fn request_started_among(
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
