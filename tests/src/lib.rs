//! Helpers of the end-to-end tests.
//!
//! `cargo xtask` depends on this library, so it must not depend on `observer`: tests that need it name it in
//! `[dev-dependencies]`.

pub mod go;
#[cfg(feature = "live")]
pub mod live;
mod module;
#[cfg(feature = "live")]
pub mod recordings;
pub mod target;
