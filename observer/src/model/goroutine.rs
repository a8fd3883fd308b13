//! Which request a goroutine works for.

use observer_common::event::Header;

use crate::go::Frame;

use super::On;
use super::ids::ReqId;
use super::request::BEATS;
use super::spawned::Told;

/// Runs the handler inside `http.TimeoutHandler`, which waits for it.
const TIMEOUT_WORKER: &str = "net/http.(*timeoutHandler).ServeHTTP.";

/// The stack is that of the handler inside `http.TimeoutHandler`.
#[must_use]
pub fn in_timeout_worker(stack: &[Frame]) -> bool {
    stack
        .iter()
        .any(|frame| frame.function.starts_with(TIMEOUT_WORKER))
}

impl On<'_> {
    /// The request that the goroutine of a hit with this stack works for: it serves it, or was started for it. Sticky: a
    /// goroutine belongs to the request that it was first seen with, or to none.
    pub(super) fn owner(&mut self, header: &Header, pcs: &[u64]) -> Option<ReqId> {
        if let Some(known) = self.known_owner(header) {
            return known;
        }
        if header.parent_goid == 0 {
            return None;
        }
        let serves = self.process.serving.get(&header.parent_goid).copied();
        let owner = match serves {
            Some(request) => Some(request).filter(|of| self.is_started_for(*of, pcs)),
            None => self
                .process
                .owners
                .get(&header.parent_goid)
                .copied()
                .flatten(),
        };
        self.process.owners.insert(header.goid, owner);
        owner
    }

    /// What is known of that without a stack; `Some(None)`: that it works for none.
    pub(super) fn known_owner(&mut self, header: &Header) -> Option<Option<ReqId>> {
        if let Some(request) = self.process.serving.get(&header.goid).copied() {
            self.beat(request);
            return Some(Some(request));
        }
        if let Some(request) = self.process.owners.keep(&header.goid) {
            return Some(*request);
        }
        // What a look has found may have worked before: nobody's.
        let spawned = self.process.spawned.get(&header.goid)?;
        let spawned = self.model.spawned.get(*spawned)?;
        (spawned.told == Told::Event).then_some(Some(spawned.request))
    }

    /// Whether a goroutine that the serving one has started was started for this request, as far as can be known: an
    /// earlier request of the same connection may have left it behind.
    fn is_started_for(&self, request: ReqId, pcs: &[u64]) -> bool {
        let request = self.model.requests.get(request);
        let is_first = request.is_some_and(|request| request.is_first);
        let is_worker = |pc: &u64| in_timeout_worker(&self.code.frames(self.pid, *pc));
        is_first || pcs.iter().any(is_worker)
    }

    fn beat(&mut self, request: ReqId) {
        let now_ns = self.model.now_ns;
        if let Some(request) = self.model.requests.get_mut(request) {
            if request.beats_ns.len() >= BEATS {
                request.beats_ns.remove(0);
            }
            request.beats_ns.push(now_ns);
        }
    }
}
