//! Everything that is in the kernel on our behalf.
//!
//! The only module that names aya.

pub mod object;
