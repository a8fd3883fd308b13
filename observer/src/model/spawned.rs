//! A goroutine that a request has started, itself or through others.

use std::sync::Arc;

use super::ids::{GoId, ReqId};

/// `go` statements kept of those that a goroutine descends from.
pub(super) const MAX_ABOVE: usize = 8;

/// A goroutine that works, or did work, for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spawned {
    /// Its number.
    pub id: GoId,
    /// Whose.
    pub pid: u32,
    /// Go's number for it.
    pub goid: u64,
    /// Its descriptor: a hint.
    pub g: u64,
    /// The request that started it.
    pub request: ReqId,
    /// Return address of the `go` statement.
    pub gopc: u64,
    /// The same of those that it descends from below the serving goroutine, nearest first; the nearest eight.
    pub above: Arc<[u64]>,
    /// Stack of the `go` statement, innermost first, beginning inside the runtime.
    pub pcs: Arc<[u64]>,
    /// Who told of it.
    pub told: Told,
    /// End, monotonic ns: kept until the next event where it came after the end of the request.
    pub ended_ns: Option<u64>,
    /// The newest event that was its own, monotonic ns; where there was none its start, 0 where nobody has told of that.
    pub heard_ns: u64,
}

/// How it is known that a request has started a goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By the event of its start.
    Event,
    /// By a look: the goroutine that started it had served no other request meanwhile.
    Look,
    /// By a look: it was one of several, and the one that is named is the last of them.
    Doubtful,
}

impl Spawned {
    /// What a goroutine that this one starts descends from.
    pub(super) fn line_of_descent(&self) -> Arc<[u64]> {
        std::iter::once(self.gopc)
            .chain(self.above.iter().copied())
            .take(MAX_ABOVE)
            .collect()
    }
}
