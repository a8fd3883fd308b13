//! The JSON lines: types made only for the wire, and their JSON Schema.
//!
//! Absent means not applicable, `null` means unknown. Changes are additive, else `SCHEMA` grows.
//! Nothing else in the project serialises output.

mod convert;
mod facts;
mod goroutine_totals;
pub mod goroutines;
mod health;
mod parts;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::finding::{Confidence, HookState, RuleName, Severity, UpdateReason};

use super::output::{Clock, DeliveryTimes, EndReason, Losses, Output, Start, StopReason, Tally};
use crate::foreign::Escaping;

pub use facts::{CallDeadline, CallLine, Origin, RequestLine};
pub use goroutine_totals::{Goroutines, RequestGoroutines};
pub use goroutines::{GoroutinesLine, GroupLine};
pub use health::{Health, Histogram, HistogramStep, WastedRoute};
pub use parts::{
    Call, Cause, Context, Crowd, Downstream, Evidence, Grown, Process, Request, Route, Sent, Site,
    Surge,
};

/// Version of the format.
pub const SCHEMA: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "observer JSON line")]
pub struct Line {
    /// Version of the format: 1. Additive changes keep it.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// By `type`.
    #[serde(flatten)]
    pub body: Body,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Body {
    /// A process is observed from now on.
    Start(StartLine),
    /// A process is observed no more; a pid that comes back has a `start` of its own.
    Stop(StopLine),
    /// First occurrence of a fingerprint in a process.
    Finding(FindingLine),
    /// The whole finding again, with the same `id`.
    Update(UpdateLine),
    /// A request was served. With `--facts` only.
    Request(Box<RequestLine>),
    /// A call was made. With `--facts` only.
    Call(Box<CallLine>),
    /// Events were lost.
    Loss(LossLine),
    /// Totals so far: every 10 s and at the end.
    Stats(StatsLine),
    /// Nothing follows.
    End(EndLine),
    /// All goroutines of a process. Of `observer goroutines` only, as its first line.
    Goroutines(Box<GoroutinesLine>),
    /// Goroutines that have something in common. Of `observer goroutines` only.
    Group(Box<GroupLine>),
}

/// See [`Body::Start`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartLine {
    /// RFC 3339, UTC, nanoseconds. Absent in `ps` and `check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Which process.
    pub process: Process,
    /// All hooks of the catalogue, on and off, with reasons.
    pub hooks: Vec<HookState>,
    /// Probes attached. Absent in `ps` and `check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// How long attaching took, ns. Absent in `ps` and `check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach_ns: Option<u64>,
    /// What of the target cannot be seen, each with its reason.
    pub not_covered: Vec<String>,
}

/// See [`Body::Stop`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StopLine {
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Which process.
    pub process: Process,
    /// Why.
    pub why: StopReason,
}

/// See [`Body::Finding`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingLine {
    /// Of the event that made it: RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Hash of fingerprint and process start, hex.
    pub id: String,
    /// Hash of rule, module and site, hex: the same on every machine.
    pub fingerprint: String,
    /// Which rule.
    pub rule: RuleName,
    /// Worst seen.
    pub severity: Severity,
    /// About the inference, not about the harm.
    pub confidence: Confidence,
    /// One line.
    pub message: String,
    /// Whose.
    pub process: Process,
    /// Of which request (the worst case's); null where of none that is known.
    pub request: Option<Request>,
    /// The code to change or to look at.
    pub site: Option<Site>,
    /// First frame of the main module. Absent where it is the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Site>,
    /// Innermost first.
    pub stack: Vec<Site>,
    /// True where the stack has, or may have, more frames than were read. Absent where it has not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stack_cut: bool,
    /// Leaf first.
    pub context: Vec<Context>,
    /// Measured facts.
    pub evidence: Evidence,
    /// Occurrences so far.
    pub count: u64,
    /// First occurrence.
    pub first_seen: String,
    /// Newest occurrence.
    pub last_seen: String,
    /// What to do: one sentence.
    pub help: String,
    /// Ids of findings with the same root cause. Absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<String>,
    /// Where it was seen: at most 8 routes, in the order in which they were. Absent where none is
    /// known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Occurrences on further routes. Absent where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub routes_other: u64,
    /// What its cases died of: at most 8 causes, each once, in the order in which they were seen.
    /// Absent where there is one at most: then it is that of `evidence`, which is the worst case's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Reports of cases with further causes. Absent where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub causes_other: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// See [`Body::Update`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateLine {
    /// Why it is said again.
    pub reason: UpdateReason,
    /// All of it, with the new state.
    #[serde(flatten)]
    pub finding: FindingLine,
}

/// See [`Body::Loss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LossLine {
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Events lost since the last `loss` line, by cause.
    pub lost: Losses,
    /// Requests that became unknown by it.
    pub requests_unknown: u64,
}

/// Totals since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// Since the start, ns.
    pub duration_ns: u64,
    /// Findings shown.
    pub findings: FindingTotals,
    /// Requests seen.
    pub requests: u64,
    /// Requests about which nothing is claimed because events were lost, or because it stayed open
    /// whose work was seen.
    pub requests_unknown: u64,
    /// Values of the header `traceparent` that break its rules: none of them is believed.
    pub traceparents_broken: u64,
    /// Deadlines in headers that cannot be believed (`--deadline-header`). Absent where there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deadlines_broken: u64,
    /// Events taken in.
    pub events: u64,
    /// Events lost, by cause; empty when none.
    pub lost: Losses,
    /// Lines of this output that were dropped.
    pub lines_dropped: u64,
    /// CPU time of observer, ns; null in a replay.
    pub own_cpu_ns: Option<u64>,
    /// CPU time that the probes cost the targets, ns; null where it was not measured.
    pub target_cpu_ns: Option<u64>,
    /// How long clients' closes took to reach their requests. Absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryTimes>,
    /// How far cancels and deadlines travelled.
    pub health: Health,
    /// How many goroutines there are.
    pub goroutines: Goroutines,
    /// Calls whose requests in other observed processes are known, or could not be told. Absent where no
    /// call led to an observed process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
}

/// Calls and the requests that they led to in observed processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Joins {
    /// Requests whose call is known.
    pub joined: u64,
    /// Requests that several calls could have led to, or that are one of several that a call could
    /// have: nothing is claimed of them.
    pub ambiguous: u64,
    /// Calls forgotten because too many were under way.
    pub evicted: u64,
}

/// See [`Body::Stats`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsLine {
    /// So far.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Findings by severity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingTotals {
    /// Harm observed.
    pub error: u64,
    /// The gap is there.
    pub warning: u64,
    /// Hygiene.
    pub info: u64,
    /// Counted, not shown: `allow`, `--baseline`.
    pub silenced: u64,
    /// Forgotten because the table was full: new again when they come again.
    pub evicted: u64,
}

/// See [`Body::End`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndLine {
    /// Why.
    pub why: EndReason,
    /// Of everything.
    #[serde(flatten)]
    pub totals: Totals,
}

impl Line {
    /// The line for `output`, or `None` where it has none (notices are for people).
    #[must_use]
    pub fn of(output: &Output, clock: Clock, tally: &Tally) -> Option<Self> {
        let body = match output {
            Output::Start(start) => Body::Start(StartLine::observed(start, clock)),
            Output::Stop(stop) => Body::Stop(StopLine {
                time: clock.rfc3339(stop.time_ns),
                process: Process::from(&*stop.process),
                why: stop.why,
            }),
            Output::Finding(finding) => Body::Finding(FindingLine::of(finding, clock)),
            Output::Update(finding, reason) => Body::Update(UpdateLine {
                reason: *reason,
                finding: FindingLine::of(finding, clock),
            }),
            Output::Told(told, host) => facts::of(told, host, clock),
            Output::Loss(loss) => Body::Loss(LossLine {
                time: clock.rfc3339(loss.time_ns),
                lost: loss.lost.clone(),
                requests_unknown: loss.requests,
            }),
            Output::Stats(stats) => Body::Stats(StatsLine {
                totals: Totals::of(stats, clock, tally),
            }),
            Output::End(end) => Body::End(EndLine {
                why: end.why,
                totals: Totals::of(&end.stats, clock, tally),
            }),
            Output::Notice(_) => return None,
        };
        Some(Self {
            schema: SCHEMA,
            body,
        })
    }

    /// The line of `ps` and `check` for one process or executable.
    #[must_use]
    pub fn examined(start: &Start) -> Self {
        Self {
            schema: SCHEMA,
            body: Body::Start(StartLine::examined(start)),
        }
    }

    /// One line of JSON with its newline; harmless on a terminal.
    ///
    /// # Errors
    /// Where serde_json cannot represent it, which the types rule out.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut bytes = Vec::with_capacity(1024);
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Escaping);
        self.serialize(&mut serializer)?;
        bytes.push(b'\n');
        String::from_utf8(bytes).map_err(serde::ser::Error::custom)
    }
}

/// The JSON Schema of [`Line`], pretty, with a final newline: what `observer schema` prints.
///
/// # Errors
/// Where serde_json cannot represent it, which the types rule out.
pub fn schema() -> Result<String, serde_json::Error> {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Line>();
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests;
