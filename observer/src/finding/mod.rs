//! What a rule concludes and a user reads.
//!
//! Plain data, merge by fingerprint and filtering. No I/O, no clock: times are the events'.

mod causes;
mod evidence;
mod filter;
mod hash;
mod id;
mod merge;
mod routes;
#[cfg(test)]
pub mod samples;
mod span;
mod types;

pub use causes::{CAUSES, Cause, Causes};
pub use evidence::{
    CallEvidence, CallOutcome, CancelledBy, Crowd, Downstream, Evidence, GoroutineEvidence, Grown,
    JoinedBy, PeerClose, SentIds, ServerLimits, SurgeEvidence, Timer, Undelivered, WorkState,
};
pub use filter::{Allowed, Filter, Level, RuleChoice, Silenced, parse_baseline, render_baseline};
pub use hash::finding_id;
pub use id::IdSource;
pub use merge::{
    COUNT_INTERVAL_NS, CaseId, DEFAULT_LIMIT, Emission, Merger, Phase, TOGETHER_NS, UpdateReason,
    WORSE_PERCENT,
};
pub use routes::{ROUTES, Routes};
pub use span::{clock_apart, span};
pub use types::{
    Confidence, ContextLink, Finding, Fingerprint, HookState, ProcessInfo, RequestInfo, RuleName,
    Severity, Trust,
};
