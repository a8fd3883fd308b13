//! A handler begins; a connection ends under it; a handler returns.

use observer_common::event::{
    ConnHijacked, ConnReadError, ContextCancelledShort, Header, IoDeadlineSet, Link,
    REQUEST_BIG_MAP, REQUEST_HTTP2, REQUEST_IDS_UNREAD, RequestStarted,
};

use crate::finding::CancelledBy;

use smallvec::SmallVec;

use super::On;
use super::call::CallEnd;
use super::code::ContextKind;
use super::context::{Ctx, Root};
use super::fact::Fact;
use super::ids::{CallId, CtxId, ReqId};
use super::instant::Instant;
use super::on_listing::Service;
use super::process::ConnError;
use super::request::{Ending, IoDeadline, Peer, Protocol, Request};
use super::seen::Maker;
use super::sent_deadline::SentDeadline;
use super::text::{head, lossy, text};
use super::trace::Trace;

/// `ECONNRESET` and `EPIPE` on Linux.
const PEER_GONE: [u64; 2] = [104, 32];
/// An epoch that never comes: what has it is not whole.
const NEVER: u64 = u64::MAX;

/// Nobody gives a handler less to write its answer in, ns.
const WRITE_NS: u64 = 100_000_000;

/// What every request begins with.
pub(super) struct Beginning<'a> {
    /// Who serves it.
    pub(super) header: &'a Header,
    /// Its own context.
    pub(super) ctx: Link,
    /// The same, where its creation was an event.
    pub(super) root: Option<CtxId>,
    /// See [`Request::request`].
    pub(super) request: u64,
    /// See [`Request::writer`].
    pub(super) writer: u64,
    /// See [`Request::protocol`].
    pub(super) protocol: Protocol,
}

/// A request target up to its query.
fn shown(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or(target)
}

/// The value is longer than what the record has room for.
fn id_cut(record: &RequestStarted) -> bool {
    usize::try_from(record.id_len).is_ok_and(|len| len > record.id.len())
}

impl On<'_> {
    pub(super) fn request_started(&mut self, record: &RequestStarted) {
        if let Some(id) = self.told_by_http2(record) {
            self.comes_through_net_http(id, record);
            return;
        }
        let id = self.begin(&Beginning {
            header: &record.header,
            ctx: record.ctx,
            root: self.made_by_http2(record),
            request: record.request,
            writer: record.writer.data,
            protocol: Protocol::Http,
        });
        let trace = match head(&record.trace, record.trace_len) {
            [] => Trace::None,
            header => Trace::of(&lossy(header)),
        };
        self.model.totals.traces_broken += u64::from(trace == Trace::Broken);
        let deadline = self.sent_deadline(record);
        self.model.totals.deadlines_broken += u64::from(deadline == SentDeadline::Broken);
        let line = &record.line;
        let path = usize::try_from(record.path_at)
            .ok()
            .and_then(|at| line.get(at..));
        if let Some(request) = self.model.requests.get_mut(id) {
            let texts = &mut self.model.texts;
            request.method = texts.keep(head(line, u64::from(record.method_len)));
            request.path =
                path.and_then(|path| texts.keep(shown(head(path, u64::from(record.path_len)))));
            request.by_http2 = record.flags & REQUEST_HTTP2 != 0;
            request.id_row = record.id_row;
            request.id_value = text(head(&record.id, u64::from(record.id_len)));
            request.id_cut = id_cut(record);
            request.trace = trace;
            request.sent_deadline = deadline;
            request.headers_left = record.flags & REQUEST_BIG_MAP != 0;
            request.ids_open = record.flags & (REQUEST_IDS_UNREAD | REQUEST_BIG_MAP) != 0;
        }
        self.facts.push(Fact::RequestStarted(id));
    }

    /// How long the caller waits, as it says.
    fn sent_deadline(&self, record: &RequestStarted) -> SentDeadline {
        let headers = &self.model.deadline_headers;
        let unseen = record.flags & REQUEST_BIG_MAP != 0 && record.deadline_row == 0;
        if headers.is_empty() || unseen {
            return SentDeadline::Unknown;
        }
        let (row, len) = (record.deadline_row, record.deadline_len);
        let value = text(head(&record.deadline, u64::from(len)));
        SentDeadline::of(headers, row, value.as_deref(), len)
    }

    /// The request that its server of HTTP/2 told of already, on the same goroutine and with the same context.
    fn told_by_http2(&self, record: &RequestStarted) -> Option<ReqId> {
        let serving = *self.process.serving.get(&record.header.goid)?;
        let request = self.model.requests.get(serving)?;
        let same = request.by_http2
            && request.ctx_data == record.ctx.data
            && request.epoch == self.model.epoch;
        same.then_some(serving)
    }

    /// A stream's context, where it was seen to be made: unencrypted, it hangs below a connection that is itself the
    /// request of a handler, and dies with that.
    fn made_by_http2(&self, record: &RequestStarted) -> Option<CtxId> {
        let by_http2 = record.flags & REQUEST_HTTP2 != 0;
        let known = by_http2.then(|| self.process.contexts.get(&record.ctx.data))??;
        let ctx = self.model.contexts.get(*known)?;
        let fresh = ctx.cancelled.is_none() && !ctx.is_root;
        fresh.then_some(*known)
    }

    /// From now on it is where `net/http` has it.
    fn comes_through_net_http(&mut self, id: ReqId, record: &RequestStarted) {
        let Some(request) = self.model.requests.get_mut(id) else {
            return;
        };
        self.process.writers.remove(&request.writer);
        request.request = record.request;
        request.writer = record.writer.data;
        request.by_http2 = false;
        self.process.writers.insert(record.writer.data, id);
    }

    /// A request begins on the goroutine of a hit: without name and IDs yet.
    pub(super) fn begin(&mut self, of: &Beginning<'_>) -> ReqId {
        let header = of.header;
        if let Some(previous) = self.process.serving.get(&header.goid).copied() {
            // One goroutine serves one request at a time: an end was missed.
            if let Some(request) = self.model.requests.get_mut(previous) {
                request.epoch = NEVER;
            }
            self.end(previous, Ending::Superseded);
        }
        self.model.totals.requests += 1;
        let root = match of.root {
            Some(root) => root,
            None => self.root_made(header, of.ctx),
        };
        let (pid, start_ns, epoch) = (self.pid, self.model.now_ns, self.model.epoch);
        let is_first = self.is_first_of(header.goid);
        let (id, made_room) = self.model.requests.insert(|id| Request {
            id,
            pid,
            is_first,
            goid: header.goid,
            g: header.g,
            request: of.request,
            writer: of.writer,
            protocol: of.protocol,
            ctx_data: of.ctx.data,
            root,
            timeout: None,
            method: None,
            path: None,
            id_row: 0,
            id_value: None,
            id_cut: false,
            context_id: None,
            trace: Trace::None,
            sent_deadline: SentDeadline::Unknown,
            by_http2: false,
            ids_open: false,
            headers_left: false,
            start_ns,
            ended: None,
            contexts: SmallVec::new(),
            calls: SmallVec::new(),
            spawned: SmallVec::new(),
            details: None,
            beats_ns: SmallVec::new(),
            peer: Peer::Unasked,
            delivery: None,
            read_deadline: None,
            is_hijacked: false,
            is_stillborn: false,
            write_deadline: None,
            epoch,
        });
        if let Some(oldest) = made_room {
            self.drop_request(oldest);
        }
        if let Some(ctx) = self.model.contexts.get_mut(root) {
            ctx.root = Root::Request(id);
            ctx.owner = Some(id);
            ctx.is_root = true;
        }
        self.process.contexts.insert(of.ctx.data, root);
        self.process.serving.insert(header.goid, id);
        let service = self.service(header.goid, id);
        self.process.served.insert(header.goid, service);
        self.process.writers.insert(of.writer, id);
        self.inherits_death(id, header.goid);
        id
    }

    /// Whether a goroutine that begins to serve a request has served none before.
    fn is_first_of(&self, goid: u64) -> bool {
        self.process.served.get(&goid).is_none() && !self.is_older(goid)
    }

    /// Whether a goroutine may have been there before observing began.
    pub(super) fn is_older(&self, goid: u64) -> bool {
        let unit = self.code.unit(self.pid);
        unit.is_none_or(|unit| unit.older.has(goid))
    }

    /// A request's own context, whose creation was no event.
    fn root_made(&mut self, header: &Header, link: Link) -> CtxId {
        let mut ctx = self.blank(header, link.data, link);
        ctx.type_name = self.code.type_of(self.pid, link.itab);
        let (root, made_room) = self.model.contexts.insert(|id| Ctx { id, ..ctx });
        self.made_room(made_room);
        root
    }

    pub(super) fn conn_hijacked(&mut self, record: &ConnHijacked) {
        let Some(id) = self.process.writers.get(&record.response).copied() else {
            return;
        };
        if let Some(request) = self.model.requests.get_mut(id) {
            request.is_hijacked = true;
        }
        let peer = text(head(&record.peer, record.peer_len));
        self.model.set_peer(id, peer.as_deref(), None);
    }

    pub(super) fn conn_read_error(&mut self, record: &ConnReadError) {
        let by = self.read_error(record);
        if let Some(request) = self.process.writers.get(&record.response).copied() {
            let peer = text(head(&record.peer, record.peer_len));
            self.model.set_peer(request, peer.as_deref(), None);
            if by == CancelledBy::Client {
                self.leaves_stillborn(request, record.header.goid);
            }
        }
        self.process
            .conn_errors
            .insert(record.header.goid, ConnError { by });
    }

    pub(super) fn io_deadline_set(&mut self, record: &IoDeadlineSet) {
        let Some(id) = self.process.writers.get(&record.response).copied() else {
            return;
        };
        let instant = Instant::new(record.deadline);
        let pcs = self.model.stacks.keep(&record.pcs, record.frames);
        let set = if instant.is_zero() {
            None
        } else {
            self.time_left(instant).map(|asked_ns| IoDeadline {
                asked_ns,
                at_ns: self.model.now_ns.saturating_add_signed(asked_ns),
                pcs,
            })
        };
        if let Some(request) = self.model.requests.get_mut(id) {
            match record.write {
                0 => request.read_deadline = set,
                _ => request.write_deadline = set,
            }
        }
    }

    fn read_error(&self, record: &ConnReadError) -> CancelledBy {
        let name = |itab| self.code.type_of(self.pid, itab);
        let is = |itab, package: &str, wanted: &str| {
            name(itab).is_some_and(|name| &*name.package == package && &*name.name == wanted)
        };
        let poll = |itab| {
            if is(itab, "internal/poll", "DeadlineExceededError") {
                Some(CancelledBy::ReadDeadline)
            } else if is(itab, "internal/poll", "errNetClosing") {
                Some(CancelledBy::ServerClose)
            } else {
                None
            }
        };
        if is(record.err.itab, "errors", "errorString") {
            return if record.text.starts_with(b"EOF\0") {
                CancelledBy::Client
            } else {
                CancelledBy::Unknown
            };
        }
        if let Some(by) = poll(record.err.itab) {
            return by;
        }
        if !is(record.err.itab, "net", "OpError") {
            return CancelledBy::Unknown;
        }
        if let Some(by) = poll(record.op_err.itab) {
            return by;
        }
        let errno = is(record.op_err.itab, "os", "SyscallError")
            && is(record.syscall_err.itab, "syscall", "Errno");
        if errno && PEER_GONE.contains(&record.errno) {
            CancelledBy::Client
        } else {
            CancelledBy::Unknown
        }
    }

    /// The handler of a request has returned or panicked.
    pub(super) fn end(&mut self, id: ReqId, how: Ending) {
        let now_ns = self.model.now_ns;
        let Some(request) = self.model.requests.get_mut(id) else {
            return;
        };
        if request.ended.is_some() {
            return;
        }
        request.ended = Some((now_ns, how));
        let (goid, writer, peer) = (request.goid, request.writer, request.peer);
        if self.process.serving.get(&goid) == Some(&id) {
            self.process.serving.remove(&goid);
        }
        if self.process.writers.get(&writer) == Some(&id) {
            self.process.writers.remove(&writer);
        }
        self.model.unlist_peer(id, &peer);
        self.facts.push(Fact::RequestEnded(id));
        let settled = self.is_settled(id);
        self.process.settled_last = settled.then_some(id);
        let (queue, limit) = if settled {
            (
                &mut self.process.ended_settled,
                self.model.limits.ended_settled,
            )
        } else {
            (&mut self.process.ended_open, self.model.limits.ended_open)
        };
        queue.push_back(id);
        let oldest = (queue.len() > limit).then(|| queue.pop_front()).flatten();
        if let Some(oldest) = oldest {
            self.let_go(oldest);
        }
    }

    /// A write to the peer failed on a goroutine that has let its handler return: it was net/http that wrote what the
    /// handler had left in the buffer.
    pub(super) fn write_failed(&mut self, goid: u64) {
        let Some(id) = self.process.served.get(&goid).map(Service::request) else {
            return;
        };
        let ended = self.model.requests.get(id).and_then(|of| of.ended);
        if ended.is_some_and(|(_, how)| how == Ending::Normal) {
            self.facts.push(Fact::AnswerFailed(id));
        }
    }

    /// Something of which nothing was seen ends: a request that was running before observer came, or a connection. The
    /// first has a context right under its connection's; the second under the values that the server keeps for it.
    pub(super) fn unseen_end(&mut self, record: &ContextCancelledShort) {
        let [itab, caller] = record.pcs;
        let by_conn = self.process.seen.maker(self.code, self.pid, caller) == Some(Maker::Conn);
        let parent = self.process.seen.kind(self.code, self.pid, itab);
        if !by_conn || parent == ContextKind::Cancel {
            self.model.note_unknown();
        }
    }

    /// Whether nothing that was made for a request is left to judge: every CancelFunc was called
    /// and every call is done.
    fn is_settled(&self, id: ReqId) -> bool {
        let Some(request) = self.model.requests.get(id) else {
            return true;
        };
        let freed = |ctx: &CtxId| {
            let ctx = self.model.contexts.get(*ctx);
            ctx.is_none_or(|ctx| ctx.internal || ctx.cancel_called_ns.is_some())
        };
        let done = |call: &CallId| {
            let call = self.model.calls.get(*call);
            call.is_none_or(|call| matches!(call.ended, Some((_, CallEnd::Done))))
        };
        request.contexts.iter().all(freed) && request.calls.iter().all(done)
    }

    /// Whether no rule asks about what was made for a settled request: it was never cancelled before
    /// its handler returned, its client was not missed, all its calls could hear of its end, and its answer was not late.
    fn is_plain(&self, id: ReqId) -> bool {
        let Some(request) = self.model.requests.get(id) else {
            return false;
        };
        let root = self.model.contexts.get(request.root);
        let cancel = root.and_then(|root| root.cancelled.as_ref());
        let attached = |call: &CallId| {
            let call = self.model.calls.get(*call);
            call.is_none_or(|call| call.root == Root::Request(id))
        };
        cancel.is_some_and(|cancel| cancel.by == CancelledBy::NormalEnd)
            && request.peer == Peer::Unasked
            && request.timeout.is_none()
            && request.calls.iter().all(attached)
            && !self.may_be_late(request)
    }

    /// Whether the last of a request's answer may come too late to be written while the request has had time.
    fn may_be_late(&self, request: &Request) -> bool {
        let Some(ended_ns) = request.ended_ns() else {
            return false;
        };
        let took_ns = ended_ns.saturating_sub(request.start_ns);
        let had_time = |id: &CtxId| {
            let ctx = self.model.contexts.get(*id);
            ctx.and_then(Ctx::deadline_at_ns) > Some(ended_ns)
        };
        took_ns >= WRITE_NS && request.contexts.iter().any(had_time)
    }

    /// Drops what was made for a request that goes on to be known: now it is at hand, later it would
    /// have to be fetched from memory, thing by thing, only to be freed. What may be asked for later is
    /// the request and its own context.
    ///
    /// Called before the next event: the rules have seen the end by then.
    pub(super) fn forget_made(&mut self) {
        let Some(id) = self.process.settled_last.take() else {
            return;
        };
        if !self.is_plain(id) {
            return;
        }
        let Some(request) = self.model.requests.get_mut(id) else {
            return;
        };
        let calls = std::mem::take(&mut request.calls);
        let contexts = std::mem::take(&mut request.contexts);
        for call in calls {
            self.forget_call(call);
        }
        for ctx in contexts {
            self.forget_context(ctx);
        }
    }

    pub(super) fn forget_request(&mut self, id: ReqId) {
        if let Some(request) = self.model.requests.remove(id) {
            self.drop_request(request);
        }
    }

    /// Drops what was kept for a request that is gone from its table.
    fn drop_request(&mut self, mut request: Box<Request>) {
        self.model.unlist_peer(request.id, &request.peer);
        let process = if request.pid == self.pid {
            Some(&mut *self.process)
        } else {
            self.model.processes.get_mut(request.pid)
        };
        if let Some(process) = process {
            if process.serving.get(&request.goid) == Some(&request.id) {
                process.serving.remove(&request.goid);
            }
            if process.writers.get(&request.writer) == Some(&request.id) {
                process.writers.remove(&request.writer);
            }
        }
        for call in std::mem::take(&mut request.calls) {
            self.forget_call(call);
        }
        for ctx in std::mem::take(&mut request.contexts) {
            self.forget_context(ctx);
        }
        self.forget_context(request.root);
        self.model.requests.recycle(request);
    }
}
