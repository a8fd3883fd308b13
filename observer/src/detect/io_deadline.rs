//! Read and write deadlines of a server's connection: whose has passed, and who set it.
//!
//! A handler's own, set through `http.ResponseController`, takes the place of the server's. One that
//! it set on the `net.Conn` itself is not seen: then the server's fields and the time tell, or
//! nothing is claimed.

use crate::finding::{Evidence, ServerLimits, Timer};
use crate::go::Frame;
use crate::inspect::ConnState;
use crate::model::{IoDeadline, Request, Unit};

use super::context::Context;
use super::site;

/// A timer of the connection that had passed.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    /// Which.
    pub(super) timer: Timer,
    /// How long it allowed, ns; `None` where that is not known.
    pub(super) asked_ns: Option<i64>,
    /// When it passed, monotonic ns, likewise.
    pub(super) at_ns: Option<u64>,
    /// What the handler set, where it did.
    set: Option<IoDeadline>,
    /// No other could have been set unseen.
    pub(super) certain: bool,
}

/// The timer that ended writing at `at_ns`.
pub(super) fn of_writes(request: &Request, conn: &ConnState, at_ns: u64) -> Passed {
    if let Some(passed) = by_handler(request.write_deadline.as_ref(), Timer::WriteDeadline, at_ns) {
        return passed;
    }
    let servers = limits(conn).map(|limits| limits.write_ns);
    let of_server = servers.flatten().and_then(|ns| {
        let passes_ns = request.start_ns.saturating_add_signed(ns);
        (passes_ns <= at_ns).then_some((ns, passes_ns))
    });
    Passed {
        timer: match of_server {
            Some(_) => Timer::WriteTimeout,
            None => Timer::WriteDeadline,
        },
        asked_ns: of_server.map(|(ns, _)| ns),
        at_ns: of_server.map(|(_, passes_ns)| passes_ns),
        set: None,
        certain: servers.is_some() && of_server.is_none(),
    }
}

/// The timer that ended reading at `at_ns`; `None` where it cannot be told.
pub(super) fn of_reads(request: &Request, conn: Option<&ConnState>, at_ns: u64) -> Option<Passed> {
    if let Some(passed) = by_handler(request.read_deadline.as_ref(), Timer::ReadDeadline, at_ns) {
        return Some(passed);
    }
    let asked_ns = limits(conn?)?.read_ns?;
    // It runs from the request's first byte on, a little before its handler.
    let since_ns = at_ns.saturating_sub(request.start_ns);
    let long_enough = since_ns.saturating_add(since_ns / 8) >= asked_ns.unsigned_abs();
    long_enough.then_some(Passed {
        timer: Timer::ReadTimeout,
        asked_ns: Some(asked_ns),
        at_ns: Some(at_ns),
        set: None,
        certain: false,
    })
}

/// The server's timeouts as they take effect: where one is 0, another may count in its place, and what
/// is not above 0 is none.
pub(super) fn limits(conn: &ConnState) -> Option<ServerLimits> {
    let server = conn.server?;
    let some = |ns: i64| Some(ns).filter(|ns| *ns > 0);
    let or_read = |ns: i64| some(if ns == 0 { server.read_ns } else { ns });
    Some(ServerLimits {
        read_ns: some(server.read_ns),
        read_header_ns: or_read(server.read_header_ns),
        write_ns: some(server.write_ns),
        idle_ns: or_read(server.idle_ns),
    })
}

/// What the handler set, if it had passed by then.
fn by_handler(set: Option<&IoDeadline>, timer: Timer, at_ns: u64) -> Option<Passed> {
    let set = set.filter(|set| set.at_ns <= at_ns)?;
    Some(Passed {
        timer,
        asked_ns: Some(set.asked_ns),
        at_ns: Some(set.at_ns),
        set: Some(set.clone()),
        certain: true,
    })
}

impl Passed {
    /// Puts the timer, its length and its line into evidence.
    pub(super) fn tell(&self, evidence: &mut Evidence, unit: &Unit, cx: &Context<'_>) {
        evidence.timer = Some(self.timer);
        evidence.asked_ns = self.asked_ns;
        evidence.timer_site = self.site(unit, cx);
    }

    /// The line that set it, where the handler did.
    pub(super) fn site(&self, unit: &Unit, cx: &Context<'_>) -> Option<Frame> {
        let set = self.set.as_ref()?;
        let stack = site::frames(cx.code, unit.process.pid, &set.pcs);
        site::direct(unit, &stack).cloned()
    }
}
