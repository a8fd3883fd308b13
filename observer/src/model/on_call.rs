//! Outgoing calls begin, are read, fail.

use std::sync::Arc;

use observer_common::event::{BodyRead, CallCancelled, CallStarted};

use crate::finding::CancelledBy;

use super::On;
use super::call::{Call, CallEnd};
use super::chain::{links, pcs};
use super::context::Root;
use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::request::surplus;
use super::text::{head, text};

impl On<'_> {
    pub(super) fn call_started(&mut self, record: &CallStarted) {
        let header = &record.header;
        self.leave_last_call(header.goid);
        let resolved = self.resolve(links(&record.chain, record.links));
        let by_goroutine = self.owner(header);
        let owner = match &resolved.root {
            Root::Request(request) => Some(*request),
            _ => by_goroutine,
        };
        let (pid, now_ns, epoch) = (self.pid, self.model.now_ns, self.model.epoch);
        let call = Call {
            id: CallId(0),
            pid,
            goid: header.goid,
            parent_goid: header.parent_goid,
            g: header.g,
            request: record.request,
            target: target(record),
            ctx: resolved.ctx,
            steps: resolved.steps,
            root: resolved.root,
            owner,
            pcs: pcs(&record.pcs, u64::from(record.frames)),
            start_ns: now_ns,
            inner: None,
            body: None,
            dead_read: None,
            ended: None,
            failed: false,
            epoch,
        };
        let (id, _) = self.model.calls.insert(|id| Call { id, ..call });
        if let Some(request) = owner.and_then(|owner| self.model.requests.get_mut(owner)) {
            request.calls.push(id);
            for oldest in surplus(&mut request.calls, self.model.limits.per_request) {
                self.model.totals.evicted += 1;
                self.model.calls.remove(oldest);
            }
        }
        self.process.calls.insert(header.goid, id);
        self.process.call_requests.insert(record.request, id);
        self.facts.push(Fact::CallStarted(id));
    }

    /// A goroutine is in one round trip at a time; its body may still be read later.
    fn leave_last_call(&mut self, goid: u64) {
        let now_ns = self.model.now_ns;
        if let Some(call) = self.process.calls.get(&goid).copied()
            && let Some(call) = self.model.calls.get_mut(call)
            && call.ended.is_none()
            && call.inner.is_none()
        {
            call.ended = Some((now_ns, CallEnd::Unknown));
        }
    }

    /// The transport's context of a call is cancelled: the call is over.
    pub(super) fn inner_cancelled(&mut self, id: CtxId) {
        let Some(ctx) = self.model.contexts.get(id).filter(|ctx| ctx.internal) else {
            return;
        };
        let Some(cancel) = &ctx.cancelled else { return };
        let end = if cancel.by == CancelledBy::Parent {
            CallEnd::Cancelled
        } else {
            CallEnd::Done
        };
        let at_ns = cancel.at_ns;
        if let Some(call) = self.process.calls.get(&ctx.goid).copied()
            && let Some(call) = self.model.calls.get_mut(call)
            && call.inner == Some(id)
            && call.ended.is_none()
        {
            call.ended = Some((at_ns, end));
        }
    }

    /// The round trip itself cancels its dead context: it returns the context's error.
    pub(super) fn inner_cancelled_again(&mut self, id: CtxId, goid: u64) {
        let Some(call) = self.process.calls.get(&goid).copied() else {
            return;
        };
        let Some(entry) = self.model.calls.get(call) else {
            return;
        };
        let killed = matches!(entry.ended, Some((_, CallEnd::Cancelled)));
        if entry.inner == Some(id) && entry.goid == goid && killed {
            self.fail(call);
        }
    }

    fn fail(&mut self, id: CallId) {
        if let Some(call) = self.model.calls.get_mut(id)
            && !call.failed
        {
            call.failed = true;
            self.facts.push(Fact::CallFailed(id));
        }
    }

    pub(super) fn body_read(&mut self, record: &BodyRead) {
        let goid = record.header.goid;
        let Some(id) = self.read_by(goid, record.body) else {
            return;
        };
        let Some(call) = self.model.calls.get(id) else {
            return;
        };
        // Up to Go 1.22 the transport keeps no context of its own; the call's says as much.
        let dead = match call.inner {
            Some(_) => matches!(call.ended, Some((_, CallEnd::Cancelled))),
            None => call
                .ctx
                .and_then(|ctx| self.model.contexts.get(ctx))
                .is_some_and(|ctx| ctx.cancelled.is_some()),
        };
        if dead {
            let stack = pcs(&record.pcs, record.frames);
            if let Some(call) = self.model.calls.get_mut(id) {
                call.dead_read.get_or_insert(stack);
            }
            self.facts.push(Fact::DeadBodyRead(id));
        }
    }

    /// The call whose body is read. A body that is new here belongs to the goroutine's last call,
    /// if that has none yet; its address may have been another call's before, so that is asked last.
    fn read_by(&mut self, goid: u64, body: u64) -> Option<CallId> {
        let last = self.process.calls.get(&goid).copied();
        if let Some(id) = last
            && let Some(call) = self.model.calls.get_mut(id)
        {
            if call.body == Some(body) {
                return Some(id);
            }
            if call.body.is_none() {
                call.body = Some(body);
                self.process.bodies.insert(body, id);
                return Some(id);
            }
        }
        let known = self.process.bodies.get(&body).copied()?;
        let reads = self.model.calls.get(known)?.body == Some(body);
        reads.then_some(known)
    }

    /// Up to Go 1.22 the transport says that it gives a call up.
    pub(super) fn call_cancelled(&mut self, record: &CallCancelled) {
        if record.err.itab == 0 {
            return;
        }
        let now_ns = self.model.now_ns;
        let Some(id) = self.process.call_requests.get(&record.request).copied() else {
            return;
        };
        let Some(call) = self.model.calls.get_mut(id) else {
            return;
        };
        if call.request != record.request {
            return;
        }
        if !matches!(call.ended, Some((_, CallEnd::Done | CallEnd::Cancelled))) {
            call.ended = Some((now_ns, CallEnd::Cancelled));
        }
        // On the calling goroutine it is the round trip that fails; on the connection's reader the
        // answer is there, and its body dies.
        if call.goid == record.header.goid {
            self.fail(id);
        }
    }
}

/// `GET store:8080/item/7`.
fn target(record: &CallStarted) -> Arc<str> {
    let method = text(head(&record.method, u64::from(record.method_len)));
    let host = text(head(&record.host, u64::from(record.host_len)));
    let path = text(head(&record.path, record.path_len));
    let part = |part: &Option<Arc<str>>| part.as_deref().unwrap_or_default().to_owned();
    let method = method.as_deref().unwrap_or("GET");
    format!("{method} {}{}", part(&host), part(&path)).into()
}
