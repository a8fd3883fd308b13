//! What the engine says, once, for every sink.
//!
//! Plain data with monotonic times; how it looks is the sinks' business.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::correlate::{Host, JoinTotals, Told};
use crate::error::Notice;
use crate::finding::{Emission, Finding, HookState, ProcessInfo, UpdateReason};
use crate::model::{GoroutineTotals, Health, Latency};

/// Turns monotonic event times into wall-clock times. Fixed at start and recorded, so that
/// replay gives the same lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clock {
    /// Realtime minus monotonic clock at start, ns.
    pub realtime_minus_monotonic_ns: i64,
}

impl Clock {
    /// RFC 3339, UTC, nine digits of nanoseconds; times before 1970 become 1970.
    #[must_use]
    pub fn rfc3339(self, monotonic_ns: u64) -> String {
        let unix_ns = monotonic_ns.saturating_add_signed(self.realtime_minus_monotonic_ns);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(unix_ns);
        humantime::format_rfc3339_nanos(time).to_string()
    }
}

/// Why something was lost. The wire name is the serde name.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// The ring buffer was full.
    RingFull,
    /// A probe could not read the target's memory.
    Unreadable,
    /// An event that cannot be decoded.
    Malformed,
    /// An event later than the reordering window.
    Late,
    /// A bounded table of the model was full.
    TableFull,
}

impl LossCause {
    /// For sentences.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RingFull => "ring buffer full",
            Self::Unreadable => "memory unreadable",
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::TableFull => "table full",
        }
    }
}

/// Lost events by cause.
pub type Losses = BTreeMap<LossCause, u64>;

/// One process begins to be observed. `ps` and `check` use it too.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Monotonic time, ns.
    pub time_ns: u64,
    /// Which process; pid 0 where `check` looks at a file.
    pub process: Arc<ProcessInfo>,
    /// All hooks of the catalogue, on and off.
    pub hooks: Vec<HookState>,
    /// Probes attached; 0 for `ps` and `check`.
    pub probes: u32,
    /// How long attaching took, ns.
    pub attach_ns: u64,
    /// What of the target cannot be seen, each with its reason (`sql (not linked)`).
    pub not_covered: Vec<String>,
}

/// What became of a process that was observed. The wire name is the serde name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It has ended.
    Ended,
    /// It executes another program now, or the same anew.
    Replaced,
}

/// One process is observed no more; observing may go on with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Monotonic time, ns.
    pub time_ns: u64,
    /// Which process.
    pub process: Arc<ProcessInfo>,
    /// Why.
    pub why: StopReason,
}

/// Events lost since the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Monotonic time, ns.
    pub time_ns: u64,
    /// Since the last loss line.
    pub lost: Losses,
    /// Requests that became unknown by it.
    pub requests: u64,
}

/// Totals since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Monotonic time, ns.
    pub time_ns: u64,
    /// Since the start, ns.
    pub duration_ns: u64,
    /// Requests seen.
    pub requests: u64,
    /// Requests about which nothing is claimed because events were lost, or because it stayed open
    /// whose work was seen.
    pub requests_unknown: u64,
    /// Values of the header `traceparent` that cannot be believed.
    pub traceparents_broken: u64,
    /// Deadlines in headers of requests that cannot be believed.
    pub deadlines_broken: u64,
    /// Events taken in.
    pub events: u64,
    /// Events lost.
    pub lost: Losses,
    /// Findings forgotten because the table was full.
    pub findings_evicted: u64,
    /// CPU time of observer itself, ns; `None` where nothing was observed, only replayed.
    pub own_cpu_ns: Option<u64>,
    /// CPU time that the probes cost the targets, ns; `None` where it was not measured.
    pub target_cpu_ns: Option<u64>,
    /// How long clients' closes took to reach their requests; `None` where none did.
    pub delivery: Option<DeliveryTimes>,
    /// How far cancels and deadlines travelled.
    pub health: Health,
    /// How many goroutines there are.
    pub goroutines: GoroutineStats,
    /// Calls and the requests that they led to in other observed processes.
    pub joins: JoinTotals,
}

/// Goroutines of all observed processes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GoroutineStats {
    /// What is counted.
    pub totals: GoroutineTotals,
    /// Those of requests are followed.
    pub follows: bool,
    /// Of those, started per second since the last stats; `None` where no time has passed.
    pub started_per_s: Option<f64>,
    /// Likewise ended.
    pub ended_per_s: Option<f64>,
}

/// From clients' closes, as the kernel saw them, to Go's cancels of their requests, ns. Quantiles are
/// exact to a quarter of themselves.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct DeliveryTimes {
    /// How many are known.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl DeliveryTimes {
    /// `None` where nothing was counted.
    #[must_use]
    pub fn of(latency: &Latency) -> Option<Self> {
        (latency.count() > 0).then(|| Self {
            count: latency.count(),
            p50_ns: latency.quantile_ns(50),
            p99_ns: latency.quantile_ns(99),
            max_ns: latency.max_ns(),
        })
    }
}

/// Why observing ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// SIGINT or SIGTERM.
    Signal,
    /// `--duration` is over.
    Duration,
    /// All observed processes have ended.
    ProcessesEnded,
    /// stdout was closed by its reader.
    OutputClosed,
    /// The recording is at its end.
    RecordingEnded,
    /// All files were joined.
    FilesEnded,
    /// An error, which follows on stderr.
    Failed,
}

/// The end.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Why.
    pub why: EndReason,
    /// Totals.
    pub stats: Stats,
}

/// Everything that the engine can say.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A process is observed from now on.
    Start(Box<Start>),
    /// A process is observed no more.
    Stop(Stop),
    /// First occurrence.
    Finding(Box<Finding>),
    /// The whole finding again.
    Update(Box<Finding>, UpdateReason),
    /// A request or a call, for those who join what several processes did, and its host.
    Told(Told, Arc<Host>),
    /// Events were lost.
    Loss(Loss),
    /// Totals so far (every 10 s).
    Stats(Stats),
    /// A warning for stderr; never a JSON line.
    Notice(Notice),
    /// Nothing follows.
    End(End),
}

impl From<Emission> for Output {
    fn from(emission: Emission) -> Self {
        match emission {
            Emission::Finding(finding) => Self::Finding(finding),
            Emission::Update(finding, reason) => Self::Update(finding, reason),
        }
    }
}

/// What the sinks know and the engine does not; each sink gets it with every line it renders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Findings shown, by severity.
    pub errors: u64,
    /// See `errors`.
    pub warnings: u64,
    /// See `errors`.
    pub infos: u64,
    /// Findings counted but not shown: `allow`, `--baseline`.
    pub silenced: u64,
    /// Lines that this sink dropped because it was read too slowly or could not be written.
    pub dropped: u64,
}

impl Tally {
    /// Findings shown.
    #[must_use]
    pub const fn shown(&self) -> u64 {
        self.errors + self.warnings + self.infos
    }
}
