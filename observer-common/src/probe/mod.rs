//! The probes' logic, one file per subject, over [`MemRead`](crate::mem::MemRead).
//!
//! Each function fills a record in place and says whether it is worth sending. Nothing here knows
//! maps, helpers or the ring buffer.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are constants or bounded by the loop; get() would cost the verifier a branch each"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths are cut to the record's size before they are narrowed"
)]

pub mod call;
pub mod conn;
pub mod context;
pub mod dial;
pub mod goroutine;
pub mod grpc;
pub mod headers;
pub mod request;
pub mod socket;
pub mod sql;
pub mod walk;

/// Why a probe sends nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Nothing new to learn.
    Quiet,
    /// The goroutine could not be read.
    Goroutine,
    /// The object could not be read.
    Object,
}

/// `len`, but not more than `most`: what is kept of a text.
#[inline(always)]
fn bounded(len: u64, most: u64) -> u64 {
    if len > most { most } else { len }
}
