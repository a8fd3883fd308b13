//! What a service asks of others: HTTP, gRPC, `database/sql`, plain dials.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Link};
use crate::limits::{
    MAX_ADDRESS, MAX_FRAMES, MAX_HOST, MAX_LINKS, MAX_NETWORK, MAX_PATH, MAX_QUERY,
};

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
    /// Bytes in `query`, or at `query_at`.
    pub query_len: u64,
    /// Beginning of the query's text; goes no further than the decoder, which leaves verb and table of it.
    pub query: [u8; MAX_QUERY],
    /// Where the text is that could not be read, as on a page of the executable that nobody has touched yet; else 0.
    pub query_at: u64,
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
