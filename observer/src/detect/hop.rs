//! A call and the request that it led to in another process, as both of the rules about them tell it.

use std::sync::Arc;

use crate::correlate::{CallFact, OtherHost, Pair, RequestFact};
use crate::finding::{Downstream, JoinedBy, WorkState};
use crate::go::{Frame, Stack};

/// What was seen of the work below.
#[derive(Debug, Clone, Default)]
pub struct Below {
    /// The line that it was at.
    pub site: Option<Frame>,
    /// Its stack, innermost first.
    pub stack: Stack,
    /// Go's own wait reason.
    pub wait_reason: Option<String>,
    /// See [`Downstream::wait_ns`].
    pub wait_ns: Option<u64>,
    /// Running or waiting; over.
    pub state: Option<WorkState>,
}

/// One case: a call that was given up, and the request that it had led to.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The call.
    pub call: &'a CallFact,
    /// The request, by the caller's clock.
    pub request: &'a RequestFact,
    /// How they are known to belong together.
    pub by: JoinedBy,
    /// Name of the call's host, where files told of it.
    pub call_host: Option<&'a Arc<str>>,
    /// Where the request's host is another.
    pub other_host: Option<&'a OtherHost>,
    /// What was seen of the work.
    pub below: Below,
}

impl<'a> Case<'a> {
    /// A pair that files told of.
    #[must_use]
    pub fn of(pair: &'a Pair, below: Below) -> Self {
        Self {
            call: &pair.call,
            request: &pair.request,
            by: pair.by,
            call_host: Some(&pair.call_host),
            other_host: pair.other_host.as_ref(),
            below,
        }
    }

    /// By how much times of the two sides may be wrong against each other, ns.
    #[must_use]
    pub fn error_ns(&self) -> u64 {
        self.other_host.map_or(0, |other| other.error_ns)
    }

    /// Time that the caller had left when the request began, ns.
    #[must_use]
    pub fn left_below_ns(&self) -> Option<i64> {
        let way_ns =
            i128::from(self.request.request.start_ns) - i128::from(self.call.call.start_ns);
        let left_ns = self.call.deadline.as_ref()?.left_ns;
        left_ns.checked_sub(i64::try_from(way_ns).ok()?)
    }

    /// The other side, for evidence.
    pub(super) fn downstream(&self) -> Downstream {
        let request = self.request;
        Downstream {
            process: request.process.clone(),
            host: self.other_host.map(|other| Arc::clone(&other.name)),
            caller_host: self.call_host.map(Arc::clone),
            request: request.request.clone(),
            site: self.below.site.clone(),
            stack: self.below.stack.clone(),
            wait_reason: self.below.wait_reason.clone(),
            wait_ns: self.below.wait_ns,
            joined_by: self.by,
            cancelled_by: request.cancelled.map(|(by, _)| by),
            cancelled_at_ns: request.cancelled.map(|(_, at_ns)| at_ns),
            deadline_ns: request.deadline_ns,
            remaining_ns: self.left_below_ns(),
            clock_ns: self
                .other_host
                .map(|other| (other.moved_ns, other.error_ns)),
        }
    }
}
