//! Everything that is in the kernel on our behalf: which hooks there are, where they go, how they
//! get there and away again.
//!
//! The catalogue is data, the plan a pure function of it and an executable; only `kernel` and what
//! it is made of (`ring`, `said`, `starts`) name aya.

pub mod block;
mod btf;
mod catalogue;
mod goroutines;
mod group;
mod hook;
mod kernel;
pub mod object;
mod plan;
mod ring;
mod said;
mod sql;
mod starts;
mod tracepoint;

pub use catalogue::CATALOGUE;
pub use group::{Groups, Place};
pub use hook::{Hook, Rate, Since};
pub use kernel::{Attached, Counters, Kernel, ProbeError, Programs, Scope};
pub use plan::{HookPlan, Off, Plan, PlannedSite, SiteChoice, plan};
pub use ring::Ring;
pub use tracepoint::{SOCKET_STATE, Tracepoint, sockets, state as tracepoint_state};
