//! Contexts and calls of no request: their own end is the only one that they have.
//!
//! What a request has made goes with it. A poller's contexts, a connection's, those of a TLS handshake or of a worker that
//! no request has started would stay until their table is full, and the oldest that is alive would make room for the dead.

use std::collections::VecDeque;

use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::{Model, On};

/// What is over and belongs to no request, oldest first; what was forgotten since is among it.
#[derive(Debug, Default)]
pub(super) struct Strays {
    contexts: VecDeque<CtxId>,
    calls: VecDeque<CallId>,
}

impl Strays {
    /// Entries kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.contexts.len() + self.calls.len()
    }
}

impl On<'_> {
    /// Of what has ended for nobody since the facts from `seen` on, the last [`super::Limits::strays`] of each kind are kept:
    /// the rules still ask about them.
    pub(super) fn keep_strays(&mut self, seen: usize) {
        for fact in self.facts.iter().skip(seen) {
            match *fact {
                Fact::ContextCancelled(id) if self.model.is_stray_context(id) => {
                    self.model.strays.contexts.push_back(id);
                }
                Fact::CallEnded(id) if self.model.is_stray_call(id) => {
                    self.model.strays.calls.push_back(id);
                }
                _ => {}
            }
        }
        let keep = self.model.limits.strays;
        while self.model.strays.contexts.len() > keep
            && let Some(oldest) = self.model.strays.contexts.pop_front()
        {
            self.forget_context(oldest);
        }
        while self.model.strays.calls.len() > keep
            && let Some(oldest) = self.model.strays.calls.pop_front()
        {
            self.forget_call(oldest);
        }
    }
}

impl Model {
    fn is_stray_context(&self, id: CtxId) -> bool {
        let ctx = self.contexts.get(id);
        ctx.is_some_and(|ctx| ctx.owner.is_none())
    }

    fn is_stray_call(&self, id: CallId) -> bool {
        let call = self.calls.get(id);
        call.is_some_and(|call| call.owner.is_none())
    }
}
