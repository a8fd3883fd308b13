//! Much memory read word by word, in few large reads, and no more than is allowed.

use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError, ReadRequest};

/// Bytes read together.
const BATCH: u64 = 1 << 20;
/// Bytes of one range read together.
const PIECE: u64 = 64 << 10;
/// Ranges read together.
const RANGES: usize = 1024;
const WORD: usize = 8;

/// Reads words while there is something left to read.
pub(super) struct Words {
    space: Vec<u8>,
    /// Bytes that may still be read.
    left: u64,
}

impl Words {
    /// Reads no more than `limit` bytes in all.
    pub(super) fn new(limit: u64) -> Self {
        Self {
            space: vec![0; usize::try_from(BATCH).unwrap_or(0)],
            left: limit,
        }
    }

    /// Takes some ranges (where, and how many bytes) off `open`, and gives their words that are not 0, with their
    /// addresses; `None` where nothing more may be read.
    ///
    /// # Errors
    /// One of the ranges cannot be read.
    pub(super) fn next(
        &mut self,
        memory: &impl Memory,
        open: &mut Vec<(u64, u64)>,
    ) -> Result<Option<Vec<(u64, u64)>>, MemoryError> {
        let batch = take(open);
        let bytes = batch.iter().map(|(_, len)| len).sum();
        let Some(left) = self.left.checked_sub(bytes) else {
            return Ok(None);
        };
        self.left = left;
        let mut space = self.space.as_mut_slice();
        let mut requests = Vec::with_capacity(batch.len());
        for (at, len) in batch {
            let len = usize::try_from(len).unwrap_or(0).min(space.len());
            let (buf, rest) = space.split_at_mut(len);
            space = rest;
            requests.push(ReadRequest::new(at, buf));
        }
        memory.read_many(&mut requests);
        let mut words = Vec::new();
        for request in &requests {
            request.result?;
            let found = request.buf.chunks_exact(WORD);
            let found = found.filter_map(|word| u64_at(word, 0));
            let found = (request.addr..).step_by(WORD).zip(found);
            words.extend(found.filter(|(_, word)| *word != 0));
        }
        Ok(Some(words))
    }
}

fn take(open: &mut Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < RANGES
        && bytes + PIECE <= BATCH
        && let Some((at, len)) = open.pop()
    {
        let now = len.min(PIECE);
        if len > now {
            open.push((at.saturating_add(now), len - now));
        }
        bytes += now;
        batch.push((at, now));
    }
    batch
}
