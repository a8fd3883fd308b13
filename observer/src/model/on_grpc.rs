//! A gRPC handler begins and returns.
//!
//! Its request is known by the stream's context, which the transport's reader has made before, on its own goroutine.

use observer_common::event::{GrpcEnded, GrpcStarted, Link};

use super::On;
use super::chain::links;
use super::code::ContextKind;
use super::context::Root;
use super::fact::Fact;
use super::ids::{CtxId, ReqId};
use super::on_request::Beginning;
use super::request::{Ending, Protocol};
use super::sent_deadline::SentDeadline;
use super::text::{head, text};

/// Every gRPC request is one.
const METHOD: &str = "POST";
/// Where callers say how long they wait.
const GRPC_TIMEOUT: &str = "grpc-timeout";

impl On<'_> {
    pub(super) fn grpc_started(&mut self, record: &GrpcStarted) {
        let chain = links(&record.chain, record.links);
        let Some(leaf) = chain.first().copied() else {
            return;
        };
        let own = self.cancelable(chain).unwrap_or(leaf);
        let known = self.process.contexts.get(&own.data).copied();
        let known = known.and_then(|id| self.model.contexts.get(id));
        if let Some((ctx, Root::Request(request))) = known.map(|ctx| (ctx.id, ctx.root.clone())) {
            self.grpc_over_http(request, ctx, record);
            return;
        }
        let root = known.map(|ctx| ctx.id);
        let id = self.begin(&Beginning {
            header: &record.header,
            ctx: own,
            root,
            request: record.stream,
            writer: record.stream,
            protocol: Protocol::Grpc(leaf),
        });
        if let Some(request) = self.model.requests.get_mut(id) {
            request.method = Some(METHOD.into());
            request.path = method(record);
            request.ids_open = true;
        }
        self.own_deadline(id, root);
        self.facts.push(Fact::RequestStarted(id));
        // Its client may have left before there was a goroutine for it.
        let dead = root.and_then(|root| self.model.contexts.get(root)?.cancelled.as_ref());
        if dead.is_some() {
            self.facts.push(Fact::RequestCancelled(id));
        }
    }

    /// The stream's own context: values lie between, nothing else.
    fn cancelable(&mut self, chain: &[Link]) -> Option<Link> {
        let mut kind = |link: &&Link| self.kind(**link);
        let first = chain.iter().find(|link| kind(link) != ContextKind::Through);
        first.filter(|link| kind(link).is_node()).copied()
    }

    /// The caller's deadline counts as the request's own.
    fn own_deadline(&mut self, id: ReqId, ctx: Option<CtxId>) {
        let bound = ctx.filter(|ctx| {
            let ctx = self.model.contexts.get(*ctx);
            ctx.is_some_and(|ctx| ctx.deadline_ns.is_some())
        });
        let at_ns = bound.and_then(|ctx| self.model.contexts.get(ctx)?.deadline_at_ns());
        if let Some(request) = self.model.requests.get_mut(id) {
            request.timeout = bound;
            request.sent_deadline = match at_ns {
                Some(at_ns) => {
                    let left_ns = i128::from(at_ns) - i128::from(request.start_ns);
                    let left_ns = i64::try_from(left_ns).unwrap_or(i64::MAX);
                    SentDeadline::Is(left_ns, GRPC_TIMEOUT.into())
                }
                None if ctx.is_some() => SentDeadline::None,
                None => SentDeadline::Unknown,
            };
        }
    }

    /// A request of `net/http` turns out to be gRPC's: its handler runs on a goroutine of its own.
    fn grpc_over_http(&mut self, id: ReqId, ctx: CtxId, record: &GrpcStarted) {
        let header = &record.header;
        let Some(request) = self.model.requests.get_mut(id) else {
            return;
        };
        if request.ended.is_some() || request.protocol != Protocol::Http {
            return;
        }
        let (before, writer) = (request.goid, request.writer);
        request.protocol = Protocol::GrpcOverHttp;
        request.goid = header.goid;
        request.g = header.g;
        request.path = method(record).or_else(|| request.path.clone());
        request.writer = record.stream;
        self.process.serving.remove(&before);
        self.process.writers.remove(&writer);
        self.process.serving.insert(header.goid, id);
        self.process.writers.insert(record.stream, id);
        self.own_deadline(id, Some(ctx));
    }

    pub(super) fn grpc_ended(&mut self, record: &GrpcEnded) {
        if let Some(id) = self.process.writers.get(&record.stream).copied() {
            self.end(id, Ending::Normal);
        }
    }
}

fn method(record: &GrpcStarted) -> Option<std::sync::Arc<str>> {
    text(head(&record.method, u64::from(record.method_len)))
}
