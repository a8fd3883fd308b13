//! Outgoing calls begin, end, fail.

use std::sync::Arc;

use observer_common::event::{
    BodyFailed, CallCancelled, CallStarted, ConnCancelled, ContextCancelledShort, Header, Link,
};

use crate::finding::CancelledBy;

use super::On;
use super::call::{Attempts, Call, CallEnd, CallKind, FailedRead};
use super::chain::links;
use super::context::Root;
use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::process::{DeadConn, Parting};
use super::request::surplus;
use super::text::head;

/// What reads a connection of the transport.
const READ_LOOP: &str = "net/http.(*persistConn).readLoop";
/// What every read of a body of HTTP/1 passes.
const BODY_READ: &str = "net/http.(*bodyEOFSignal).Read";

/// What is known of a call when it begins.
pub(super) struct Begun<'a> {
    pub(super) kind: CallKind,
    pub(super) handle: u64,
    pub(super) target: Arc<str>,
    /// From its context upwards.
    pub(super) links: &'a [Link],
    pub(super) pcs: Arc<[u64]>,
    pub(super) keeps_conn: bool,
    pub(super) bounded: bool,
    /// Low half of the address of its URL; 0 where it has none.
    pub(super) url: u32,
}

impl On<'_> {
    pub(super) fn call_started(&mut self, record: &CallStarted) {
        if self.goes_on(record) {
            return;
        }
        let begun = Begun {
            kind: CallKind::Http,
            handle: record.request,
            target: self.target(record),
            links: links(&record.chain, record.links),
            pcs: self
                .model
                .stacks
                .keep(&record.pcs, u64::from(record.frames)),
            keeps_conn: false,
            bounded: false,
            url: record.url,
        };
        self.leave_last_call(record.header.goid);
        let id = self.begin_call(&record.header, begun);
        self.name_call(record.request, id);
        self.facts.push(Fact::CallStarted(id));
    }

    /// A call goes by this `*http.Request` from now on.
    pub(super) fn name_call(&mut self, request: u64, id: CallId) {
        let older = self.process.call_requests.get(&request).copied();
        if let Some(older) = older.filter(|older| *older != id) {
            self.model.resent(older);
        }
        self.process.call_requests.insert(request, id);
    }

    /// A call that its goroutine is in from now on.
    pub(super) fn begin_call(&mut self, header: &Header, begun: Begun<'_>) -> CallId {
        let resolved = self.resolve(begun.links);
        let by_goroutine = self.owner(header, &begun.pcs);
        let owner = match &resolved.root {
            Root::Request(request) => Some(*request),
            _ => by_goroutine,
        };
        let (pid, now_ns, epoch) = (self.pid, self.model.now_ns, self.model.epoch);
        let before = self.process.calls.get(&header.goid).copied();
        let before = before.filter(|id| self.model.calls.get(*id).is_some_and(|it| !it.is_over()));
        let call = Call {
            id: CallId(0),
            kind: begun.kind,
            pid,
            goid: header.goid,
            parent_goid: header.parent_goid,
            g: header.g,
            handle: begun.handle,
            ctx_itab: begun.links.first().map_or(0, |link| link.itab),
            ctx_data: begun.links.first().map_or(0, |link| link.data),
            sent: None,
            attempts: Attempts {
                before,
                url: begun.url,
                ..Attempts::new(Arc::clone(&begun.target))
            },
            target: begun.target,
            ctx: resolved.ctx,
            steps: resolved.steps,
            root: resolved.root,
            owner,
            pcs: begun.pcs,
            start_ns: now_ns,
            waited_ns: None,
            inner: None,
            failed_read: None,
            ended: None,
            failed: false,
            keeps_conn: begun.keeps_conn,
            bounded: begun.bounded,
            epoch,
        };
        let (id, _) = self.model.calls.insert(|id| Call { id, ..call });
        if let Some(request) = owner.and_then(|owner| self.model.requests.get_mut(owner)) {
            request.calls.push(id);
            for oldest in surplus(&mut request.calls, self.model.limits.per_request) {
                self.model.totals.evicted += 1;
                self.forget_call(oldest);
            }
        }
        self.process.calls.insert(header.goid, id);
        id
    }

    /// Drops a call, and its address unless that means a younger one already.
    pub(super) fn forget_call(&mut self, id: CallId) {
        let Some(call) = self.model.calls.remove(id) else {
            return;
        };
        let process = if call.pid == self.pid {
            Some(&mut *self.process)
        } else {
            self.model.processes.get_mut(call.pid)
        };
        if call.kind == CallKind::Http
            && let Some(process) = process
            && process.call_requests.get(&call.handle) == Some(&id)
        {
            process.call_requests.remove(&call.handle);
        }
        self.model.calls.recycle(call);
    }

    /// A goroutine is in one call at a time; its body or its rows may still be read later.
    pub(super) fn leave_last_call(&mut self, goid: u64) {
        let now_ns = self.model.now_ns;
        if let Some(call) = self.process.calls.get(&goid).copied()
            && let Some(call) = self.model.calls.get_mut(call)
            && call.ended.is_none()
            && call.inner.is_none()
        {
            call.ended = Some((now_ns, CallEnd::Unknown));
            self.facts.push(Fact::CallEnded(call.id));
        }
    }

    /// The transport's context of a call is cancelled: the call is over.
    pub(super) fn inner_cancelled(&mut self, id: CtxId) {
        let Some(ctx) = self.model.contexts.get(id).filter(|ctx| ctx.internal) else {
            return;
        };
        let Some(cancel) = &ctx.cancelled else { return };
        if cancel.by == CancelledBy::Code
            && let Some(call) = ctx.call
            && self.is_answer(&cancel.pcs)
        {
            self.answered(call, id);
            return;
        }
        let (call, at_ns, by) = (ctx.call, cancel.at_ns, cancel.by);
        // Its own deadline is what gRPC's configuration allows the method.
        let end = match by {
            CancelledBy::Parent | CancelledBy::Deadline => CallEnd::Cancelled,
            _ if self.grpc_outran_timer(id, at_ns) => CallEnd::Cancelled,
            _ => CallEnd::Done,
        };
        if let Some(call) = call
            && let Some(call) = self.model.calls.get_mut(call)
            && call.inner == Some(id)
            && !call.is_over()
        {
            call.ended = Some((at_ns, end));
            self.facts.push(Fact::CallEnded(call.id));
            // Its own context was alive, so it was under way: it cannot succeed any more.
            if call.kind == CallKind::Dial && end == CallEnd::Cancelled {
                let id = call.id;
                self.fail(id);
            }
        }
        if end == CallEnd::Done {
            self.forget_context(id);
        }
    }

    /// The round trip itself cancels its dead context: it returns the context's error. Or the
    /// connection's reader does, which has closed the connection.
    pub(super) fn inner_cancelled_again(&mut self, id: CtxId, record: &ContextCancelledShort) {
        let goid = record.header.goid;
        let Some(call) = self.model.contexts.get(id).and_then(|ctx| ctx.call) else {
            return;
        };
        let Some(entry) = self.model.calls.get(call) else {
            return;
        };
        if entry.kind.is_grpc() {
            self.grpc_call_failed(call, goid);
            return;
        }
        let killed = matches!(entry.ended, Some((_, CallEnd::Cancelled)));
        // Rows that are closed after their context died may have been read before, or not be wanted.
        if entry.inner != Some(id) || !killed || entry.kind != CallKind::Http {
            return;
        }
        if entry.goid == goid {
            self.fail(call);
        } else if let Some(Parting::Conn(conn)) = self.process.partings.get(&goid).copied() {
            self.answered_by(call, conn, goid);
        } else if self.is_in(record.pcs[1], READ_LOOP)
            && let Some(call) = self.model.calls.get_mut(call)
            && !call.failed
        {
            // The connection is not closed: the body had been read before the cancel came, or let go.
            call.ended = Some((self.model.now_ns, CallEnd::Done));
            self.forget_context(id);
        }
    }

    pub(super) fn fail(&mut self, id: CallId) {
        if let Some(call) = self.model.calls.get_mut(id)
            && !call.failed
        {
            call.failed = true;
            self.facts.push(Fact::CallFailed(id));
        }
    }

    /// The transport closes a connection because the context of its request died.
    pub(super) fn conn_cancelled(&mut self, record: &ConnCancelled) {
        let closer = record.header.goid;
        let given_up = match self.process.partings.get(&closer) {
            Some(Parting::Call(call)) => Some(*call),
            _ => None,
        };
        let dead = DeadConn {
            closer,
            call: given_up,
            read: None,
        };
        self.process.dead_conns.insert(record.conn, dead);
        let parting = Parting::Conn(record.conn);
        self.process.partings.insert(closer, parting);
    }

    /// The call is named whose answer came over the connection that `closer` has closed. The
    /// address may be another connection's by now.
    fn answered_by(&mut self, call: CallId, conn: u64, closer: u64) {
        let Some(dead) = self.process.dead_conns.get(&conn) else {
            return;
        };
        if dead.closer != closer || dead.call.is_some() {
            return;
        }
        let read = dead.read.clone();
        let dead = DeadConn {
            closer,
            call: Some(call),
            read: None,
        };
        self.process.dead_conns.insert(conn, dead);
        if let Some(read) = read {
            self.fail_body(call, read);
        }
    }

    /// Something failed on a connection that was closed so: the read of a body?
    pub(super) fn body_failed(&mut self, record: &BodyFailed) {
        let Some(dead) = self.process.dead_conns.get(&record.conn).cloned() else {
            return;
        };
        let pcs = self.model.stacks.keep(&record.pcs, record.frames);
        // The round trip asks the connection too, when it fails.
        let Some(read) = pcs.iter().position(|pc| self.is_in(*pc, BODY_READ)) else {
            return;
        };
        let read = FailedRead {
            goid: record.header.goid,
            pcs: pcs.iter().skip(read + 1).copied().collect(),
        };
        match dead.call {
            Some(call) => self.fail_body(call, read),
            None => {
                let read = Some(read);
                let dead = DeadConn { read, ..dead };
                self.process.dead_conns.insert(record.conn, dead);
            }
        }
    }

    pub(super) fn is_in(&self, pc: u64, function: &str) -> bool {
        self.code
            .frames(self.pid, pc)
            .iter()
            .any(|frame| &*frame.function == function)
    }

    /// `GET store:8080/item/7`.
    pub(super) fn target(&mut self, record: &CallStarted) -> Arc<str> {
        let method = match head(&record.method, u64::from(record.method_len)) {
            [] => b"GET",
            method => method,
        };
        let host = head(&record.host, u64::from(record.host_len));
        let path = head(&record.path, u64::from(record.path_len));
        let target = self.model.texts.keep_joined(&[method, b" ", host, path]);
        target.unwrap_or_default()
    }

    fn fail_body(&mut self, id: CallId, read: FailedRead) {
        if let Some(call) = self.model.calls.get_mut(id)
            && call.failed_read.is_none()
        {
            call.failed_read = Some(read);
            self.facts.push(Fact::BodyFailed(id));
        }
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
        if call.handle != record.request {
            return;
        }
        if !call.is_over() {
            call.ended = Some((now_ns, CallEnd::Cancelled));
            self.facts.push(Fact::CallEnded(id));
        }
        // On the calling goroutine it is the round trip that fails; on the connection's reader the
        // answer is there, and its body dies.
        if call.goid == record.header.goid {
            self.fail(id);
        } else {
            let parting = Parting::Call(id);
            self.process.partings.insert(record.header.goid, parting);
        }
    }
}
