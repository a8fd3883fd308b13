//! Parts that findings of all rules are made of.

use std::sync::Arc;

use crate::finding::{
    CallEvidence, CallOutcome, CancelledBy, Causes, Confidence, Evidence, Finding, Fingerprint,
    RequestInfo, Routes, RuleName, Severity,
};
use crate::go::{Frame, Stack};
use crate::model::{Call, CallEnd, CallId, CallKind, Cancel, Model, ReqId, Request, Unit};

pub(super) use crate::finding::span;

use super::context::{Context, Thresholds};
use super::{ids, site};

/// A finding with nothing but its frame filled in.
pub(super) fn blank(
    rule: RuleName,
    severity: Severity,
    confidence: Confidence,
    time_ns: u64,
    unit: &Unit,
) -> Finding {
    Finding {
        id: 0,
        fingerprint: Fingerprint(0),
        rule,
        severity,
        confidence,
        message: String::new(),
        time_ns,
        process: Arc::clone(&unit.process),
        request: None,
        site: None,
        caller: None,
        stack: Stack::default(),
        context: Vec::new(),
        evidence: Evidence::default(),
        count: 1,
        first_seen_ns: time_ns,
        last_seen_ns: time_ns,
        help: String::new(),
        related: Vec::new(),
        routes: Routes::default(),
        causes: Causes::default(),
    }
}

/// Sets site, caller and stack. The caller is named only where it is not the site.
pub(super) fn place(finding: &mut Finding, unit: &Unit, site: Option<&Frame>, stack: Stack) {
    finding.site = site.cloned();
    finding.caller = site::caller(unit, &stack)
        .filter(|caller| Some(*caller) != site)
        .cloned();
    finding.stack = stack;
}

/// What is known of a request, for the reader.
pub(super) fn request_info(request: &Request, thresholds: &Thresholds, now_ns: u64) -> RequestInfo {
    let details = request.details.as_deref();
    let id = ids::of(request, thresholds);
    let trace = request.trace.context();
    RequestInfo {
        number: request.id.0,
        method: request.method.as_deref().map(str::to_owned),
        path: request
            .path
            .as_deref()
            .filter(|_| !thresholds.redact_path)
            .map(str::to_owned),
        route: route(request, thresholds),
        proto: if request.protocol.is_grpc() {
            Some("grpc".to_owned())
        } else {
            details
                .and_then(|details| details.proto.as_deref())
                .map(str::to_owned)
        },
        id_truncated: id.as_ref().is_some_and(|id| id.truncated),
        id_source: id.as_ref().map(|id| id.source.clone()),
        id: id.map(|id| id.value),
        trace_id: trace.map(|trace| trace.trace_id.to_string()),
        parent_id: trace.map(|trace| trace.parent_id.to_string()),
        trace_flags: trace.map(|trace| trace.flags),
        peer: details
            .and_then(|details| details.peer.as_deref())
            .map(str::to_owned),
        goid: request.goid,
        start_ns: request.start_ns,
        duration_ns: request
            .ended_ns()
            .filter(|ended_ns| *ended_ns <= now_ns)
            .map(|ended_ns| ended_ns.saturating_sub(request.start_ns)),
    }
}

/// The route of a request: its pattern, else made from its path.
pub(super) fn route(request: &Request, thresholds: &Thresholds) -> Option<String> {
    let path = request.path.as_deref().filter(|_| !thresholds.redact_path);
    if request.protocol.is_grpc() {
        // The full method has no variable parts.
        return path.map(str::to_owned);
    }
    let details = request.details.as_deref();
    let pattern = details
        .and_then(|details| details.pattern.as_deref())
        .filter(|pattern| !pattern.is_empty());
    pattern.map(route_of_pattern).or_else(|| {
        // Made from the path, it may hold what is to be hidden.
        path.map(route_of_path)
    })
}

/// The path part of `[METHOD ][HOST]/[PATH]`.
fn route_of_pattern(pattern: &str) -> String {
    pattern
        .find('/')
        .and_then(|at| pattern.get(at..))
        .unwrap_or(pattern)
        .to_owned()
}

/// A path with its variable parts replaced: numbers, UUIDs, long hex.
pub(super) fn route_of_path(path: &str) -> String {
    path.split('/')
        .map(|part| if is_variable(part) { "{}" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

fn is_variable(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let hex = part
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    !part.is_empty() && (digits == part.len() || (hex && digits > 0 && part.len() >= 8))
}

/// A call in evidence.
pub(super) fn call_evidence(call: &Call, thresholds: &Thresholds, now_ns: u64) -> CallEvidence {
    let (outcome, ended_ns) = match call.ended {
        None => (CallOutcome::Running, Some(now_ns)),
        Some((at_ns, CallEnd::Done)) => (CallOutcome::Done, Some(at_ns)),
        Some((at_ns, CallEnd::Cancelled)) => (CallOutcome::Cancelled, Some(at_ns)),
        Some((_, CallEnd::Unknown)) => (CallOutcome::Unknown, None),
    };
    CallEvidence {
        kind: call.kind.as_str(),
        target: target(call, thresholds),
        attempts: call.attempts(),
        start_ns: call.start_ns,
        duration_ns: ended_ns.map(|ended_ns| ended_ns.saturating_sub(call.start_ns)),
        waited_ns: call.waited_ns,
        outcome,
        sent: call.sent().and_then(ids::sent_ids),
    }
}

/// A call that was shown while work sat in it, now that the work is over. Where its end was not seen, that is said.
pub(super) fn call_over(
    shown: Option<CallEvidence>,
    call: Option<CallId>,
    cx: &Context<'_>,
) -> Option<CallEvidence> {
    let shown = shown?;
    let call = call.and_then(|id| cx.model.call(id));
    if let Some(waited_ns) = call.and_then(|call| call.waited_ns)
        && shown.kind == CallKind::SqlConn.as_str()
    {
        // It was the wait for a connection that was shown, and that came to an end when the query got one.
        return Some(CallEvidence {
            outcome: CallOutcome::Done,
            duration_ns: Some(waited_ns),
            ..shown
        });
    }
    let call = call.filter(|call| !call.is_open() && !is_ended_by_itself(call, cx));
    Some(match call {
        Some(call) => call_evidence(call, cx.thresholds, cx.now_ns),
        None => CallEvidence {
            outcome: CallOutcome::Unknown,
            duration_ns: None,
            ..shown
        },
    })
}

/// Whether the goroutine that made a call of HTTP has cancelled it itself. Its round trip had returned then: whether the
/// answer had been read, the connection's reader tells, and that may come late on a busy machine.
fn is_ended_by_itself(call: &Call, cx: &Context<'_>) -> bool {
    let cancel = call
        .inner
        .and_then(|inner| cx.model.context(inner))
        .and_then(|inner| inner.cancelled.as_ref());
    call.kind == CallKind::Http
        && call.goid != 0
        && !call.failed
        && call.failed_read.is_none()
        && matches!(call.ended, Some((_, CallEnd::Cancelled)))
        && cancel.is_some_and(|cancel| cancel.goid == call.goid)
}

/// What a call is called, without its path where paths are not to be shown.
pub(super) fn target(call: &Call, thresholds: &Thresholds) -> String {
    if !thresholds.redact_path || call.kind != CallKind::Http {
        return call.target.to_string();
    }
    match call.target.split_once('/') {
        Some((head, _)) => head.to_owned(),
        None => call.target.to_string(),
    }
}

/// The request of something, described.
pub(super) fn request_of(cx: &Context<'_>, id: Option<ReqId>) -> Option<RequestInfo> {
    let request = cx.model.request(id?)?;
    Some(request_info(request, cx.thresholds, cx.now_ns))
}

/// The line that cancelled, where code did: its frames are those of the cascade's root.
pub(super) fn cancel_site(
    unit: &Unit,
    by: CancelledBy,
    cancel: &Cancel,
    cx: &Context<'_>,
) -> Option<Frame> {
    if by != CancelledBy::Code {
        return None;
    }
    let frames = site::frames(cx.code, unit.process.pid, &cancel.pcs);
    site::direct(unit, &frames).cloned()
}

/// Whether nothing was lost of the request that something was made for, if it is still known.
pub(super) fn is_owner_whole(model: &Model, owner: Option<ReqId>) -> bool {
    owner
        .and_then(|owner| model.request(owner))
        .is_none_or(|request| model.is_whole(request.epoch))
}

#[cfg(test)]
mod tests {
    use super::route_of_path;

    #[test]
    fn variable_parts_of_a_path() {
        assert_eq!(route_of_path("/item/42/edit"), "/item/{}/edit");
        assert_eq!(
            route_of_path("/u/0f8fad5b-d9cb-469f-a165-70867728950e"),
            "/u/{}"
        );
        assert_eq!(route_of_path("/blob/deadbeef01"), "/blob/{}");
        assert_eq!(route_of_path("/cafe/v2"), "/cafe/v2");
    }
}
