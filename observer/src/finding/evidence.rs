//! The measured facts behind a finding. Absent (`None`) means not applicable or unknown.

use std::sync::Arc;

use crate::go::{Frame, Stack};

use super::{Confidence, ProcessInfo, RequestInfo};

/// Who cancelled, from the frames and the error of the root of the cascade.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CancelledBy {
    /// The peer closed or reset the connection or stream (it may be a proxy).
    Client,
    /// The service's own read deadline.
    ReadDeadline,
    /// The service's own write deadline.
    WriteDeadline,
    /// The server closed the connection itself.
    ServerClose,
    /// A context above the connection was cancelled (BaseContext at shutdown).
    Shutdown,
    /// A context's deadline passed.
    Deadline,
    /// User code called a CancelFunc.
    Code,
    /// The handler returned or panicked.
    NormalEnd,
    /// A parent context was cancelled.
    Parent,
    /// Not known.
    Unknown,
}

impl CancelledBy {
    /// For sentences: `the client left`.
    #[must_use]
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Client => "the client left",
            Self::ReadDeadline => "the server's read deadline fired",
            Self::WriteDeadline => "the server's write deadline fired",
            Self::ServerClose => "the server closed the connection",
            Self::Shutdown => "shutdown began",
            Self::Deadline => "the deadline passed",
            Self::Code => "code cancelled it",
            Self::NormalEnd => "the handler returned",
            Self::Parent => "its parent was cancelled",
            Self::Unknown => "it was cancelled",
        }
    }
}

/// State of the work when last seen.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// On a thread, runnable or in a system call.
    Running,
    /// Parked.
    Waiting,
    /// Over.
    Ended,
}

/// Which timer a finding is about: the one that fired, or that fires first.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// A context's deadline.
    Context,
    /// The deadline that the request's caller sent in a header.
    Caller,
    /// `http.Client.Timeout`.
    ClientTimeout,
    /// `http.Server.ReadTimeout`.
    ReadTimeout,
    /// A read deadline that code has set on the connection.
    ReadDeadline,
    /// `http.Server.WriteTimeout`.
    WriteTimeout,
    /// A write deadline that code has set on the connection.
    WriteDeadline,
}

impl Timer {
    /// For sentences and labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Context => "context deadline",
            Self::Caller => "caller's deadline",
            Self::ClientTimeout => "http.Client.Timeout",
            Self::ReadTimeout => "http.Server.ReadTimeout",
            Self::ReadDeadline => "a read deadline set by code",
            Self::WriteTimeout => "http.Server.WriteTimeout",
            Self::WriteDeadline => "a write deadline set by code",
        }
    }
}

/// How an outgoing call ended.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// Still going on when it was looked at. Only a line that tells the end of the work (`state` `ended`) tells the
    /// end of its call.
    Running,
    /// Over, by itself.
    Done,
    /// Failed because its context died.
    Cancelled,
    /// Not known.
    Unknown,
}

/// How a peer closed its connection.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PeerClose {
    /// FIN: it sends no more, and may still read.
    Fin,
    /// RST: it reads no more either.
    Reset,
    /// It answers no more: the kernel gave the connection up.
    Lost,
}

/// Why Go did not notice that a peer closed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Undelivered {
    /// The request's body is not read to its end, so nobody reads the connection (golang/go #23262).
    BodyUnread,
    /// A byte behind the request has ended the reading (golang/go #37145).
    Pipelined,
    /// The server has not given the HTTP/2 connection up.
    Http2Open,
    /// Nobody reads, and no write has failed: only a write would tell.
    NotWritten,
    /// Not provable.
    Unknown,
}

/// What a `net/http.Server` allows, ns, each as it takes effect; `None`: without an end.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields)]
pub struct ServerLimits {
    /// `ReadTimeout`.
    pub read_ns: Option<i64>,
    /// `ReadHeaderTimeout`; where that is 0, `ReadTimeout`.
    pub read_header_ns: Option<i64>,
    /// `WriteTimeout`.
    pub write_ns: Option<i64>,
    /// `IdleTimeout`; where that is 0, `ReadTimeout`.
    pub idle_ns: Option<i64>,
}

/// An outgoing call in evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEvidence {
    /// `http`; `grpc` for a unary call, `grpc_stream` for one that streams; `sql` for what `database/sql` runs, `sql_conn` for
    /// a wait for one of its connections; `dial` for a connection that code makes itself.
    pub kind: &'static str,
    /// `GET store:8080/item/7`, `store:8080/shop.Depot/Item`, `SELECT FROM items`, `tcp store:5432`; where it was redirected,
    /// what was asked for first.
    pub target: String,
    /// Round trips seen of a call of HTTP: the first, redirects, and what the transport tried again. `None` of
    /// any other.
    pub attempts: Option<u32>,
    /// Monotonic start, ns.
    pub start_ns: u64,
    /// Length so far, ns; `None` where the end is unknown.
    pub duration_ns: Option<u64>,
    /// How long it waited for its connection before, ns; `None` where it did not, or that is not known.
    pub waited_ns: Option<u64>,
    /// How it ended.
    pub outcome: CallOutcome,
    /// By what its callee knows it, where that was read.
    pub sent: Option<SentIds>,
}

/// IDs that an outgoing call carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentIds {
    /// Header and value of the request ID.
    pub id: Option<(String, String)>,
    /// W3C trace id, 32 hex digits.
    pub trace_id: Option<String>,
    /// W3C parent id, 16 hex digits.
    pub parent_id: Option<String>,
}

/// How a call and a request in another process are known to belong together.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum JoinedBy {
    /// The request names the very span that the call has sent.
    ParentId,
    /// The same trace; method, path and time fit, and only these two.
    Trace,
    /// The same request ID; method, path and time fit, and only these two.
    RequestId,
    /// The same TCP connection of one host, read at both ends while the call waited and nothing was answered; no ID
    /// decides.
    Sockets,
}

impl JoinedBy {
    /// For sentences: `same trace`.
    #[must_use]
    pub const fn clause(self) -> &'static str {
        match self {
            Self::ParentId => "same span",
            Self::Trace => "same trace",
            Self::RequestId => "same request ID",
            Self::Sockets => "same connection",
        }
    }

    /// How sure it is that the two belong together, where nothing else tells.
    #[must_use]
    pub const fn confidence(self) -> Confidence {
        match self {
            Self::ParentId => Confidence::High,
            Self::Trace | Self::RequestId | Self::Sockets => Confidence::Medium,
        }
    }
}

/// What a call led to: the request in the process that was called. Its times are the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downstream {
    /// Which process.
    pub process: Arc<ProcessInfo>,
    /// Name of its host, where that is not the caller's.
    pub host: Option<Arc<str>>,
    /// Name of the caller's host, where files told of it.
    pub caller_host: Option<Arc<str>>,
    /// Its request.
    pub request: RequestInfo,
    /// The line that it was at.
    pub site: Option<Frame>,
    /// Its stack, innermost first.
    pub stack: Stack,
    /// Go's own wait reason.
    pub wait_reason: Option<String>,
    /// How long that wait had lasted at least when it was last looked at, ns; `None` where nothing proves that.
    pub wait_ns: Option<u64>,
    /// How it is known to be the call's.
    pub joined_by: JoinedBy,
    /// Who cancelled the request there.
    pub cancelled_by: Option<CancelledBy>,
    /// When, ns.
    pub cancelled_at_ns: Option<u64>,
    /// Time that the request was given, ns.
    pub deadline_ns: Option<i64>,
    /// Time that its caller had left when it began, ns.
    pub remaining_ns: Option<i64>,
    /// By how much its host's clock is behind the caller's, and by how much that may be wrong, ns.
    pub clock_ns: Option<(i64, u64)>,
}

/// A goroutine that works for a request, and is not the one that serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoroutineEvidence {
    /// Go's number for it.
    pub goid: u64,
    /// The line of its `go` statement; of a library's function that runs what it is handed, the line that calls it.
    /// `None` where that is not known.
    pub started_at: Option<Frame>,
    /// What it did when it was looked at; `None` where nobody has looked.
    pub state: Option<WorkState>,
    /// Go's own wait reason.
    pub wait_reason: Option<String>,
    /// So many more of the same request were at work.
    pub others: u64,
}

/// The closed set of evidence keys. Which of them a rule fills stands in the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Who cancelled.
    pub cancelled_by: Option<CancelledBy>,
    /// When, monotonic ns.
    pub cancelled_at_ns: Option<u64>,
    /// The line that cancelled, where code did.
    pub cancel_site: Option<Frame>,
    /// How long work went on after the cancel, ns (so far, while it runs).
    pub after_cancel_ns: Option<u64>,
    /// State of the work.
    pub state: Option<WorkState>,
    /// Go's own wait reason (`chan receive`).
    pub wait_reason: Option<String>,
    /// How long that wait had lasted at least when it was last looked at, ns; `None` where nothing proves that.
    pub wait_ns: Option<u64>,
    /// The call it was in or that was killed.
    pub call: Option<CallEvidence>,
    /// Time that the context had left at creation, ns.
    pub deadline_ns: Option<i64>,
    /// Time asked for, ns.
    pub asked_ns: Option<i64>,
    /// Time left upstream, ns.
    pub remaining_ns: Option<i64>,
    /// The line that set the deadline that counts.
    pub deadline_site: Option<Frame>,
    /// The header in which the deadline that counts came.
    pub deadline_header: Option<String>,
    /// Which timer fired, or fires first.
    pub timer: Option<Timer>,
    /// The line that set that timer, where a handler did.
    pub timer_site: Option<Frame>,
    /// What the server allows, where its timers matter.
    pub server: Option<ServerLimits>,
    /// Contexts of this line alive now; goroutines of it that have outlived their requests.
    pub live: Option<u64>,
    /// What the goroutine waits on (`Done of a detached context`).
    pub waiting_on: Option<String>,
    /// When the kernel saw the peer close, monotonic ns.
    pub peer_closed_at_ns: Option<u64>,
    /// How the peer closed.
    pub peer_close: Option<PeerClose>,
    /// From the peer's close to the cancel, ns.
    pub delivery_ns: Option<u64>,
    /// How long work went on after the peer's close, ns (so far, while it runs).
    pub after_close_ns: Option<u64>,
    /// Why Go did not notice.
    pub undelivered: Option<Undelivered>,
    /// The request that the call led to in another process.
    pub downstream: Option<Box<Downstream>>,
    /// How long a goroutine has outlived its request, ns.
    pub outlived_ns: Option<u64>,
    /// The goroutine that works, or whose work was killed, where that is not the serving one.
    pub goroutine: Option<Box<GoroutineEvidence>>,
    /// So many of those that are `live` were left behind per hour.
    pub per_hour: Option<u64>,
    /// Stack that those hold, bytes; of one line no more than 64 are looked at, and the others are taken to hold as much.
    pub stack_bytes: Option<u64>,
    /// What has grown, and by how much.
    pub surge: Option<Box<SurgeEvidence>>,
}

/// Goroutines that have become many more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SurgeEvidence {
    /// How many there are, without the runtime's own.
    pub goroutines: u64,
    /// How many there were on average before they grew.
    pub average: u64,
    /// How many have come since `span_ns` ago, when it was no surge yet.
    pub grew: u64,
    /// Since then, ns.
    pub span_ns: u64,
    /// The `go` statements that have grown most, the first before the others.
    pub grown: Vec<Grown>,
    /// File with all goroutines.
    pub snapshot: Option<String>,
}

/// Goroutines of one `go` statement that have become more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// The statement; `None` where the executable does not tell.
    pub site: Option<Frame>,
    /// How many are alive.
    pub live: u64,
    /// How many of them have come since.
    pub grew: u64,
    /// Stack that those alive hold, bytes.
    pub stack_bytes: u64,
    /// What most of them do; `None` where they could not be looked at.
    pub most: Option<Crowd>,
}

/// Most goroutines of one `go` statement: those at one place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Crowd {
    /// How many.
    pub count: u64,
    /// Parked or not.
    pub state: WorkState,
    /// Go's own wait reason, where they wait.
    pub wait_reason: Option<String>,
    /// Where, innermost first.
    pub stack: Stack,
}
