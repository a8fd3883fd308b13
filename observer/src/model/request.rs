//! A request of the model.

use std::net::SocketAddr;
use std::sync::Arc;

use observer_common::event::Link;
use smallvec::{Array, SmallVec};

use crate::inspect::{ContextId, RequestDetails};

use super::connection::Closed;
use super::ids::{CallId, CtxId, GoId, ReqId};
use super::sent_deadline::SentDeadline;
use super::trace::Trace;

/// Hits of the serving goroutine remembered per request.
pub(super) const BEATS: usize = 6;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its handler returned or panicked.
    Normal,
    /// The goroutine serves another one already: the end was not seen.
    Superseded,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// To a handler of `net/http`.
    Http,
    /// To a gRPC server of its own, with the stream's context: what carries its metadata.
    Grpc(Link),
    /// To a gRPC server through `net/http`.
    GrpcOverHttp,
}

impl Protocol {
    /// Whether a gRPC handler serves it.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        !matches!(self, Self::Http)
    }
}

/// Who is at the other end of a request's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Nobody has asked.
    Unasked,
    /// Its address and our port, where that is known.
    At(SocketAddr, Option<u16>),
    /// None that the kernel's sockets have: a Unix socket, or memory that does not tell.
    None,
}

/// What the kernel and Go say of a request's client that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// What the kernel saw.
    pub closed: Closed,
    /// From there until Go cancelled the request, ns.
    pub latency_ns: u64,
}

/// A deadline that a handler has set on its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoDeadline {
    /// Time left when it was set, ns.
    pub asked_ns: i64,
    /// When it passes, monotonic ns.
    pub at_ns: u64,
    /// Return addresses where it was set, innermost first.
    pub pcs: Arc<[u64]>,
}

/// A request, from the call of its handler on.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number, from 1.
    pub id: ReqId,
    /// Whose.
    pub pid: u32,
    /// Its goroutine has served no other before.
    pub is_first: bool,
    /// Serving goroutine.
    pub goid: u64,
    /// Its descriptor: a hint.
    pub g: u64,
    /// The `*http.Request`, or gRPC's stream.
    pub request: u64,
    /// The `http.ResponseWriter`'s data word, or gRPC's stream.
    pub writer: u64,
    /// How it came.
    pub protocol: Protocol,
    /// Data word of the request's context.
    pub ctx_data: u64,
    /// Its own context.
    pub root: CtxId,
    /// The context of `http.TimeoutHandler`, or that of a gRPC stream whose caller has a deadline: it counts as the
    /// request's own.
    pub timeout: Option<CtxId>,
    /// Method of HTTP.
    pub method: Option<Arc<str>>,
    /// Path without query; of gRPC the full method.
    pub path: Option<Arc<str>>,
    /// Row of the header that gave `id_value`, from 1.
    pub id_row: u32,
    /// Request ID, as much of it as the probe keeps.
    pub id_value: Option<Arc<str>>,
    /// The probe has kept less of it than there is.
    pub id_cut: bool,
    /// The ID that a middleware keeps for it in a context.
    pub context_id: Option<ContextId>,
    /// What its `Traceparent` came to.
    pub trace: Trace,
    /// How long its caller waits, as a header says; of gRPC its context says it.
    pub sent_deadline: SentDeadline,
    /// A server of HTTP/2 told of it, before `net/http` could.
    pub by_http2: bool,
    /// IDs were not, or not completely, looked for by the probe.
    pub ids_open: bool,
    /// There are more headers than the probe has looked through.
    pub headers_left: bool,
    /// Start, monotonic ns.
    pub start_ns: u64,
    /// End and how.
    pub ended: Option<(u64, Ending)>,
    /// Contexts made for it, in order.
    pub contexts: SmallVec<[CtxId; 3]>,
    /// Calls made for it, in order.
    pub calls: SmallVec<[CallId; 2]>,
    /// Living goroutines that it has started, in order.
    pub spawned: SmallVec<[GoId; 2]>,
    /// What its memory said, once it was looked at.
    pub details: Option<Arc<RequestDetails>>,
    /// Times of the last hits of its goroutine, newest last: a heartbeat if they are regular.
    pub beats_ns: SmallVec<[u64; BEATS]>,
    /// The other end of its connection.
    pub peer: Peer,
    /// How the client's close came to it, where both moments are known.
    pub delivery: Option<Delivery>,
    /// The read deadline that the handler has set last and not lifted.
    pub read_deadline: Option<IoDeadline>,
    /// Its handler has taken its connection over, or has tried to.
    pub is_hijacked: bool,
    /// Its context was dead when it began: `read_deadline`, or the server's own, had passed in an earlier request of its
    /// connection.
    pub is_stillborn: bool,
    /// The write deadline, likewise.
    pub write_deadline: Option<IoDeadline>,
    /// Loss epoch at the start.
    pub epoch: u64,
}

/// The older half of a list that has grown beyond `limit`; nothing of one that has not.
pub(super) fn surplus<A: Array>(list: &mut SmallVec<A>, limit: usize) -> Vec<A::Item> {
    if list.len() <= limit {
        return Vec::new();
    }
    let half = list.len() / 2;
    list.drain(..half).collect()
}

impl Request {
    /// When the deadline that its caller sent passes, monotonic ns.
    #[must_use]
    pub fn sent_deadline_at_ns(&self) -> Option<u64> {
        Some(
            self.start_ns
                .saturating_add_signed(self.sent_deadline.ns()?),
        )
    }

    /// When it ended, monotonic ns.
    #[must_use]
    pub fn ended_ns(&self) -> Option<u64> {
        self.ended.map(|(at_ns, _)| at_ns)
    }
}
