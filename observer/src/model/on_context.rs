//! Contexts are created and cancelled.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use observer_common::event::{
    CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, Header, Link,
};

use crate::finding::CancelledBy;

use super::On;
use super::canceller::{Who, leaves};
use super::chain::links;
use super::code::ContextKind;
use super::context::{Cancel, Ctx, Root};
use super::fact::Fact;
use super::ids::{CtxId, ReqId};
use super::instant::Instant;
use super::process::Origin;
use super::request::{Ending, Protocol, surplus};
use super::seen::Maker;

/// Between two cancels that race for a context, ns: a goroutine may be off its processor for that long between
/// the site and the lock behind it. Much less than what it takes to free a context and use its memory again.
const AT_ONCE_NS: u64 = 50_000_000;

impl On<'_> {
    pub(super) fn context_created(&mut self, record: &ContextCreated) {
        let header = &record.header;
        let type_name = self.code.type_of(self.pid, record.child.itab);
        let kind = self.kind(record.child);
        let resolved = self.resolve(links(&record.chain, record.links));
        let pcs = self
            .model
            .stacks
            .keep(&record.pcs, u64::from(record.frames));
        let by_goroutine = self.owner(header, &pcs);
        let owner = match &resolved.root {
            Root::Request(request) => Some(*request),
            _ => by_goroutine,
        };
        // Go 1.20's timers hold their cancelCtx by pointer, and cancels name that.
        let by_pointer = kind == ContextKind::Timer && record.indirect != 0;
        let ptr = if by_pointer {
            record.indirect
        } else {
            record.child.data
        };
        let own = (kind == ContextKind::Timer).then(|| Instant::new(record.deadline));
        let asked = self.asked_for(record).or(own);
        if let Some(asked) = asked {
            self.learn_clock(asked, &pcs);
        }
        let dial = self.made_by_dial(header.goid, &pcs);
        let mut ctx = self.blank(header, ptr, record.child);
        ctx.internal = dial.is_some();
        ctx.call = dial;
        ctx.type_name = type_name;
        ctx.parent = resolved.ctx;
        ctx.steps = resolved.steps;
        ctx.root = resolved.root;
        ctx.owner = owner;
        ctx.pcs = pcs;
        ctx.deadline_ns = own.and_then(|own| self.time_left(own));
        ctx.asked_ns = asked.and_then(|asked| self.time_left(asked));
        let id = self.add(ctx);
        if let Some(dial) = dial {
            if let Some(call) = self.model.calls.get_mut(dial)
                && call.inner.is_none()
            {
                call.inner = Some(id);
            }
            return;
        }
        self.note_timeout_handler(id);
        self.note_client_stream(header.goid, id);
        self.facts.push(Fact::ContextCreated(id));
    }

    /// A context that a call of the standard library makes for itself, or that of a gRPC server's stream.
    pub(super) fn context_created_short(&mut self, record: &ContextCreatedShort) {
        let header = &record.header;
        let maker = self.process.seen.maker(self.code, self.pid, record.caller);
        if maker == Some(Maker::GrpcReader) {
            let mut ctx = self.blank(header, record.child.data, record.child);
            ctx.type_name = self.code.type_of(self.pid, record.child.itab);
            ctx.pcs = self.model.stacks.keep(&[record.caller], 1);
            self.add(ctx);
            return;
        }
        let parent = self.process.contexts.get(&record.parent.data).copied();
        let parent = parent.filter(|_| self.kind(record.parent).is_node());
        let call = if maker == Some(Maker::SqlBegin) {
            // It outlives the call that begins it.
            self.transaction_begun(header.goid);
            None
        } else if self.is_of_client_stream(record.caller) {
            self.grpc_call_of(header.goid)
        } else {
            self.process.calls.get(&header.goid).copied()
        };
        let mut ctx = self.blank(header, record.child.data, record.child);
        if let Some(call) = call.and_then(|call| self.model.calls.get(call)) {
            ctx.parent = parent.or(call.ctx);
            ctx.root = call.root.clone();
            ctx.owner = call.owner;
        }
        ctx.internal = true;
        ctx.call = call;
        ctx.pcs = self.model.stacks.keep(&[record.caller], 1);
        let id = self.add(ctx);
        if let Some(call) = call.and_then(|call| self.model.calls.get_mut(call))
            && call.inner.is_none()
        {
            call.inner = Some(id);
        }
    }

    pub(super) fn blank(&self, header: &Header, ptr: u64, child: Link) -> Ctx {
        Ctx {
            id: CtxId(0),
            pid: self.pid,
            ptr,
            data: child.data,
            type_name: None,
            parent: None,
            steps: Vec::new(),
            root: Root::Unknown,
            owner: None,
            created_ns: self.model.now_ns,
            goid: header.goid,
            parent_goid: header.parent_goid,
            g: header.g,
            pcs: Arc::default(),
            deadline_ns: None,
            asked_ns: None,
            cancelled: None,
            cancel_called_ns: None,
            internal: false,
            call: None,
            is_root: false,
            epoch: self.model.epoch,
        }
    }

    fn add(&mut self, mut ctx: Ctx) -> CtxId {
        let (ptr, data, owner) = (ctx.ptr, ctx.data, ctx.owner);
        let (id, made_room) = self.model.contexts.insert(|id| {
            ctx.id = id;
            ctx
        });
        self.made_room(made_room);
        self.process.contexts.insert(ptr, id);
        if data != ptr {
            self.process.contexts.insert(data, id);
        }
        if let Some(owner) = owner {
            self.note_context(owner, id);
        }
        id
    }

    fn note_context(&mut self, owner: ReqId, id: CtxId) {
        let Some(request) = self.model.requests.get_mut(owner) else {
            return;
        };
        request.contexts.push(id);
        for oldest in surplus(&mut request.contexts, self.model.limits.per_request) {
            self.model.totals.evicted += 1;
            self.forget_context(oldest);
        }
    }

    /// Drops a context and its addresses.
    pub(super) fn forget_context(&mut self, id: CtxId) {
        let gone = self.model.contexts.remove(id);
        self.made_room(gone);
    }

    /// Drops the addresses of a context that is gone, unless they mean a younger one already.
    pub(super) fn made_room(&mut self, gone: Option<Box<Ctx>>) {
        let Some(ctx) = gone else { return };
        let process = if ctx.pid == self.pid {
            Some(&mut *self.process)
        } else {
            self.model.processes.get_mut(ctx.pid)
        };
        if let Some(process) = process {
            let other = (ctx.data != ctx.ptr).then_some(ctx.data);
            for address in [Some(ctx.ptr), other].into_iter().flatten() {
                if let Entry::Occupied(known) = process.contexts.entry(address)
                    && *known.get() == ctx.id
                {
                    known.remove();
                }
            }
        }
        self.model.contexts.recycle(ctx);
    }

    /// Inside `http.TimeoutHandler` its deadline counts as the request's own.
    fn note_timeout_handler(&mut self, id: CtxId) {
        let Some(ctx) = self.model.contexts.get(id) else {
            return;
        };
        let Root::Request(request) = ctx.root else {
            return;
        };
        let (code, pid, seen) = (self.code, self.pid, &mut self.process.seen);
        let by_handler = ctx.deadline_ns.is_some()
            && ctx
                .pcs
                .iter()
                .take(4)
                .any(|pc| seen.maker(code, pid, *pc) == Some(Maker::TimeoutHandler));
        if by_handler && let Some(request) = self.model.requests.get_mut(request) {
            request.timeout = Some(id);
        }
    }

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
        };
        Cancel {
            at_ns: self.model.now_ns,
            by,
            origin: by,
            goid: header.goid,
            pcs,
            by_write: said == Who::ConnWrite,
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
            by_write: origin.is_some_and(|origin| origin.by_write),
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
