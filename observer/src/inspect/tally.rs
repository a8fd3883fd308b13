//! How many goroutines there are, by the `go` statement that started them: one read of every struct, and no stack.

use rustc_hash::FxHashMap;

use crate::target::{Memory, MemoryError};

use super::Inspector;
use super::raw_g::RawG;

/// `go` statements kept apart: more than any program has, and a bound for memory that is not what it should be.
const MAX_STATEMENTS: usize = 1 << 16;

/// Goroutines that one `go` statement has started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Started {
    /// Return address of the statement; 0 for the first goroutine.
    pub gopc: u64,
    /// How many are alive.
    pub alive: u64,
    /// Stack that they hold, bytes: what the runtime has set aside for it, used or not.
    pub stack_bytes: u64,
}

impl<M: Memory> Inspector<'_, M> {
    /// The living goroutines by `go` statement, in no order, without those that `is_runtime` says so of by the first
    /// instruction of their function; addresses with the load bias taken off. `None` where not all could be read:
    /// a count is right or there is none.
    ///
    /// # Errors
    /// The process has ended, or its list of goroutines cannot be read.
    pub fn tally(
        &self,
        mut is_runtime: impl FnMut(u64) -> bool,
    ) -> Result<Option<Vec<Started>>, MemoryError> {
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let mut all: FxHashMap<u64, Started> = FxHashMap::default();
        let mut kept = true;
        let whole = self.for_each_raw(&listing.addrs, |_, raw| {
            if raw.status.is_alive() && !is_runtime(self.unbiased(raw.startpc)) {
                let gopc = self.unbiased(raw.gopc);
                kept = all.len() < MAX_STATEMENTS || all.contains_key(&gopc);
                let started = all.entry(gopc).or_default();
                started.gopc = gopc;
                started.alive += 1;
                started.stack_bytes = started.stack_bytes.saturating_add(stack_bytes(raw));
            }
            kept
        })?;
        Ok((whole && kept && !listing.cut).then(|| all.into_values().collect()))
    }

    /// The numbers of the living goroutines, rising: one with another number begins later. `None` where not all could be
    /// read.
    ///
    /// # Errors
    /// The process has ended, or its list of goroutines cannot be read.
    pub fn goids(&self) -> Result<Option<Vec<u64>>, MemoryError> {
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let mut goids = Vec::new();
        let whole = self.for_each_raw(&listing.addrs, |_, raw| {
            if raw.status.is_alive() {
                goids.push(raw.goid);
            }
            true
        })?;
        goids.sort_unstable();
        Ok((whole && !listing.cut).then_some(goids))
    }
}

/// Bytes of stack that a goroutine holds; 0 for what cannot be one.
pub(super) fn stack_bytes(raw: &RawG) -> u64 {
    /// Go's own limit is 1 GB unless a program raises it.
    const MOST: u64 = 1 << 40;
    let bytes = raw.stack_hi.saturating_sub(raw.stack_lo);
    if bytes > MOST { 0 } else { bytes }
}
