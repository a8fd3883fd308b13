//! What the probes in the kernel and the daemon agree on: events, the layout block, limits, and
//! the probes' logic over a memory-reading trait.
//!
//! The logic here runs in two places: compiled for the kernel, on live memory, and in unit tests
//! of this crate, on recorded memory. It must therefore not allocate, not panic, and loop only
//! within the bounds of [`limits`].
#![no_std]

pub mod event;
pub mod hook;
pub mod layout;
pub mod limits;
pub mod mem;
pub mod probe;
pub mod regs;
pub mod tcp;
