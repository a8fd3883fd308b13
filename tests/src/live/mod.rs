//! The live suite's harness: starts Go programs, sends load, observes, and compares what is said with the markers
//! in the programs' sources.
//!
//! Everything that it starts ends with it, also after a panic. It knows observer only from outside: the command
//! line, the JSON lines and their schema. What is expected of which program is the tests' business.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::time::Duration;

mod binary;
mod builds;
mod child;
mod client;
mod code;
mod dump;
mod expect;
mod finding;
mod held;
mod http;
mod marker;
mod netns;
mod nginx;
mod observer;
mod program;
mod redis;
pub mod routers;
pub mod schema;
mod seccomp;
mod stalls;
mod stepped;
mod tail;

/// How long the suite waits for what must come, before it calls it hung. No promise of observer's: how long something
/// takes is for the bench to tell.
pub const PATIENCE: Duration = Duration::from_secs(180);

pub use binary::observer_binary;
pub use builds::{
    on_each_build, on_each_kind, on_each_kind_in_turn, on_each_older, on_each_unoptimised,
    on_each_version, on_each_version_from,
};
pub use child::Guarded;
pub use client::{Load, Report, Running};
pub use code::{Code, breakpoints};
pub use dump::{Goroutine, dump};
pub use expect::{Expect, Role, exactly};
pub use finding::{Finding, findings};
pub use held::Held;
pub use http::{Connection, get};
pub use marker::{Marker, marker};
pub use netns::TwoHosts;
pub use nginx::Nginx;
pub use observer::{Observer, Run};
pub use program::{Program, Route, start, start_with};
pub use redis::Redis;
pub use schema::faults as line_faults;
pub use stalls::undisturbed;
pub use stepped::Stepped;
pub use tail::Tail;
