//! Who waits for which semaphore, a lock's or a wait group's, from the runtime's own table: up to Go 1.25 no goroutine
//! names it.
//!
//! The table has trees of sudogs by the addresses of semaphores, and behind each sudog those that wait for the same. They go on
//! to change while they are read. So only who waited for a semaphore before they were read, and has not stopped since,
//! is said to wait for one, and only a sudog that can stand where it was found counts.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::go::layout::Layout;
use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError, ReadRequest};

use super::raw_g::RawG;
use super::{Inspector, is_for_semaphore};

/// Sudogs looked at in all.
#[cfg(not(test))]
const MAX_SUDOGS: usize = 1 << 18;
/// The same where a test makes the table by hand.
#[cfg(test)]
const MAX_SUDOGS: usize = 64;
/// Sudogs read together.
const SUDOGS_PER_READ: usize = 1024;
/// What a semaphore's address is shifted by before it is divided (`runtime.(*semTable).rootFor`, all versions).
const ROOT_SHIFT: u32 = 3;

/// Where a process has the table, load bias added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SemTable {
    /// Address of the first root.
    pub addr: u64,
    /// How many roots there are.
    pub roots: u64,
    /// Bytes from one root to the next.
    pub root_len: u64,
}

/// Fields of what waits in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct QueueOffsets {
    /// `semaRoot.treap`, the sudog at the top of a root's tree.
    pub treap: u32,
    /// `sudog.prev`, the tree of lower addresses.
    pub prev: u32,
    /// `sudog.next`, the tree of higher addresses.
    pub next: u32,
    /// `sudog.elem`, the address of the semaphore.
    pub semaphore: u32,
}

impl QueueOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let field = |name| layout.field("runtime.sudog", name);
        Some(Self {
            treap: layout.field("runtime.semaRoot", "treap")?,
            prev: field("prev")?,
            next: field("next")?,
            semaphore: field("elem")?,
        })
    }
}

/// One goroutine's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queued {
    /// Its sudog.
    pub(super) sudog: u64,
    /// Address of the semaphore.
    pub(super) semaphore: u64,
}

/// Goroutines that wait for semaphores without naming them, by their structs, as they were before the table was read.
pub(super) type Unnamed = FxHashMap<u64, RawG>;

/// What the table has said.
#[derive(Default)]
pub(super) struct Semaphores {
    waiting: Unnamed,
    /// By goroutine's struct; `None` where two entries name it.
    queued: FxHashMap<u64, Option<Queued>>,
    /// Every sudog that was found.
    pub(super) sudogs: Vec<u64>,
}

impl Semaphores {
    /// What a goroutine waits for; `None` where that is not known, or it has stopped since the table was read.
    pub(super) fn of(&self, g: u64, now: &RawG) -> Option<Queued> {
        let then = self.waiting.get(&g)?;
        self.queued
            .get(&g)
            .copied()
            .flatten()
            .filter(|_| now.agrees_with(then))
    }

    fn add(&mut self, g: u64, found: Queued) {
        if !self.waiting.contains_key(&g) {
            return;
        }
        let known = self.queued.entry(g).or_insert(Some(found));
        if *known != Some(found) {
            *known = None;
        }
    }
}

impl<M: Memory> Inspector<'_, M> {
    /// Whether a goroutine waits for a semaphore and does not name it, and the table may.
    pub(super) fn waits_unnamed(&self, raw: &RawG) -> bool {
        let runtime = &self.runtime;
        runtime.semtable.is_some()
            && runtime.offsets.sudog.queue.is_some()
            && raw.waits()
            && raw.waiting == 0
            && runtime
                .table
                .wait_reason(raw.wait_reason)
                .is_some_and(is_for_semaphore)
    }

    /// What the table says of some goroutines; it is not read where there are none.
    ///
    /// # Errors
    /// The process has ended, or may not be read.
    pub(super) fn semaphores(&self, waiting: Unnamed) -> Result<Semaphores, MemoryError> {
        let mut found = Semaphores {
            waiting,
            ..Semaphores::default()
        };
        let (Some(table), Some(at)) = (self.runtime.semtable, self.runtime.offsets.sudog.queue)
        else {
            return Ok(found);
        };
        if found.waiting.is_empty() {
            return Ok(found);
        }
        let mut open = match self.roots(table, at) {
            Ok(open) => open,
            Err(cause) if cause.is_final() => return Err(cause),
            Err(_) => return Ok(found),
        };
        let mut seen = FxHashSet::default();
        while !open.is_empty() && seen.len() < MAX_SUDOGS {
            open.retain(|(_, sudog)| seen.len() < MAX_SUDOGS && seen.insert(*sudog));
            open = self.look_at(&open, (table, at), &mut found)?;
        }
        Ok(found)
    }

    /// The tops of all trees, with the numbers of their roots.
    fn roots(&self, table: SemTable, at: QueueOffsets) -> Result<Vec<(u64, u64)>, MemoryError> {
        let len = usize::try_from(table.root_len).unwrap_or(0).max(1);
        let count = usize::try_from(table.roots).unwrap_or(0);
        let bytes = self
            .memory
            .read_bytes(table.addr, len.saturating_mul(count))?;
        let tops = bytes.chunks_exact(len).map(|root| u64_at(root, at.treap));
        Ok((0..)
            .zip(tops)
            .filter_map(|(root, top)| Some((root, top.filter(|&top| top != 0)?)))
            .collect())
    }

    /// Takes in some sudogs, and gives those that they lead to.
    fn look_at(
        &self,
        open: &[(u64, u64)],
        (table, at): (SemTable, QueueOffsets),
        found: &mut Semaphores,
    ) -> Result<Vec<(u64, u64)>, MemoryError> {
        let sudog = &self.runtime.offsets.sudog;
        let len = self
            .sudog_len()
            .max(usize::try_from(at.semaphore).unwrap_or(0) + 8);
        let mut space = vec![0; len * SUDOGS_PER_READ.min(open.len())];
        let mut further = Vec::new();
        for batch in open.chunks(SUDOGS_PER_READ) {
            let mut requests: Vec<_> = batch
                .iter()
                .zip(space.chunks_exact_mut(len))
                .map(|((_, addr), buf)| ReadRequest::new(*addr, buf))
                .collect();
            self.memory.read_many(&mut requests);
            for ((root, _), request) in batch.iter().zip(&requests) {
                match request.result {
                    Err(cause) if cause.is_final() => return Err(cause),
                    Err(_) => continue,
                    Ok(()) => {}
                }
                let field = |at| u64_at(request.buf, at).unwrap_or(0);
                let semaphore = field(at.semaphore);
                let stands_here = semaphore != 0
                    && field(sudog.channel) == 0
                    && (semaphore >> ROOT_SHIFT) % table.roots == *root;
                // It was let go, and may lead anywhere.
                if !stands_here {
                    continue;
                }
                found.sudogs.push(request.addr);
                let own = Queued {
                    sudog: request.addr,
                    semaphore,
                };
                found.add(field(sudog.g), own);
                let links = [at.prev, at.next, sudog.waitlink].map(field);
                further.extend(
                    links
                        .iter()
                        .filter(|&&link| link != 0)
                        .map(|&link| (*root, link)),
                );
            }
        }
        Ok(further)
    }
}
