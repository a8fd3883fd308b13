//! What cancel-undelivered says of a request: how bad, why Go did not notice, for how long, and what
//! helps. Whom it speaks of is `cancel_undelivered`'s to find out.

use crate::finding::{
    Confidence, Evidence, Finding, PeerClose, RuleName, Severity, Undelivered, WorkState,
};
use crate::inspect::ConnState;
use crate::model::Request;

use super::ask::Work;
use super::chain;
use super::context::Context;
use super::draft::{self, span};
use super::sight::{self, Seen};

/// The close of a request's peer.
#[derive(Debug, Clone)]
pub(super) struct Closed {
    /// When the peer closed; when the request began, if that was later.
    pub(super) since_ns: u64,
    /// How.
    pub(super) how: PeerClose,
}

pub(super) fn is_http2(request: &Request) -> bool {
    request.details.as_ref().is_some_and(|of| of.is_http2())
}

/// Why Go has not noticed.
pub(super) fn why(work: &Work, request: &Request) -> Undelivered {
    if is_http2(request) {
        return Undelivered::Http2Open;
    }
    let Some(ConnState {
        reading: Some(reading),
        write_error: None,
        ..
    }) = &work.conn
    else {
        return Undelivered::Unknown;
    };
    match (reading.in_read, reading.has_byte, reading.body_ended) {
        // Somebody reads: then a close is told, if late.
        (true, ..) => Undelivered::Unknown,
        (false, true, _) => Undelivered::Pipelined,
        (false, false, Some(false)) => Undelivered::BodyUnread,
        (false, false, Some(true)) => Undelivered::NotWritten,
        (false, false, None) => Undelivered::Unknown,
    }
}

/// How bad it is, and how sure that the peer is gone.
pub(super) const fn judged(how: PeerClose) -> (Severity, Confidence) {
    match how {
        PeerClose::Fin => (Severity::Warning, Confidence::Medium),
        PeerClose::Reset | PeerClose::Lost => (Severity::Error, Confidence::High),
    }
}

/// The finding, with what the handler was seen to do, if it was.
pub(super) fn draw_up(
    closed: &Closed,
    request: &Request,
    (seen, blurred): (Option<Seen>, bool),
    why: Undelivered,
    cx: &Context<'_>,
) -> Option<Finding> {
    let unit = cx.unit(request.pid)?;
    let (severity, confidence) = judged(closed.how);
    let rule = RuleName::CancelUndelivered;
    let mut finding = draft::blank(rule, severity, confidence, cx.now_ns, &unit);
    sight::place(&mut finding, &unit, (seen.as_ref(), blurred), request, cx);
    finding.request = Some(draft::request_info(request, cx.thresholds, cx.now_ns));
    finding.context = chain::of_context(cx, Some(request.root));
    let seen = seen.as_ref();
    let call = seen
        .and_then(|seen| seen.call)
        .and_then(|id| cx.model.call(id));
    finding.evidence = Evidence {
        peer_closed_at_ns: Some(closed.since_ns),
        peer_close: Some(closed.how),
        undelivered: Some(why),
        state: Some(seen.map_or(WorkState::Running, |seen| seen.state)),
        wait_reason: seen.and_then(|seen| seen.wait_reason.clone()),
        wait_ns: seen.and_then(|seen| seen.wait_ns),
        call: call.map(|call| draft::call_evidence(call, cx.thresholds, cx.now_ns)),
        ..Evidence::default()
    };
    finding.help = help(why).to_owned();
    measure(&mut finding, closed.since_ns, false, cx.now_ns);
    Some(finding)
}

/// Puts how long it has gone on for into evidence and message.
pub(super) fn measure(finding: &mut Finding, since_ns: u64, ended: bool, now_ns: u64) {
    let after_ns = now_ns.saturating_sub(since_ns);
    finding.evidence.after_close_ns = Some(after_ns);
    if ended {
        finding.evidence.state = Some(WorkState::Ended);
    }
    let worked = if ended { "worked" } else { "still works" };
    let closed = match finding.evidence.peer_close {
        Some(PeerClose::Reset) => "its peer reset the connection",
        Some(PeerClose::Lost) => "its peer was lost",
        Some(PeerClose::Fin) | None => "its peer closed",
    };
    let why = match finding.evidence.undelivered {
        Some(Undelivered::BodyUnread) => ": body not read",
        Some(Undelivered::Pipelined) => ": a pipelined byte ended the watching",
        Some(Undelivered::Http2Open) => ": the HTTP/2 connection is still open",
        Some(Undelivered::NotWritten) => ": nobody reads or writes",
        Some(Undelivered::Unknown) | None => "",
    };
    let after = span(after_ns);
    finding.message =
        format!("handler {worked} {after} after {closed}, which Go did not notice{why}");
}

const fn help(why: Undelivered) -> &'static str {
    match why {
        Undelivered::BodyUnread => {
            "read the request's body to its end before long work: only then Go watches the connection"
        }
        Undelivered::Pipelined => {
            "bound the work with a deadline: behind a pipelined request Go does not watch the connection"
        }
        Undelivered::NotWritten => {
            "bound the work with a deadline, or write and flush while it goes on: a failing write tells"
        }
        Undelivered::Http2Open | Undelivered::Unknown => "bound the work with a deadline",
    }
}
