//! Goroutines of requests begin and end.

use observer_common::event::{GoroutineCreated, GoroutineEnded, Header};

use super::On;
use super::fact::Fact;
use super::ids::GoId;
use super::request::surplus;
use super::spawned::{Spawned, Told};

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
        self.began(|id| Spawned {
            id,
            pid,
            goid: header.goid,
            g: header.g,
            request,
            gopc: record.gopc,
            above,
            pcs,
            told: Told::Event,
            ended_ns: None,
            heard_ns: now_ns,
        });
    }

    /// One of a request has begun.
    pub(super) fn began(&mut self, make: impl FnOnce(GoId) -> Spawned) {
        let (id, made_room) = self.model.spawned.insert(make);
        if let Some(oldest) = made_room {
            self.drop_spawned(&oldest);
        }
        let Some(spawned) = self.model.spawned.get(id) else {
            return;
        };
        self.process.spawned.insert(spawned.goid, id);
        let limit = self.model.limits.per_request;
        if let Some(request) = self.model.requests.get_mut(spawned.request) {
            request.spawned.push(id);
            if request.ended.is_some() {
                self.facts.push(Fact::GoroutineStarted(id));
            }
            for oldest in surplus(&mut request.spawned, limit) {
                self.forget_spawned(oldest);
            }
        }
    }

    /// Such a goroutine has ended.
    pub(super) fn goroutine_ended(&mut self, record: &GoroutineEnded) {
        self.process.follows_goroutines = true;
        if self.is_over(record.header.goid) {
            self.model.totals.spawned_ended += 1;
        }
    }

    /// Whether one that has ended was a request's. Only an end after its request's is a fact: what ends before leaves
    /// nothing to judge.
    pub(super) fn is_over(&mut self, goid: u64) -> bool {
        let Some(id) = self.process.spawned.remove(&goid) else {
            return false;
        };
        let now_ns = self.model.now_ns;
        let Some(spawned) = self.model.spawned.get_mut(id) else {
            return true;
        };
        spawned.ended_ns = Some(now_ns);
        let request = self.model.requests.get_mut(spawned.request);
        let outlived = request.as_ref().is_none_or(|of| of.ended.is_some());
        if let Some(request) = request {
            request.spawned.retain(|of| *of != id);
        }
        if outlived {
            self.process.spawned_gone.push(id);
            self.facts.push(Fact::GoroutineEnded(id));
        } else {
            self.model.spawned.remove(id);
        }
        true
    }

    /// Drops the goroutines whose ends were the last facts: the rules have seen them.
    pub(super) fn forget_gone(&mut self) {
        for id in self.process.spawned_gone.drain(..) {
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
