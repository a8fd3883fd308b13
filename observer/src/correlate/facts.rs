//! Requests and calls as they are told of across processes: what `--facts` writes, what two files are
//! joined by, and what a finding about two processes is made of.

use std::sync::Arc;

use crate::finding::{CallEvidence, CancelledBy, ContextLink, ProcessInfo, RequestInfo};
use crate::go::{Frame, Stack};
use crate::model::{SentDeadline, SpanId, TraceId};

use super::{CallSide, Ids, RequestSide, SeenOn, Span};

/// A deadline that held for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallDeadline {
    /// Time that it allowed when it was set, ns.
    pub set_ns: i64,
    /// Time left when the call began, ns.
    pub left_ns: i64,
    /// The line that set it.
    pub site: Option<Frame>,
}

/// An outgoing call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFact {
    /// Its number, unique with its process.
    pub number: u64,
    /// Whose.
    pub process: Arc<ProcessInfo>,
    /// The request that it was made for.
    pub request: Option<RequestInfo>,
    /// Kind, target, start, length, outcome.
    pub call: CallEvidence,
    /// Who gave it up, where its context died.
    pub given_up_by: Option<CancelledBy>,
    /// The line that cancelled, where code did.
    pub given_up_site: Option<Frame>,
    /// What bounded it.
    pub deadline: Option<CallDeadline>,
    /// The line of the call.
    pub site: Option<Frame>,
    /// First line of the main module, where it differs.
    pub caller: Option<Frame>,
    /// Its stack, innermost first; empty where it comes from a file.
    pub stack: Stack,
    /// Chain of its context; empty where it comes from a file.
    pub context: Vec<ContextLink>,
    /// The connection on which it waited for its answer, where that was read.
    pub seen_on: Option<SeenOn>,
    /// Nothing was lost of it.
    pub whole: bool,
    /// All of this is known up to here, ns.
    pub until_ns: u64,
}

/// A request that was served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFact {
    /// Whose.
    pub process: Arc<ProcessInfo>,
    /// Number, method, path, IDs, start, length.
    pub request: RequestInfo,
    /// Who cancelled it while its handler ran, and when, ns.
    pub cancelled: Option<(CancelledBy, u64)>,
    /// Time that it was given, ns.
    pub deadline_ns: Option<i64>,
    /// What its caller said of how long it waits.
    pub sent_deadline: SentDeadline,
    /// The connection that it came over, where that was read before the answer to it began.
    pub seen_on: Option<SeenOn>,
    /// Nothing was lost of it.
    pub whole: bool,
    /// All of this is known up to here, ns.
    pub until_ns: u64,
}

impl CallFact {
    /// What it is joined by.
    #[must_use]
    pub fn side(&self) -> CallSide {
        let mut ids = self.request.as_ref().map(Ids::of).unwrap_or_default();
        let sent = self.call.sent.as_ref().and_then(|sent| sent.id.as_ref());
        if let Some((header, id)) = sent {
            ids.request = Some((header.as_str().into(), id.as_str().into()));
        }
        CallSide::new(ids, &self.call.target)
    }

    /// What it has sent; `None` where nobody has read it.
    #[must_use]
    pub fn span(&self) -> Option<Option<Span>> {
        let sent = self.call.sent.as_ref()?;
        let trace = sent.trace_id.as_deref();
        let trace = trace.and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let parent = sent.parent_id.as_deref();
        let parent = parent.and_then(|hex| u64::from_str_radix(hex, 16).ok());
        Some(trace.map(TraceId).zip(parent.map(SpanId)))
    }

    /// Moves all of its times, ns.
    pub const fn shift(&mut self, by_ns: i64) {
        self.call.start_ns = self.call.start_ns.saturating_add_signed(by_ns);
        self.until_ns = self.until_ns.saturating_add_signed(by_ns);
        if let Some(request) = &mut self.request {
            request.start_ns = request.start_ns.saturating_add_signed(by_ns);
        }
        if let Some(on) = &mut self.seen_on {
            on.shift(by_ns);
        }
    }

    /// When it ended, or when it was last known to run, ns.
    #[must_use]
    pub fn over_ns(&self) -> u64 {
        let length = self.call.duration_ns;
        length.map_or(self.until_ns, |ns| self.call.start_ns.saturating_add(ns))
    }
}

impl RequestFact {
    /// What it is joined by.
    #[must_use]
    pub fn side(&self) -> RequestSide {
        RequestSide {
            ids: Ids::of(&self.request),
            method: self.request.method.as_deref().map(Arc::from),
            path: self.request.path.as_deref().map(Arc::from),
        }
    }

    /// Moves all of its times, ns.
    pub const fn shift(&mut self, by_ns: i64) {
        let request = &mut self.request;
        request.start_ns = request.start_ns.saturating_add_signed(by_ns);
        if let Some((_, at_ns)) = &mut self.cancelled {
            *at_ns = at_ns.saturating_add_signed(by_ns);
        }
        if let Some(on) = &mut self.seen_on {
            on.shift(by_ns);
        }
        self.until_ns = self.until_ns.saturating_add_signed(by_ns);
    }

    /// When its handler returned, ns.
    #[must_use]
    pub fn ended_ns(&self) -> Option<u64> {
        let length_ns = self.request.duration_ns?;
        Some(self.request.start_ns.saturating_add(length_ns))
    }
}
