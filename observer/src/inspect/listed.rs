//! The runtime's list of goroutines, read struct by struct in few large reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::target::{Memory, MemoryError, ReadRequest};

use super::allgs::Listing;
use super::raw_g::RawG;
use super::{Inspector, Status};

/// Goroutine structs read together: 400 KiB.
const STRUCTS_PER_READ: usize = 1024;

/// A goroutine that another one started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Child {
    /// Its number.
    pub goid: u64,
    /// Its struct: the hint for looking closer.
    pub g_addr: u64,
    /// What it was doing.
    pub status: Status,
    /// Return address of its `go` statement, load bias taken off.
    pub gopc: u64,
    /// First instruction of its function, load bias taken off.
    pub startpc: u64,
}

impl<M: Memory> Inspector<'_, M> {
    /// Where goroutine `goid` is. The outer `None`: not to be known, because the list of goroutines is not
    /// known or was cut.
    pub(super) fn find(&self, goid: u64) -> Result<Option<Option<u64>>, MemoryError> {
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let mut found = None;
        let whole = self.for_each_raw(&listing.addrs, |addr, raw| {
            if raw.goid == goid && raw.status.is_alive() {
                found = Some(addr);
            }
            found.is_none()
        })?;
        let not_there_for_sure = whole && !listing.cut;
        Ok((found.is_some() || not_there_for_sure).then_some(found))
    }

    /// Live goroutines that `parents` started, at most `limit` of each. `None` where that is not to be known:
    /// before Go 1.21, or without the list of goroutines.
    ///
    /// # Errors
    /// The list of goroutines cannot be read.
    pub fn find_children(
        &self,
        parents: &BTreeSet<u64>,
        limit: usize,
    ) -> Result<Option<BTreeMap<u64, Vec<Child>>>, MemoryError> {
        if self.runtime.offsets.parent_goid.is_none() {
            return Ok(None);
        }
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let mut all: BTreeMap<u64, Vec<Child>> = BTreeMap::new();
        self.for_each_raw(&listing.addrs, |addr, raw| {
            let Some(parent) = raw.parent_goid.filter(|of| parents.contains(of)) else {
                return true;
            };
            let children = all.entry(parent).or_default();
            if raw.status.is_alive() && children.len() < limit {
                children.push(Child {
                    goid: raw.goid,
                    g_addr: addr,
                    status: raw.status,
                    gopc: self.unbiased(raw.gopc),
                    startpc: self.unbiased(raw.startpc),
                });
            }
            true
        })?;
        Ok(Some(all))
    }

    pub(super) fn list(&self) -> Result<Option<Listing>, MemoryError> {
        self.runtime
            .allgs
            .map(|allgs| allgs.list(self.memory))
            .transpose()
    }

    /// Calls `visit` for every g that can be read and can be one, until it returns false. Whether every one could be.
    pub(super) fn for_each_raw(
        &self,
        addrs: &[u64],
        mut visit: impl FnMut(u64, &RawG) -> bool,
    ) -> Result<bool, MemoryError> {
        let len = self.runtime.offsets.block_len();
        let mut space = vec![0; len * STRUCTS_PER_READ.min(addrs.len())];
        let mut whole = true;
        for batch in addrs.chunks(STRUCTS_PER_READ) {
            let mut requests: Vec<_> = batch
                .iter()
                .zip(space.chunks_exact_mut(len))
                .map(|(&addr, buf)| ReadRequest::new(addr, buf))
                .collect();
            self.memory.read_many(&mut requests);
            for request in &requests {
                match request.result {
                    Err(cause) if cause.is_final() => return Err(cause),
                    Err(_) => whole = false,
                    Ok(()) => match RawG::decode(request.buf, self.runtime.offsets) {
                        Some(raw) if !raw.status.is_alive() || raw.is_plausible() => {
                            if !visit(request.addr, &raw) {
                                return Ok(whole);
                            }
                        }
                        _ => whole = false,
                    },
                }
            }
        }
        Ok(whole)
    }
}
