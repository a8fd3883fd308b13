//! What happens to contexts.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Link};
use crate::limits::{MAX_FRAMES, MAX_LINKS};

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
    /// Return addresses, innermost first: all of a failed write, at most [`MAX_CANCEL_FRAMES`](crate::limits::MAX_CANCEL_FRAMES) of any other cancel.
    pub pcs: [u64; MAX_FRAMES],
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
