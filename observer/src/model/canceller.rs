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
    known: FxHashMap<u64, Option<Who>>,
}

/// Addresses remembered; beyond it all are forgotten and looked up anew.
const KNOWN: usize = 8_192;

impl Cancellers {
    /// What the innermost frame says that says something; no frames at all say nothing.
    pub(super) fn who(&mut self, code: &dyn Code, pid: u32, pcs: &[u64]) -> Who {
        pcs.iter()
            .filter(|pc| **pc != 0)
            .find_map(|pc| self.at(code, pid, *pc))
            .unwrap_or(Who::By(CancelledBy::Unknown))
    }

    fn at(&mut self, code: &dyn Code, pid: u32, pc: u64) -> Option<Who> {
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

/// A frame outside package `context` that is none of the table's is user code.
fn of_frame(frame: &Frame) -> Option<Who> {
    let row = TABLE.iter().find(|(name, _)| name.fits(&frame.function));
    let user = || (frame.package() != "context").then_some(Who::By(CancelledBy::Code));
    row.map(|(_, who)| *who).or_else(user)
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
    fn addresses_do_not_pile_up() {
        let code = FakeCode::default();
        let mut cancellers = Cancellers::default();
        for pc in 1..3 * KNOWN as u64 {
            cancellers.who(&code, PID, &[pc]);
            assert!(cancellers.known.len() <= KNOWN);
        }
    }
}
