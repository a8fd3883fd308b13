//! From what the engine knows to what the wire says: the one place where times become wall-clock
//! times, ids become hex, and empty becomes null.

use crate::correlate::JoinTotals;
use crate::finding;
use crate::go::Frame;
use crate::sink::output::{Clock, Start, Stats, Tally};

use super::parts::{
    Call, Cause, Context, Crowd, Downstream, Evidence, Grown, Process, Request, Route, Sent, Site,
    StartedGoroutine, Surge,
};
use super::{FindingLine, FindingTotals, Goroutines, Health, Joins, StartLine, Totals};

fn known(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

impl From<&finding::ProcessInfo> for Process {
    fn from(process: &finding::ProcessInfo) -> Self {
        Self {
            pid: (process.pid != 0).then_some(process.pid),
            name: process.name.clone(),
            exe: process.exe.clone(),
            go: process.go.clone(),
            module: known(&process.module),
            package: known(&process.main_package),
            build_id: known(&process.build_id),
        }
    }
}

impl From<&Frame> for Site {
    fn from(frame: &Frame) -> Self {
        Self {
            function: frame.function.to_string(),
            file: known(&frame.file),
            line: (frame.line != 0).then_some(frame.line),
        }
    }
}

impl From<&finding::ContextLink> for Context {
    fn from(link: &finding::ContextLink) -> Self {
        let site = link.site.as_ref().map(Site::from);
        Self {
            type_name: link.type_name.as_ref().map(ToString::to_string),
            label: link.label.clone(),
            function: site.as_ref().map(|site| site.function.clone()),
            file: site.as_ref().and_then(|site| site.file.clone()),
            line: site.as_ref().and_then(|site| site.line),
            deadline_ns: link.deadline_ns,
            trust: link.trust,
        }
    }
}

impl Call {
    pub(super) fn of(call: &finding::CallEvidence, clock: Clock) -> Self {
        Self {
            kind: call.kind.to_owned(),
            target: call.target.clone(),
            attempts: call.attempts,
            start: clock.rfc3339(call.start_ns),
            duration_ns: call.duration_ns,
            waited_ns: call.waited_ns,
            outcome: call.outcome,
            sent: call.sent.as_ref().map(Sent::from),
        }
    }
}

impl Request {
    pub(super) fn of(request: &finding::RequestInfo, clock: Clock) -> Self {
        Self {
            method: request.method.clone(),
            path: request.path.clone(),
            route: request.route.clone(),
            proto: request.proto.clone(),
            id: request.id.clone(),
            id_header: request
                .id_source
                .as_ref()
                .and_then(|source| source.header().map(str::to_owned)),
            id_source: request.id_source.as_ref().map(ToString::to_string),
            id_truncated: request.id_truncated,
            trace_id: request.trace_id.clone(),
            parent_id: request.parent_id.clone(),
            trace_flags: request.trace_flags.map(|flags| format!("{flags:02x}")),
            peer: request.peer.clone(),
            goid: request.goid,
            start: clock.rfc3339(request.start_ns),
            duration_ns: request.duration_ns,
        }
    }
}

impl From<&finding::SentIds> for Sent {
    fn from(sent: &finding::SentIds) -> Self {
        let (id_header, id) = sent.id.clone().unzip();
        Self {
            id,
            id_header,
            trace_id: sent.trace_id.clone(),
            parent_id: sent.parent_id.clone(),
        }
    }
}

impl Downstream {
    fn of(below: &finding::Downstream, clock: Clock) -> Self {
        Self {
            host: below.host.as_deref().map(str::to_owned),
            caller_host: below.caller_host.as_deref().map(str::to_owned),
            process: Process::from(&*below.process),
            request: Request::of(&below.request, clock),
            site: below.site.as_ref().map(Site::from),
            stack: below.stack.iter().map(Site::from).collect(),
            stack_cut: below.stack.is_cut(),
            wait_reason: below.wait_reason.clone(),
            wait_ns: below.wait_reason.as_ref().map(|_| below.wait_ns),
            joined_by: below.joined_by,
            cancelled_by: below.cancelled_by,
            cancelled_at: below.cancelled_at_ns.map(|at| clock.rfc3339(at)),
            deadline_ns: below.deadline_ns,
            remaining_ns: below.remaining_ns,
            clock_offset_ns: below.clock_ns.map(|(offset_ns, _)| offset_ns),
            clock_uncertainty_ns: below.clock_ns.map(|(_, error_ns)| error_ns),
        }
    }
}

impl From<&finding::GoroutineEvidence> for StartedGoroutine {
    fn from(goroutine: &finding::GoroutineEvidence) -> Self {
        Self {
            goid: goroutine.goid,
            started_at: goroutine.started_at.as_ref().map(Site::from),
            state: goroutine.state,
            wait_reason: goroutine.wait_reason.clone(),
            others: goroutine.others,
        }
    }
}

impl Evidence {
    fn of(evidence: &finding::Evidence, clock: Clock) -> Self {
        Self {
            cancelled_by: evidence.cancelled_by,
            cancelled_at: evidence.cancelled_at_ns.map(|at| clock.rfc3339(at)),
            cancel_site: evidence.cancel_site.as_ref().map(Site::from),
            after_cancel_ns: evidence.after_cancel_ns,
            state: evidence.state,
            wait_reason: evidence.wait_reason.clone(),
            wait_ns: evidence.wait_reason.as_ref().map(|_| evidence.wait_ns),
            call: evidence.call.as_ref().map(|call| Call::of(call, clock)),
            deadline_ns: evidence.deadline_ns,
            asked_ns: evidence.asked_ns,
            remaining_ns: evidence.remaining_ns,
            deadline_site: evidence.deadline_site.as_ref().map(Site::from),
            deadline_header: evidence.deadline_header.clone(),
            timer: evidence.timer,
            timer_site: evidence.timer_site.as_ref().map(Site::from),
            server: evidence.server,
            live: evidence.live,
            waiting_on: evidence.waiting_on.clone(),
            peer_closed_at: evidence.peer_closed_at_ns.map(|at| clock.rfc3339(at)),
            peer_close: evidence.peer_close,
            delivery_ns: evidence.delivery_ns,
            after_close_ns: evidence.after_close_ns,
            undelivered: evidence.undelivered,
            outlived_ns: evidence.outlived_ns,
            goroutine: evidence
                .goroutine
                .as_deref()
                .map(|goroutine| Box::new(StartedGoroutine::from(goroutine))),
            per_hour: evidence.per_hour,
            stack_bytes: evidence.stack_bytes,
            surge: evidence
                .surge
                .as_deref()
                .map(|surge| Box::new(Surge::from(surge))),
            downstream: evidence
                .downstream
                .as_ref()
                .map(|below| Box::new(Downstream::of(below, clock))),
        }
    }
}

impl From<&finding::SurgeEvidence> for Surge {
    fn from(surge: &finding::SurgeEvidence) -> Self {
        Self {
            goroutines: surge.goroutines,
            average: surge.average,
            grew: surge.grew,
            span_ns: surge.span_ns,
            grown: surge.grown.iter().map(Grown::from).collect(),
            snapshot: surge.snapshot.clone(),
        }
    }
}

impl From<&finding::Grown> for Grown {
    fn from(grown: &finding::Grown) -> Self {
        Self {
            site: grown.site.as_ref().map(Site::from),
            live: grown.live,
            grew: grown.grew,
            stack_bytes: grown.stack_bytes,
            most: grown.most.as_ref().map(|most| Crowd {
                count: most.count,
                state: most.state,
                wait_reason: most.wait_reason.clone(),
                stack: most.stack.iter().map(Site::from).collect(),
                stack_cut: most.stack.is_cut(),
            }),
        }
    }
}

impl From<&finding::Cause> for Cause {
    fn from(cause: &finding::Cause) -> Self {
        Self {
            cancelled_by: cause.cancelled_by,
            cancel_site: cause.cancel_site.as_ref().map(Site::from),
        }
    }
}

impl FindingLine {
    pub(super) fn of(finding: &finding::Finding, clock: Clock) -> Self {
        Self {
            time: clock.rfc3339(finding.time_ns),
            id: hex(finding.id),
            fingerprint: finding.fingerprint.to_string(),
            rule: finding.rule,
            severity: finding.severity,
            confidence: finding.confidence,
            message: finding.message.clone(),
            process: Process::from(finding.process.as_ref()),
            request: finding.request.as_ref().map(|it| Request::of(it, clock)),
            site: finding.site.as_ref().map(Site::from),
            caller: finding.caller.as_ref().map(Site::from),
            stack: finding.stack.iter().map(Site::from).collect(),
            stack_cut: finding.stack.is_cut(),
            context: finding.context.iter().map(Context::from).collect(),
            evidence: Evidence::of(&finding.evidence, clock),
            count: finding.count,
            first_seen: clock.rfc3339(finding.first_seen_ns),
            last_seen: clock.rfc3339(finding.last_seen_ns),
            help: finding.help.clone(),
            related: finding.related.iter().copied().map(hex).collect(),
            routes: finding
                .routes
                .named
                .iter()
                .map(|(route, count)| Route {
                    route: route.clone(),
                    count: *count,
                })
                .collect(),
            routes_other: finding.routes.others,
            causes: match &finding.causes {
                causes if causes.several() => causes.named.iter().map(Cause::from).collect(),
                _ => Vec::new(),
            },
            causes_other: finding.causes.others,
        }
    }
}

impl StartLine {
    pub(super) fn observed(start: &Start, clock: Clock) -> Self {
        Self {
            time: Some(clock.rfc3339(start.time_ns)),
            probes: Some(start.probes),
            attach_ns: Some(start.attach_ns),
            ..Self::examined(start)
        }
    }

    pub(super) fn examined(start: &Start) -> Self {
        Self {
            time: None,
            process: Process::from(start.process.as_ref()),
            hooks: start.hooks.clone(),
            probes: None,
            attach_ns: None,
            not_covered: start.not_covered.clone(),
        }
    }
}

fn joins(totals: JoinTotals) -> Option<Joins> {
    let JoinTotals {
        joined,
        ambiguous,
        evicted,
    } = totals;
    (joined + ambiguous + evicted > 0).then_some(Joins {
        joined,
        ambiguous,
        evicted,
    })
}

impl Totals {
    pub(super) fn of(stats: &Stats, clock: Clock, tally: &Tally) -> Self {
        Self {
            time: clock.rfc3339(stats.time_ns),
            duration_ns: stats.duration_ns,
            findings: FindingTotals {
                error: tally.errors,
                warning: tally.warnings,
                info: tally.infos,
                silenced: tally.silenced,
                evicted: stats.findings_evicted,
            },
            requests: stats.requests,
            requests_unknown: stats.requests_unknown,
            traceparents_broken: stats.traceparents_broken,
            deadlines_broken: stats.deadlines_broken,
            events: stats.events,
            lost: stats.lost.clone(),
            lines_dropped: tally.dropped,
            own_cpu_ns: stats.own_cpu_ns,
            target_cpu_ns: stats.target_cpu_ns,
            delivery: stats.delivery,
            health: Health::from(&stats.health),
            goroutines: Goroutines::from(&stats.goroutines),
            joins: joins(stats.joins),
        }
    }
}
