//! Ring records → typed events, in order, with explicit loss.
//!
//! Owns what bytes mean and what may be kept of them; knows no process, no map, no rule.

mod decode;
mod order;
mod query;

pub use decode::{Event, decode, executed, scrub};
pub use order::Order;
pub use query::query_name;
