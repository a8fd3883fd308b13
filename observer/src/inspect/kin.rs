//! Who started whom, of all goroutines: one read of every struct, and no stack.

use crate::target::{Memory, MemoryError};

use super::Inspector;

/// A goroutine, and who started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Kin {
    /// Its number.
    pub goid: u64,
    /// Its struct: the hint for looking closer.
    pub g_addr: u64,
    /// The number of the one that started it.
    pub parent_goid: u64,
    /// Return address of its `go` statement.
    pub gopc: u64,
}

/// What a look through all goroutines of a process has found that the looks before had not.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listing {
    /// When the look began, monotonic ns.
    pub begun_ns: u64,
    /// They began since the last look.
    pub came: Vec<Kin>,
    /// They began before it, but only so many are told of at once.
    pub late: Vec<Kin>,
    /// Those told of that are no more.
    pub gone: Vec<u64>,
}

impl<M: Memory> Inspector<'_, M> {
    /// The living goroutines that others have started, by number; the addresses of their `go` statements with the load
    /// bias taken off. `None` where not all could be read, or Go keeps no parents (≤ 1.20).
    ///
    /// # Errors
    /// The process has ended, or its list of goroutines cannot be read.
    pub fn kin(&self) -> Result<Option<Vec<Kin>>, MemoryError> {
        if self.runtime.offsets.parent_goid.is_none() {
            return Ok(None);
        }
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let mut all = Vec::new();
        let whole = self.for_each_raw(&listing.addrs, |addr, raw| {
            if let Some(parent_goid) = raw.parent_goid.filter(|of| *of != 0)
                && raw.status.is_alive()
            {
                all.push(Kin {
                    goid: raw.goid,
                    g_addr: addr,
                    parent_goid,
                    gopc: self.unbiased(raw.gopc),
                });
            }
            true
        })?;
        all.sort_unstable_by_key(|one: &Kin| one.goid);
        Ok((whole && !listing.cut).then_some(all))
    }
}
