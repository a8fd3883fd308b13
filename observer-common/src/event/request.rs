//! Requests that are served, over HTTP and gRPC, and their connections.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Link};
use crate::limits::{
    MAX_CANCEL_FRAMES, MAX_DEADLINE, MAX_LINE, MAX_LINKS, MAX_PATH, MAX_PEER, MAX_VALUE,
};

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

/// `http.Server.Close` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServerClosing {
    /// Common part: who closes it.
    pub header: Header,
}

/// A handler takes its connection over (`http.Hijacker`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ConnHijacked {
    /// Common part.
    pub header: Header,
    /// The `*http.response`.
    pub response: u64,
    /// Bytes in `peer`; 0 where it could not be read.
    pub peer_len: u64,
    /// `conn.remoteAddr`.
    pub peer: [u8; MAX_PEER],
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
