//! HTTP/2 connections that are over, with all of their streams.
//!
//! Go's server ends the streams of a connection in one way whoever has ended that, and tells each that its client has
//! left. Who it was is told by `Server.Close`, which is seen, and by the kernel, which has seen the peer close before Go did
//! anything, or has not. A peer that is told by TLS that the server closes is often the first to close its socket.

use crate::finding::CancelledBy;

use super::context::Cancel;
use super::ids::ReqId;
use super::request::Peer;
use super::{Code, Model, On};

/// From `Server.Close` to the end of a connection that it closes, ns: its goroutines may have to wait for a processor. Later
/// ends are those of another server's connections.
const CLOSING_NS: u64 = 1_000_000_000;

impl On<'_> {
    /// `Server.Close` begins.
    pub(super) fn server_closing(&mut self) {
        self.process.server_closed_ns = Some(self.model.now_ns);
    }

    /// Whether `Server.Close` may be what ends a connection now.
    pub(super) fn conn_closing(&self) -> Option<u64> {
        let now_ns = self.model.now_ns;
        let began_ns = self.process.server_closed_ns;
        began_ns.filter(|began_ns| now_ns.saturating_sub(*began_ns) <= CLOSING_NS)
    }

    /// Who has ended a connection, while nobody knows which one it was: the client only where a peer has closed a moment
    /// ago.
    pub(super) fn conn_over(&self) -> CancelledBy {
        let netns = self.code.unit(self.pid).map_or(0, |unit| unit.netns);
        let now_ns = self.model.now_ns;
        if self.conn_closing().is_some() {
            CancelledBy::ServerClose
        } else if netns != 0 && self.model.connections.any_just_closed(netns, now_ns) {
            CancelledBy::Client
        } else {
            CancelledBy::Unknown
        }
    }
}

impl Model {
    /// Says who has ended the connection of a cancelled request, once its peer is known. Of a peer that the kernel has not
    /// seen close, the connection was ended by this host, or the request holds another address than its peer's.
    pub(super) fn settle_conn(&mut self, id: ReqId, code: &dyn Code) {
        let Some(request) = self.requests.get(id) else {
            return;
        };
        let root = self.contexts.get(request.root);
        let Some(cancel) = root.and_then(|root| root.cancelled.as_ref()) else {
            return;
        };
        let Some(over) = cancel.conn_over else {
            return;
        };
        let netns = code.unit(request.pid).map_or(0, |unit| unit.netns);
        if netns == 0 || !matches!(request.peer, Peer::At(..)) {
            return;
        }
        let closed_ns = self.close_of(id, code).map(|closed| closed.at_ns);
        let by = over.by(closed_ns, cancel);
        self.correct_cancel(id, by);
    }
}

/// An HTTP/2 connection is over, and its requests are cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnOver {
    /// When the `Server.Close` that may have ended it began, monotonic ns.
    pub(super) closing_ns: Option<u64>,
}

impl ConnOver {
    /// Who ended it, given when its peer closed.
    fn by(self, peer_closed_ns: Option<u64>, cancel: &Cancel) -> CancelledBy {
        let first_ns = self.closing_ns.unwrap_or(cancel.at_ns);
        match (peer_closed_ns, self.closing_ns) {
            (Some(at_ns), _) if at_ns <= first_ns => CancelledBy::Client,
            (_, Some(_)) => CancelledBy::ServerClose,
            (_, None) => CancelledBy::Unknown,
        }
    }
}
