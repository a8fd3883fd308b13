//! Who cancelled: from the frames above the root cancel of a cascade.

use crate::finding::CancelledBy;

use super::code::Code;

/// What the frames say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Settled.
    By(CancelledBy),
    /// The connection's background read: the error that came just before tells.
    ConnRead,
    /// A write to the peer failed: the connection's memory tells why.
    ConnWrite,
}

/// What runs deferred functions other than a return.
const LEAVING: &[&str] = &["runtime.gopanic", "runtime.Goexit"];

enum Match {
    Exact(&'static str),
    Prefix(&'static str),
    Suffix(&'static str),
}

impl Match {
    fn fits(&self, function: &str) -> bool {
        match self {
            Self::Exact(name) => function == *name,
            Self::Prefix(name) => function.starts_with(name),
            Self::Suffix(name) => function.ends_with(name),
        }
    }
}

/// Functions that settle it, by the first frame that fits. From the sources of Go 1.18 … 1.27 and
/// of gRPC-go; closures drift between versions, so prefixes hold where a closure is meant.
const TABLE: &[(Match, Who)] = &[
    (
        Match::Exact("context.WithDeadlineCause.func2"),
        Who::By(CancelledBy::Deadline),
    ),
    (
        Match::Exact("context.WithDeadline.func2"),
        Who::By(CancelledBy::Deadline),
    ),
    (
        Match::Exact("context.WithDeadlineCause"),
        Who::By(CancelledBy::Deadline),
    ),
    (
        Match::Exact("context.WithDeadline"),
        Who::By(CancelledBy::Deadline),
    ),
    (
        Match::Prefix("context.(*cancelCtx).propagateCancel"),
        Who::By(CancelledBy::Parent),
    ),
    (
        Match::Prefix("context.propagateCancel"),
        Who::By(CancelledBy::Parent),
    ),
    (
        Match::Exact("net/http.(*connReader).handleReadErrorLocked"),
        Who::ConnRead,
    ),
    (
        Match::Exact("net/http.(*connReader).handleReadError"),
        Who::ConnRead,
    ),
    (
        Match::Exact("net/http.checkConnErrorWriter.Write"),
        Who::ConnWrite,
    ),
    (
        Match::Suffix("erverConn).processResetStream"),
        Who::By(CancelledBy::Client),
    ),
    (
        Match::Suffix("erverConn).closeStream"),
        Who::By(CancelledBy::Client),
    ),
    // An HTTP/2 connection is over while streams are open: as closeStream, which is called for
    // each of them, but up to Go 1.22 does not cancel.
    (
        Match::Suffix("erver).ServeConn"),
        Who::By(CancelledBy::Client),
    ),
    (
        Match::Suffix("erver).serveConn"),
        Who::By(CancelledBy::Client),
    ),
    (
        Match::Suffix("http2Server).handleRSTStream"),
        Who::By(CancelledBy::Client),
    ),
    (
        Match::Suffix("http2Server).finishStream"),
        Who::By(CancelledBy::NormalEnd),
    ),
    // Too much data for its window.
    (
        Match::Suffix("http2Server).handleData"),
        Who::By(CancelledBy::ServerClose),
    ),
    // Too old a connection, or one whose peer does not answer a ping.
    (
        Match::Suffix("http2Server).keepalive"),
        Who::By(CancelledBy::ServerClose),
    ),
    // The reader has met the connection's end.
    (
        Match::Suffix("http2Server).HandleStreams"),
        Who::By(CancelledBy::Client),
    ),
    // `Stop`; how it closes connections has changed its name.
    (
        Match::Prefix("google.golang.org/grpc.(*Server).Stop"),
        Who::By(CancelledBy::ServerClose),
    ),
    (
        Match::Prefix("google.golang.org/grpc.(*Server).stop"),
        Who::By(CancelledBy::ServerClose),
    ),
    (
        Match::Prefix("google.golang.org/grpc.(*Server).closeServerTransports"),
        Who::By(CancelledBy::ServerClose),
    ),
    (
        Match::Prefix("google.golang.org/grpc/internal/transport.(*serverHandlerTransport)"),
        Who::By(CancelledBy::NormalEnd),
    ),
    (
        Match::Prefix("net/http.(*conn).serve"),
        Who::By(CancelledBy::NormalEnd),
    ),
    (
        Match::Prefix("net/http.(*http2serverConn).runHandler"),
        Who::By(CancelledBy::NormalEnd),
    ),
    (
        Match::Prefix("net/http/internal/http2.(*serverConn).runHandler"),
        Who::By(CancelledBy::NormalEnd),
    ),
    (
        Match::Prefix("golang.org/x/net/http2.(*serverConn).runHandler"),
        Who::By(CancelledBy::NormalEnd),
    ),
];

/// gRPC's transport says more than one frame before it is clear who it cancels for.
const GRPC_TRANSPORT: &str = "google.golang.org/grpc/internal/transport.";
/// Ends a stream for others.
const GRPC_CLOSE: &str = "http2Server).closeStream";
/// Its closures: what frees a stream that has a timer of its own, and that timer, which closes the stream.
const GRPC_CLOSURE: &str = "http2Server).operateHeaders.";

/// Whether deferred functions run because the goroutine panics or leaves.
pub(super) fn leaves(code: &dyn Code, pid: u32, pcs: &[u64]) -> bool {
    let frames = pcs.iter().map(|pc| code.frames(pid, *pc));
    let outside = frames
        .flat_map(|frames| frames.to_vec())
        .find(|frame| frame.package() != "context");
    outside.is_some_and(|frame| LEAVING.contains(&&*frame.function))
}

/// Looks the frames up, innermost first. A frame outside package `context` that is none of the
/// table's is user code; no frames at all say nothing.
#[must_use]
pub fn who(code: &dyn Code, pid: u32, pcs: &[u64]) -> Who {
    let mut closes_stream = false;
    for pc in pcs.iter().filter(|pc| **pc != 0) {
        for frame in code.frames(pid, *pc).iter() {
            if let Some((_, who)) = TABLE.iter().find(|(name, _)| name.fits(&frame.function)) {
                return *who;
            }
            if frame.function.starts_with(GRPC_TRANSPORT) {
                if closes_stream && frame.function.contains(GRPC_CLOSURE) {
                    return Who::By(CancelledBy::Deadline);
                }
                closes_stream |= frame.function.ends_with(GRPC_CLOSE);
            } else if frame.package() != "context" {
                return Who::By(CancelledBy::Code);
            }
        }
    }
    Who::By(CancelledBy::Unknown)
}
