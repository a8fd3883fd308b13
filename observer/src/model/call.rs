//! An outgoing call of the model.

use std::sync::Arc;

use super::context::{Root, Step};
use super::ids::{CallId, CtxId, ReqId};
use super::sent::Sent;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// By itself: answered and read, or failed for its own reasons.
    Done,
    /// Because its context died; nobody was seen to suffer yet.
    Cancelled,
    /// Its goroutine went on; when exactly is not known.
    Unknown,
}

/// A read of a body that died with its call's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRead {
    /// Goroutine that read.
    pub goid: u64,
    /// Return addresses, from the caller of the body's `Read` upwards.
    pub pcs: Arc<[u64]>,
}

/// An outgoing HTTP call, from `(*Transport).roundTrip` on.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its number.
    pub id: CallId,
    /// Whose.
    pub pid: u32,
    /// Calling goroutine.
    pub goid: u64,
    /// That goroutine's creator; 0 where unknown.
    pub parent_goid: u64,
    /// Its descriptor: a hint.
    pub g: u64,
    /// The `*http.Request`.
    pub request: u64,
    /// Data word of its context.
    pub ctx_data: u64,
    /// What its memory said of the IDs that it carries, see [`sent`](Self::sent).
    pub(super) sent: Option<Arc<Sent>>,
    /// `GET store:8080/item/7`.
    pub target: Arc<str>,
    /// Nearest known context of its chain.
    pub ctx: Option<CtxId>,
    /// What lies below `ctx`, or below the end of the walk.
    pub steps: Vec<Step>,
    /// Where its chain ends.
    pub root: Root,
    /// The request that it is made for, by descent or by goroutine.
    pub owner: Option<ReqId>,
    /// Return addresses.
    pub pcs: Arc<[u64]>,
    /// Start, monotonic ns.
    pub start_ns: u64,
    /// The transport's own context for it (Go ≥ 1.23).
    pub inner: Option<CtxId>,
    /// The read of its body that failed because its context had died.
    pub failed_read: Option<FailedRead>,
    /// End and how.
    pub ended: Option<(u64, CallEnd)>,
    /// It was seen to fail through a cancel.
    pub failed: bool,
    /// Loss epoch at the start.
    pub epoch: u64,
}

impl Call {
    /// Not known to have ended.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended.is_none()
    }
}
