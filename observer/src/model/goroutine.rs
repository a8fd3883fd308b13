//! Which request a goroutine works for.

use observer_common::event::Header;

use super::On;
use super::ids::ReqId;
use super::request::BEATS;

impl On<'_> {
    /// The request that the goroutine of a hit works for: it serves it, or was started by a
    /// goroutine that did. Sticky: a goroutine belongs to the request it was first seen with.
    pub(super) fn owner(&mut self, header: &Header) -> Option<ReqId> {
        if let Some(request) = self.process.serving.get(&header.goid).copied() {
            self.beat(request);
            return Some(request);
        }
        if let Some(request) = self.process.owners.get(&header.goid) {
            return Some(*request);
        }
        if header.parent_goid == 0 {
            return None;
        }
        let parent = self
            .process
            .serving
            .get(&header.parent_goid)
            .or_else(|| self.process.owners.get(&header.parent_goid))
            .copied()?;
        self.process.owners.insert(header.goid, parent);
        Some(parent)
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
