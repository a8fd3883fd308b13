//! Live programs for the demo and the benchmarks: our Go targets, the release observer, and their end.
//!
//! Everything started here is ended here, also on Ctrl-C and on an early return. Nothing else in xtask starts
//! processes that outlast one call.

mod child;
mod observer;
mod stop;
mod target;

pub use child::Running;
pub use observer::Observer;
pub use stop::{catch_signals, stop_wanted};
pub use target::{GO_VERSION, Target, build};
