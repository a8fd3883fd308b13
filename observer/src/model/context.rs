//! A context of the model.

use std::sync::Arc;

use crate::finding::CancelledBy;
use crate::go::TypeName;
use crate::inspect::ValueKey;

use super::ids::{CallId, CtxId, ReqId};
use super::on_conn_over::ConnOver;

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// At a request's own context.
    Request(ReqId),
    /// Somewhere that is proved not to be one.
    Detached(Cut),
    /// Not proved either way.
    Unknown,
}

/// What detaches a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// It begins with `Background` or `TODO`.
    Empty,
    /// `WithoutCancel`; the request beyond it, if known.
    Without(Option<ReqId>),
    /// A type of unknown layout that did not hand a cancel on.
    Opaque(Option<Arc<TypeName>>),
}

/// A link of a chain between two contexts of the model: a value, a cut, the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What names its type in the process.
    pub itab: u64,
    /// Data word: where it lies.
    pub data: u64,
    /// Its type, if it could be read.
    pub type_name: Option<Arc<TypeName>>,
    /// Of a value, its key, if memory has been asked.
    pub key: Option<Arc<ValueKey>>,
}

/// A cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// When, monotonic ns.
    pub at_ns: u64,
    /// Who.
    pub by: CancelledBy,
    /// Who cancelled the root of the cascade, where `by` is `Parent`.
    pub origin: CancelledBy,
    /// On which goroutine; 0 where not read.
    pub goid: u64,
    /// Return addresses of the root of the cascade.
    pub pcs: Arc<[u64]>,
    /// A write to the peer failed, and only memory can tell why.
    pub by_write: bool,
    /// An HTTP/2 connection was over: who ended it, its peer's close tells.
    pub conn_over: Option<ConnOver>,
}

impl Cancel {
    /// Who cancelled: of a cascade, its root.
    #[must_use]
    pub fn root_by(&self) -> CancelledBy {
        match self.by {
            CancelledBy::Parent => self.origin,
            by => by,
        }
    }
}

/// One life of one context.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Its number.
    pub id: CtxId,
    /// Whose.
    pub pid: u32,
    /// Address of the `cancelCtx`, as cancels name it.
    pub ptr: u64,
    /// Data word of its interface values; differs from `ptr` only for Go 1.20's timers.
    pub data: u64,
    /// Its type.
    pub type_name: Option<Arc<TypeName>>,
    /// Nearest ancestor that the model knows.
    pub parent: Option<CtxId>,
    /// What lies between it and `parent`, or and the end of the walk.
    pub steps: Vec<Step>,
    /// Where its chain ends.
    pub root: Root,
    /// The request that it was made for, by descent or by goroutine.
    pub owner: Option<ReqId>,
    /// When, monotonic ns.
    pub created_ns: u64,
    /// By which goroutine; 0 where unknown.
    pub goid: u64,
    /// That goroutine's creator; 0 where unknown.
    pub parent_goid: u64,
    /// That goroutine's descriptor: a hint.
    pub g: u64,
    /// Return addresses of the creation; empty for a request's own.
    pub pcs: Arc<[u64]>,
    /// Time that its own deadline left at creation, ns; an ancestor's counts there.
    pub deadline_ns: Option<i64>,
    /// Time asked for at creation, ns: more than is left where an ancestor's deadline is sooner.
    pub asked_ns: Option<i64>,
    /// First cancel.
    pub cancelled: Option<Cancel>,
    /// When its CancelFunc was called.
    pub cancel_called_ns: Option<u64>,
    /// Made by the standard library for a call: the transport's own, that of rows, a dial's.
    pub internal: bool,
    /// That call, where known.
    pub call: Option<CallId>,
    /// A request's own.
    pub is_root: bool,
    /// Loss epoch at creation.
    pub epoch: u64,
}

impl Ctx {
    /// Its own deadline ended it.
    #[must_use]
    pub fn died_of_its_deadline(&self) -> bool {
        self.cancelled
            .as_ref()
            .is_some_and(|cancel| cancel.by == CancelledBy::Deadline)
    }
}
