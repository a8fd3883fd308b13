//! Goroutines of requests begin and end.

use observer_common::event::{GoroutineCreated, GoroutineEnded, Header};

use super::On;
use super::fact::Fact;
use super::ids::GoId;
use super::request::surplus;
use super::spawned::Spawned;

impl On<'_> {
    /// The goroutine of a hit is at work.
    pub(super) fn heard_of(&mut self, header: &Header) {
        if let Some(id) = self.process.spawned.get(&header.goid)
            && let Some(spawned) = self.model.spawned.get_mut(*id)
        {
            spawned.heard_ns = self.model.now_ns;
        }
    }

    /// A goroutine whose creator works for a request; where the model does not know that request, as after a loss, it
    /// is nobody's.
    pub(super) fn goroutine_created(&mut self, record: &GoroutineCreated) {
        self.process.follows_goroutines = true;
        let header = &record.header;
        let (request, above) = match self.process.serving.get(&header.parent_goid) {
            Some(request) => (*request, [].into()),
            None => {
                let creator = self.process.spawned.get(&header.parent_goid);
                let Some(creator) = creator.and_then(|id| self.model.spawned.get(*id)) else {
                    return;
                };
                (creator.request, creator.line_of_descent())
            }
        };
        self.model.totals.spawned += 1;
        let pcs = self.model.stacks.keep(&record.pcs, record.frames);
        let (pid, now_ns) = (self.pid, self.model.now_ns);
        let (id, made_room) = self.model.spawned.insert(|id| Spawned {
            id,
            pid,
            goid: header.goid,
            g: header.g,
            request,
            gopc: record.gopc,
            above,
            pcs,
            started_ns: now_ns,
            ended_ns: None,
            heard_ns: now_ns,
        });
        if let Some(oldest) = made_room {
            self.drop_spawned(&oldest);
        }
        self.process.spawned.insert(header.goid, id);
        let limit = self.model.limits.per_request;
        if let Some(request) = self.model.requests.get_mut(request) {
            request.spawned.push(id);
            if request.ended.is_some() {
                self.facts.push(Fact::GoroutineStarted(id));
            }
            for oldest in surplus(&mut request.spawned, limit) {
                self.forget_spawned(oldest);
            }
        }
    }

    /// Such a goroutine has ended. Only an end after its request's is a fact: what ends before leaves nothing to judge.
    pub(super) fn goroutine_ended(&mut self, record: &GoroutineEnded) {
        self.process.follows_goroutines = true;
        let Some(id) = self.process.spawned.remove(&record.header.goid) else {
            return;
        };
        self.model.totals.spawned_ended += 1;
        let now_ns = self.model.now_ns;
        let Some(spawned) = self.model.spawned.get_mut(id) else {
            return;
        };
        spawned.ended_ns = Some(now_ns);
        let request = self.model.requests.get_mut(spawned.request);
        let outlived = request.as_ref().is_none_or(|of| of.ended.is_some());
        if let Some(request) = request {
            request.spawned.retain(|of| *of != id);
        }
        if outlived {
            self.process.spawned_gone = Some(id);
            self.facts.push(Fact::GoroutineEnded(id));
        } else {
            self.model.spawned.remove(id);
        }
    }

    /// Drops the goroutine whose end was the last fact: the rules have seen it.
    pub(super) fn forget_gone(&mut self) {
        if let Some(id) = self.process.spawned_gone.take() {
            self.model.spawned.remove(id);
        }
    }

    fn forget_spawned(&mut self, id: GoId) {
        if let Some(spawned) = self.model.spawned.remove(id) {
            self.drop_spawned(&spawned);
        }
    }

    fn drop_spawned(&mut self, spawned: &Spawned) {
        let process = if spawned.pid == self.pid {
            Some(&mut *self.process)
        } else {
            self.model.processes.get_mut(spawned.pid)
        };
        if let Some(process) = process
            && process.spawned.get(&spawned.goid) == Some(&spawned.id)
        {
            process.spawned.remove(&spawned.goid);
        }
    }
}
