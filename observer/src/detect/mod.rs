//! Facts → findings: one file per rule, its doc comment being its documentation.
//!
//! Pure: no I/O, no clock. What a rule wants to know of memory it asks as a [`Question`]; the
//! answer comes back as input, so that a replay gives the same findings.

#![expect(
    clippy::tabs_in_doc_comments,
    reason = "the examples are Go, which is indented with tabs"
)]

pub mod cancel_ignored;
pub mod cancel_not_called;
pub mod cancel_undelivered;
pub mod deadline_dropped;
pub mod deadline_inflated;
pub mod deadline_not_forwarded;
pub mod deadline_too_short;
pub mod detached_context;
mod detached_use;
pub mod goroutine_leak;
pub mod goroutine_surge;
pub mod hop;
pub mod orphaned_downstream;
pub mod premature_cancel;
pub mod timeout_mismatch;

mod ask;
mod beside;
mod busy;
mod chain;
mod context;
mod deadline;
mod derived;
mod descendants;
mod draft;
mod engine;
mod fact_ends;
mod failed_write;
mod health;
mod ids;
mod io_deadline;
mod joins;
mod keys;
mod large_headers;
mod lasting;
mod late_ids;
mod leak_cases;
mod leak_finding;
mod left_behind;
mod listings;
mod made_ids;
mod old_contexts;
mod origin;
mod outlived;
mod overrun;
mod passer;
mod past_deadline;
mod plumbing;
mod references;
mod relations;
mod rules;
mod same_connection;
mod shutdown;
mod sight;
mod site;
mod spawned;
mod taken_over;
mod tell;
mod teller;
#[cfg(test)]
mod tests;
mod timeout_worker;
mod timers;
mod undelivered;
mod waits;

pub use ask::{Answer, Ask, Count, Crowds, PeerAddress, Question, Reading, Searched, Work};
pub use context::Thresholds;
pub use deadline::Deadlines;
pub use engine::Engine;
pub use goroutine_surge::SurgeLimits;
pub use ids::probed;
pub use leak_cases::LeakTimes;
pub use plumbing::{PLUMBING, Plumbing};
