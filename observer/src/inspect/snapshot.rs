//! All goroutines of a process, in few large reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::target::{Memory, MemoryError, ReadRequest};

use super::allgs::Listing;
use super::goroutine::Look;
use super::raw_g::RawG;
use super::stack::Window;
use super::{Goroutine, Inspector, Status};

/// Goroutine structs read together: 400 KiB.
const STRUCTS_PER_READ: usize = 1024;
/// Goroutines whose stacks are read together.
const STACKS_PER_READ: usize = 256;
/// Bytes of each stack read in that first go; deeper ones are completed one by one.
const FIRST_STACK_BYTES: u64 = 4 << 10;

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

/// Many goroutines. Each is whole in itself; they are not of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of the runtime's list.
    pub goroutines: Vec<Goroutine>,
    /// Alive, but never still while they were looked at.
    pub torn: usize,
    /// The bound was reached: there are more.
    pub cut: bool,
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

    /// All live goroutines with their stacks, at most `limit` of them. `None` without the list of goroutines.
    ///
    /// # Errors
    /// The process ended meanwhile, or its list cannot be read.
    pub fn snapshot(&self, limit: usize) -> Result<Option<Snapshot>, MemoryError> {
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let mut alive = Vec::new();
        let mut cut = listing.cut;
        self.for_each_raw(&listing.addrs, |addr, raw| {
            if raw.status.is_alive() {
                if alive.len() >= limit {
                    cut = true;
                    return false;
                }
                alive.push((addr, *raw));
            }
            true
        })?;
        let mut snapshot = Snapshot {
            goroutines: Vec::with_capacity(alive.len()),
            torn: 0,
            cut,
        };
        for batch in alive.chunks(STACKS_PER_READ) {
            self.look_at_batch(batch, &mut snapshot)?;
        }
        Ok(Some(snapshot))
    }

    fn list(&self) -> Result<Option<Listing>, MemoryError> {
        self.runtime
            .allgs
            .map(|allgs| allgs.list(self.memory))
            .transpose()
    }

    /// Calls `visit` for every g that can be read, until it returns false. Whether every one could be.
    fn for_each_raw(
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
                    Ok(()) => {
                        if let Some(raw) = RawG::decode(request.buf, self.runtime.offsets)
                            && !visit(request.addr, &raw)
                        {
                            return Ok(whole);
                        }
                    }
                }
            }
        }
        Ok(whole)
    }

    fn look_at_batch(&self, batch: &[(u64, RawG)], into: &mut Snapshot) -> Result<(), MemoryError> {
        let windows = self.first_windows(batch)?;
        let mut described = Vec::with_capacity(batch.len());
        for ((addr, raw), window) in batch.iter().zip(windows) {
            described.push(match self.describe(*addr, raw, window) {
                Ok(seen) => seen,
                Err(cause) if cause.is_final() => return Err(cause),
                Err(_) => None,
            });
        }
        let addrs: Vec<u64> = batch.iter().map(|(addr, _)| *addr).collect();
        let mut again = std::collections::HashMap::new();
        self.for_each_raw(&addrs, |addr, raw| {
            again.insert(addr, *raw);
            true
        })?;
        for ((addr, before), seen) in batch.iter().zip(described) {
            let still = again
                .get(addr)
                .is_some_and(|after| after.agrees_with(before));
            match seen.filter(|_| still) {
                Some(goroutine) => into.goroutines.push(goroutine),
                // It moved between the two reads of the batch: one look of its own is much shorter.
                None => match self.look_repeatedly(*addr, before.goid) {
                    Ok(Look::Seen(goroutine)) => into.goroutines.push(*goroutine),
                    Ok(Look::Other) => {}
                    Ok(Look::Moved) => into.torn += 1,
                    Err(cause) if cause.is_final() => return Err(cause),
                    Err(_) => into.torn += 1,
                },
            }
        }
        Ok(())
    }

    /// The innermost part of each stack of a batch; `None` for a goroutine without one to walk.
    fn first_windows(&self, batch: &[(u64, RawG)]) -> Result<Vec<Option<Window>>, MemoryError> {
        let mut buffers: Vec<(u64, u64, Vec<u8>)> = batch
            .iter()
            .map(|(_, raw)| match raw.resume_point() {
                Some((_, sp)) => {
                    let len = raw.stack_hi.saturating_sub(sp).min(FIRST_STACK_BYTES);
                    let bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                    (sp, raw.stack_hi, bytes)
                }
                None => (0, 0, Vec::new()),
            })
            .collect();
        let mut requests: Vec<_> = buffers
            .iter_mut()
            .filter(|(sp, _, _)| *sp != 0)
            .map(|(sp, _, bytes)| ReadRequest::new(*sp, bytes))
            .collect();
        self.memory.read_many(&mut requests);
        let failed: Vec<(u64, MemoryError)> = requests
            .iter()
            .filter_map(|request| Some((request.addr, request.result.err()?)))
            .collect();
        if let Some((_, cause)) = failed.iter().find(|(_, cause)| cause.is_final()) {
            return Err(*cause);
        }
        Ok(buffers
            .into_iter()
            .map(|(sp, hi, bytes)| {
                let unread = sp == 0 || failed.iter().any(|(addr, _)| *addr == sp);
                (!unread).then(|| Window::with_bytes(sp, hi, bytes))
            })
            .collect())
    }
}
