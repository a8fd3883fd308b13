//! Contexts are created, and forgotten.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use observer_common::event::{ContextCreated, ContextCreatedShort, Header, Link};

use super::On;
use super::chain::links;
use super::code::ContextKind;
use super::context::{Ctx, Root};
use super::fact::Fact;
use super::ids::{CtxId, ReqId};
use super::instant::Instant;
use super::request::surplus;
use super::seen::Maker;

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
        let by_goroutine = if kind == ContextKind::AfterFunc {
            self.known_owner(header).flatten()
        } else {
            self.owner(header, &pcs)
        };
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
        // Who dials stands further up than the stack of these goes.
        let dial = (kind != ContextKind::AfterFunc)
            .then(|| self.made_by_dial(header.goid, &pcs))
            .flatten();
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

    pub(super) fn note_context(&mut self, owner: ReqId, id: CtxId) {
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
}
