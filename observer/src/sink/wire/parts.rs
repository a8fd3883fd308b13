//! The objects inside a line.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::finding::{
    CallOutcome, CancelledBy, JoinedBy, PeerClose, ServerLimits, Timer, Trust, Undelivered,
    WorkState,
};

/// Tells null from absence: a field that is absent is not read.
fn null_or_more<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// An observed process, or an executable that is only a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// In observer's own namespace. Absent for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Last element of the main package's path.
    pub name: String,
    /// Path of the executable as the kernel names it.
    pub exe: String,
    /// Go version (`go1.27.3`).
    pub go: String,
    /// Path of the main module; null where the build had none.
    pub module: Option<String>,
    /// Path of the main package. Absent where the binary does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Go build id; null where the linker wrote none.
    pub build_id: Option<String>,
}

/// A request. Every null is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Method.
    pub method: Option<String>,
    /// Without query.
    pub path: Option<String>,
    /// Pattern, or the path with its variable parts replaced by `{}`.
    pub route: Option<String>,
    /// `HTTP/1.1`.
    pub proto: Option<String>,
    /// Request ID.
    pub id: Option<String>,
    /// Header that the ID came from, of the request or of its answer; null where it came from none.
    pub id_header: Option<String>,
    /// Where the ID came from: `header:X-Request-Id` of the request; or made by the service and found in
    /// `response:X-Request-Id`, the header of its answer, or in `context:github.com/go-chi/chi/v5/middleware`, a
    /// context's value under a key of that package. Absent without an ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_source: Option<String>,
    /// True where `id` holds only the first 256 bytes, or fewer where the request's memory was not read. Absent
    /// where it is whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub id_truncated: bool,
    /// W3C trace id, 32 hex digits; null also where the `traceparent` is broken.
    pub trace_id: Option<String>,
    /// W3C parent id: the span of the caller, 16 hex digits. Absent without a trace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// W3C trace flags, two hex digits; `01`: sampled. Absent without a trace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_flags: Option<String>,
    /// `address:port` as Go sees it.
    pub peer: Option<String>,
    /// Serving goroutine.
    pub goid: u64,
    /// RFC 3339, UTC, nanoseconds.
    pub start: String,
    /// Length, ns; null while it runs.
    pub duration_ns: Option<u64>,
}

/// A route that a finding was seen on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// As in `request`.
    pub route: String,
    /// Occurrences there.
    pub count: u64,
}

/// What a case of a finding died of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// As in `evidence`.
    pub cancelled_by: CancelledBy,
    /// As in `evidence`. Absent where no line of code cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_site: Option<Site>,
}

/// A place in code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Full symbol name.
    pub function: String,
    /// As the binary has it; null where it has none.
    pub file: Option<String>,
    /// From 1; null where unknown.
    pub line: Option<u32>,
}

/// One link of a chain of contexts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Context {
    /// `*context.cancelCtx`; null where it could not be read.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// What to call it: `request`, `WithTimeout`, `Background`, `WithValue(api.userKey)`, where the type of the key is known.
    pub label: String,
    /// Where it was made; null where that was neither observed nor proved.
    pub function: Option<String>,
    /// See `function`.
    pub file: Option<String>,
    /// See `function`.
    pub line: Option<u32>,
    /// Time left when it was made, ns. Absent without a deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ns: Option<i64>,
    /// Whether the next link is believed to be its parent.
    pub trust: Trust,
}

/// An outgoing call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// `http`; `grpc` for a unary call, `grpc_stream` for one that streams; `sql` for what `database/sql` runs, `sql_conn` for
    /// a wait for one of its connections; `dial` for a connection that code makes itself.
    pub kind: String,
    /// `GET store:8080/item/7`, `store:8080/shop.Depot/Item` for gRPC, `SELECT FROM items`: a query by its verb and table,
    /// `tcp store:5432`. Where a call was redirected, what was asked for first.
    pub target: String,
    /// Round trips that were seen of a call of HTTP: the first, redirects, and what the transport tried again. Absent of
    /// any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// RFC 3339, UTC, nanoseconds.
    pub start: String,
    /// ns; null where the end is unknown.
    pub duration_ns: Option<u64>,
    /// Of it, the wait for a connection of the pool, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ns: Option<u64>,
    /// How it ended.
    pub outcome: CallOutcome,
    /// By what its callee knows it. Absent where that was not read, or nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
}

/// IDs that an outgoing call carries. Absent keys were not sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sent {
    /// Request ID; at most 256 bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Header that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
    /// W3C trace id, 32 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// W3C parent id, 16 hex digits: the callee's `parent_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
}

/// The request that a call led to, in the process that was called. Its times are by the caller's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Downstream {
    /// Name of its host. Absent where it is the caller's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Name of the caller's host. Absent where one observer has seen both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_host: Option<String>,
    /// Which process.
    pub process: Process,
    /// Its request.
    pub request: Request,
    /// The line that it was at; null where that was not seen.
    pub site: Option<Site>,
    /// Innermost first; empty where it was not seen.
    pub stack: Vec<Site>,
    /// True where the stack has, or may have, more frames than were read. Absent where it has not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stack_cut: bool,
    /// Go's own wait reason. Absent where it did not wait, or was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<String>,
    /// How long that wait had lasted at least when it was last looked at, ns: since an earlier look that found the same wait, or a
    /// collection of garbage that did. null where nothing proves that. Absent where it did not wait, or was not seen.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "null_or_more"
    )]
    pub wait_ns: Option<Option<u64>>,
    /// How it is known to be the call's.
    pub joined_by: JoinedBy,
    /// Who cancelled it there. Absent where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<CancelledBy>,
    /// When: RFC 3339, UTC, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<String>,
    /// Time that it was given, ns. Absent where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ns: Option<i64>,
    /// Time that its caller had left when it began, ns. Absent where the call had no deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ns: Option<i64>,
    /// What was added to its host's times, ns. Absent where both have one clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ns: Option<i64>,
    /// By how much that may be wrong, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_uncertainty_ns: Option<u64>,
}

/// A goroutine that works for a request, and is not the one that serves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartedGoroutine {
    /// Go's number for it.
    pub goid: u64,
    /// The line of its `go` statement; where `errgroup` or `sync.WaitGroup.Go` contains that, the line that calls those.
    /// Null where it is not known.
    pub started_at: Option<Site>,
    /// What it did when it was looked at. Absent where nobody has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<WorkState>,
    /// Go's own wait reason; of a `goroutine-leak`, also `syscall`. Absent where it did not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<String>,
    /// So many more goroutines of the same request were at work.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The closed set of evidence. Absent keys do not apply.
///
/// `cancel-ignored`: cancelled_by, cancelled_at, cancel_site, after_cancel_ns, state, wait_reason,
/// wait_ns, call, waiting_on, goroutine, and where the client left and the kernel saw it peer_closed_at,
/// peer_close, delivery_ns. `detached-context`: cancelled_by, cancelled_at, after_cancel_ns,
/// state, wait_reason, wait_ns, call, deadline_ns, remaining_ns, deadline_site, timer,
/// deadline_header, waiting_on. `cancel-not-called`: cancelled_by, cancelled_at,
/// cancel_site, deadline_ns, live. `premature-cancel`: cancelled_by,
/// cancelled_at, cancel_site, call, goroutine, deadline_ns, and where a read deadline did it timer, asked_ns,
/// timer_site, server. `cancel-undelivered`: peer_closed_at, peer_close,
/// undelivered, after_close_ns, state, wait_reason, wait_ns, call, and where Go noticed late
/// cancelled_by, cancelled_at, delivery_ns. `deadline-dropped`: call, deadline_ns, remaining_ns,
/// deadline_site, deadline_header, timer. `deadline-inflated`: the same and asked_ns. `timeout-mismatch`: the same,
/// cancelled_by, cancelled_at, timer_site and server. `deadline-too-short`: asked_ns, deadline_ns, remaining_ns,
/// deadline_site, timer. `orphaned-downstream`: cancelled_by, cancelled_at, cancel_site, after_cancel_ns, state, call,
/// deadline_ns, remaining_ns, deadline_site, timer, downstream. `deadline-not-forwarded`: call, deadline_ns, remaining_ns,
/// deadline_site, timer, downstream. `goroutine-leak`: outlived_ns, state, wait_reason, wait_ns, live, per_hour, stack_bytes, and
/// where its context is dead cancelled_by, cancelled_at, after_cancel_ns, where a search has found nothing, or something, that refers to what it waits for
/// waiting_on. `goroutine-surge`: state, wait_reason, live,
/// stack_bytes, surge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// Who cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<CancelledBy>,
    /// When: RFC 3339, UTC, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<String>,
    /// The line that cancelled, where code did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_site: Option<Site>,
    /// How long work went on after the cancel, ns (so far, while it runs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_cancel_ns: Option<u64>,
    /// State of the work when last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<WorkState>,
    /// Go's own wait reason (`chan receive`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<String>,
    /// How long that wait had lasted at least when it was last looked at, ns: since an earlier look that found the same wait, or a
    /// collection of garbage that did. null where nothing proves that. Absent where it did not wait, or was not seen.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "null_or_more"
    )]
    pub wait_ns: Option<Option<u64>>,
    /// The call that it was in, or that was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Time that the context had left when it was made, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ns: Option<i64>,
    /// Time asked for, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_ns: Option<i64>,
    /// Time left upstream, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_ns: Option<i64>,
    /// The line that set the deadline that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_site: Option<Site>,
    /// The header in which the deadline that counts came, where a caller sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_header: Option<String>,
    /// Which timer fired, or fires first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// The line that set that timer, where a handler did through `http.ResponseController`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer_site: Option<Site>,
    /// What the server allows, where its timers matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerLimits>,
    /// Contexts of this line alive now; goroutines of it that have outlived their requests; goroutines of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<u64>,
    /// What the goroutine waits on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<String>,
    /// When the kernel saw the peer close: RFC 3339, UTC, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_closed_at: Option<String>,
    /// How the peer closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_close: Option<PeerClose>,
    /// From the peer's close to the cancel, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_ns: Option<u64>,
    /// How long work went on after the peer's close, ns (so far, while it runs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_close_ns: Option<u64>,
    /// Why Go did not notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<Undelivered>,
    /// The request that the call led to in another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downstream: Option<Box<Downstream>>,
    /// How long a goroutine has outlived its request, ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlived_ns: Option<u64>,
    /// The goroutine that works, or whose work was killed, where that is not the one that serves the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goroutine: Option<Box<StartedGoroutine>>,
    /// So many of those that are `live` were left behind per hour. Absent before there is a minute to tell it from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<u64>,
    /// Stack that those that are `live` hold, bytes: of a leak, of those that were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_bytes: Option<u64>,
    /// What has grown, and by how much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surge: Option<Box<Surge>>,
}

/// Goroutines that have become many more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Surge {
    /// How many there are, without the runtime's own.
    pub goroutines: u64,
    /// How many there were on average before they grew.
    pub average: u64,
    /// How many more there are than `span_ns` ago, when it was no surge yet.
    pub grew: u64,
    /// See `grew`, ns.
    pub span_ns: u64,
    /// The `go` statements that have grown most, at most 5, the first before the others.
    pub grown: Vec<Grown>,
    /// File with all goroutines, as lines of `observer goroutines`. Absent without `--snapshot-dir`, and where it could
    /// not be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// Goroutines of one `go` statement that have become more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Grown {
    /// The statement; null where the executable does not tell.
    pub site: Option<Site>,
    /// How many are alive.
    pub live: u64,
    /// How many more those are than before.
    pub grew: u64,
    /// Stack that those alive hold, bytes.
    pub stack_bytes: u64,
    /// What most of them do; null where they could not be looked at.
    pub most: Option<Crowd>,
}

/// Goroutines that stand at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Crowd {
    /// How many.
    pub count: u64,
    /// What they do.
    pub state: WorkState,
    /// Go's own wait reason. Absent where they do not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_reason: Option<String>,
    /// Where, innermost first: at most 64 frames.
    pub stack: Vec<Site>,
    /// `stack` has more frames than were read. Absent: it is whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stack_cut: bool,
}
