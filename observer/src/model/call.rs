//! An outgoing call of the model.

use std::sync::Arc;

use super::context::{Root, Step};
use super::ids::{CallId, CtxId, ReqId};
use super::sent::Sent;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// By itself: answered and read, or failed for its own reasons.
    Done,
    /// Because its context died; nobody was seen to suffer yet.
    Cancelled,
    /// Its goroutine went on; when exactly is not known.
    Unknown,
}

/// What a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// A round trip of `net/http`'s transport.
    Http,
    /// A unary call of gRPC.
    Grpc,
    /// A call of gRPC that streams: it lasts beyond the function that begins it.
    GrpcStream,
    /// `database/sql` works for its caller: a query, a statement, a transaction's begin.
    Sql,
    /// `database/sql` waits for a connection, or makes one.
    SqlConn,
    /// `net.Dialer` makes a connection.
    Dial,
}

impl CallKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Http,
        Self::Grpc,
        Self::GrpcStream,
        Self::Sql,
        Self::SqlConn,
        Self::Dial,
    ];

    /// Whether it is one of gRPC.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcStream)
    }

    /// Name in evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::GrpcStream => "grpc_stream",
            Self::Sql => "sql",
            Self::SqlConn => "sql_conn",
            Self::Dial => "dial",
        }
    }

    /// Functions that a goroutine in such a call has on its stack.
    #[must_use]
    pub const fn inside(self) -> &'static [&'static str] {
        match self {
            Self::Http => &[
                "net/http.(*Transport).roundTrip",
                "net/http.(*bodyEOFSignal).Read",
                "net/http.http2transportResponseBody.Read",
                "net/http/internal/http2.transportResponseBody.Read",
                "golang.org/x/net/http2.(*Transport).RoundTripOpt",
                "golang.org/x/net/http2.(*Transport).roundTripOpt",
                "golang.org/x/net/http2.transportResponseBody.Read",
            ],
            Self::Grpc | Self::GrpcStream => &[
                "google.golang.org/grpc.newClientStream",
                "google.golang.org/grpc.(*clientStream).SendMsg",
                "google.golang.org/grpc.(*clientStream).RecvMsg",
                "google.golang.org/grpc.(*clientStream).Header",
            ],
            Self::Sql => &[
                "database/sql.(*DB).queryDC",
                "database/sql.(*DB).execDC",
                "database/sql.(*DB).begin",
                "database/sql.(*DB).prepare",
                "database/sql.(*DB).PingContext",
                "database/sql.rowsiFromStatement",
                "database/sql.resultFromStatement",
                "database/sql.(*Rows).Next",
            ],
            Self::SqlConn => &["database/sql.(*DB).conn"],
            Self::Dial => &["net.(*Dialer).DialContext"],
        }
    }
}

/// A read of a body that died with its call's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedRead {
    /// Goroutine that read.
    pub goid: u64,
    /// Return addresses, from the caller of the body's `Read` upwards.
    pub pcs: Arc<[u64]>,
}

/// What is known of how a call of HTTP went.
#[derive(Debug, Clone)]
pub(super) struct Attempts {
    /// Round trips that were seen: the first, redirects and what the transport tried again.
    pub(super) seen: u32,
    /// What the last of them asks for.
    pub(super) target: Arc<str>,
    /// Low half of that URL's address.
    pub(super) url: u32,
    /// Streams of earlier round trips whose end was not seen yet.
    pub(super) owed: u32,
    /// It has had a connection of HTTP/1 (Go ≤ 1.22).
    pub(super) leased: bool,
    /// The headers of an answer over HTTP/2 are there.
    pub(super) answered: bool,
    /// A stream of HTTP/2 failed under it.
    pub(super) stream_failed: bool,
    /// Whose the last streams were could not be told.
    pub(super) in_doubt: bool,
    /// The call that its goroutine had made before, where that was not over.
    pub(super) before: Option<CallId>,
}

impl Attempts {
    pub(super) const fn new(target: Arc<str>) -> Self {
        Self {
            seen: 1,
            target,
            url: 0,
            owed: 0,
            leased: false,
            answered: false,
            stream_failed: false,
            in_doubt: false,
            before: None,
        }
    }
}

/// An outgoing call: of HTTP from `(*Transport).roundTrip` on, of gRPC from `newClientStream` on, behind its interceptors,
/// of `database/sql` from where a connection is there, a plain dial from `(*Dialer).DialContext` on.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its number.
    pub id: CallId,
    /// What it is.
    pub kind: CallKind,
    /// Whose.
    pub pid: u32,
    /// Calling goroutine.
    pub goid: u64,
    /// That goroutine's creator; 0 where unknown.
    pub parent_goid: u64,
    /// Its descriptor: a hint.
    pub g: u64,
    /// What it goes by in the process: the `*http.Request`; the `*driverConn`, and while it waits for one the
    /// context; 0 where that is not known.
    pub handle: u64,
    /// Interface table of its context.
    pub ctx_itab: u64,
    /// Data word of its context.
    pub ctx_data: u64,
    /// What its memory said of the IDs that it carries, see [`sent`](Self::sent).
    pub(super) sent: Option<Arc<Sent>>,
    /// `GET store:8080/item/7`, `store:8080/shop.Depot/Item`, `SELECT FROM items`, `tcp store:5432`; where it was redirected,
    /// what was asked for first.
    pub target: Arc<str>,
    /// How it went so far.
    pub(super) attempts: Attempts,
    /// Nearest known context of its chain.
    pub ctx: Option<CtxId>,
    /// What lies below `ctx`, or below the end of the walk.
    pub steps: Vec<Step>,
    /// Where its chain ends.
    pub root: Root,
    /// The request that it is made for, by descent or by goroutine.
    pub owner: Option<ReqId>,
    /// Return addresses.
    pub pcs: Arc<[u64]>,
    /// Start, monotonic ns.
    pub start_ns: u64,
    /// How long it waited for its connection, ns.
    pub waited_ns: Option<u64>,
    /// The context that ends with it: the transport's own (Go ≥ 1.23, HTTP/1), that of a gRPC client's stream, that of its rows.
    pub inner: Option<CtxId>,
    /// The read of its body that failed because its context had died.
    pub failed_read: Option<FailedRead>,
    /// End and how.
    pub ended: Option<(u64, CallEnd)>,
    /// It was seen to fail through a cancel.
    pub failed: bool,
    /// Its connection stays with its transaction: coming back to the pool is no end of the call.
    pub keeps_conn: bool,
    /// It has a timeout that is no context's: `Dialer.Timeout`.
    pub bounded: bool,
    /// Loss epoch at the start.
    pub epoch: u64,
}

impl Call {
    /// Round trips that were seen of a call of HTTP; `None` of any other.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        (self.kind == CallKind::Http).then_some(self.attempts.seen)
    }

    /// What is asked for now: differs from `target` after a redirect.
    #[must_use]
    pub fn asks_for(&self) -> &Arc<str> {
        &self.attempts.target
    }

    /// How it ended is known.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.ended, Some((_, CallEnd::Done | CallEnd::Cancelled)))
    }

    /// Not known to have ended.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.ended.is_none()
    }
}
