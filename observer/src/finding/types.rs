//! A finding and what it is made of.

use std::sync::Arc;

use crate::go::{Frame, Stack, TypeName};

use super::{Causes, Evidence, IdSource, Routes};

/// Harm: see the rules' documentation for what makes which.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Hygiene.
    Info,
    /// The gap is there, no harm seen yet.
    Warning,
    /// Harm observed and measured.
    Error,
}

/// How sure the inference is; says nothing about the harm.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A hint.
    Low,
    /// One step is inferred.
    Medium,
    /// Every step was observed.
    High,
}

/// The rules there are. New ones are added at the end: the order is the catalogue's.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RuleName {
    /// Work went on after its context was cancelled.
    CancelIgnored,
    /// Work of a request ran on a context that does not descend from it.
    DetachedContext,
    /// Nobody called the cancel function.
    CancelNotCalled,
    /// The context died while work still wanted it.
    PrematureCancel,
    /// The peer closed the connection and Go never cancelled the request.
    CancelUndelivered,
    /// A call of a request that has a deadline has none.
    DeadlineDropped,
    /// More time was asked for than the request has left.
    DeadlineInflated,
    /// A timeout and the context's deadline disagree.
    TimeoutMismatch,
    /// A short deadline was set deep in the code.
    DeadlineTooShort,
    /// A call has a deadline that the process it calls was not told of.
    DeadlineNotForwarded,
    /// A call was given up, and the process that it called worked on.
    OrphanedDownstream,
    /// A goroutine that a request started is stuck after its end.
    GoroutineLeak,
    /// There are many more goroutines than there were on average.
    GoroutineSurge,
}

impl RuleName {
    /// Every rule, in catalogue order.
    pub const ALL: [Self; 13] = [
        Self::CancelIgnored,
        Self::DetachedContext,
        Self::CancelNotCalled,
        Self::PrematureCancel,
        Self::CancelUndelivered,
        Self::DeadlineDropped,
        Self::DeadlineInflated,
        Self::TimeoutMismatch,
        Self::DeadlineTooShort,
        Self::DeadlineNotForwarded,
        Self::OrphanedDownstream,
        Self::GoroutineLeak,
        Self::GoroutineSurge,
    ];

    /// The name on the command line, in JSON and in the documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CancelIgnored => "cancel-ignored",
            Self::DetachedContext => "detached-context",
            Self::CancelNotCalled => "cancel-not-called",
            Self::PrematureCancel => "premature-cancel",
            Self::CancelUndelivered => "cancel-undelivered",
            Self::DeadlineDropped => "deadline-dropped",
            Self::DeadlineInflated => "deadline-inflated",
            Self::TimeoutMismatch => "timeout-mismatch",
            Self::DeadlineTooShort => "deadline-too-short",
            Self::DeadlineNotForwarded => "deadline-not-forwarded",
            Self::OrphanedDownstream => "orphaned-downstream",
            Self::GoroutineLeak => "goroutine-leak",
            Self::GoroutineSurge => "goroutine-surge",
        }
    }
}

impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Hash of rule, module and site (function, file, line): what repeats merge by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// One hook of one process, as `start`, `ps` and `check` show it.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct HookState {
    /// Catalogue name (`context-cancel`).
    pub hook: String,
    /// Attached, or attachable for `check`.
    pub on: bool,
    /// Symbol found; null where none was.
    pub symbol: Option<String>,
    /// Virtual address of the site, hex; null where there is none.
    pub site: Option<String>,
    /// Kind of instruction at the site: `push`, `jbe`, `call`, or `entry` (single-stepped);
    /// `tracepoint` for a place in the kernel.
    pub kind: Option<String>,
    /// Rate class: `rare`, `per-request`, `per-operation`, `hot`.
    pub rate: String,
    /// Why it is off or degraded; null when all is well.
    pub reason: Option<String>,
}

/// The process a finding or a start line is about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessInfo {
    /// Process id in observer's own namespace.
    pub pid: u32,
    /// Start time, clock ticks since boot (`/proc/PID/stat` field 22): tells a recycled pid.
    pub start_ticks: u64,
    /// Last element of the main package's path, or of the executable's.
    pub name: String,
    /// Path of the executable as the kernel names it.
    pub exe: String,
    /// Go build id; empty where the linker wrote none.
    pub build_id: String,
    /// Go version (`go1.27.3`).
    pub go: String,
    /// Main module's path; empty where the build had none.
    pub module: String,
    /// Main package's path; empty where the build info does not say.
    #[serde(default)]
    pub main_package: String,
}

impl ProcessInfo {
    /// What it was built from, for people: `example.com/shop`, `package example.com/shop/cmd/api`
    /// of a build that had no module, else `module unknown`.
    #[must_use]
    pub fn built_from(&self) -> String {
        // The go command's word for files that were named one by one.
        const FILES: &str = "command-line-arguments";
        match (self.module.as_str(), self.main_package.as_str()) {
            ("", "" | FILES) => "module unknown".to_owned(),
            ("", package) => format!("package {package}"),
            (module, _) => module.to_owned(),
        }
    }
}

/// The request a finding belongs to. `None` fields are unknown, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// Model-wide number, from 1: names the request inside one run.
    pub number: u64,
    /// HTTP method.
    pub method: Option<String>,
    /// Path without query; cut at 96 bytes.
    pub path: Option<String>,
    /// Route pattern, or the path with its variable parts replaced.
    pub route: Option<String>,
    /// `HTTP/1.1`.
    pub proto: Option<String>,
    /// Request ID; cut at 256 bytes.
    pub id: Option<String>,
    /// `id` is only the beginning of it.
    pub id_truncated: bool,
    /// Where the ID came from.
    pub id_source: Option<IdSource>,
    /// W3C trace id, 32 hex digits.
    pub trace_id: Option<String>,
    /// W3C parent id: the caller's span, 16 hex digits.
    pub parent_id: Option<String>,
    /// W3C trace flags.
    pub trace_flags: Option<u8>,
    /// `address:port` of the peer as Go sees it.
    pub peer: Option<String>,
    /// Serving goroutine.
    pub goid: u64,
    /// Monotonic time of the start, ns.
    pub start_ns: u64,
    /// Length, ns; `None` while it runs.
    pub duration_ns: Option<u64>,
}

/// How far the walk from a link to its parent can be believed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Layout known: the next link is its parent.
    Known,
    /// Layout known, and it cuts cancellation on purpose (`WithoutCancel`).
    Cuts,
    /// A root: `Background`, `TODO`, or the request's own context.
    Root,
    /// Layout unknown: what follows is not claimed.
    Unknown,
}

/// One link of the chain, leaf first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextLink {
    /// Type, or `None` where it could not be read.
    pub type_name: Option<TypeName>,
    /// What to call it: `request`, `WithTimeout`, `Background`, `WithValue`, with the type of the key where that is known.
    pub label: String,
    /// Where it was made, if observed or proved: first user frame.
    pub site: Option<Frame>,
    /// Time left at creation, ns; `None` without a deadline.
    pub deadline_ns: Option<i64>,
    /// Whether the next link is believed to be its parent.
    pub trust: Trust,
}

/// A finding: first occurrence, or the newest state of one that repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Stable for (fingerprint, process start).
    pub id: u64,
    /// What repeats merge by.
    pub fingerprint: Fingerprint,
    /// Which rule.
    pub rule: RuleName,
    /// Worst seen.
    pub severity: Severity,
    /// About the inference.
    pub confidence: Confidence,
    /// One line, no trailing stop: `handler worked 4.31 s after the client left`.
    pub message: String,
    /// Monotonic time of what made it, ns.
    pub time_ns: u64,
    /// Whose.
    pub process: Arc<ProcessInfo>,
    /// Of which request (the worst case's), if of one.
    pub request: Option<RequestInfo>,
    /// The code to change or to look at.
    pub site: Option<Frame>,
    /// First frame of the main module, where it differs from `site`.
    pub caller: Option<Frame>,
    /// Stack at the site, innermost first.
    pub stack: Stack,
    /// Chain, leaf first.
    pub context: Vec<ContextLink>,
    /// Measured facts.
    pub evidence: Evidence,
    /// Occurrences so far.
    pub count: u64,
    /// First occurrence, monotonic ns.
    pub first_seen_ns: u64,
    /// Newest occurrence, monotonic ns.
    pub last_seen_ns: u64,
    /// What to do: one sentence.
    pub help: String,
    /// Ids of findings with the same root cause.
    pub related: Vec<u64>,
    /// Where it was seen, as far as routes are known.
    pub routes: Routes,
    /// What its cases died of.
    pub causes: Causes,
}

impl Finding {
    /// The route of its request, if known.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.request.as_ref()?.route.as_deref()
    }
}
