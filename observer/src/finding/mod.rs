//! What a rule concludes and a user reads.
//!
//! Plain data, merge by fingerprint and ranking. No I/O, no clock: times are the events'.

mod evidence;
mod types;

pub use evidence::{CallEvidence, CallOutcome, CancelledBy, Evidence, WorkState};
pub use types::{
    Confidence, ContextLink, Finding, Fingerprint, HookState, ProcessInfo, RequestInfo, RuleName,
    Severity, Trust,
};
