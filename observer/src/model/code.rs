//! What the model asks about addresses.

use std::sync::Arc;

use crate::finding::ProcessInfo;
use crate::go::{Frame, TypeName};

/// Resolves addresses of observed processes. Answers must be pure: the same for the same question
/// while the process lives, for they are recorded once and replayed.
pub trait Code {
    /// Logical frames of a return address, innermost first; empty where unknown.
    fn frames(&self, pid: u32, pc: u64) -> Arc<[Frame]>;

    /// The type that an itab names.
    fn type_of(&self, pid: u32, itab: u64) -> Option<Arc<TypeName>>;

    /// The function around the call that returns to `pc`, at the line that declares it.
    fn function(&self, pid: u32, pc: u64) -> Option<Arc<Frame>>;

    /// Where the function around the call that returns to `pc` takes `address` for a call, up to
    /// that one.
    fn handed(&self, pid: u32, pc: u64, address: u64) -> Handed;

    /// What the query is called whose text of this length the executable holds at `address`, where nobody can write;
    /// `None` where it holds none.
    fn query(&self, pid: u32, address: u64, len: u64) -> Option<Arc<str>>;

    /// Where the function around the call that returns to `pc` makes what it hands to that very call as an interface
    /// with this itab: the logical frames, innermost first. Empty where that is not one place.
    fn made_for(&self, pid: u32, pc: u64, itab: u64) -> Arc<[Frame]>;

    /// The process and what counts as its own code.
    fn unit(&self, pid: u32) -> Option<Arc<Unit>>;
}

/// Places in one function, each with its logical frames, innermost first.
pub type Handed = Arc<[Arc<[Frame]>]>;

/// A process and what counts as its own code.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unit {
    /// Who.
    pub process: Arc<ProcessInfo>,
    /// Minor Go version.
    pub go_minor: u32,
    /// Main module, modules replaced by a path, configured prefixes.
    pub own: Vec<String>,
    /// Number of its network namespace; 0 where unknown.
    #[serde(default)]
    pub netns: u64,
    /// Goroutines that may have been there when observing began.
    #[serde(default)]
    pub older: Older,
    /// Nobody tells of its goroutines' beginnings, but they say who started them: looks tell of those that stay.
    #[serde(default)]
    pub is_looked_through: bool,
}

/// Goroutines by number; a number is never used again.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Older {
    /// All up to this one.
    UpTo(u64),
    /// These, in rising order.
    These(Arc<[u64]>),
}

impl Default for Older {
    fn default() -> Self {
        Self::UpTo(0)
    }
}

impl Older {
    /// Whether one is among them.
    #[must_use]
    pub fn has(&self, goid: u64) -> bool {
        match self {
            Self::UpTo(newest) => goid <= *newest,
            Self::These(all) => all.binary_search(&goid).is_ok(),
        }
    }
}

/// What a type means for a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextKind {
    /// `Background`, `TODO`.
    Empty,
    /// `WithValue` and others that hand everything on.
    Through,
    /// `WithoutCancel`.
    Without,
    /// A `cancelCtx`.
    Cancel,
    /// A `timerCtx`.
    Timer,
    /// An `afterFuncCtx`: nobody's CancelFunc, but a stop function.
    AfterFunc,
    /// Any other: its layout is not known.
    Opaque,
}

impl ContextKind {
    /// The kind of a type; `None` is a type that could not be read.
    #[must_use]
    pub fn of(name: Option<&TypeName>) -> Self {
        let Some(name) = name.filter(|name| &*name.package == "context") else {
            return Self::Opaque;
        };
        match &*name.name {
            "backgroundCtx" | "todoCtx" | "emptyCtx" => Self::Empty,
            "valueCtx" | "stopCtx" => Self::Through,
            "withoutCancelCtx" => Self::Without,
            "cancelCtx" => Self::Cancel,
            "timerCtx" => Self::Timer,
            "afterFuncCtx" => Self::AfterFunc,
            _ => Self::Opaque,
        }
    }

    /// Whether its creation is an event, so that it can be a node of the model.
    #[must_use]
    pub const fn is_node(self) -> bool {
        matches!(self, Self::Cancel | Self::Timer | Self::AfterFunc)
    }
}
