//! What rules want to know of a process's memory, and what comes back.

use std::sync::Arc;

use crate::inspect::{Child, ConnState, Inspection, RequestDetails};

/// A question to the inspector; the number comes back with the answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ask {
    /// Number, rising from 1.
    pub id: u64,
    /// Of which process.
    pub pid: u32,
    /// What.
    pub question: Question,
}

/// What a rule wants to know.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Question {
    /// What a goroutine does, and what its request says of itself.
    Work {
        /// Goroutine.
        goid: u64,
        /// Its descriptor, if known: a hint.
        g: u64,
        /// Addresses of contexts: on whose `Done` does it wait?
        contexts: Vec<u64>,
        /// The request, to be described while it lives.
        request: Option<Reading>,
    },
    /// What a request says of itself.
    Request(Reading),
    /// The living goroutines that a goroutine has started.
    Children {
        /// That goroutine.
        parent_goid: u64,
    },
}

/// A request in memory.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reading {
    /// The `*http.Request`.
    pub request: u64,
    /// Data word of its context: it is believed while it has this one.
    pub ctx: u64,
    /// Its `*http.response`.
    pub writer: u64,
    /// Canonical names of headers to look for, best first.
    pub headers: Vec<String>,
}

/// What a goroutine does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Work {
    /// The goroutine.
    pub goroutine: Inspection,
    /// Those of the contexts asked about on whose `Done` it waits.
    pub waits_on: Vec<u64>,
    /// The request, if asked about and still there.
    pub request: Option<Arc<RequestDetails>>,
    /// Its connection, likewise.
    pub conn: Option<ConnState>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Answer {
    /// To [`Question::Work`].
    Work(Box<Work>),
    /// To [`Question::Request`].
    Request {
        /// The request, if still there.
        request: Option<Arc<RequestDetails>>,
        /// Its connection, likewise.
        conn: Option<ConnState>,
    },
    /// To [`Question::Children`]; `None` where Go keeps no parents (≤ 1.20) or memory refused.
    Children(Option<Vec<Child>>),
    /// The process is gone, or cannot be read.
    Unknown,
}
