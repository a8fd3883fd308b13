//! Words that are addresses of objects, and are no references to them: what the runtime keeps beside its own business.

use super::heap::Heap;

const WORD: u64 = 8;
/// Words in the buffer of a write barrier (`runtime.wbBufEntries`), of all Go versions.
const BARRIER_WORDS: [u64; 2] = [256, 512];

/// Words of some memory, one after the other.
#[derive(Default)]
pub(super) struct Sieve {
    /// The last one, and where it was.
    last: (u64, u64),
    /// Where a buffer ends in which there are no references.
    past: u64,
}

impl Sieve {
    /// Whether the next word, at `place`, may be a reference. Words of 0 need not be told.
    pub(super) fn passes(&mut self, heap: &Heap, place: u64, word: u64) -> bool {
        let (at, before) = std::mem::replace(&mut self.last, (place, word));
        if place < self.past && at < place {
            return false;
        }
        self.past = 0;
        if at + WORD != place {
            return true;
        }
        if is_barrier(place, before, word) {
            self.past = word;
        }
        !is_stack(heap, place, before, word)
    }
}

/// Whether two words that follow each other, the second at `place`, are the bounds of a stack (`runtime.stack`). The upper is the
/// address of whatever comes after it, which may be an object that it does not mean.
fn is_stack(heap: &Heap, place: u64, lower: u64, upper: u64) -> bool {
    // Only the runtime keeps addresses of stacks elsewhere.
    heap.ends_stack(lower, upper) && !heap.is_in_stack(place)
}

/// Whether two words that follow each other, the second at `place`, are the place and the end of the buffer behind them, as that of a
/// processor's write barrier has them (`runtime.wbBuf`). What the last collection has left there stays until another one.
fn is_barrier(place: u64, next: u64, end: u64) -> bool {
    let first = place.saturating_add(WORD);
    let len = end.checked_sub(first);
    len.is_some_and(|len| BARRIER_WORDS.iter().any(|words| words * WORD == len))
        && (first..=end).contains(&next)
}
