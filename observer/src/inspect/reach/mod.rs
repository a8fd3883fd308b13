//! Waiting goroutines that nobody can wake: neither from the program's variables nor from the stacks of others does a way
//! lead to what they wait on.
//!
//! Goes through the heap as the garbage collector does, from outside, and with what objects say of their types: every other word
//! that may be an address counts as one, so it finds too much rather than too little. But the process runs on meanwhile. What is
//! moved behind our back, out of memory that was not read yet into memory that was, is missed, as is what only
//! a register or memory of C holds. So variables and stacks are read once more at the end, and one look alone proves
//! nothing: a second one, some time later, must find the same wait unreferenced again.

mod heap;
mod marking;
mod referrers;
mod sieve;
#[cfg(test)]
mod tests;
mod types;
mod words;

use std::fmt;
use std::ops::Range;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::target::{Memory, MemoryError};

use super::Inspector;
use super::raw_g::RawG;
use super::semaphores::{Semaphores, Unnamed};
use super::wait_reason::is_of_runtime;
use super::waits::{Waits, names_all};

use self::heap::Heap;
use self::marking::Marking;
use self::referrers::Referrers;

pub use heap::HeapOffsets;

/// Bytes of objects with pointers that are looked through at most.
const MAX_HEAP: u64 = 64 << 20;
/// Bytes that are read in all.
const MAX_READ: u64 = 8 * MAX_HEAP;
/// Waits told of.
#[cfg(not(test))]
const MAX_TOLD: usize = 4096;
/// The same where a test makes the heap by hand.
#[cfg(test)]
const MAX_TOLD: usize = 4;

/// Where a process has its heap's description and its variables, load bias added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Address of `runtime.mheap_.arenas`.
    pub arenas: u64,
    /// The program's variables.
    pub variables: [Range<u64>; 2],
}

/// One wait of one goroutine, on what nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unreferenced {
    /// The goroutine.
    pub goid: u64,
    /// Its sudog: another wait may have the same one,
    sudog: u64,
    /// but not when it has stopped as often, modulo 256; 0 where that is not known.
    stops: u8,
    /// Addresses of the words that lead to what it waits on, all in memory that nobody can get at either; rising.
    references: Vec<u64>,
}

impl Unreferenced {
    /// A wait at `sudog`, to which these words lead.
    #[cfg(test)]
    pub(crate) fn of(goid: u64, sudog: u64, references: &[u64]) -> Self {
        Self {
            goid,
            sudog,
            stops: 0,
            references: references.to_vec(),
        }
    }

    /// Whether this wait was as lost at an earlier look: it is the same, and nothing leads to it that did not then. Nobody can
    /// make a new reference to what nobody can get at.
    #[must_use]
    pub fn is_confirmed_by(&self, earlier: &Self) -> bool {
        let then = &earlier.references;
        (self.goid, self.sudog, self.stops) == (earlier.goid, earlier.sudog, earlier.stops)
            && self
                .references
                .iter()
                .all(|place| then.binary_search(place).is_ok())
    }
}

/// Goroutines whose waits two searches have found lost, and of which the later confirms the earlier. Both are by rising goid.
pub fn confirmed<'a>(
    later: &'a [Unreferenced],
    earlier: &'a [Unreferenced],
) -> impl Iterator<Item = u64> + 'a {
    let then = |one: &Unreferenced| {
        let at = earlier.binary_search_by_key(&one.goid, |then| then.goid);
        at.ok().and_then(|at| earlier.get(at))
    };
    let is_confirmed =
        move |one: &&Unreferenced| then(one).is_some_and(|then| one.is_confirmed_by(then));
    later.iter().filter(is_confirmed).map(|one| one.goid)
}

/// To what waits one search has found a way, and to which it has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Waits on what nothing refers to, as far as one search can tell, by goroutine, rising.
    pub lost: Vec<Unreferenced>,
    /// Further ones that may be as lost: nobody has looked for who refers to what they wait on.
    pub beyond: usize,
    /// Goroutines to what each of which waits on a way leads, so that somebody may wake it; goids, rising.
    pub reached: Vec<u64>,
}

/// Why a search came to no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsearched {
    /// There is more to look through than is looked through.
    TooMuch,
    /// What was read does not fit together, since the process runs on meanwhile.
    Unclear,
}

impl fmt::Display for Unsearched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMuch => write!(
                f,
                "there is more to look through than {} MiB of objects with pointers",
                MAX_HEAP >> 20
            ),
            Self::Unclear => f.write_str("the memory changed while it was read"),
        }
    }
}

/// A goroutine that others must wake.
struct Waiter {
    g: u64,
    raw: RawG,
    sudog: u64,
    on: Vec<u64>,
}

impl<M: Memory> Inspector<'_, M> {
    /// Which of some goroutines wait on what nothing refers to, and which do not, as far as one look can tell. Of those
    /// that wait for nobody, or for what is not to be known, nothing is said.
    ///
    /// # Errors
    /// The process has ended, or some of its memory cannot be read.
    pub fn unreferenced(
        &self,
        offsets: &HeapOffsets,
        roots: &Roots,
        is_asked_about: impl Fn(u64) -> bool,
    ) -> Result<Result<Reach, Unsearched>, MemoryError> {
        let heap = match Heap::read(self.memory, offsets, roots.arenas, MAX_HEAP)? {
            Ok(heap) => heap,
            Err(why) => return Ok(Err(why)),
        };
        let Some(all) = self.alive()? else {
            return Ok(Err(Unsearched::Unclear));
        };
        let Some(specials) = heap.specials(self.memory, offsets)? else {
            return Ok(Err(Unsearched::TooMuch));
        };
        let mut search = Search {
            marking: Marking::new(self.memory, heap, offsets.types, MAX_READ),
            waiters: FxHashMap::default(),
            passed_over: FxHashSet::default(),
            g_len: u64::from(offsets.g_len),
        };
        let semaphores = self.semaphores(self.unnamed(&all))?;
        search.pass_over(&all, &semaphores.sudogs);
        let mut reached = FxHashSet::default();
        for (g, raw) in all.alive {
            match self.wait_of(g, &raw, &semaphores)? {
                Some((sudog, on)) => {
                    if is_asked_about(raw.goid) {
                        reached.insert(raw.goid);
                    }
                    let waiter = Waiter { g, raw, sudog, on };
                    search.waiters.insert(g, waiter);
                }
                None if self.is_of_runtime(&raw) => {}
                None => search.goes_on(g, &raw),
            }
        }
        for word in specials {
            search.marking.follow(word);
        }
        search.look_through(&roots.variables);
        if !search.finish()? {
            return Ok(Err(Unsearched::TooMuch));
        }
        let Some(all) = self.alive()? else {
            return Ok(Err(Unsearched::Unclear));
        };
        search.pass_over(&all, &[]);
        for (g, raw) in &all.alive {
            let waits_on = |waiter: &Waiter| raw.agrees_with(&waiter.raw);
            if !search.waiters.get(g).is_some_and(waits_on) {
                search.waiters.remove(g);
                if !self.is_of_runtime(raw) {
                    search.goes_on(*g, raw);
                }
            }
        }
        search.look_through(&roots.variables);
        if !search.finish()? {
            return Ok(Err(Unsearched::TooMuch));
        }
        search
            .waiters
            .retain(|_, waiter| is_asked_about(waiter.raw.goid));
        for waiter in search.waiters.values() {
            reached.remove(&waiter.raw.goid);
        }
        let mut reached: Vec<u64> = reached.into_iter().collect();
        reached.sort_unstable();
        search.lost(reached)
    }

    /// Every goroutine there is; `None` where not all could be read.
    fn alive(&self) -> Result<Option<All>, MemoryError> {
        let Some(listing) = self.list()?.filter(|listing| !listing.cut) else {
            return Ok(None);
        };
        let mut alive = Vec::new();
        let whole = self.for_each_raw(&listing.addrs, |addr, raw| {
            if raw.status.is_alive() {
                alive.push((addr, *raw));
            }
            true
        })?;
        Ok(whole.then_some(All {
            structs: listing.addrs,
            alive,
        }))
    }

    /// Whether a goroutine is the runtime's own, and waits: what lies on its stack, which others may have had before, wakes nobody.
    fn is_of_runtime(&self, raw: &RawG) -> bool {
        let reason = || self.runtime.table.wait_reason(raw.wait_reason);
        raw.waits() && reason().is_some_and(is_of_runtime)
    }

    fn unnamed(&self, all: &All) -> Unnamed {
        let unnamed = all.alive.iter().filter(|(_, raw)| self.waits_unnamed(raw));
        unnamed.copied().collect()
    }

    /// A goroutine's sudog, the first if it has several, and what it waits on; `None` where it may go on by itself, or not all
    /// of that is known.
    fn wait_of(
        &self,
        g: u64,
        raw: &RawG,
        semaphores: &Semaphores,
    ) -> Result<Option<(u64, Vec<u64>)>, MemoryError> {
        if let Some(queued) = semaphores.of(g, raw) {
            return Ok(Some((queued.sudog, vec![queued.semaphore])));
        }
        if !raw.waits() || raw.waiting == 0 {
            return Ok(None);
        }
        let Some(Waits {
            mut channels,
            semaphore,
        }) = self.waits(g, raw, None)?
        else {
            return Ok(None);
        };
        channels.extend(semaphore);
        Ok(names_all(channels.len()).then_some((raw.waiting, channels)))
    }
}

/// The runtime's list, and those on it that live.
struct All {
    structs: Vec<u64>,
    alive: Vec<(u64, RawG)>,
}

struct Search<'a, M> {
    marking: Marking<'a, M>,
    /// Those to whose wait no way was found yet, by their structs.
    waiters: FxHashMap<u64, Waiter>,
    /// What only the runtime refers to.
    passed_over: FxHashSet<u64>,
    g_len: u64,
}

impl<M: Memory> Search<'_, M> {
    /// The runtime's own ways to goroutines and to what they wait in wake nobody; `queued` are the sudogs in its table of
    /// semaphores.
    fn pass_over(&mut self, all: &All, queued: &[u64]) {
        let sudogs = all.alive.iter().map(|(_, raw)| &raw.waiting);
        for addr in all.structs.iter().chain(sudogs).chain(queued) {
            self.passed_over.extend(self.marking.pass_over(*addr));
        }
    }

    /// What a goroutine that may go on can get at.
    fn goes_on(&mut self, g: u64, raw: &RawG) {
        let (_, sp) = raw.resume_point().unwrap_or((0, raw.stack_lo));
        // One that was in a system call may be out of it by now.
        let from = if raw.waits() { sp } else { raw.stack_lo };
        self.marking
            .look_through(from, raw.stack_hi.saturating_sub(from));
        self.marking.look_through(g, self.g_len);
    }

    fn look_through(&mut self, variables: &[Range<u64>]) {
        for range in variables {
            let len = range.end.saturating_sub(range.start);
            self.marking.look_through(range.start, len);
        }
    }

    /// Goes on until nobody more can be woken; false where that is more than may be read.
    fn finish(&mut self) -> Result<bool, MemoryError> {
        loop {
            if !self.marking.finish()? {
                return Ok(false);
            }
            let heap = &self.marking.heap;
            let is_woken = |at: &u64| !heap.holds(*at) || heap.is_found(*at);
            let woken: Vec<Waiter> = self
                .waiters
                .extract_if(|_, waiter| waiter.on.iter().any(is_woken))
                .map(|(_, waiter)| waiter)
                .collect();
            if woken.is_empty() {
                return Ok(true);
            }
            for waiter in woken {
                self.goes_on(waiter.g, &waiter.raw);
            }
        }
    }

    /// Those that are left, with all that leads to what they wait on.
    fn lost(mut self, reached: Vec<u64>) -> Result<Result<Reach, Unsearched>, MemoryError> {
        // Without its referrers none is told: no reference at all would confirm whatever comes.
        let mut left: Vec<u64> = self
            .waiters
            .values()
            .map(|waiter| waiter.raw.goid)
            .collect();
        left.sort_unstable();
        if let Some(first) = left.get(MAX_TOLD).copied() {
            self.waiters.retain(|_, waiter| waiter.raw.goid < first);
        }
        let on = self.waiters.values();
        let on: Vec<u64> = on.flat_map(|waiter| waiter.on.iter().copied()).collect();
        let referrers = Referrers::of(on, &self.passed_over, &mut self.marking)?;
        let Some(referrers) = referrers else {
            return Ok(Err(Unsearched::TooMuch));
        };
        if !self.finish()? {
            return Ok(Err(Unsearched::TooMuch));
        }
        let waits = self.waiters.values().filter_map(|waiter| {
            let on = waiter.on.iter().copied();
            Some(Unreferenced {
                goid: waiter.raw.goid,
                sudog: waiter.sudog,
                stops: waiter.raw.stops,
                references: referrers.leading_to(on, &self.marking)?,
            })
        });
        let mut lost: Vec<_> = waits.collect();
        lost.sort_unstable_by_key(|wait| wait.goid);
        Ok(Ok(Reach {
            lost,
            beyond: left.len().saturating_sub(MAX_TOLD),
            reached,
        }))
    }
}
