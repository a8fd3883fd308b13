//! # cancel-undelivered
//!
//! The peer closed the connection, and Go never told the request.
//!
//! ## What it finds
//!
//! The kernel saw the peer of a connection close it, by a FIN or by a reset, while a handler was at
//! work for a request of that connection. The grace time (`--grace`, 500 ms) later the handler still
//! works, and nothing has cancelled the request's context: `net/http` has not noticed.
//!
//! `at` is the innermost line of your code that the handler was in, with what it waited for. The
//! finding appears while the handler runs and once more when it has ended, with the time that was
//! wasted. It names why Go did not notice, read from the connection's own state:
//!
//! - `body_unread`: the request's body has not been read to its end. Until then `net/http` does not
//!   watch the connection, for what comes in may be body (golang/go #23262);
//! - `pipelined`: a byte of another request came in behind this one. The watching ended with it
//!   (golang/go #37145);
//! - `http2_open`: the server has not given up the HTTP/2 connection that the request's stream
//!   belongs to. After a peer that broke the protocol it reads no more and waits for a second;
//! - `not_written`: nobody reads the connection and no write to it has failed: only a write would
//!   tell. The reading ends early where a wrapped `net.Conn` returns from `Read` without an error;
//! - `unknown`: none of these is provable.
//!
//! ## Why it matters
//!
//! A handler that waits for its context in all the right places works on all the same, for a context
//! that nobody cancels. Uploads are where this happens: the client that gives up in the middle of a
//! POST is the one that will try again.
//!
//! ## Example
//!
//! ```go
//! func Import(w http.ResponseWriter, r *http.Request) {
//! 	// The body is read only once there is room for it.
//! 	// Whoever leaves the queue is not missed.
//! 	select {
//! 	case <-slots:
//! 	case <-r.Context().Done():
//! 		return
//! 	}
//! 	load(r.Context(), r.Body)
//! }
//! ```
//!
//! One of the test programs, as observer shows it:
//!
//! ```text
//! warning[cancel-undelivered]: handler still works 510 ms after its peer
//!     closed, which Go did not notice: body not read
//!   request  POST /fin   id import-0 (X-Request-Id)   peer 127.0.0.1:34332
//!   at       main.fin   main.go:90   chan receive
//!   via      http.(*conn).serve
//!   context  request
//!   time     0 start ────── 300 ms peer closed ──────── 811 ms still running
//!   help     read the request's body to its end before long work: only then Go
//!            watches the connection
//! ```
//!
//! ## How to fix
//!
//! Read the body before long work, or set an end to work that cannot:
//!
//! ```go
//! body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
//! if err != nil {
//! 	return
//! }
//! select {
//! case <-slots: // from here on r.Context() knows when the client leaves
//! case <-r.Context().Done():
//! 	return
//! }
//! ```
//!
//! `http.ResponseController.SetReadDeadline` bounds a slow body, `context.WithTimeout` the wait.
//!
//! ## How sure
//!
//! Error, high: the peer reset the connection, or the kernel gave it up, so nobody can read the
//! answer. Warning, medium: the peer sent a FIN and no more. A client may close its sending half and
//! wait for the answer; few do. A FIN that is followed by a reset, which is how a closed socket
//! answers a write, makes it an error.
//!
//! "The peer" is whoever is at the other end of the connection. It may be a proxy: nginx closes its
//! connection when its own client leaves, unless `proxy_ignore_client_abort` is on.
//!
//! ## When silent
//!
//! - the handler ends within the grace time, as it does for a client that closes its sending half
//!   and waits;
//! - the request was cancelled, by whatever: then the handler was told;
//! - connections that the handler took over (`Hijack`): their peers are its own business;
//! - a connection without a request: idle connections are closed all the time;
//! - requests of which events were lost, and peers on Unix sockets, of whose close the kernel does
//!   not tell;
//! - kernels without type information (BTF), and other kernels that do not let sockets be watched:
//!   `observer check` says so.

use std::collections::BTreeMap;

use crate::finding::{Finding, PeerClose, Undelivered};
use crate::inspect::Inspection;
use crate::model::{ConnId, Connection, ReqId, Request};

use super::ask::{Answer, Question, Work};
use super::context::Context;
use super::draft;
use super::overrun::{self, LOOKS, POLL_NS, RETRY_NS};
use super::sight::{self, Sight};
use super::timers::Topic;
use super::undelivered::{self, Closed};

/// Requests whose peers are asked for at once.
const ASKED: usize = 1024;
/// After that time an answer does not come any more, ns.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct CancelUndelivered {
    cases: BTreeMap<ReqId, Case>,
    /// Questions about peers on their way, by number.
    asked: BTreeMap<u64, Asked>,
    questions: u64,
}

/// A question about the peers of a process' requests.
#[derive(Debug)]
struct Asked {
    pid: u32,
    requests: Vec<ReqId>,
    /// Connections to look at when the answer comes.
    conns: Vec<ConnId>,
    at_ns: u64,
}

/// A request whose peer has closed.
#[derive(Debug, Clone)]
struct Case {
    pid: u32,
    conn: ConnId,
    closed: Closed,
    looks: u32,
    shown: Option<Finding>,
}

impl CancelUndelivered {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.cases.retain(|_, case| !whose(case.pid));
        self.asked.retain(|_, asked| !whose(asked.pid));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len() + self.asked.len()
    }

    /// A peer closed its connection, or reset what it had closed.
    pub(super) fn peer_closed(&mut self, id: ConnId, cx: &mut Context<'_>) {
        let Some(conn) = cx.model.connection(id) else {
            return;
        };
        if conn.closed.how == PeerClose::Fin && conn.broken.is_some() {
            self.grow(id, conn.how(), cx);
        }
        cx.later(cx.thresholds.grace_ns, Topic::PeerClosed(id));
    }

    /// What was a FIN has become a reset.
    fn grow(&mut self, id: ConnId, how: PeerClose, cx: &mut Context<'_>) {
        for (request, case) in &mut self.cases {
            if case.conn != id || case.closed.how == how {
                continue;
            }
            case.closed.how = how;
            let Some(shown) = &mut case.shown else {
                continue;
            };
            shown.time_ns = cx.now_ns;
            shown.evidence.peer_close = Some(how);
            (shown.severity, shown.confidence) = undelivered::judged(how);
            undelivered::measure(shown, case.closed.since_ns, false, cx.now_ns);
            cx.report_grown(shown.clone(), *request);
        }
    }

    /// Grace is over and the owner has not closed its end: is anybody at work?
    pub(super) fn look_for_requests(&mut self, id: ConnId, cx: &mut Context<'_>) {
        let Some(conn) = cx.model.connection(id).cloned() else {
            return;
        };
        let served = served(&conn, cx);
        for request in &served {
            self.suspect(*request, &conn, cx);
        }
        if self.ask_peers(&conn, cx) {
            return;
        }
        // A reset connection is over already: no further event will say so.
        if served.is_empty() && conn.broken.is_some() {
            cx.model.forget_connection(id);
        }
    }

    /// Asks for the peers of running requests that are not known yet; whether an answer is awaited.
    fn ask_peers(&mut self, conn: &Connection, cx: &mut Context<'_>) -> bool {
        let now_ns = cx.now_ns;
        self.asked
            .retain(|_, asked| now_ns.saturating_sub(asked.at_ns) < PATIENCE_NS);
        let mut by_pid: BTreeMap<u32, Vec<ReqId>> = BTreeMap::new();
        for id in cx.model.running_unasked(conn.netns, ASKED, cx.code) {
            if let Some(request) = cx.model.request(id) {
                by_pid.entry(request.pid).or_default().push(id);
            }
        }
        if by_pid.is_empty() {
            return false;
        }
        // Another connection's question may name them already.
        let known = |asked: &&mut Asked| by_pid.contains_key(&asked.pid);
        if let Some(asked) = self.asked.values_mut().find(known) {
            asked.conns.push(conn.id);
            return true;
        }
        for (pid, ids) in by_pid {
            let requests = ids.iter().filter_map(|id| cx.model.request(*id));
            let requests = requests.map(Context::reading_of_conn);
            let requests = requests.collect();
            let asked = Asked {
                pid,
                requests: ids,
                conns: vec![conn.id],
                at_ns: now_ns,
            };
            self.questions += 1;
            self.asked.insert(self.questions, asked);
            let topic = Topic::Peers(self.questions);
            cx.ask(pid, topic, Question::Peers { requests });
        }
        true
    }

    /// Who is at the other end of the requests asked about.
    pub(super) fn peers_answer(&mut self, number: u64, answer: &Answer, cx: &mut Context<'_>) {
        let Some(asked) = self.asked.remove(&number) else {
            return;
        };
        let mut peers = match answer {
            Answer::Peers(peers) => peers.iter(),
            _ => [].iter(),
        };
        for id in asked.requests {
            let peer = peers.next().and_then(Option::as_ref);
            let port = peer.and_then(|peer| peer.local_port);
            cx.model.set_peer(id, peer.map(|peer| &*peer.remote), port);
            cx.model.note_delivery(id, cx.code);
        }
        for conn in asked.conns {
            self.look_for_requests(conn, cx);
        }
    }

    fn suspect(&mut self, id: ReqId, conn: &Connection, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        if self.cases.contains_key(&id) {
            return;
        }
        let since_ns = conn.closed.at_ns.max(request.start_ns);
        let case = Case {
            pid: request.pid,
            conn: conn.id,
            closed: Closed {
                since_ns,
                how: conn.how(),
            },
            looks: 0,
            shown: None,
        };
        let due_ns = since_ns.saturating_add(cx.thresholds.grace_ns);
        cx.remember(&mut self.cases, id, case);
        if due_ns > cx.now_ns {
            cx.later(due_ns - cx.now_ns, Topic::Undelivered(id));
        } else {
            self.look(id, cx);
        }
    }

    /// Grace is over for a request, or the last look was not good enough.
    pub(super) fn look(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get(&id).filter(|case| case.shown.is_none()) else {
            return;
        };
        if unaware(id, case.conn, cx).is_some() {
            cx.ask_handler(id, Topic::Undelivered(id));
        } else {
            self.cases.remove(&id);
        }
    }

    /// What the handler does, and what its connection says.
    pub(super) fn answer(&mut self, id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        let Answer::Work(work) = answer else {
            self.cases.remove(&id);
            return;
        };
        overrun::describe(id, work, cx);
        let Some(request) = unaware(id, case.conn, cx).filter(|of| is_served(work, of)) else {
            self.cases.remove(&id);
            return;
        };
        let of = (case.pid, request.goid, false);
        let sight = match &work.goroutine {
            Inspection::Alive(goroutine) => sight::see(of, goroutine, &[], request, cx),
            Inspection::Gone => Sight::Left,
            _ => Sight::Blurred,
        };
        let seen = match sight {
            Sight::Left => {
                self.cases.remove(&id);
                return;
            }
            Sight::Clear(seen) => Some(seen),
            Sight::HeldUp => {
                cx.later(POLL_NS, Topic::Undelivered(id));
                return;
            }
            Sight::Blurred if case.looks < LOOKS => {
                case.looks += 1;
                cx.later(RETRY_NS, Topic::Undelivered(id));
                return;
            }
            Sight::Blurred => None,
        };
        let seen = (seen, case.looks > 0);
        let why = undelivered::why(work, request);
        if let Some(finding) = undelivered::draw_up(&case.closed, request, seen, why, cx) {
            case.shown = Some(finding.clone());
            cx.report_running(finding, id);
        }
    }

    /// The request's context was cancelled after all.
    pub(super) fn request_cancelled(&mut self, id: ReqId, cx: &Context<'_>) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        let Some(shown) = &mut case.shown else {
            self.cases.remove(&id);
            return;
        };
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let cancel = cx.model.context(request.root);
        let cancel = cancel.and_then(|root| root.cancelled.as_ref());
        shown.evidence.cancelled_by = cancel.map(|cancel| cancel.by);
        shown.evidence.cancelled_at_ns = cancel.map(|cancel| cancel.at_ns);
        shown.evidence.delivery_ns = request.delivery.map(|delivery| delivery.latency_ns);
    }

    /// The handler has returned.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(case) = self.cases.remove(&id) else {
            return;
        };
        let Some(request) = cx.model.request(id) else {
            return;
        };
        if !cx.model.is_whole(request.epoch) {
            return;
        }
        let ended_ns = request.ended_ns().unwrap_or(cx.now_ns);
        let after_ns = ended_ns.saturating_sub(case.closed.since_ns);
        let info = draft::request_info(request, cx.thresholds, cx.now_ns);
        let finding = match case.shown.clone() {
            Some(shown) => shown,
            // It was looked at, so it is not hijacked, but never at rest.
            None if case.looks > 0 && after_ns > cx.thresholds.grace_ns => {
                let why = Undelivered::Unknown;
                match undelivered::draw_up(&case.closed, request, (None, true), why, cx) {
                    Some(finding) => finding,
                    None => return,
                }
            }
            None => return,
        };
        let mut ended = finding;
        ended.time_ns = cx.now_ns;
        ended.request = Some(info);
        undelivered::measure(&mut ended, case.closed.since_ns, true, ended_ns);
        if case.shown.is_some() {
            cx.report_ended(ended, id);
        } else {
            cx.report(ended);
        }
        if cx
            .model
            .connection(case.conn)
            .is_some_and(|conn| conn.broken.is_some())
        {
            cx.model.forget_connection(case.conn);
        }
    }
}

/// Running requests of a connection.
fn served(conn: &Connection, cx: &Context<'_>) -> Vec<ReqId> {
    let mut requests = cx.model.running_from(conn.peer);
    requests.retain(|id| {
        cx.model
            .connection_of(*id, cx.code)
            .is_some_and(|of| of.id == conn.id)
    });
    requests
}

/// The request, while it runs over a connection that its peer has closed and nobody has told it.
fn unaware<'a>(id: ReqId, conn: ConnId, cx: &'a Context<'_>) -> Option<&'a Request> {
    let request = cx.model.request(id)?;
    let root = cx.model.context(request.root)?;
    let here = cx
        .model
        .connection_of(id, cx.code)
        .is_some_and(|of| of.id == conn);
    let running = request.ended.is_none() && cx.model.is_whole(request.epoch);
    (here && running && root.cancelled.is_none()).then_some(request)
}

/// The connection is known to be the server's own still: HTTP/2 has no other.
fn is_served(work: &Work, request: &Request) -> bool {
    let owned = work.conn.as_ref().is_some_and(|conn| !conn.hijacked);
    owned || undelivered::is_http2(request)
}
