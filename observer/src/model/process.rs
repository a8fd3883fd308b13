//! What the model remembers per process: which address and which goroutine means what, now.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::finding::CancelledBy;

use super::call::FailedRead;
use super::canceller::Cancellers;
use super::context::Cancel;
use super::ids::{CallId, CtxId, GoId, ReqId};
use super::instant::Instant;
use super::on_listing::{Listings, Service};
use super::seen::Seen;
use super::stillborn::TimedOut;

/// A connection's read error, until the cancel that follows on the same goroutine.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnError {
    /// What it means.
    pub(super) by: CancelledBy,
}

/// A cancel that began a cascade, and of which context.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The context.
    pub(super) ctx: u64,
    /// What was learnt.
    pub(super) cancel: Cancel,
    /// The request whose own context the cascade has reached: what follows on the goroutine hangs below that.
    pub(super) request: Option<ReqId>,
}

/// A deadline asked for, until the creation that follows on the same goroutine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Data word of the context to derive from.
    pub(super) parent: u64,
    /// Until when.
    pub(super) deadline: Instant,
}

/// A connection that the transport closed because the context of its request died.
#[derive(Debug, Clone)]
pub(super) struct DeadConn {
    /// Goroutine that closed it.
    pub(super) closer: u64,
    /// The call that it answered, once known.
    pub(super) call: Option<CallId>,
    /// A read that failed before the call was known.
    pub(super) read: Option<FailedRead>,
}

/// Half of what joins a call and its connection; the other half follows on the same goroutine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parting {
    /// Up to Go 1.22: the call is given up, then its connection is closed.
    Call(CallId),
    /// Since Go 1.23: the connection is closed, then the call's own context is cancelled (again).
    Conn(u64),
}

/// A redirect, until the round trip that follows on the same goroutine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redirect {
    /// The `*http.Request` of that round trip.
    pub(super) request: u64,
    /// The URL of the one whose answer it was: the low half of its address.
    pub(super) previous_url: u32,
}

/// One observed process.
#[derive(Debug)]
pub(super) struct Process {
    /// Contexts by the address that cancels and chains name.
    pub(super) contexts: FxHashMap<u64, CtxId>,
    /// Requests by serving goroutine, while they run.
    pub(super) serving: FxHashMap<u64, ReqId>,
    /// Requests by their `*http.response`, while they run.
    pub(super) writers: FxHashMap<u64, ReqId>,
    /// The request that a goroutine serves, or has served last.
    pub(super) served: Recent<u64, Service>,
    /// Looks through its goroutines, where nobody tells of their beginnings.
    pub(super) listings: Listings,
    /// Requests by goroutines that were started for them; `None`: nobody's, as far as is known.
    pub(super) owners: Recent<u64, Option<ReqId>>,
    /// Goroutines that requests have started, by goid, while they live.
    pub(super) spawned: FxHashMap<u64, GoId>,
    /// A goroutine's beginning or end was told of.
    pub(super) follows_goroutines: bool,
    /// Those of them whose ends were the last facts.
    pub(super) spawned_gone: Vec<GoId>,
    /// Roots of cascades by goroutine.
    pub(super) origins: Recent<u64, Origin>,
    /// Read errors by background reader.
    pub(super) conn_errors: Recent<u64, ConnError>,
    /// When `Server.Close` was called last, monotonic ns.
    pub(super) server_closed_ns: Option<u64>,
    /// Connections whose context a read deadline has cancelled, by serving goroutine: their next requests are born dead.
    pub(super) timed_out: Recent<u64, TimedOut>,
    /// What its code says of cancels.
    pub(super) cancellers: Cancellers,
    /// What its addresses mean otherwise.
    pub(super) seen: Seen,
    /// Deadlines asked for by goroutine.
    pub(super) asked: Recent<u64, Asked>,
    /// `time.startNano`, once learnt.
    pub(super) start_ns: Option<i64>,
    /// Last call of a goroutine.
    pub(super) calls: Recent<u64, CallId>,
    /// Calls by their `*http.Request`.
    pub(super) call_requests: Recent<u64, CallId>,
    /// What redirected to the round trip that a goroutine begins next.
    pub(super) redirects: Recent<u64, Redirect>,
    /// Calls by the `*driverConn` that they have.
    pub(super) sql_conns: Recent<u64, CallId>,
    /// The last wait for a connection on a context.
    pub(super) conn_waits: Recent<CtxId, CallId>,
    /// The last dial on a context.
    pub(super) dials: Recent<CtxId, CallId>,
    /// The transport's connections that were closed for a dead context, by their `*persistConn`.
    pub(super) dead_conns: Recent<u64, DeadConn>,
    /// What goroutines of the transport have let go of last.
    pub(super) partings: Recent<u64, Parting>,
    /// The request that the last event ended, if it left nothing to judge.
    pub(super) settled_last: Option<ReqId>,
    /// Requests that ended lately and left nothing to judge, oldest first.
    pub(super) ended_settled: VecDeque<ReqId>,
    /// Other requests that ended lately, oldest first.
    pub(super) ended_open: VecDeque<ReqId>,
    /// The last ones that their goroutines have served, of those that ended before these: a look may find what they have
    /// left behind. Oldest first.
    pub(super) ended_last: VecDeque<ReqId>,
}

impl Process {
    /// Nothing is known yet; at most `goroutines` will be remembered by each map that names them.
    pub(super) fn new(goroutines: usize) -> Self {
        Self {
            contexts: FxHashMap::default(),
            serving: FxHashMap::default(),
            writers: FxHashMap::default(),
            served: Recent::new(goroutines),
            listings: Listings::default(),
            owners: Recent::new(goroutines),
            spawned: FxHashMap::default(),
            follows_goroutines: false,
            spawned_gone: Vec::new(),
            origins: Recent::new(goroutines),
            conn_errors: Recent::new(goroutines),
            server_closed_ns: None,
            timed_out: Recent::new(goroutines),
            cancellers: Cancellers::default(),
            seen: Seen::default(),
            asked: Recent::new(goroutines),
            start_ns: None,
            calls: Recent::new(goroutines),
            call_requests: Recent::new(goroutines),
            redirects: Recent::new(goroutines),
            sql_conns: Recent::new(goroutines),
            conn_waits: Recent::new(goroutines),
            dials: Recent::new(goroutines),
            dead_conns: Recent::new(goroutines),
            partings: Recent::new(goroutines),
            settled_last: None,
            ended_settled: VecDeque::new(),
            ended_open: VecDeque::new(),
            ended_last: VecDeque::new(),
        }
    }

    /// How much each map holds.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [(&'static str, usize); 21] {
        [
            ("addresses", self.contexts.len()),
            ("serving", self.serving.len()),
            ("writers", self.writers.len()),
            ("served", self.served.len()),
            ("owners", self.owners.len()),
            ("spawned", self.spawned.len()),
            ("origins", self.origins.len()),
            ("conn errors", self.conn_errors.len()),
            ("timed out", self.timed_out.len()),
            ("asked", self.asked.len()),
            ("calls", self.calls.len()),
            ("call requests", self.call_requests.len()),
            ("redirects", self.redirects.len()),
            ("sql conns", self.sql_conns.len()),
            ("conn waits", self.conn_waits.len()),
            ("dials", self.dials.len()),
            ("dead conns", self.dead_conns.len()),
            ("partings", self.partings.len()),
            ("ended settled", self.ended_settled.len()),
            ("ended open", self.ended_open.len()),
            ("ended last", self.ended_last.len()),
        ]
    }
}

/// All observed processes, by pid.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// The process of the last event, which is mostly that of the next; `None` while it is lent.
    last: Option<(u32, Box<Process>)>,
    others: FxHashMap<u32, Box<Process>>,
}

impl Processes {
    /// The process of an event, until it is given back; nothing is known of one that was not seen before.
    pub(super) fn lend(&mut self, pid: u32, goroutines: usize) -> Box<Process> {
        match self.last.take() {
            Some((last, process)) if last == pid => return process,
            Some((last, process)) => {
                self.others.insert(last, process);
            }
            None => {}
        }
        let known = self.others.remove(&pid);
        known.unwrap_or_else(|| Box::new(Process::new(goroutines)))
    }

    /// Takes back what was lent.
    pub(super) fn give_back(&mut self, pid: u32, process: Box<Process>) {
        self.last = Some((pid, process));
    }

    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        match &self.last {
            Some((last, process)) if *last == pid => Some(process),
            _ => self.others.get(&pid).map(|process| &**process),
        }
    }

    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        match &mut self.last {
            Some((last, process)) if *last == pid => Some(process),
            _ => self.others.get_mut(&pid).map(|process| &mut **process),
        }
    }

    pub(super) fn forget(&mut self, pid: u32) {
        self.others.remove(&pid);
        self.last.take_if(|(last, _)| *last == pid);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Process)> {
        let last = self.last.iter().map(|(pid, process)| (*pid, &**process));
        let others = self.others.iter();
        last.chain(others.map(|(pid, process)| (*pid, &**process)))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        let last = self.last.iter_mut().map(|(_, process)| &mut **process);
        let others = self.others.values_mut();
        last.chain(others.map(|process| &mut **process))
    }
}

/// A map that forgets the oldest entries.
///
/// Two generations: what was not written since two turns is gone.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    generation: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// For at most `limit` entries (at least two).
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            generation: (limit / 2).max(1),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    /// What is asked for stays with the young.
    pub(super) fn keep(&mut self, key: &K) -> Option<&V>
    where
        K: Copy,
    {
        if !self.young.contains_key(key)
            && let Some(old) = self.old.remove(key)
        {
            self.insert(*key, old);
        }
        self.young.get(key)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }
}
