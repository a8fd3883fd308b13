//! The kernel's view of connections, joined with requests.

use std::net::SocketAddr;

use observer_common::event::SocketChanged;

use crate::finding::{CancelledBy, PeerClose};

use super::connection::{Change, Closed, Connection, change, parse_peer, peer};
use super::fact::Fact;
use super::ids::{ConnId, ReqId};
use super::request::{Delivery, Peer};
use super::{Code, Model};

impl Model {
    /// A socket changed its state.
    pub(super) fn socket_changed(&mut self, record: &SocketChanged, facts: &mut Vec<Fact>) {
        let (Some(change), Some(peer), Ok(port)) = (
            change(record),
            peer(record),
            u16::try_from(record.local_port),
        ) else {
            return;
        };
        let ends = (record.netns, peer);
        match change {
            Change::Over => {
                self.connections.over(ends, port, self.now_ns);
                facts.push(Fact::ConnectionOver(record.netns, peer));
            }
            Change::Closed(how) => {
                let closed = Closed {
                    at_ns: self.now_ns,
                    how,
                };
                let id = self.connections.closed(ends, port, closed);
                facts.push(Fact::PeerClosed(id));
                if how != PeerClose::Fin {
                    facts.push(Fact::ConnectionOver(record.netns, peer));
                }
            }
        }
    }

    /// A connection that its peer has closed, while its owner has not.
    #[must_use]
    pub fn connection(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id)
    }

    /// Nothing more is to be learnt of it.
    pub fn forget_connection(&mut self, id: ConnId) {
        self.connections.forget(id);
    }

    /// Keeps what memory says of a request's connection.
    pub fn set_peer(&mut self, id: ReqId, text: Option<&str>, local_port: Option<u16>) {
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        if let Peer::At(..) = request.peer {
            return;
        }
        let Some(addr) = text.and_then(parse_peer) else {
            request.peer = Peer::None;
            return;
        };
        request.peer = Peer::At(addr, local_port);
        if request.ended.is_none() {
            self.by_peer.entry(addr).or_default().push(id);
        }
    }

    /// A request has ended: its connection has no further use for it.
    pub(super) fn unlist_peer(&mut self, id: ReqId, peer: &Peer) {
        if let Peer::At(addr, _) = peer
            && let Some(all) = self.by_peer.get_mut(addr)
        {
            all.retain(|of| *of != id);
            if all.is_empty() {
                self.by_peer.remove(addr);
            }
        }
    }

    /// The closed connection that a request came over.
    ///
    /// A request that begins after a reset is none of that connection's: what has been reset is read
    /// no more, and its ends are free to be used again.
    #[must_use]
    pub fn connection_of(&self, id: ReqId, code: &dyn Code) -> Option<&Connection> {
        let request = self.requests.get(id)?;
        let Peer::At(addr, port) = request.peer else {
            return None;
        };
        let netns = code.unit(request.pid)?.netns;
        let found = (netns != 0).then(|| self.connections.find(netns, addr, port))?;
        found.filter(|conn| {
            conn.broken
                .is_none_or(|broken| request.start_ns <= broken.at_ns)
        })
    }

    /// Compares the moments at which the kernel and Go learnt that a request's client had left. A
    /// cancel that is not the client's says nothing of its close. Of a connection of HTTP/2 that is over, the kernel's
    /// word says first whether the client has ended it.
    pub fn note_delivery(&mut self, id: ReqId, code: &dyn Code) {
        self.settle_conn(id, code);
        let Some(closed) = self.close_of(id, code) else {
            return;
        };
        let Some(request) = self.requests.get_mut(id) else {
            return;
        };
        let cancel = self
            .contexts
            .get(request.root)
            .and_then(|root| root.cancelled.as_ref());
        let Some(cancel) = cancel.filter(|cancel| cancel.by == CancelledBy::Client) else {
            return;
        };
        if request.delivery.is_none() && closed.at_ns <= cancel.at_ns {
            // Before it began, there was nothing to be told.
            let since_ns = closed.at_ns.max(request.start_ns);
            let latency_ns = cancel.at_ns.saturating_sub(since_ns);
            request.delivery = Some(Delivery { closed, latency_ns });
            self.delivery.add(latency_ns);
        }
    }

    /// Whether both have closed the connection that a request came over, lately.
    #[must_use]
    pub fn is_connection_over(&self, id: ReqId, code: &dyn Code) -> bool {
        let Some(request) = self.requests.get(id) else {
            return false;
        };
        let (Peer::At(peer, port), Some(unit)) = (request.peer, code.unit(request.pid)) else {
            return false;
        };
        let ends = (unit.netns, peer);
        let found = self.connections.find_over(ends, port, request.start_ns);
        unit.netns != 0 && found.is_some()
    }

    /// When the peer of a request closed, whether or not its owner has closed the connection since.
    pub(super) fn close_of(&self, id: ReqId, code: &dyn Code) -> Option<Closed> {
        if let Some(conn) = self.connection_of(id, code) {
            return Some(conn.closed);
        }
        let request = self.requests.get(id)?;
        let Peer::At(addr, port) = request.peer else {
            return None;
        };
        let netns = code.unit(request.pid)?.netns;
        let found = self
            .connections
            .find_over((netns, addr), port, request.start_ns);
        found.filter(|_| netns != 0).map(|conn| conn.closed)
    }

    /// Running requests with this peer.
    #[must_use]
    pub fn running_from(&self, peer: SocketAddr) -> Vec<ReqId> {
        self.by_peer.get(&peer).cloned().unwrap_or_default()
    }

    /// Up to `most` running requests of which nothing was lost and whose peer nobody has asked for,
    /// in the order of their start.
    #[must_use]
    pub fn running_unasked(&self, netns: u64, most: usize, code: &dyn Code) -> Vec<ReqId> {
        let here = |pid| code.unit(pid).is_some_and(|unit| unit.netns == netns);
        let processes = self.processes.iter().filter(|(pid, _)| here(*pid));
        let running = processes.flat_map(|(_, process)| process.serving.values());
        let open = running
            .filter_map(|id| self.requests.get(*id))
            .filter(|of| of.peer == Peer::Unasked && of.ended.is_none() && self.is_whole(of.epoch));
        let mut ids: Vec<ReqId> = open.map(|request| request.id).collect();
        ids.sort_unstable();
        ids.truncate(most);
        ids
    }
}
