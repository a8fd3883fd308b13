//! Every goroutine of a process, in few large reads: one batch after the other, each handed on before the next
//! is read, so that a hundred thousand take no more memory than their list.
//!
//! Owns the batches and what is said of those that did not hold still. What they amount to is not its business.

mod labels;
mod memo;
mod offsets;
#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;

use crate::target::fields::{u32_at, u64_at};
use crate::target::{Memory, MemoryError, ReadRequest};

use super::raw_g::RawG;
use super::semaphores::{Semaphores, Unnamed};
use super::stack::{Extent, Window};
use super::waits::{Waits, names_all};
use super::{Goroutine, Inspector, Runtime, Status};
use labels::read_labels;
use memo::Memo;

pub use labels::Labels;
pub use offsets::{CensusOffsets, LabelShape};

/// Goroutines looked at together. Fewer are read again sooner, so fewer have moved on; more need fewer calls.
const BATCH: usize = 256;
/// Bytes of each stack read in the first go; deeper ones are completed one by one.
const FIRST_STACK_BYTES: u64 = 4 << 10;
/// How often those that moved under the look are looked at again, together.
const ATTEMPTS: usize = 3;

/// A channel, as it was while somebody waited on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// Address of its `runtime.hchan`.
    pub addr: u64,
    /// Values in its buffer.
    pub len: u64,
    /// Values that its buffer can hold; 0 for an unbuffered one.
    pub cap: u64,
    /// Somebody closed it.
    pub closed: bool,
}

/// A goroutine, and what it points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The goroutine itself.
    pub goroutine: Goroutine,
    /// Where the frames of its stack lie, in its order. It may have moved on since: what is read there is a hint, to be
    /// checked against what it points to.
    pub extents: Vec<Extent>,
    /// The channels that it waits on; one that could not be read is left out.
    pub channels: Vec<Channel>,
    /// Address of the semaphore (of a mutex or a wait group) or of the `sync.Cond`'s list that it waits for.
    /// Up to Go 1.25 no goroutine names it: there the runtime's table names semaphores, and nothing such a list.
    pub semaphore: Option<u64>,
    /// The thread it is on, as numbered in the target's own pid namespace.
    pub thread: Option<u64>,
    /// The profiler's labels, if it has any.
    pub labels: Option<Labels>,
}

impl Member {
    /// Whether it names all that it waits on, so that references to that can be searched for.
    #[must_use]
    pub fn names_what_it_waits_on(&self) -> bool {
        let channels = self.goroutine.waiting_channels.len();
        names_all(channels + usize::from(self.semaphore.is_some()))
    }
}

/// What was looked at, and what that left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Goroutines that were alive when the list was read.
    pub alive: usize,
    /// One in so many of them was looked at: 1 is all.
    pub every: usize,
    /// Alive, but never still while they were looked at.
    pub torn: usize,
    /// Ended between the list and the look.
    pub ended: usize,
    /// The list is longer than is read, or a part of it could not be.
    pub cut: bool,
}

impl<M: Memory> Inspector<'_, M> {
    /// Hands every live goroutine to `visit`, in the order of the runtime's list; where more than `limit` are alive,
    /// evenly chosen ones. Each is whole in itself; they are not of one moment. `None` without the list.
    ///
    /// # Errors
    /// The process ended meanwhile, or its list cannot be read.
    pub fn census(
        &self,
        offsets: &CensusOffsets,
        limit: usize,
        visit: impl FnMut(Member),
    ) -> Result<Option<Coverage>, MemoryError> {
        let Some(listing) = self.list()? else {
            return Ok(None);
        };
        let (mut alive, mut unnamed) = (Vec::new(), Unnamed::default());
        let whole = self.for_each_raw(&listing.addrs, |addr, raw| {
            if raw.status.is_alive() {
                alive.push(addr);
            }
            if self.waits_unnamed(raw) {
                unnamed.insert(addr, *raw);
            }
            true
        })?;
        drop(listing.addrs);
        let semaphores = self.semaphores(unnamed)?;
        let every = alive.len().div_ceil(limit.max(1)).max(1);
        let coverage = Coverage {
            alive: alive.len(),
            every,
            cut: listing.cut || !whole,
            ..Coverage::default()
        };
        let chosen: Vec<u64> = alive.into_iter().step_by(every).collect();
        let table = Memo::over(self.runtime.table);
        let mut census = Census {
            inspector: Inspector {
                memory: self.memory,
                runtime: Runtime {
                    table: &table,
                    ..self.runtime
                },
            },
            offsets,
            semaphores,
            visit,
            coverage,
            odd: FxHashMap::default(),
        };
        for batch in chosen.chunks(BATCH) {
            census.take(batch)?;
        }
        Ok(Some(census.coverage))
    }
}

/// A look under way.
struct Census<'a, M, V> {
    inspector: Inspector<'a, M>,
    offsets: &'a CensusOffsets,
    semaphores: Semaphores,
    visit: V,
    coverage: Coverage,
    /// Stacks that were found once and can hardly be, by g.
    odd: FxHashMap<u64, Vec<u64>>,
}

impl<M: Memory, V: FnMut(Member)> Census<'_, M, V> {
    fn take(&mut self, batch: &[u64]) -> Result<(), MemoryError> {
        let mut left = batch.to_vec();
        for _ in 0..ATTEMPTS {
            if left.is_empty() {
                return Ok(());
            }
            left = self.attempt(&left)?;
        }
        self.coverage.torn += left.len();
        Ok(())
    }

    /// One look at some goroutines; gives those that moved under it.
    fn attempt(&mut self, addrs: &[u64]) -> Result<Vec<u64>, MemoryError> {
        let mut batch = Vec::with_capacity(addrs.len());
        self.inspector.for_each_raw(addrs, |addr, raw| {
            batch.push((addr, *raw));
            true
        })?;
        let listed = batch.len();
        self.coverage.torn += addrs.len() - listed;
        batch.retain(|(_, raw)| raw.status.is_alive());
        self.coverage.ended += listed - batch.len();
        let members = self.members(&batch)?;
        let mut after = FxHashMap::default();
        let read: Vec<u64> = batch.iter().map(|(addr, _)| *addr).collect();
        self.inspector.for_each_raw(&read, |addr, raw| {
            after.insert(addr, *raw);
            true
        })?;
        let mut moved = Vec::new();
        for ((addr, before), member) in batch.iter().zip(members) {
            let still = after
                .get(addr)
                .is_some_and(|after| after.agrees_with(before));
            match member.filter(|member| still && !self.is_doubtful(*addr, member)) {
                Some(member) => (self.visit)(member),
                None => moved.push(*addr),
            }
        }
        Ok(moved)
    }

    /// Whether a stack can hardly be, and was not found before.
    fn is_doubtful(&mut self, addr: u64, member: &Member) -> bool {
        let stack = &member.goroutine.stack;
        if !self.inspector.is_odd(stack) {
            return false;
        }
        let before = self.odd.insert(addr, stack.clone());
        before.as_ref() != Some(stack)
    }

    /// What a batch looks like now; `None` for one whose parts do not fit together.
    fn members(&self, batch: &[(u64, RawG)]) -> Result<Vec<Option<Member>>, MemoryError> {
        let windows = self.first_windows(batch)?;
        let waits = self.waits_of(batch)?;
        let channels = self.channels(&waits)?;
        let threads = self.threads(batch)?;
        let mut label_sets: FxHashMap<u64, Option<Labels>> = FxHashMap::default();
        let mut members = Vec::with_capacity(batch.len());
        for ((((addr, raw), window), waits), thread) in
            batch.iter().zip(windows).zip(waits).zip(threads)
        {
            let Some(waits) = waits else {
                members.push(None);
                continue;
            };
            let in_table = || Some(self.semaphores.of(*addr, raw)?.semaphore);
            let semaphore = waits.semaphore.or_else(in_table);
            let seen = self.inspector.describe(*addr, raw, window, waits);
            let Some((goroutine, extents)) = not_final(seen)?.flatten() else {
                members.push(None);
                continue;
            };
            let labels = match raw.labels {
                0 => None,
                at => match label_sets.get(&at) {
                    Some(known) => known.clone(),
                    None => {
                        let read = read_labels(self.inspector.memory, self.offsets.labels, at);
                        let labels = not_final(read)?.flatten();
                        label_sets.insert(at, labels.clone());
                        labels
                    }
                },
            };
            members.push(Some(Member {
                channels: goroutine
                    .waiting_channels
                    .iter()
                    .filter_map(|channel| channels.get(channel).copied())
                    .collect(),
                goroutine,
                extents,
                semaphore,
                thread,
                labels,
            }));
        }
        Ok(members)
    }

    /// What each waits on, the first sudogs of all in one read; `None` where that changed meanwhile.
    fn waits_of(&self, batch: &[(u64, RawG)]) -> Result<Vec<Option<Waits>>, MemoryError> {
        let first = |raw: &RawG| if raw.waits() { raw.waiting } else { 0 };
        let at: Vec<u64> = batch.iter().map(|(_, raw)| first(raw)).collect();
        let blocks = self.blocks(&at, self.inspector.sudog_len())?;
        let mut all = Vec::with_capacity(batch.len());
        for (((addr, raw), first), block) in batch.iter().zip(at).zip(blocks) {
            if first != 0 && block.is_none() {
                all.push(None);
                continue;
            }
            let waits = self.inspector.waits(*addr, raw, block.as_deref());
            all.push(not_final(waits)?.flatten());
        }
        Ok(all)
    }

    /// Every channel that some wait on.
    fn channels(&self, waits: &[Option<Waits>]) -> Result<FxHashMap<u64, Channel>, MemoryError> {
        let mut at: Vec<u64> = waits
            .iter()
            .flatten()
            .flat_map(|waits| waits.channels.iter().copied())
            .collect();
        at.sort_unstable();
        at.dedup();
        let blocks = self.blocks(&at, self.offsets.channel_block())?;
        let read = at.into_iter().zip(blocks).filter_map(|(addr, block)| {
            let block = block?;
            let channel = Channel {
                addr,
                len: u64_at(&block, self.offsets.channel_len)?,
                cap: u64_at(&block, self.offsets.channel_cap)?,
                closed: u32_at(&block, self.offsets.channel_closed)? != 0,
            };
            Some((addr, channel))
        });
        Ok(read.collect())
    }

    /// The threads of those that are on one.
    fn threads(&self, batch: &[(u64, RawG)]) -> Result<Vec<Option<u64>>, MemoryError> {
        let on_thread = |raw: &RawG| matches!(raw.status, Status::Running | Status::Syscall);
        let at: Vec<u64> = batch
            .iter()
            .map(|(_, raw)| match raw.m {
                m if m != 0 && on_thread(raw) => m.saturating_add(u64::from(self.offsets.procid)),
                _ => 0,
            })
            .collect();
        let blocks = self.blocks(&at, 8)?;
        Ok(blocks
            .into_iter()
            .map(|block| u64_at(&block?, 0).filter(|&thread| thread != 0))
            .collect())
    }

    /// `len` bytes at each address, with as few calls as can be; `None` at 0 and where there is nothing to read.
    fn blocks(&self, at: &[u64], len: usize) -> Result<Vec<Option<Vec<u8>>>, MemoryError> {
        let lens = at.iter().map(|&addr| if addr == 0 { 0 } else { len });
        let mut buffers: Vec<Vec<u8>> = lens.map(|len| vec![0; len]).collect();
        let mut requests: Vec<_> = at
            .iter()
            .zip(&mut buffers)
            .filter(|(_, buffer)| !buffer.is_empty())
            .map(|(&addr, buffer)| ReadRequest::new(addr, buffer))
            .collect();
        self.inspector.memory.read_many(&mut requests);
        let results: Vec<_> = requests.into_iter().map(|request| request.result).collect();
        let mut results = results.into_iter();
        let mut blocks = Vec::with_capacity(at.len());
        for buffer in buffers {
            let read = !buffer.is_empty() && not_final(results.next().unwrap_or(Ok(())))?.is_some();
            blocks.push(read.then_some(buffer));
        }
        Ok(blocks)
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
        self.inspector.memory.read_many(&mut requests);
        let results: Vec<_> = requests.into_iter().map(|request| request.result).collect();
        let mut results = results.into_iter();
        let mut windows = Vec::with_capacity(batch.len());
        for (sp, hi, bytes) in buffers {
            let read = sp != 0 && not_final(results.next().unwrap_or(Ok(())))?.is_some();
            windows.push(read.then(|| Window::with_bytes(sp, hi, bytes)));
        }
        Ok(windows)
    }
}

/// A failure of one read means that this one is not known, unless all further reads fail with it.
fn not_final<T>(read: Result<T, MemoryError>) -> Result<Option<T>, MemoryError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(cause) if cause.is_final() => Err(cause),
        Err(_) => Ok(None),
    }
}
