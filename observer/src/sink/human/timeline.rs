//! The request as a line in time: `0 start ── 120 ms client closed ── 4.43 s returned`.

use crate::finding::{
    CallOutcome, CancelledBy, Downstream, Evidence, Finding, RequestInfo, WorkState,
};

use super::layout::Terminal;

const MIN_DASHES: u64 = 2;
const MAX_DASHES: u64 = 13;

/// A call begins.
const CALL: &str = "call";

/// The end of a request and that of its work are one moment when they are no further apart, ns.
const SLACK_NS: u64 = 50_000_000;

/// Pieces in order, each with the dashes that lead to it; empty where there is no request or
/// nothing is known but its start.
#[must_use]
pub fn timeline(finding: &Finding, terminal: &Terminal) -> Vec<String> {
    let moments = moments(finding);
    let Some((last, _)) = moments.last().copied() else {
        return vec![];
    };
    // That a call has begun is not yet a course.
    let known = |(_, what): &&(u64, &str)| !matches!(*what, "start" | CALL);
    if moments.iter().find(known).is_none() {
        return vec![];
    }
    let long = pieces(&moments, last, MAX_DASHES, terminal);
    let length: usize = long.iter().map(|piece| piece.chars().count() + 1).sum();
    if length <= terminal.text_width() + 1 {
        long
    } else {
        pieces(&moments, last, MIN_DASHES, terminal)
    }
}

fn pieces(
    moments: &[(u64, &'static str)],
    last_ns: u64,
    max_dashes: u64,
    terminal: &Terminal,
) -> Vec<String> {
    let mut before_ns = 0;
    moments
        .iter()
        .enumerate()
        .map(|(index, (at_ns, what))| {
            if index == 0 {
                return format!("0 {what}");
            }
            let share = u128::from(at_ns - before_ns) * u128::from(max_dashes - MIN_DASHES)
                / u128::from(last_ns.max(1));
            before_ns = *at_ns;
            let dashes = MIN_DASHES + u64::try_from(share).unwrap_or(0);
            let line: String = (0..dashes).map(|_| terminal.glyphs.dash).collect();
            format!("{line} {} {what}", terminal.glyphs.duration(*at_ns))
        })
        .collect()
}

/// What is known of the request's course, by time since its start, ns.
fn moments(finding: &Finding) -> Vec<(u64, &'static str)> {
    let Some(request) = &finding.request else {
        return vec![];
    };
    let evidence = &finding.evidence;
    if let Some(below) = &evidence.downstream {
        return across(request, evidence, below);
    }
    let since = |at_ns: u64| at_ns.saturating_sub(request.start_ns);
    // An http.TimeoutHandler answers in place of the handler that it lets go.
    let mut outlived = false;
    let mut moments = vec![(0, "start")];
    if let Some(call) = &evidence.call {
        moments.push((since(call.start_ns), CALL));
        if let Some(length_ns) = call.duration_ns
            && call.outcome != CallOutcome::Running
        {
            let end_ns = since(call.start_ns.saturating_add(length_ns));
            moments.push((end_ns, call_end(call.outcome)));
        }
    }
    if let Some(at_ns) = evidence.peer_closed_at_ns {
        moments.push((since(at_ns), "peer closed"));
        if let Some(after_ns) = evidence.after_close_ns
            && evidence.state != Some(WorkState::Ended)
            && request.duration_ns.is_none()
        {
            moments.push((since(at_ns).saturating_add(after_ns), "still running"));
        }
    }
    if let Some(at_ns) = evidence.cancelled_at_ns {
        let by = evidence.cancelled_by.unwrap_or(CancelledBy::Unknown);
        let what = match evidence.peer_closed_at_ns {
            // The close has a place of its own.
            Some(_) if by == CancelledBy::Client => "cancelled",
            _ => cancel(by),
        };
        moments.push((since(at_ns), what));
        let runs = matches!(
            evidence.state,
            Some(WorkState::Running | WorkState::Waiting)
        );
        if let Some(after_ns) = evidence.after_cancel_ns {
            let seen_ns = since(at_ns).saturating_add(after_ns);
            outlived = request
                .duration_ns
                .is_some_and(|length_ns| seen_ns > length_ns.saturating_add(SLACK_NS));
            if runs && (outlived || request.duration_ns.is_none()) {
                moments.push((seen_ns, "still running"));
            } else if outlived {
                moments.push((seen_ns, "work ended"));
            }
        }
    }
    if let Some(length_ns) = request.duration_ns
        && evidence.cancelled_by != Some(CancelledBy::NormalEnd)
    {
        moments.push((length_ns, if outlived { "answered" } else { "returned" }));
    }
    moments.sort_by_key(|(at_ns, _)| *at_ns);
    moments
}

/// The course of a call through two processes.
fn across(
    request: &RequestInfo,
    evidence: &Evidence,
    below: &Downstream,
) -> Vec<(u64, &'static str)> {
    let since = |at_ns: u64| at_ns.saturating_sub(request.start_ns);
    let mut moments = vec![(0, "start")];
    if let Some(call) = &evidence.call {
        moments.push((since(call.start_ns), CALL));
    }
    moments.push((since(below.request.start_ns), "start below"));
    let left_ns = evidence
        .remaining_ns
        .filter(|_| evidence.cancelled_at_ns.is_none());
    if let (Some(call), Some(left_ns)) = (&evidence.call, left_ns) {
        let passes_ns = call.start_ns.saturating_add_signed(left_ns);
        moments.push((since(passes_ns), "deadline"));
    }
    if let Some(at_ns) = evidence.cancelled_at_ns {
        let by = evidence.cancelled_by.unwrap_or(CancelledBy::Unknown);
        moments.push((since(at_ns), cancel(by)));
        let ended = below.request.duration_ns;
        if let (Some(after_ns), None) = (evidence.after_cancel_ns, ended) {
            moments.push((since(at_ns).saturating_add(after_ns), "still running below"));
        }
    }
    if let Some(at_ns) = below.cancelled_at_ns {
        moments.push((since(at_ns), "cancelled below"));
    }
    if let Some(length_ns) = below.request.duration_ns {
        let end_ns = below.request.start_ns.saturating_add(length_ns);
        moments.push((since(end_ns), "returned below"));
    }
    if let Some(length_ns) = request.duration_ns {
        moments.push((length_ns, "returned"));
    }
    moments.sort_by_key(|(at_ns, _)| *at_ns);
    moments
}

const fn call_end(outcome: CallOutcome) -> &'static str {
    match outcome {
        CallOutcome::Cancelled => "call failed",
        CallOutcome::Done | CallOutcome::Running | CallOutcome::Unknown => "call ended",
    }
}

pub(super) const fn cancel(by: CancelledBy) -> &'static str {
    match by {
        CancelledBy::Client => "client closed",
        CancelledBy::ReadDeadline => "read deadline",
        CancelledBy::WriteDeadline => "write deadline",
        CancelledBy::ServerClose => "server closed",
        CancelledBy::Shutdown => "shutdown",
        CancelledBy::Deadline => "deadline",
        CancelledBy::Code => "cancelled by code",
        CancelledBy::NormalEnd => "handler ended",
        CancelledBy::Parent => "parent cancelled",
        CancelledBy::Unknown => "cancelled",
    }
}
