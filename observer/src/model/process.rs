//! What the model remembers per process: which address and which goroutine means what, now.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::finding::CancelledBy;

use super::context::Cancel;
use super::ids::{CallId, CtxId, ReqId};

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
}

/// One observed process.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// Contexts by the address that cancels and chains name.
    pub(super) contexts: FxHashMap<u64, CtxId>,
    /// Requests by serving goroutine, while they run.
    pub(super) serving: FxHashMap<u64, ReqId>,
    /// Requests by their `*http.response`, while they run.
    pub(super) writers: FxHashMap<u64, ReqId>,
    /// Requests by goroutines that were started for them.
    pub(super) owners: Recent<u64, ReqId>,
    /// Roots of cascades by goroutine.
    pub(super) origins: Recent<u64, Origin>,
    /// Read errors by background reader.
    pub(super) conn_errors: Recent<u64, ConnError>,
    /// Last call of a goroutine.
    pub(super) calls: Recent<u64, CallId>,
    /// Calls by response body.
    pub(super) bodies: Recent<u64, CallId>,
    /// Requests that ended lately and made neither contexts nor calls, oldest first.
    pub(super) ended_plain: VecDeque<ReqId>,
    /// Other requests that ended lately, oldest first.
    pub(super) ended_busy: VecDeque<ReqId>,
}

/// A map that forgets the oldest entries: at most twice [`RECENT`] of them.
///
/// Two generations: what was not written since two turns is gone.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
}

/// Entries of one generation.
const RECENT: usize = 16_384;

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            young: FxHashMap::default(),
            old: FxHashMap::default(),
        }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= RECENT {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }
}
