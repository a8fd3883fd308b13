//! Connections whose peer has closed, as the kernel saw it.
//!
//! A connection is known from the moment when its peer closes until its owner closes too: what
//! nobody has closed needs no memory. Those that both have closed lately are kept apart, because Go may
//! be asked who its peer was only then. It is named by its network namespace, its peer and its local
//! port, never by the socket's address, which the kernel uses again.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use observer_common::event::SocketChanged;
use observer_common::tcp::{CLOSE, CLOSE_WAIT, ECONNRESET, EPIPE};
use rustc_hash::FxHashMap;

use crate::finding::PeerClose;

use super::ids::ConnId;
use super::table::Table;

/// `ECONNABORTED`: somebody on this host ended the connection.
const ECONNABORTED: u64 = 103;

/// From the peer's close to what Go makes of it, ns: its goroutines may have to wait for a processor.
const JUST_NS: u64 = 1_000_000_000;
/// From the owner's close to the cancel of what the connection served, ns; Go up to 1.22 closes first.
const JUST_OVER_NS: u64 = 50_000_000;

/// When and how a peer closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// When the kernel saw it, monotonic ns.
    pub at_ns: u64,
    /// How.
    pub how: PeerClose,
}

/// A connection that its peer has closed and its owner has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number.
    pub id: ConnId,
    /// Its network namespace.
    pub netns: u64,
    /// The peer; IPv4 is never written as IPv6.
    pub peer: SocketAddr,
    /// Local port.
    pub local_port: u16,
    /// The first that was seen: the FIN where a reset followed one.
    pub closed: Closed,
    /// When the peer reset it or was lost, if it did more than send a FIN.
    pub broken: Option<Closed>,
}

impl Connection {
    /// The worst that the peer did.
    #[must_use]
    pub fn how(&self) -> PeerClose {
        self.broken.map_or(self.closed.how, |broken| broken.how)
    }
}

/// What a change of state means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The peer closed.
    Closed(PeerClose),
    /// The owner closed: nothing more can come of it.
    Over,
}

/// Reads a record; `None` where it is about something else.
pub(super) fn change(record: &SocketChanged) -> Option<Change> {
    Some(match (record.to, record.error) {
        (CLOSE_WAIT, _) => Change::Closed(PeerClose::Fin),
        (CLOSE, ECONNRESET | EPIPE) => Change::Closed(PeerClose::Reset),
        (CLOSE, 0 | ECONNABORTED) => Change::Over,
        (CLOSE, _) => Change::Closed(PeerClose::Lost),
        (observer_common::tcp::LAST_ACK, _) => Change::Over,
        _ => return None,
    })
}

/// The peer of a record.
pub(super) fn peer(record: &SocketChanged) -> Option<SocketAddr> {
    let ip = IpAddr::V6(Ipv6Addr::from(record.remote)).to_canonical();
    Some(SocketAddr::new(ip, u16::try_from(record.remote_port).ok()?))
}

/// The peer as Go writes it: `192.0.2.7:51322`, `[fe80::1%eth0]:51322`; `None` for what is no such
/// address, as that of a Unix socket.
#[must_use]
pub fn parse_peer(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']')?,
        None => host,
    };
    // The zone is the link that a local address belongs to: it says nothing to the kernel's record.
    let host = host.split('%').next().unwrap_or(host);
    let ip: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(ip.to_canonical(), port.parse().ok()?))
}

/// A connection's name without its local port, which Go does not always tell.
type Ends = (u64, SocketAddr);

/// The table.
#[derive(Debug, Default)]
pub(super) struct Connections {
    table: Table<ConnId, Connection>,
    by_ends: FxHashMap<Ends, Vec<ConnId>>,
    /// Lately closed by both, oldest first, with when the owner did, monotonic ns.
    over: VecDeque<(Connection, u64)>,
    keep_over: usize,
}

impl Connections {
    pub(super) fn new(limit: usize, keep_over: usize) -> Self {
        Self {
            table: Table::new(limit),
            by_ends: FxHashMap::default(),
            over: VecDeque::new(),
            keep_over,
        }
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.table.get(id)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) const fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// The only connection with these ends; `None` where there are two and nothing tells which.
    pub(super) fn find(
        &self,
        netns: u64,
        peer: SocketAddr,
        local_port: Option<u16>,
    ) -> Option<&Connection> {
        let all = self.by_ends.get(&(netns, peer))?;
        let mut fitting = all
            .iter()
            .filter_map(|id| self.table.get(*id))
            .filter(|conn| local_port.is_none_or(|port| port == conn.local_port));
        match (fitting.next(), fitting.next()) {
            (found, None) => found,
            _ => None,
        }
    }

    /// Whether any peer has closed so shortly before that what ends now may be its connection: one that its owner has not
    /// closed, or has closed just now.
    pub(super) fn any_just_closed(&self, netns: u64, now_ns: u64) -> bool {
        let just = |at_ns: u64, within_ns| now_ns.saturating_sub(at_ns) <= within_ns;
        let here = |conn: &Connection| conn.netns == netns;
        let open = self.table.values().rev();
        let over = self.over.iter().rev();
        open.take_while(|conn| just(conn.closed.at_ns, JUST_NS))
            .any(here)
            || over
                .take_while(|(_, over_ns)| just(*over_ns, JUST_OVER_NS))
                .any(|(conn, _)| here(conn) && just(conn.closed.at_ns, JUST_NS))
    }

    /// The peer closed, or closed more.
    pub(super) fn closed(&mut self, ends: Ends, local_port: u16, closed: Closed) -> ConnId {
        let known = self
            .find(ends.0, ends.1, Some(local_port))
            .map(|conn| conn.id);
        if let Some(conn) = known.and_then(|id| self.table.get_mut(id)) {
            if closed.how != PeerClose::Fin && conn.broken.is_none() {
                conn.broken = Some(closed);
                return conn.id;
            }
            // A second FIN, or a second reset: the first connection's end was not seen.
            let id = conn.id;
            self.forget(id);
        }
        let (netns, peer) = ends;
        let (id, made_room) = self.table.insert(|id| Connection {
            id,
            netns,
            peer,
            local_port,
            closed,
            broken: (closed.how != PeerClose::Fin).then_some(closed),
        });
        if let Some(gone) = made_room {
            self.unlist(&gone);
        }
        self.by_ends.entry(ends).or_default().push(id);
        id
    }

    /// The owner closed.
    pub(super) fn over(&mut self, (netns, peer): Ends, local_port: u16, at_ns: u64) {
        let Some(conn) = self.find(netns, peer, Some(local_port)).cloned() else {
            return;
        };
        self.forget(conn.id);
        if self.over.len() >= self.keep_over {
            self.over.pop_front();
        }
        self.over.push_back((conn, at_ns));
    }

    /// The only one of the lately ended connections with these ends that a request from `since_ns` on
    /// can have come over.
    pub(super) fn find_over(
        &self,
        (netns, peer): Ends,
        local_port: Option<u16>,
        since_ns: u64,
    ) -> Option<&Connection> {
        let mut fitting = self.over.iter().filter(|(conn, over_ns)| {
            (conn.netns, conn.peer) == (netns, peer)
                && local_port.is_none_or(|port| port == conn.local_port)
                && since_ns <= *over_ns
        });
        match (fitting.next(), fitting.next()) {
            (Some((found, _)), None) => Some(found),
            _ => None,
        }
    }

    pub(super) fn forget(&mut self, id: ConnId) {
        if let Some(gone) = self.table.remove(id) {
            self.unlist(&gone);
        }
    }

    /// Something was lost: an end may have been, and the ends may mean another connection by now.
    pub(super) fn clear(&mut self) {
        self.table.retain(|_| false);
        self.by_ends.clear();
        self.over.clear();
    }

    fn unlist(&mut self, gone: &Connection) {
        let ends = (gone.netns, gone.peer);
        if let Some(all) = self.by_ends.get_mut(&ends) {
            all.retain(|id| *id != gone.id);
            if all.is_empty() {
                self.by_ends.remove(&ends);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Closed, Connections, PeerClose, parse_peer};

    #[test]
    fn peers_as_go_writes_them() {
        let peer = |text| parse_peer(text).map(|peer| peer.to_string());
        assert_eq!(peer("192.0.2.7:51322").as_deref(), Some("192.0.2.7:51322"));
        assert_eq!(
            peer("[2001:db8::7]:80").as_deref(),
            Some("[2001:db8::7]:80")
        );
        assert_eq!(peer("[fe80::1%eth0]:80").as_deref(), Some("[fe80::1]:80"));
        assert_eq!(
            peer("[::ffff:192.0.2.7]:80").as_deref(),
            Some("192.0.2.7:80")
        );
        for other in [
            "",
            "@",
            "/run/shop.sock",
            "192.0.2.7",
            "pipe",
            "a:b",
            "[::1:80",
        ] {
            assert_eq!(peer(other), None, "{other}");
        }
    }

    fn at(at_ns: u64, how: PeerClose) -> Closed {
        Closed { at_ns, how }
    }

    #[test]
    fn a_reset_after_a_fin_is_the_same_connection_and_a_second_fin_is_another() {
        let mut all = Connections::new(8, 2);
        let ends = (1, parse_peer("192.0.2.7:51322").unwrap());
        let first = all.closed(ends, 80, at(5, PeerClose::Fin));
        assert_eq!(all.closed(ends, 80, at(7, PeerClose::Reset)), first);
        let conn = all.get(first).unwrap();
        assert_eq!((conn.closed.at_ns, conn.how()), (5, PeerClose::Reset));
        let second = all.closed(ends, 80, at(9, PeerClose::Fin));
        assert_ne!(second, first);
        assert!(all.get(first).is_none());
        all.over(ends, 80, 11);
        assert_eq!((all.len(), all.by_ends.len()), (0, 0));
    }

    #[test]
    fn what_both_have_closed_is_found_by_requests_from_before_and_by_no_others() {
        let mut all = Connections::new(8, 2);
        let ends = (1, parse_peer("192.0.2.7:51322").unwrap());
        all.closed(ends, 80, at(5, PeerClose::Fin));
        all.over(ends, 80, 11);
        let closed_ns = |all: &Connections, port, since_ns| {
            let found = all.find_over(ends, port, since_ns);
            found.map(|conn| conn.closed.at_ns)
        };
        assert_eq!(closed_ns(&all, Some(80), 4), Some(5));
        assert_eq!(closed_ns(&all, None, 11), Some(5));
        assert_eq!(closed_ns(&all, Some(81), 4), None);
        assert_eq!(closed_ns(&all, Some(80), 12), None);
        all.closed(ends, 80, at(15, PeerClose::Fin));
        all.over(ends, 80, 17);
        // Over which of two a request came is not guessed.
        assert_eq!(closed_ns(&all, Some(80), 4), None);
        assert_eq!(closed_ns(&all, Some(80), 14), Some(15));
        let other = (1, parse_peer("192.0.2.8:51322").unwrap());
        for at_ns in 20..30 {
            all.closed(other, 80, at(at_ns, PeerClose::Fin));
            all.over(other, 80, at_ns);
        }
        assert_eq!(all.over.len(), 2);
    }

    #[test]
    fn two_ports_with_one_peer_are_told_apart_or_not_guessed() {
        let mut all = Connections::new(8, 2);
        let (netns, peer) = (1, parse_peer("192.0.2.7:51322").unwrap());
        let id = all.closed((netns, peer), 80, at(5, PeerClose::Fin));
        assert_eq!(all.find(netns, peer, None).map(|conn| conn.id), Some(id));
        assert_eq!(all.find(netns, peer, Some(81)), None);
        assert_eq!(all.find(2, peer, None), None);
        all.closed((netns, peer), 81, at(5, PeerClose::Fin));
        assert_eq!(all.find(netns, peer, None), None);
        assert_eq!(
            all.find(netns, peer, Some(80)).map(|conn| conn.id),
            Some(id)
        );
    }

    #[test]
    fn the_table_is_bounded_and_leaves_no_names_behind() {
        let mut all = Connections::new(4, 2);
        for port in 1..100 {
            let peer = std::net::SocketAddr::from(([192, 0, 2, 7], port));
            all.closed((1, peer), 80, at(5, PeerClose::Fin));
        }
        assert_eq!((all.len(), all.by_ends.len(), all.evicted()), (4, 4, 95));
        all.clear();
        assert_eq!((all.len(), all.by_ends.len()), (0, 0));
    }
}
