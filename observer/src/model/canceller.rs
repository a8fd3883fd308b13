//! Who cancelled: from the frames above the root cancel of a cascade.

use rustc_hash::FxHashMap;

use crate::finding::CancelledBy;
use crate::go::Frame;

use super::code::Code;

/// What the frames say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Settled.
    By(CancelledBy),
    /// The connection's background read: the error that came just before tells.
    ConnRead,
    /// A write to the peer failed: the connection's memory tells why.
    ConnWrite,
    /// A connection of HTTP/2 or gRPC is over, with all its streams: who has ended it, other events tell.
    ConnOver,
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
    // What it gave is called: nobody wants to hear of the end any more.
    (
        Match::Exact("context.AfterFunc.func1"),
        Who::By(CancelledBy::Code),
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
    // An HTTP/2 connection is over while streams are open: closeStream, which is called for
    // each of them, does not cancel up to Go 1.22.
    (Match::Suffix("erver).ServeConn"), Who::ConnOver),
    (Match::Suffix("erver).serveConn"), Who::ConnOver),
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
    // The reader has met the connection's end, which may be the server's doing: one that is too old is closed by the
    // writer, and the reader is the first to end its streams.
    (Match::Suffix("http2Server).HandleStreams"), Who::ConnOver),
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
/// Ends a stream of net/http's HTTP/2: since the client has reset it, since the server has, or with its connection.
const HTTP2_CLOSE: &str = "erverConn).closeStream";
/// The server has written its last frame of a stream, most likely a reset: nobody says why.
const HTTP2_WROTE: &str = "erverConn).wroteFrame";
/// Makes streams.
const GRPC_CLOSURE: &str = "http2Server).operateHeaders.";

/// Whether deferred functions run because the goroutine panics or leaves.
pub(super) fn leaves(code: &dyn Code, pid: u32, pcs: &[u64]) -> bool {
    let frames = pcs.iter().map(|pc| code.frames(pid, *pc));
    let outside = frames
        .flat_map(|frames| frames.to_vec())
        .find(|frame| frame.package() != "context");
    outside.is_some_and(|frame| LEAVING.contains(&&*frame.function))
}

/// What addresses of one process say, each looked up once: it takes a comparison with every name of
/// the table, at every cancel.
#[derive(Debug, Default)]
pub(super) struct Cancellers {
    /// By return address; `None` where all its frames are of package `context`, or none is known.
    known: FxHashMap<u64, Option<Said>>,
}

/// What one frame says.
#[derive(Debug, Clone, Copy)]
enum Said {
    /// Who it was.
    Who(Who),
    /// A stream of gRPC is closed; for whom, a frame further up says.
    Closes,
    /// A stream of HTTP/2 is, likewise.
    Http2Closes,
    /// By the server, which has written its last frame.
    Http2Wrote,
    /// One of gRPC's closures: what frees a stream that has a timer of its own, or that timer, which closes the stream.
    Closure,
}

/// Addresses remembered; beyond it all are forgotten and looked up anew.
const KNOWN: usize = 8_192;

impl Cancellers {
    /// What the innermost frame says that says something; no frames at all say nothing.
    pub(super) fn who(&mut self, code: &dyn Code, pid: u32, pcs: &[u64]) -> Who {
        let (mut closes, mut http2_closes) = (false, false);
        for pc in pcs.iter().filter(|pc| **pc != 0) {
            match self.at(code, pid, *pc) {
                Some(Said::Http2Wrote) if http2_closes => return Who::By(CancelledBy::Unknown),
                Some(Said::Who(reset @ Who::By(CancelledBy::Client))) if http2_closes => {
                    return reset;
                }
                Some(_) if http2_closes => return Who::ConnOver,
                Some(Said::Http2Closes) => http2_closes = true,
                Some(Said::Http2Wrote) => return Who::By(CancelledBy::Code),
                Some(Said::Who(who)) => return who,
                Some(Said::Closes) => closes = true,
                Some(Said::Closure) if closes => return Who::By(CancelledBy::Deadline),
                Some(Said::Closure) | None => {}
            }
        }
        if http2_closes {
            Who::ConnOver
        } else {
            Who::By(CancelledBy::Unknown)
        }
    }

    fn at(&mut self, code: &dyn Code, pid: u32, pc: u64) -> Option<Said> {
        if let Some(known) = self.known.get(&pc) {
            return *known;
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        let said = code.frames(pid, pc).iter().find_map(of_frame);
        self.known.insert(pc, said);
        said
    }
}

/// A frame outside package `context` and gRPC's transport that is none of the table's is user code.
fn of_frame(frame: &Frame) -> Option<Said> {
    let row = TABLE.iter().find(|(name, _)| name.fits(&frame.function));
    if let Some((_, who)) = row {
        return Some(Said::Who(*who));
    }
    if frame.function.ends_with(HTTP2_CLOSE) {
        return Some(Said::Http2Closes);
    }
    if frame.function.ends_with(HTTP2_WROTE) {
        return Some(Said::Http2Wrote);
    }
    if frame.function.starts_with(GRPC_TRANSPORT) {
        let closes = frame.function.ends_with(GRPC_CLOSE).then_some(Said::Closes);
        let closure = || {
            frame
                .function
                .contains(GRPC_CLOSURE)
                .then_some(Said::Closure)
        };
        return closes.or_else(closure);
    }
    (frame.package() != "context").then_some(Said::Who(Who::By(CancelledBy::Code)))
}

#[cfg(test)]
mod tests {
    use super::{Cancellers, KNOWN, Who};
    use crate::finding::CancelledBy;
    use crate::testkit::{FakeCode, PID};

    #[test]
    fn an_address_says_the_same_again() {
        let code = FakeCode::default();
        let mut cancellers = Cancellers::default();
        let timer = code.pcs(&[
            "context.(*timerCtx).cancel",
            "context.WithDeadlineCause.func2",
        ]);
        let user = code.pcs(&["context.(*timerCtx).cancel", "example.com/shop/api.Get:42"]);
        for _ in 0..2 {
            for (pcs, by) in [
                (&timer[..], CancelledBy::Deadline),
                (&user[..], CancelledBy::Code),
                (&[0][..], CancelledBy::Unknown),
            ] {
                assert_eq!(cancellers.who(&code, PID, pcs), Who::By(by));
            }
        }
        assert_eq!(cancellers.known.len(), 3);
    }

    #[test]
    fn only_a_reset_says_that_the_client_has_ended_a_stream() {
        let code = FakeCode::default();
        let mut cancellers = Cancellers::default();
        for server in [
            "net/http.(*http2serverConn)",
            "net/http/internal/http2.(*serverConn)",
            "golang.org/x/net/http2.(*serverConn)",
        ] {
            for (caller, who) in [
                ("wroteFrame", Who::By(CancelledBy::Unknown)),
                ("processResetStream", Who::By(CancelledBy::Client)),
                ("serve.deferwrap3", Who::ConnOver),
                ("closeAllStreamsOnConnClose", Who::ConnOver),
            ] {
                let names = [
                    "context.(*cancelCtx).cancel".to_owned(),
                    "context.WithCancel.func1".into(),
                    format!("{server}.closeStream"),
                    format!("{server}.{caller}"),
                    format!("{server}.serve"),
                ];
                let pcs = code.pcs(&names.each_ref().map(String::as_str));
                assert_eq!(cancellers.who(&code, PID, &pcs), who, "{server}.{caller}");
            }
        }
    }

    #[test]
    fn addresses_do_not_pile_up() {
        let code = FakeCode::default();
        let mut cancellers = Cancellers::default();
        for pc in 1..3 * KNOWN as u64 {
            cancellers.who(&code, PID, &[pc]);
            assert!(cancellers.known.len() <= KNOWN);
        }
    }
}
