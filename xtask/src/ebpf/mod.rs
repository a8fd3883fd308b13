//! The recipe of the eBPF object: what it is made of, with what, and how.
//!
//! Compiled twice, into `cargo xtask` and (by `#[path]`) into observer's build script, so that both make the same
//! object. Must not print, must not install anything, and must not depend on more than `std` and `sha2`.

pub mod build;
pub mod sources;
pub mod toolchain;
