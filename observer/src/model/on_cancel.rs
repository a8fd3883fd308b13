//! Contexts are cancelled: first, again, or with what they hang below.

use std::sync::Arc;

use observer_common::event::{
    CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, ContextCancelled, ContextCancelledShort, Header,
};

use crate::finding::CancelledBy;

use super::On;
use super::canceller::{Who, leaves};
use super::context::{Cancel, Ctx, Root};
use super::fact::Fact;
use super::ids::{CtxId, ReqId};
use super::on_conn_over::ConnOver;
use super::process::Origin;
use super::request::{Ending, Protocol};

/// Between two cancels that race for a context, ns: a goroutine may be off its processor for that long between
/// the site and the lock behind it. Much less than what it takes to free a context and use its memory again.
const AT_ONCE_NS: u64 = 50_000_000;

impl On<'_> {
    pub(super) fn context_cancelled(&mut self, record: &ContextCancelled) {
        let pcs = self.model.stacks.keep(&record.pcs, record.frames);
        let cancel = self.root_cancel(&record.header, pcs);
        if cancel.by_write {
            self.write_failed(record.header.goid);
        }
        let cancel = self.inherited(record.ctx, cancel);
        let origin = Origin {
            ctx: record.ctx,
            cancel: cancel.clone(),
            request: None,
        };
        self.process.origins.insert(record.header.goid, origin);
        self.first_cancel(record.ctx, cancel);
    }

    pub(super) fn context_cancelled_short(&mut self, record: &ContextCancelledShort) {
        if record.flags & CANCEL_END != 0 {
            self.request_end(record);
        } else if record.flags & CANCEL_CASCADE != 0 {
            self.cascade(record);
        } else if record.flags & CANCEL_AGAIN != 0 {
            self.again(record);
        } else {
            self.brief(record);
        }
    }

    /// The transport has done with a call: nothing hangs on its context but the call.
    fn brief(&mut self, record: &ContextCancelledShort) {
        let pcs = self.model.stacks.keep(&record.pcs, 2);
        let cancel = self.root_cancel(&record.header, pcs);
        self.first_cancel(record.ctx, cancel);
    }

    /// What a cancel that is no cascade says.
    fn root_cancel(&mut self, header: &Header, pcs: Arc<[u64]>) -> Cancel {
        let said = self.process.cancellers.who(self.code, self.pid, &pcs);
        let by = match said {
            Who::By(by) => by,
            Who::ConnRead => self
                .process
                .conn_errors
                .get(&header.goid)
                .map_or(CancelledBy::Unknown, |e| e.by),
            Who::ConnWrite => CancelledBy::Unknown,
            Who::ConnOver => self.conn_over(),
        };
        Cancel {
            at_ns: self.model.now_ns,
            by,
            origin: by,
            goid: header.goid,
            pcs,
            by_write: said == Who::ConnWrite,
            conn_over: (said == Who::ConnOver).then(|| ConnOver {
                closing_ns: self.conn_closing(),
            }),
        }
    }

    /// A context that was made under a dead parent, or behind a type of unknown layout, dies of what
    /// killed its parent.
    fn inherited(&self, ptr: u64, cancel: Cancel) -> Cancel {
        if cancel.by != CancelledBy::Parent {
            return cancel;
        }
        let ctx = self.process.contexts.get(&ptr);
        let parent = ctx
            .and_then(|id| self.model.contexts.get(*id)?.parent)
            .and_then(|parent| self.model.contexts.get(parent)?.cancelled.as_ref());
        match parent {
            Some(parent) => Cancel {
                origin: parent.origin,
                pcs: Arc::clone(&parent.pcs),
                by_write: parent.by_write,
                conn_over: parent.conn_over,
                ..cancel
            },
            None => cancel,
        }
    }

    fn first_cancel(&mut self, ptr: u64, cancel: Cancel) {
        let Some(id) = self.process.contexts.get(&ptr).copied() else {
            return;
        };
        let Some(ctx) = self.model.contexts.get_mut(id) else {
            return;
        };
        let by_code = cancel.by == CancelledBy::Code;
        let at_ns = cancel.at_ns;
        if let Some(first) = &ctx.cancelled {
            // Its first cancel in memory, not in the model: two at once, of which each came before the other
            // had written, or the address has another life.
            let at_once = at_ns.saturating_sub(first.at_ns) <= AT_ONCE_NS;
            if by_code && at_once && ctx.cancel_called_ns.is_none() {
                ctx.cancel_called_ns = Some(at_ns);
                self.facts.push(Fact::CancelCalled(id));
            }
            return;
        }
        ctx.cancelled = Some(cancel);
        if by_code {
            ctx.cancel_called_ns = Some(at_ns);
        }
        let request = ctx.is_root.then_some(ctx.owner).flatten();
        self.say_cancelled(id, request);
        if by_code {
            self.facts.push(Fact::CancelCalled(id));
        }
    }

    pub(super) fn say_cancelled(&mut self, id: CtxId, request: Option<ReqId>) {
        self.wait_cancelled(id);
        self.dial_cancelled(id);
        match request {
            Some(request) => {
                let ends = self.model.contexts.get(id);
                let ends = ends.and_then(|ctx| ctx.cancelled.clone());
                if let Some(cancel) = &ends {
                    self.bequeaths_death(request, cancel);
                }
                if ends.is_none_or(|cancel| cancel.by != CancelledBy::NormalEnd) {
                    self.model.note_delivery(request, self.code);
                    self.facts.push(Fact::RequestCancelled(request));
                } else if self.is_grpc(request) {
                    self.end(request, Ending::Normal);
                }
            }
            None => {
                self.inner_cancelled(id);
                self.facts.push(Fact::ContextCancelled(id));
            }
        }
    }

    /// A child dies with its parent, which was cancelled just before on the same goroutine.
    fn cascade(&mut self, record: &ContextCancelledShort) {
        let Some(id) = self.process.contexts.get(&record.ctx).copied() else {
            return;
        };
        self.adopt(id, record.header.goid);
        let Some(ctx) = self.model.contexts.get(id) else {
            return;
        };
        if ctx.cancelled.is_some() {
            return;
        }
        let parent = ctx
            .parent
            .and_then(|parent| self.model.contexts.get(parent));
        let by_parent = parent.and_then(|parent| parent.cancelled.clone());
        let origin = match by_parent {
            Some(cancel) => Some(cancel),
            None => self.origin(ctx, record.header.goid),
        };
        let request = ctx.is_root.then_some(ctx.owner).flatten();
        // What hangs below a request dies of what its own context is said to die of.
        let (by, of_all) = if ctx.is_root {
            let by = self.root_by(ctx, origin.as_ref(), record.header.goid);
            (by, Some(by))
        } else {
            let of_all = origin.as_ref().map(|origin| origin.origin);
            (CancelledBy::Parent, of_all)
        };
        let cancel = Cancel {
            at_ns: self.model.now_ns,
            by,
            origin: of_all.unwrap_or(CancelledBy::Unknown),
            goid: record.header.goid,
            pcs: origin
                .as_ref()
                .map_or_else(Arc::default, |origin| Arc::clone(&origin.pcs)),
            by_write: origin.as_ref().is_some_and(|origin| origin.by_write),
            conn_over: origin.and_then(|origin| origin.conn_over),
        };
        if let Some(ctx) = self.model.contexts.get_mut(id) {
            ctx.cancelled = Some(cancel);
        }
        self.say_cancelled(id, request);
    }

    /// Whether a request made a context that may or may not descend from its own.
    fn has_unknown(&self, id: ReqId) -> bool {
        let request = self.model.requests.get(id);
        let contexts = request.into_iter().flat_map(|request| &request.contexts);
        contexts
            .filter_map(|id| self.model.contexts.get(*id))
            .any(|ctx| ctx.root == Root::Unknown)
    }

    /// Where a chain could not be walked to its end, because a type is unknown or it is too long, package context knows
    /// better: what a request's cancel reaches descends from that request.
    fn adopt(&mut self, id: CtxId, goid: u64) {
        let Some(ctx) = self.model.contexts.get(id) else {
            return;
        };
        if ctx.is_root {
            if let (Some(request), Some(origin)) = (ctx.owner, self.process.origins.get_mut(&goid))
            {
                origin.request = Some(request);
            }
            return;
        }
        if ctx.root != Root::Unknown || ctx.parent.is_some() {
            return;
        }
        let origin = self.process.origins.get(&goid);
        let above = origin.and_then(|origin| self.model.requests.get(origin.request?));
        let Some((request, root)) = above.map(|request| (request.id, request.root)) else {
            return;
        };
        let (call, is_new) = (ctx.call, ctx.owner.is_none());
        if let Some(ctx) = self.model.contexts.get_mut(id) {
            ctx.root = Root::Request(request);
            ctx.parent = Some(root);
            ctx.owner = Some(request);
        }
        if is_new {
            self.note_context(request, id);
        }
        if let Some(call) = call.and_then(|call| self.model.calls.get_mut(call))
            && call.root == Root::Unknown
        {
            call.root = Root::Request(request);
            call.ctx = call.ctx.or(Some(root));
        }
    }

    /// The root of the cascade that a context without known parent belongs to. A cancel of
    /// something that descends from a request cannot have been above one.
    fn origin(&self, ctx: &Ctx, goid: u64) -> Option<Cancel> {
        let origin = self.process.origins.get(&goid)?;
        let below = self
            .process
            .contexts
            .get(&origin.ctx)
            .and_then(|id| self.model.contexts.get(*id))
            .is_some_and(|known| matches!(known.root, Root::Request(_)));
        (!(ctx.is_root && below)).then(|| origin.cancel.clone())
    }

    /// Who cancelled a request's own context through something above it.
    fn root_by(&self, ctx: &Ctx, origin: Option<&Cancel>, goid: u64) -> CancelledBy {
        let leaves = |origin: &Cancel| goid == ctx.goid && leaves(self.code, self.pid, &origin.pcs);
        match origin.map(|origin| origin.by) {
            // The connection's own context goes before the server recovers.
            Some(_) if origin.is_some_and(leaves) => CancelledBy::NormalEnd,
            Some(CancelledBy::Code | CancelledBy::Deadline | CancelledBy::Parent) => {
                CancelledBy::Shutdown
            }
            Some(by) => by,
            // The serving goroutine leaves the connection: the handler panicked.
            None if goid == ctx.goid => CancelledBy::NormalEnd,
            None => CancelledBy::Unknown,
        }
    }

    /// A context that is done already is cancelled by something other than its parent.
    fn again(&mut self, record: &ContextCancelledShort) {
        let Some(id) = self.process.contexts.get(&record.ctx).copied() else {
            return;
        };
        // Two frames are enough to tell a timer and a dead parent; anything else is the CancelFunc,
        // whose caller lies further up.
        if matches!(
            self.process
                .cancellers
                .who(self.code, self.pid, &record.pcs),
            Who::By(CancelledBy::Deadline | CancelledBy::Parent)
        ) {
            return;
        }
        let now_ns = self.model.now_ns;
        let Some(ctx) = self.model.contexts.get_mut(id) else {
            return;
        };
        if ctx.internal {
            self.inner_cancelled_again(id, record);
        } else if ctx.cancel_called_ns.is_none() {
            ctx.cancel_called_ns = Some(now_ns);
            self.facts.push(Fact::CancelCalled(id));
        }
    }

    fn request_end(&mut self, record: &ContextCancelledShort) {
        let Some(id) = self.process.contexts.get(&record.ctx).copied() else {
            self.unseen_end(record);
            return;
        };
        let [_, caller] = record.pcs;
        let pcs = self.model.stacks.keep(&[caller], 1);
        let now_ns = self.model.now_ns;
        let Some(ctx) = self.model.contexts.get_mut(id) else {
            return;
        };
        let Some(request) = ctx.owner.filter(|_| ctx.is_root) else {
            // The connection's own context: its goroutine leaves.
            self.forget_context(id);
            return;
        };
        let cancel = Cancel {
            at_ns: now_ns,
            by: CancelledBy::NormalEnd,
            origin: CancelledBy::NormalEnd,
            goid: ctx.goid,
            pcs,
            by_write: false,
            conn_over: None,
        };
        let goid = ctx.goid;
        if ctx.cancelled.is_none() {
            ctx.cancelled = Some(cancel.clone());
        }
        if self.has_unknown(request) {
            let origin = Origin {
                ctx: record.ctx,
                cancel,
                request: Some(request),
            };
            self.process.origins.insert(goid, origin);
        }
        self.wait_cancelled(id);
        self.dial_cancelled(id);
        // net/http may have done with it while its gRPC handler works on.
        let over_http = self.model.requests.get(request);
        if over_http.is_none_or(|request| request.protocol != Protocol::GrpcOverHttp) {
            self.end(request, Ending::Normal);
        }
    }

    fn is_grpc(&self, id: ReqId) -> bool {
        let request = self.model.requests.get(id);
        request.is_some_and(|request| request.protocol.is_grpc())
    }
}
