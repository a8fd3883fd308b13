//! Outgoing calls of gRPC begin. They end with the context that the client makes for each of them.

use std::sync::Arc;

use observer_common::event::GrpcCalled;

use crate::finding::CancelledBy;

use super::On;
use super::call::{CallEnd, CallKind};
use super::chain::links;
use super::context::Ctx;
use super::fact::Fact;
use super::ids::{CallId, CtxId};
use super::on_call::Begun;
use super::text::{head, lossy};

/// What makes a call's own context.
const STREAM: &str = "google.golang.org/grpc.newClientStreamWithParams";
/// What every unary call passes, and no other.
const UNARY: &str = "google.golang.org/grpc.invoke";
/// Frames above the creation of a context with a timeout in which its maker stands.
const NEAR: usize = 4;

impl On<'_> {
    pub(super) fn grpc_called(&mut self, record: &GrpcCalled) {
        let pcs = self
            .model
            .stacks
            .keep(&record.pcs, u64::from(record.frames));
        let unary = pcs.first().is_some_and(|pc| self.is_in(*pc, UNARY));
        self.leave_last_call(record.header.goid);
        let begun = Begun {
            kind: if unary {
                CallKind::Grpc
            } else {
                CallKind::GrpcStream
            },
            handle: 0,
            target: target(record),
            links: links(&record.chain, record.links),
            pcs,
            keeps_conn: false,
            bounded: false,
            url: 0,
        };
        let id = self.begin_call(&record.header, begun);
        self.facts.push(Fact::CallStarted(id));
    }

    /// Whether a context was made by gRPC's client, for a call.
    pub(super) fn is_of_client_stream(&self, caller: u64) -> bool {
        self.is_in(caller, STREAM)
    }

    /// The call of gRPC that a goroutine has begun and that has no context of its own yet.
    pub(super) fn grpc_call_of(&self, goid: u64) -> Option<CallId> {
        let id = *self.process.calls.get(&goid)?;
        let call = self.model.calls.get(id)?;
        let waits = call.kind.is_grpc() && call.is_open() && call.inner.is_none();
        waits.then_some(id)
    }

    /// A method that has a timeout in the service's configuration: the call's own context is a timer.
    pub(super) fn note_client_stream(&mut self, goid: u64, id: CtxId) {
        let Some(call) = self.grpc_call_of(goid) else {
            return;
        };
        let Some(ctx) = self.model.contexts.get(id) else {
            return;
        };
        if !ctx.pcs.iter().take(NEAR).any(|pc| self.is_in(*pc, STREAM)) {
            return;
        }
        if let Some(ctx) = self.model.contexts.get_mut(id) {
            ctx.internal = true;
            ctx.call = Some(call);
        }
        if let Some(call) = self.model.calls.get_mut(call) {
            call.inner = Some(id);
        }
    }

    /// A call of gRPC ends after its deadline, and before its timer has fired: the server, which keeps the same deadline, was
    /// sooner to give it up. Its context is told so, because the client returns what a timer would have made it return.
    pub(super) fn grpc_outran_timer(&mut self, inner: CtxId, at_ns: u64) -> bool {
        let passed = self
            .model
            .bound_of(Some(inner))
            .and_then(Ctx::deadline_at_ns)
            .is_some_and(|deadline_ns| deadline_ns <= at_ns);
        let Some(ctx) = self.model.contexts.get_mut(inner).filter(|_| passed) else {
            return false;
        };
        let (call, Some(cancel)) = (ctx.call, &mut ctx.cancelled) else {
            return false;
        };
        let is_grpc = call
            .and_then(|call| self.model.calls.get(call))
            .is_some_and(|call| call.kind.is_grpc());
        if is_grpc {
            cancel.by = CancelledBy::Deadline;
            cancel.origin = CancelledBy::Deadline;
        }
        is_grpc
    }

    /// The client has done with a call whose context was dead: on the calling goroutine, its caller is told. A stream may
    /// have been let go by then.
    pub(super) fn grpc_call_failed(&mut self, id: CallId, goid: u64) {
        let fails = self.model.calls.get(id).is_some_and(|call| {
            let killed = matches!(call.ended, Some((_, CallEnd::Cancelled)));
            call.kind == CallKind::Grpc && killed && call.goid == goid
        });
        if fails {
            self.fail(id);
        }
    }
}

/// `store:8080/shop.Depot/Item`.
fn target(record: &GrpcCalled) -> Arc<str> {
    let host = head(&record.host, u64::from(record.host_len));
    let method = head(&record.method, u64::from(record.method_len));
    let mut target = lossy(host).into_owned();
    target.push_str(&lossy(method));
    target.into()
}
