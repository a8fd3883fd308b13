//! The records that probes write: plain data of fixed size, one type per kind.
//!
//! Every record begins with a [`Header`]; its kind tells the rest. All fields are whole words or
//! arrays of them, so a record has no padding and may be written and read as bytes. Sizes are
//! asserted below: a recording holds these bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod call;
mod context;
mod process;
mod request;

pub use call::{
    ATTEMPT_AGAIN, ATTEMPT_BEGINS, ATTEMPT_OVER, BodyFailed, CallAttempt, CallCancelled,
    CallRedirected, CallStarted, CallStreamEnded, ConnCancelled, DialDone, DialStarted, GrpcCalled,
    SqlCalled, SqlReturned, TIMEOUT_UNREAD,
};
pub use context::{
    CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, DeadlineAsked,
};
pub use process::{GoroutineCreated, GoroutineEnded, ProcessExecuted, SocketChanged};
pub use request::{
    ConnHijacked, ConnReadError, GrpcEnded, GrpcStarted, IoDeadlineSet, REQUEST_BIG_MAP,
    REQUEST_HTTP2, REQUEST_IDS_UNREAD, RequestStarted, SCRATCH_WORDS, SEARCH_WORDS, ServerClosing,
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
    /// [`ServerClosing`].
    ServerClosing = 18,
    /// [`ConnHijacked`].
    ConnHijacked = 19,
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

const _: () = {
    assert!(size_of::<Header>() == 48);
    assert!(size_of::<ProcessExecuted>() == 48);
    assert!(size_of::<ContextCreated>() == 48 + 16 + 8 + 16 + 8 + 128 + 256);
    assert!(size_of::<ContextCreatedShort>() == 48 + 40);
    assert!(size_of::<ContextCancelled>() == 48 + 40 + 128);
    assert!(size_of::<ContextCancelledShort>() == 48 + 48);
    assert!(size_of::<DeadlineAsked>() == 48 + 32);
    assert!(size_of::<RequestStarted>() == 48 + 40 + 16 + 112 + 8 + 64 + 8 + 64 + 104 + 336 + 32);
    assert!(size_of::<ConnReadError>() == 48 + 16 + 48 + 8 + 16 + 8 + 64);
    assert!(size_of::<GrpcStarted>() == 48 + 16 + 256 + 96);
    assert!(size_of::<GrpcEnded>() == 56);
    assert!(size_of::<IoDeadlineSet>() == 48 + 40 + 64);
    assert!(size_of::<ServerClosing>() == 48);
    assert!(size_of::<ConnHijacked>() == 56 + 8 + 64);
    assert!(size_of::<GrpcCalled>() == 48 + 8 + 128 + 256 + 8 + 64 + 96);
    assert!(size_of::<CallStarted>() == 48 + 16 + 128 + 256 + 16 + 8 + 64 + 96);
    assert!(size_of::<CallCancelled>() == 72);
    assert!(size_of::<ConnCancelled>() == 56);
    assert!(size_of::<BodyFailed>() == 48 + 16 + 128);
    assert!(size_of::<CallStreamEnded>() == 48 + 16 + 24);
    assert!(size_of::<CallAttempt>() == 48 + 16);
    assert!(size_of::<CallRedirected>() == 48 + 16);
    assert!(size_of::<SqlCalled>() == 48 + 16 + 8 + 128 + 256 + 8 + 192 + 8);
    assert!(size_of::<DialStarted>() == 48 + 32 + 128 + 256 + 8 + 16 + 112);
    assert!(size_of::<DialDone>() == 48);
    assert!(size_of::<SqlReturned>() == 48 + 24);
    assert!(size_of::<SocketChanged>() == 48 + 8 + 32 + 16 + 8);
    assert!(size_of::<GoroutineCreated>() == 48 + 24 + 80);
    assert!(size_of::<GoroutineEnded>() == 48);
};
