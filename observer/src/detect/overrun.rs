//! Watches requests that work on after their cancel, and looks at what they do.
//!
//! Shared by the rules that judge it: one look, one conclusion.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::finding::CancelledBy;
use crate::go::Frame;
use crate::inspect::{Child, ConnState, ErrorKind, Inspection};
use crate::model::{Call, CallKind, Cancel, Ctx, ReqId, Request, Root};

use super::ask::{Answer, Question, Work};
use super::context::Context;
use super::ids;
use super::sight::{Seen, Sight, see};
use super::timers::Topic;

/// Between two looks at a goroutine that could not be seen well, ns.
pub(super) const RETRY_NS: u64 = 20_000_000;
/// Looks before going without a stack.
pub(super) const LOOKS: u32 = 10;
/// Between two looks at a worker whose end no event tells, ns.
pub(super) const POLL_NS: u64 = 200_000_000;

/// Requests watched.
#[derive(Debug, Default)]
pub(super) struct Overrun {
    watches: BTreeMap<ReqId, Watch>,
}

#[derive(Debug, Clone)]
struct Watch {
    pid: u32,
    goid: u64,
    g: u64,
    cancelled_ns: u64,
    by: CancelledBy,
    by_write: bool,
    conn_over: bool,
    looks: u32,
    shown: Option<Arc<Over>>,
    /// The goroutine is a TimeoutHandler's worker, whose end no event tells.
    worker: bool,
    /// The server's shutdown gives it time.
    has_time: bool,
}

/// A request that worked on after its cancel for longer than the grace time.
#[derive(Debug, Clone)]
pub(super) struct Over {
    /// Which.
    pub(super) request: ReqId,
    /// Whose.
    pub(super) pid: u32,
    /// Goroutine that works on.
    pub(super) goid: u64,
    /// When it was cancelled.
    pub(super) cancelled_ns: u64,
    /// By whom.
    pub(super) by: CancelledBy,
    /// A shutdown cancelled it and still gives it time.
    pub(super) has_time: bool,
    /// Until now, or until its end.
    pub(super) after_ns: u64,
    /// What it does; `None` where no look was good enough.
    pub(super) seen: Option<Seen>,
    /// It was looked at and could not be seen: it computes.
    pub(super) blurred: bool,
    /// It has ended.
    pub(super) ended: bool,
    /// This case was shown before.
    pub(super) again: bool,
}

impl Overrun {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.watches.retain(|_, watch| !whose(watch.pid));
    }

    /// Whether a request, or what it left behind, is watched.
    pub(super) fn watches(&self, id: ReqId) -> bool {
        self.watches.contains_key(&id)
    }

    /// Whether the next look at a request may be the one that is told.
    pub(super) fn is_about_to_tell(&self, id: ReqId) -> bool {
        let watch = self.watches.get(&id);
        watch.is_some_and(|watch| watch.shown.is_none())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// A request's context was cancelled while its handler ran.
    pub(super) fn cancelled(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let Some(cancel) = cx
            .model
            .context(request.root)
            .and_then(|ctx| ctx.cancelled.as_ref())
        else {
            return;
        };
        if !cx.model.is_whole(request.epoch) || self.watches.contains_key(&id) {
            return;
        }
        let watch = Watch {
            pid: request.pid,
            goid: request.goid,
            g: request.g,
            cancelled_ns: cancel.at_ns,
            by: cancel.by,
            by_write: cancel.by_write,
            conn_over: cancel.conn_over.is_some(),
            looks: 0,
            shown: None,
            worker: false,
            has_time: cancel.by == CancelledBy::Shutdown,
        };
        cx.remember(&mut self.watches, id, watch);
        cx.later(cx.thresholds.grace_ns, Topic::Overrun(id));
    }

    /// A TimeoutHandler has gone without its worker, which should stop.
    pub(super) fn worker(
        &mut self,
        id: ReqId,
        worker: &Child,
        cancel: &Cancel,
        cx: &mut Context<'_>,
    ) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let watch = Watch {
            pid: request.pid,
            goid: worker.goid,
            g: worker.g_addr,
            cancelled_ns: cancel.at_ns,
            by: cancel.by,
            by_write: false,
            conn_over: false,
            looks: 0,
            shown: None,
            worker: true,
            has_time: cancel.by == CancelledBy::Shutdown,
        };
        let since_ns = cx.now_ns.saturating_sub(watch.cancelled_ns);
        cx.remember(&mut self.watches, id, watch);
        let wait_ns = cx.thresholds.grace_ns.saturating_sub(since_ns);
        cx.later(wait_ns, Topic::Overrun(id));
    }

    /// What `Server.Shutdown` had time for is over: work that still goes on is cut off.
    pub(super) fn shutdown_expired(&mut self, pid: u32) {
        for watch in self.watches.values_mut().filter(|watch| watch.pid == pid) {
            watch.has_time = false;
        }
    }

    /// Grace is over, or the last look was not good enough.
    pub(super) fn look(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(watch) = self.watches.get(&id) else {
            return;
        };
        let Some(request) = cx.model.request(id) else {
            self.watches.remove(&id);
            return;
        };
        if !cx.model.is_whole(request.epoch) || (request.ended.is_some() && !watch.worker) {
            self.watches.remove(&id);
            return;
        }
        let contexts = detached(request, cx).map(|ctx| ctx.ptr).collect();
        let reading = request.ended.is_none().then(|| cx.reading(request));
        let question = Question::work(watch.goid, watch.g, contexts, reading);
        ids::ask(id, Topic::Overrun(id), question, cx);
    }

    /// What the goroutine does.
    pub(super) fn answer(
        &mut self,
        id: ReqId,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Option<Arc<Over>> {
        let watch = self.watches.get_mut(&id)?;
        if let Answer::Work(work) = answer {
            describe(id, work, cx);
            peer(id, work, cx);
            if work.conn.as_ref().is_some_and(|conn| conn.hijacked) {
                self.watches.remove(&id);
                return None;
            }
            if watch.by_write
                && let Some(by) = work.conn.as_ref().and_then(write_error)
            {
                watch.by = by;
                cx.model.correct_cancel(id, by);
                cx.model.note_delivery(id, cx.code);
            }
            if watch.conn_over
                && let Some(by) = who(id, cx)
            {
                watch.by = by;
            }
        }
        let Some(request) = cx.model.request(id) else {
            self.watches.remove(&id);
            return None;
        };
        let seen = match answer {
            Answer::Work(work) => match &work.goroutine {
                Inspection::Alive(goroutine) => {
                    let of = (watch.pid, watch.goid, watch.worker);
                    see(of, goroutine, &work.waits_on, request, cx)
                }
                Inspection::Gone => {
                    let watch = self.watches.remove(&id)?;
                    return watch.shown.map(|shown| over(&shown, cx.now_ns, true));
                }
                _ => Sight::Blurred,
            },
            Answer::Unknown => {
                self.watches.remove(&id);
                return None;
            }
            _ => Sight::Blurred,
        };
        if watch.shown.is_some() {
            // Only a worker is looked at again, to see it end.
            cx.later(POLL_NS, Topic::Overrun(id));
            return None;
        }
        let seen = match seen {
            Sight::Left => {
                self.watches.remove(&id);
                return None;
            }
            Sight::Clear(seen) => Some(seen),
            Sight::HeldUp => {
                cx.later(POLL_NS, Topic::Overrun(id));
                return None;
            }
            Sight::Blurred if watch.looks < LOOKS => {
                watch.looks += 1;
                cx.later(RETRY_NS, Topic::Overrun(id));
                return None;
            }
            Sight::Blurred => None,
        };
        let over = Arc::new(Over {
            request: id,
            pid: watch.pid,
            goid: watch.goid,
            cancelled_ns: watch.cancelled_ns,
            by: watch.by,
            has_time: watch.has_time,
            after_ns: cx.now_ns.saturating_sub(watch.cancelled_ns),
            seen,
            blurred: watch.looks > 0,
            ended: false,
            again: false,
        });
        watch.shown = Some(Arc::clone(&over));
        if watch.worker {
            cx.later(POLL_NS, Topic::Overrun(id));
        }
        Some(over)
    }

    /// The handler has returned.
    pub(super) fn ended(&mut self, id: ReqId, cx: &mut Context<'_>) -> Option<Arc<Over>> {
        if self.watches.get(&id)?.worker {
            return None;
        }
        let watch = self.watches.remove(&id)?;
        let request = cx.model.request(id)?;
        let after_ns = request.ended_ns()?.saturating_sub(watch.cancelled_ns);
        if !cx.model.is_whole(request.epoch) {
            return None;
        }
        if let Some(shown) = &watch.shown {
            return Some(over(shown, cx.now_ns, true));
        }
        if after_ns <= cx.thresholds.grace_ns {
            return None;
        }
        if watch.looks == 0 {
            // Nobody has seen it at work: on a host that has more to do than it can, whoever stops is late too.
            cx.model.note_unknown();
            return None;
        }
        // It ended before a look was good enough.
        Some(Arc::new(Over {
            request: id,
            pid: watch.pid,
            goid: watch.goid,
            cancelled_ns: watch.cancelled_ns,
            by: watch.by,
            has_time: watch.has_time,
            after_ns,
            seen: None,
            blurred: true,
            ended: true,
            again: false,
        }))
    }
}

/// The same case, later.
fn over(shown: &Over, now_ns: u64, ended: bool) -> Arc<Over> {
    Arc::new(Over {
        after_ns: now_ns.saturating_sub(shown.cancelled_ns),
        ended,
        again: true,
        ..shown.clone()
    })
}

/// The open call that a goroutine with this stack sits in.
pub(super) fn call_in<'a>(
    stack: &[Frame],
    pid: u32,
    goid: u64,
    cx: &'a Context<'_>,
) -> Option<&'a Call> {
    let call = cx.model.last_call_of(pid, goid)?;
    let inside = |frame: &Frame| call.kind.inside().contains(&&*frame.function);
    let sits = call.is_open() && stack.iter().any(inside);
    (sits && !has_other_streams(call, cx)).then_some(call)
}

/// Whether the same goroutine has begun another stream of gRPC that still runs: it may sit in that one.
fn has_other_streams(call: &Call, cx: &Context<'_>) -> bool {
    let request = call.owner.and_then(|owner| cx.model.request(owner));
    let calls = request.into_iter().flat_map(|request| &request.calls);
    let other = |other: &Call| {
        other.kind == CallKind::GrpcStream
            && other.id != call.id
            && other.goid == call.goid
            && other.is_open()
    };
    call.kind == CallKind::GrpcStream && calls.filter_map(|id| cx.model.call(*id)).any(other)
}

/// Contexts made for the request that did not die with it.
pub(super) fn detached<'a>(
    request: &'a Request,
    cx: &'a Context<'_>,
) -> impl Iterator<Item = &'a Ctx> {
    request
        .contexts
        .iter()
        .filter_map(|id| cx.model.context(*id))
        .filter(|ctx| !ctx.internal && ctx.cancelled.is_none())
        .filter(|ctx| !matches!(ctx.root, Root::Request(_)))
}

/// Keeps what memory said of the request.
pub(super) fn describe(id: ReqId, work: &Work, cx: &mut Context<'_>) {
    if let Some(details) = &work.request {
        ids::keep(id, details, cx);
    }
}

/// Keeps who is at the other end of the request's connection, and since when it has been closed.
pub(super) fn peer(id: ReqId, work: &Work, cx: &mut Context<'_>) {
    // The connection of HTTP/2 is not looked for: there the request's word has to do.
    let peer = match (&work.conn, &work.request) {
        (Some(conn), _) => Some(&conn.peer),
        (None, Some(request)) if request.is_http2() => Some(&request.peer),
        _ => None,
    };
    if let Some(peer) = peer {
        cx.model.set_peer(id, peer.as_deref(), None);
    }
    cx.model.note_delivery(id, cx.code);
}

/// Who cancelled a request, as far as it is known by now.
fn who(id: ReqId, cx: &Context<'_>) -> Option<CancelledBy> {
    let root = cx.model.context(cx.model.request(id)?.root)?;
    root.cancelled.as_ref().map(|cancel| cancel.by)
}

/// Who closed, by the error that a write to the peer met.
pub(super) fn write_error(conn: &ConnState) -> Option<CancelledBy> {
    match conn.write_error.as_ref()? {
        ErrorKind::Eof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            Some(CancelledBy::Client)
        }
        ErrorKind::IoDeadline => Some(CancelledBy::WriteDeadline),
        ErrorKind::NetClosing => Some(CancelledBy::ServerClose),
        _ => None,
    }
}
