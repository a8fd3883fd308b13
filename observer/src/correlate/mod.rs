//! Whose call is whose request: facts of several processes, and of several hosts, brought together.
//!
//! Pure and bounded like the model: no I/O, no clock. It joins, and judges nothing. Where two answers
//! are possible it gives none.

mod across;
mod clocks;
mod ends;
mod facts;
mod ids;
mod join;
mod sides;
#[cfg(test)]
mod tests;

pub use across::{Across, Host, HostClock, Joined, OtherHost, Pair, Told};
pub use clocks::Offset;
pub use ends::SeenOn;
pub use facts::{CallDeadline, CallFact, RequestFact};
pub use ids::Ids;
pub use join::{Join, JoinTotals, Joiner, Span};
pub use sides::{CallSide, RequestSide};
