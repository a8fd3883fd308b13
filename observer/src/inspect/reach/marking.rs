//! Follows every word that may be an address, from some memory on, to all objects that can be got at from there.

use crate::target::{Memory, MemoryError};

use super::heap::Heap;
use super::sieve::Sieve;
use super::types::{TypeOffsets, Types};
use super::words::Words;

/// A search under way.
pub(super) struct Marking<'a, M> {
    pub(super) memory: &'a M,
    pub(super) heap: Heap,
    /// Memory that is to be looked through: where, and how many bytes.
    open: Vec<(u64, u64)>,
    words: Words,
    types: Types,
}

impl<'a, M: Memory> Marking<'a, M> {
    pub(super) fn new(memory: &'a M, heap: Heap, types: Option<TypeOffsets>, limit: u64) -> Self {
        Self {
            memory,
            heap,
            open: Vec::new(),
            words: Words::new(limit),
            types: Types::new(types),
        }
    }

    /// Looks through some memory, too.
    pub(super) fn look_through(&mut self, at: u64, len: u64) {
        self.open.push((at, len));
    }

    /// Follows a word, if it is an address of an object that was not found yet.
    pub(super) fn follow(&mut self, word: u64) {
        if let Some(found) = self.heap.find(word)
            && found.has_pointers
        {
            self.open.push((found.at, found.len));
        }
    }

    /// Finds an object without what it refers to; where it begins.
    pub(super) fn pass_over(&mut self, addr: u64) -> Option<u64> {
        self.heap.find(addr).map(|found| found.at)
    }

    /// Goes on until everything is found; false where that is more than may be read.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub(super) fn finish(&mut self) -> Result<bool, MemoryError> {
        let mut open = std::mem::take(&mut self.open);
        while !open.is_empty() {
            let Some(words) = self.next(&mut open)? else {
                return Ok(false);
            };
            for (_, word) in words {
                self.follow(word);
            }
            open.append(&mut self.open);
        }
        Ok(true)
    }

    /// Takes some memory off `open`, and gives its words that may be references, with their addresses; `None` where nothing
    /// more may be read.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub(super) fn next(
        &mut self,
        open: &mut Vec<(u64, u64)>,
    ) -> Result<Option<Vec<(u64, u64)>>, MemoryError> {
        let Some(mut words) = self.words.next(self.memory, open)? else {
            return Ok(None);
        };
        let mut sieve = Sieve::default();
        words.retain(|&(place, word)| {
            sieve.passes(&self.heap, place, word)
                && self.types.may_point(self.memory, &self.heap, place)
        });
        Ok(Some(words))
    }
}
