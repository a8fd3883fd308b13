//! Requests whose context was dead when they began.
//!
//! A read deadline that passes while a handler runs cancels the context of the connection, which net/http keeps: each
//! later request of it gets a context that was cancelled before.

use std::sync::Arc;

use crate::finding::CancelledBy;

use super::On;
use super::context::Cancel;
use super::ids::ReqId;
use super::request::IoDeadline;

/// A read deadline that has cancelled a connection's context for good.
#[derive(Debug, Clone)]
pub(super) struct TimedOut {
    cancel: Cancel,
    /// The deadline, where a handler has set it.
    deadline: Option<IoDeadline>,
}

impl On<'_> {
    /// A request has been cancelled: with it those that its connection is still to bring?
    pub(super) fn bequeaths_death(&mut self, id: ReqId, cancel: &Cancel) {
        if cancel.by != CancelledBy::ReadDeadline {
            return;
        }
        if let Some(request) = self.model.requests.get(id) {
            let dead = TimedOut {
                cancel: cancel.clone(),
                deadline: request.read_deadline.clone(),
            };
            self.process.timed_out.insert(request.goid, dead);
        }
    }

    /// A request begins on a goroutine, which serves one connection.
    pub(super) fn inherits_death(&mut self, id: ReqId, goid: u64) {
        let (Some(dead), Some(request)) = (
            self.process.timed_out.get(&goid),
            self.model.requests.get_mut(id),
        ) else {
            return;
        };
        request.is_stillborn = true;
        request.read_deadline.clone_from(&dead.deadline);
        if let Some(ctx) = self.model.contexts.get_mut(request.root) {
            ctx.cancelled = Some(dead.cancel.clone());
        }
    }

    /// Its client leaves, as the reader of its connection has noticed: nothing is left that could be cancelled.
    pub(super) fn leaves_stillborn(&mut self, id: ReqId, reader: u64) {
        let Some(request) = self.model.requests.get_mut(id) else {
            return;
        };
        if !std::mem::take(&mut request.is_stillborn) {
            return;
        }
        let root = request.root;
        if let Some(ctx) = self.model.contexts.get_mut(root) {
            ctx.cancelled = Some(Cancel {
                at_ns: self.model.now_ns,
                by: CancelledBy::Client,
                origin: CancelledBy::Client,
                goid: reader,
                pcs: Arc::default(),
                by_write: false,
                conn_over: None,
            });
        }
        self.say_cancelled(root, Some(id));
    }
}
