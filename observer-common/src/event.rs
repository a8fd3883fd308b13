//! The records that probes write: plain data of fixed size, one type per kind.
//!
//! Every record begins with a [`Header`]; its kind tells the rest. All fields are whole words or
//! arrays of them, so a record has no padding and may be written and read as bytes. Sizes are
//! asserted below: a recording holds these bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::{
    MAX_ADDRESS, MAX_CANCEL_FRAMES, MAX_DEADLINE, MAX_FRAMES, MAX_HOST, MAX_LINE, MAX_LINKS,
    MAX_NETWORK, MAX_PATH, MAX_PEER, MAX_QUERY, MAX_SPAWN_FRAMES, MAX_VALUE,
};

/// Kinds of records. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`ContextCreated`].
    ContextCreated = 1,
    /// [`ContextCreatedShort`].
    ContextCreatedShort = 2,
    /// [`ContextCancelled`].
    ContextCancelled = 3,
    /// [`ContextCancelledShort`].
    ContextCancelledShort = 4,
    /// [`DeadlineAsked`].
    DeadlineAsked = 5,
    /// [`RequestStarted`].
    RequestStarted = 11,
    /// [`ConnReadError`].
    ConnReadError = 12,
    /// [`GrpcStarted`].
    GrpcStarted = 13,
    /// [`GrpcEnded`].
    GrpcEnded = 14,
    /// [`IoDeadlineSet`].
    IoDeadlineSet = 16,
    /// [`CallStarted`].
    CallStarted = 21,
    /// [`CallCancelled`].
    CallCancelled = 23,
    /// [`ProcessExecuted`].
    ProcessExecuted = 91,
    /// [`ConnCancelled`].
    ConnCancelled = 24,
    /// [`BodyFailed`].
    BodyFailed = 25,
    /// [`CallStreamEnded`].
    CallStreamEnded = 26,
    /// [`CallAttempt`].
    CallAttempt = 28,
    /// [`CallRedirected`].
    CallRedirected = 29,
    /// [`GrpcCalled`].
    GrpcCalled = 31,
    /// [`SqlCalled`].
    SqlCalled = 41,
    /// [`SqlReturned`].
    SqlReturned = 46,
    /// [`DialStarted`].
    DialStarted = 51,
    /// [`DialDone`].
    DialDone = 52,
    /// [`SocketChanged`].
    SocketChanged = 61,
    /// [`GoroutineCreated`].
    GoroutineCreated = 71,
    /// [`GoroutineEnded`].
    GoroutineEnded = 72,
}

/// What every record begins with.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Process id in the initial namespace.
    pub pid: u32,
    /// `CLOCK_MONOTONIC`, ns.
    pub time_ns: u64,
    /// Goroutine; 0: not read, because the record needs none.
    pub goid: u64,
    /// Goroutine that started it; 0: unknown, or Go ≤ 1.20.
    pub parent_goid: u64,
    /// Address of the goroutine's descriptor: a hint only, it is recycled.
    pub g: u64,
    /// Changes with every lost record: when it differs from the one before, something is missing.
    pub lost: u64,
}

/// A link of a context chain: the two words of an interface value.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Link {
    /// Interface table: names the type.
    pub itab: u64,
    /// Data word.
    pub data: u64,
}

/// A cancelable context was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ContextCreated {
    /// Common part.
    pub header: Header,
    /// The child as its `canceler` interface value.
    pub child: Link,
    /// First word of the child where it may point to the `cancelCtx` (Go 1.20), else 0.
    pub indirect: u64,
    /// `wall` and `ext` of the `time.Time` at the child's deadline offset; meaningless unless the
    /// child is a `timerCtx`.
    pub deadline: [u64; 2],
    /// Return addresses in `pcs`.
    pub frames: u32,
    /// Links in `chain`.
    pub links: u32,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_FRAMES],
    /// From the parent upwards, as if every type kept its parent at offset 0.
    pub chain: [Link; MAX_LINKS],
}

/// A context was created by a caller that is known for what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ContextCreatedShort {
    /// Common part.
    pub header: Header,
    /// The child.
    pub child: Link,
    /// Its parent.
    pub parent: Link,
    /// Return address in the known caller.
    pub caller: u64,
}

/// The context was already done.
pub const CANCEL_AGAIN: u64 = 1;
/// Called from another context's cancel.
pub const CANCEL_CASCADE: u64 = 2;
/// Called by the server when the handler has returned or panicked.
pub const CANCEL_END: u64 = 4;

/// A context is cancelled for the first time by something other than its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ContextCancelled {
    /// Common part.
    pub header: Header,
    /// The `cancelCtx`.
    pub ctx: u64,
    /// `CANCEL_…` bits.
    pub flags: u64,
    /// The error.
    pub err: Link,
    /// Return addresses in `pcs`.
    pub frames: u64,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_CANCEL_FRAMES],
}

/// A cancel that teaches less: a cascade, a repetition, the end of a request or of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ContextCancelledShort {
    /// Common part; goid 0 with [`CANCEL_END`].
    pub header: Header,
    /// The `cancelCtx`.
    pub ctx: u64,
    /// `CANCEL_…` bits.
    pub flags: u64,
    /// The error.
    pub err: Link,
    /// The two innermost return addresses; 0 where not read. With [`CANCEL_END`] the first is the itab of the
    /// context's parent: it tells a request's own context from its connection's.
    pub pcs: [u64; 2],
}

/// A deadline is asked for; the creation that follows on the same goroutine tells what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DeadlineAsked {
    /// Common part.
    pub header: Header,
    /// The context to derive from.
    pub parent: Link,
    /// `wall` and `ext` of the `time.Time` asked for.
    pub deadline: [u64; 2],
}

/// The header map was too large for the kernel, or half way through growing.
pub const REQUEST_BIG_MAP: u32 = 1;
/// The IDs were not looked for.
pub const REQUEST_IDS_UNREAD: u32 = 2;

/// A server of HTTP/2 tells, before `net/http` may tell of the same.
pub const REQUEST_HTTP2: u32 = 4;

/// A handler is about to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct RequestStarted {
    /// Common part.
    pub header: Header,
    /// The `http.ResponseWriter`.
    pub writer: Link,
    /// The `*http.Request`.
    pub request: u64,
    /// The request's context.
    pub ctx: Link,
    /// Length of the method at the start of `line`.
    pub method_len: u32,
    /// Where the path begins in `line`.
    pub path_at: u32,
    /// Bytes of path in `line`.
    pub path_len: u32,
    /// `REQUEST_…` bits.
    pub flags: u32,
    /// Method and request target. The decoder cuts the query off.
    pub line: [u8; MAX_LINE],
    /// Row of the header name that gave `id`, from 1; 0: none found.
    pub id_row: u32,
    /// Length of the value; `id` holds its beginning where it is longer.
    pub id_len: u32,
    /// Request ID.
    pub id: [u8; MAX_VALUE],
    /// Bytes in `trace`; 0: none found.
    pub trace_len: u64,
    /// Value of `Traceparent`.
    pub trace: [u8; MAX_VALUE],
    /// Working space of the probe: the search's state.
    pub search: [u64; SEARCH_WORDS],
    /// Working space of the probe: one group or bucket of the header map.
    pub scratch: [u64; SCRATCH_WORDS],
    /// Row of the header name that gave `deadline`, from 1; 0: none found. At the end, where recordings that are
    /// older have nothing.
    pub deadline_row: u32,
    /// Length of the value; `deadline` holds its beginning where it is longer.
    pub deadline_len: u32,
    /// How long the caller waits, as it sent it.
    pub deadline: [u8; MAX_DEADLINE],
}

/// Words of state that the header search keeps in the record.
pub const SEARCH_WORDS: usize = 13;
/// Words of one bucket of a bucket map (336 bytes), the largest block read.
pub const SCRATCH_WORDS: usize = 42;

/// The server's background read failed while a request was in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ConnReadError {
    /// Common part: the background reader's goroutine.
    pub header: Header,
    /// The `*http.conn`.
    pub conn: u64,
    /// The `*http.response` in flight.
    pub response: u64,
    /// The error.
    pub err: Link,
    /// `OpError.Err`, if it is one.
    pub op_err: Link,
    /// `SyscallError.Err`, if it is one.
    pub syscall_err: Link,
    /// The errno, if it is one.
    pub errno: u64,
    /// First bytes of the error's text, if it is an `errorString`.
    pub text: [u8; 16],
    /// Bytes in `peer`; 0 where it could not be read.
    pub peer_len: u64,
    /// `conn.remoteAddr`: `192.0.2.7:51322`, `[2001:db8::7]:51322`.
    pub peer: [u8; MAX_PEER],
}

/// A gRPC handler is about to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrpcStarted {
    /// Common part: the handler's goroutine.
    pub header: Header,
    /// The transport's stream.
    pub stream: u64,
    /// Links in `chain`; the first is the stream's context itself.
    pub links: u32,
    /// Bytes in `method`.
    pub method_len: u32,
    /// From the stream's context upwards.
    pub chain: [Link; MAX_LINKS],
    /// `/package.Service/Method`.
    pub method: [u8; MAX_PATH],
}

/// A gRPC handler has returned: its status is about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrpcEnded {
    /// Common part: the handler's goroutine.
    pub header: Header,
    /// The transport's stream.
    pub stream: u64,
}

/// A handler sets a deadline on its connection (`http.ResponseController`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct IoDeadlineSet {
    /// Common part.
    pub header: Header,
    /// The `*http.response`.
    pub response: u64,
    /// 1: of writes; 0: of reads.
    pub write: u64,
    /// `wall` and `ext` of the `time.Time`; zeros lift the deadline.
    pub deadline: [u64; 2],
    /// Return addresses in `pcs`.
    pub frames: u64,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_CANCEL_FRAMES],
}

/// `http.Transport` starts a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallStarted {
    /// Common part.
    pub header: Header,
    /// The `*http.Request`.
    pub request: u64,
    /// Return addresses in `pcs`.
    pub frames: u32,
    /// Links in `chain`; the first is the call's context itself.
    pub links: u32,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_FRAMES],
    /// From the call's context upwards.
    pub chain: [Link; MAX_LINKS],
    /// Bytes in `method`; 0 means GET.
    pub method_len: u32,
    /// Bytes in `host`.
    pub host_len: u32,
    /// Bytes in `path`.
    pub path_len: u32,
    /// Low half of `Request.URL`: what copies of a request share, and two requests do not. 0: not read.
    pub url: u32,
    /// Method.
    pub method: [u8; 8],
    /// `URL.Host`.
    pub host: [u8; MAX_HOST],
    /// `URL.Path`.
    pub path: [u8; MAX_PATH],
}

/// The transport gives a request up because its context died (Go ≤ 1.22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallCancelled {
    /// Common part.
    pub header: Header,
    /// The `*http.Request`.
    pub request: u64,
    /// The error.
    pub err: Link,
}

/// A process has begun to execute a file: what was known of its pid is over. Of every process of the host; says
/// nothing of a goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ProcessExecuted {
    /// Common part.
    pub header: Header,
}

/// The transport closes a connection because the context of its request died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ConnCancelled {
    /// Common part: the connection's reader, or the caller while it waits for the answer.
    pub header: Header,
    /// The `*persistConn`.
    pub conn: u64,
}

/// A read fails on a connection that was closed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BodyFailed {
    /// Common part: who reads.
    pub header: Header,
    /// The `*persistConn`.
    pub conn: u64,
    /// Return addresses in `pcs`.
    pub frames: u64,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_FRAMES],
}

/// gRPC's client makes a stream: of a call that streams, or of a unary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GrpcCalled {
    /// Common part.
    pub header: Header,
    /// Return addresses in `pcs`.
    pub frames: u32,
    /// Links in `chain`; the first is the call's context itself.
    pub links: u32,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_FRAMES],
    /// From the call's context upwards.
    pub chain: [Link; MAX_LINKS],
    /// Bytes in `host`.
    pub host_len: u32,
    /// Bytes in `method`.
    pub method_len: u32,
    /// `ClientConn.authority`.
    pub host: [u8; MAX_HOST],
    /// `/package.Service/Method`.
    pub method: [u8; MAX_PATH],
}

/// A stream of an HTTP/2 client is over: its answer has been read or let go, or nobody waits for it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallStreamEnded {
    /// Common part: the stream's own goroutine, which the round trip has started.
    pub header: Header,
    /// Why; zeros where both sides had done.
    pub err: Link,
    /// First bytes of the error's text, if it is an `errorString`.
    pub text: [u8; 24],
}

/// A round trip takes a connection (Go ≤ 1.22).
pub const ATTEMPT_BEGINS: u64 = 0;
/// The connection has done with the request (Go ≤ 1.22).
pub const ATTEMPT_OVER: u64 = 1;
/// What failed is about to be tried again (Go ≥ 1.23).
pub const ATTEMPT_AGAIN: u64 = 2;

/// What `http.Transport` does within one round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallAttempt {
    /// Common part: who calls, but for the end of an attempt, which the connection's reader tells.
    pub header: Header,
    /// The `*http.Request`, maybe a copy of the one that the call began with.
    pub request: u64,
    /// An `ATTEMPT_…`.
    pub what: u64,
}

/// The round trip that begins with the next record of this goroutine follows a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct CallRedirected {
    /// Common part.
    pub header: Header,
    /// The `*http.Request`.
    pub request: u64,
    /// Of the request whose answer was the redirect: `Request.Response.Request.URL`.
    pub previous_url: u64,
}

/// `database/sql` does something on a context: asks for a connection, or hands a query to a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SqlCalled {
    /// Common part.
    pub header: Header,
    /// Number of the [`HookId`](crate::hook::HookId) that tells what.
    pub hook: u64,
    /// The `*driverConn`; 0 where there is none yet, or it is not at hand.
    pub conn: u64,
    /// Return addresses in `pcs`.
    pub frames: u32,
    /// Links in `chain`; the first is the context itself.
    pub links: u32,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_FRAMES],
    /// From the context upwards.
    pub chain: [Link; MAX_LINKS],
    /// Bytes in `query`.
    pub query_len: u64,
    /// Beginning of the query's text; goes no further than the decoder, which leaves verb and table of it.
    pub query: [u8; MAX_QUERY],
}

/// A connection goes back to its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SqlReturned {
    /// Common part.
    pub header: Header,
    /// The `*driverConn`.
    pub conn: u64,
    /// The error of what it was used for last.
    pub err: Link,
}

/// A dialer that could not be read.
pub const TIMEOUT_UNREAD: u64 = i64::MAX as u64;

/// `net.Dialer` is asked for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DialStarted {
    /// Common part.
    pub header: Header,
    /// `Dialer.Timeout`, ns as an `i64`; not above 0: none; [`TIMEOUT_UNREAD`].
    pub timeout_ns: u64,
    /// `wall` and `ext` of `Dialer.Deadline`; zeros: none.
    pub deadline: [u64; 2],
    /// Return addresses in `pcs`.
    pub frames: u32,
    /// Links in `chain`; the first is the dial's context itself.
    pub links: u32,
    /// Return addresses, innermost first.
    pub pcs: [u64; MAX_FRAMES],
    /// From the dial's context upwards.
    pub chain: [Link; MAX_LINKS],
    /// Bytes in `network`.
    pub network_len: u32,
    /// Bytes in `address`.
    pub address_len: u32,
    /// `tcp`, `unix`.
    pub network: [u8; MAX_NETWORK],
    /// `store:5432`, a path.
    pub address: [u8; MAX_ADDRESS],
}

/// A TCP connection that was dialled is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct DialDone {
    /// Common part: who dialled, or a goroutine that it has started for one of several addresses.
    pub header: Header,
}

/// A TCP socket with an observed local port changes its state, or an observed process begins to
/// listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SocketChanged {
    /// Common part. The process is named only where it listens: what a peer does is told while any
    /// process, or none, is on the CPU.
    pub header: Header,
    /// Number of the network namespace, as the inode of `/proc/PID/ns/net` has it.
    pub netns: u64,
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// The peer's address, likewise; zeros where the socket listens.
    pub remote: [u8; 16],
    /// Local port.
    pub local_port: u32,
    /// The peer's port.
    pub remote_port: u32,
    /// State before, one of [`tcp`](crate::tcp).
    pub from: u32,
    /// State after.
    pub to: u32,
    /// The socket's error: why the kernel closed it; 0 where nobody but its owner did.
    pub error: u64,
}

/// A goroutine that works for a request has started another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GoroutineCreated {
    /// Common part: the new goroutine, and who started it, in every version of Go.
    pub header: Header,
    /// Return address of the `go` statement.
    pub gopc: u64,
    /// First instruction of its function.
    pub startpc: u64,
    /// Return addresses in `pcs`.
    pub frames: u64,
    /// Return addresses of the `go` statement's stack, innermost first, beginning inside the runtime.
    pub pcs: [u64; MAX_SPAWN_FRAMES],
}

/// Such a goroutine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GoroutineEnded {
    /// Common part: that goroutine; its creator is not told again.
    pub header: Header,
}

const _: () = {
    assert!(size_of::<Header>() == 48);
    assert!(size_of::<ProcessExecuted>() == 48);
    assert!(size_of::<ContextCreated>() == 48 + 16 + 8 + 16 + 8 + 128 + 256);
    assert!(size_of::<ContextCreatedShort>() == 48 + 40);
    assert!(size_of::<ContextCancelled>() == 48 + 40 + 64);
    assert!(size_of::<ContextCancelledShort>() == 48 + 48);
    assert!(size_of::<DeadlineAsked>() == 48 + 32);
    assert!(size_of::<RequestStarted>() == 48 + 40 + 16 + 112 + 8 + 64 + 8 + 64 + 104 + 336 + 32);
    assert!(size_of::<ConnReadError>() == 48 + 16 + 48 + 8 + 16 + 8 + 64);
    assert!(size_of::<GrpcStarted>() == 48 + 16 + 256 + 96);
    assert!(size_of::<GrpcEnded>() == 56);
    assert!(size_of::<IoDeadlineSet>() == 48 + 40 + 64);
    assert!(size_of::<GrpcCalled>() == 48 + 8 + 128 + 256 + 8 + 64 + 96);
    assert!(size_of::<CallStarted>() == 48 + 16 + 128 + 256 + 16 + 8 + 64 + 96);
    assert!(size_of::<CallCancelled>() == 72);
    assert!(size_of::<ConnCancelled>() == 56);
    assert!(size_of::<BodyFailed>() == 48 + 16 + 128);
    assert!(size_of::<CallStreamEnded>() == 48 + 16 + 24);
    assert!(size_of::<CallAttempt>() == 48 + 16);
    assert!(size_of::<CallRedirected>() == 48 + 16);
    assert!(size_of::<SqlCalled>() == 48 + 16 + 8 + 128 + 256 + 8 + 192);
    assert!(size_of::<DialStarted>() == 48 + 32 + 128 + 256 + 8 + 16 + 112);
    assert!(size_of::<DialDone>() == 48);
    assert!(size_of::<SqlReturned>() == 48 + 24);
    assert!(size_of::<SocketChanged>() == 48 + 8 + 32 + 16 + 8);
    assert!(size_of::<GoroutineCreated>() == 48 + 24 + 80);
    assert!(size_of::<GoroutineEnded>() == 48);
};
