//! Go's maps as they lie in memory: bucket maps up to Go 1.23, Swiss maps from 1.24.
//!
//! Owns the traversal, with a bound; what keys and values mean is the visitor's business. The kernel side must
//! stop at a page that was never touched; here the kernel brings such a page in (as zeros), so blocks are
//! always read whole.

use crate::target::{Memory, MemoryError};

use crate::target::fields::{u8_at, u64_at};

/// Groups or buckets visited in one map: 32 768 entries.
const MAX_BLOCKS: u64 = 4096;
/// Groups or buckets fetched together.
const BLOCKS_PER_READ: u64 = 64;
/// Entries of a group or bucket, both kinds.
const SLOTS: u32 = 8;
/// Control and hash bytes before the slots.
const HEAD: u32 = 8;
/// `tophash` values below this mark empty and evacuated cells (`minTopHash`, runtime/map.go ≤ 1.23).
const MIN_TOP_HASH: u8 = 5;
/// `hmap.flags`: growing to the same size (`sameSizeGrow`, runtime/map.go ≤ 1.23).
const SAME_SIZE_GROW: u8 = 8;

/// How a Go version lays out maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    /// Groups of control bytes and slots (from Go 1.24).
    Swiss,
    /// Hash buckets with overflow chains (to Go 1.23).
    Bucket,
}

/// Sizes of one map type.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapShape {
    pub(super) kind: MapKind,
    /// Bytes of a key.
    pub(super) key: u32,
    /// Bytes of a value.
    pub(super) value: u32,
    /// Bytes from one key to the next in a Swiss group.
    pub(super) slot: u32,
}

impl MapShape {
    /// `map[string][]string`.
    pub(super) fn header(kind: MapKind) -> Self {
        Self {
            kind,
            key: 16,
            value: 24,
            slot: 40,
        }
    }

    fn block_len(&self) -> u64 {
        u64::from(match self.kind {
            MapKind::Swiss => HEAD + SLOTS * self.slot,
            MapKind::Bucket => HEAD + SLOTS * (self.key + self.value) + 8,
        })
    }

    fn is_full(&self, block: &[u8], slot: u32) -> bool {
        u8_at(block, slot).is_some_and(|mark| match self.kind {
            MapKind::Swiss => mark & 0x80 == 0,
            MapKind::Bucket => mark >= MIN_TOP_HASH,
        })
    }

    /// Key and value bytes of a slot.
    fn entry<'b>(&self, block: &'b [u8], slot: u32) -> Option<(&'b [u8], &'b [u8])> {
        let (key_at, value_at) = match self.kind {
            MapKind::Swiss => {
                let at = HEAD + slot * self.slot;
                (at, at + self.key)
            }
            MapKind::Bucket => (
                HEAD + slot * self.key,
                HEAD + SLOTS * self.key + slot * self.value,
            ),
        };
        Some((
            part(block, key_at, self.key)?,
            part(block, value_at, self.value)?,
        ))
    }
}

fn part(block: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    let len = usize::try_from(len).ok()?;
    block.get(at..)?.get(..len)
}

/// Whether a traversal saw all there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// All of it, or all the visitor wanted.
    All,
    /// Up to the bound.
    Cut,
}

/// One traversal: what to visit, and how much of the bound is left.
struct Traversal<'a, M, V> {
    memory: &'a M,
    shape: MapShape,
    visit: V,
    left: u64,
    stopped: bool,
}

/// Calls `visit(key, value)` for the entries of the map at `map` (nil is empty) until it returns false.
pub(super) fn for_each<M: Memory>(
    memory: &M,
    shape: MapShape,
    map: u64,
    visit: impl FnMut(&[u8], &[u8]) -> Result<bool, MemoryError>,
) -> Result<Seen, MemoryError> {
    let mut traversal = Traversal {
        memory,
        shape,
        visit,
        left: MAX_BLOCKS,
        stopped: map == 0,
    };
    match shape.kind {
        _ if map == 0 => Ok(Seen::All),
        MapKind::Swiss => traversal.swiss(map),
        MapKind::Bucket => traversal.buckets(map),
    }
}

impl<M: Memory, V: FnMut(&[u8], &[u8]) -> Result<bool, MemoryError>> Traversal<'_, M, V> {
    fn swiss(&mut self, map: u64) -> Result<Seen, MemoryError> {
        let head = self.memory.read_bytes(map, 32)?;
        let word = |at| u64_at(&head, at).unwrap_or(0);
        let (used, directory, tables) = (word(0), word(16), word(24));
        if used == 0 {
            return Ok(Seen::All);
        }
        if tables == 0 {
            return self.run(directory, 1);
        }
        if tables > MAX_BLOCKS {
            return Ok(Seen::Cut);
        }
        let bytes = usize::try_from(tables * 8).unwrap_or(0);
        let entries = self.memory.read_bytes(directory, bytes)?;
        let mut previous = 0;
        for table in entries.chunks_exact(8).filter_map(|word| u64_at(word, 0)) {
            // A table with less depth than the directory stands there several times in a row.
            if table == previous {
                continue;
            }
            previous = table;
            let groups = self.memory.read_bytes(table.saturating_add(16), 16)?;
            let data = u64_at(&groups, 0).unwrap_or(0);
            let count = u64_at(&groups, 8).unwrap_or(0).saturating_add(1);
            if self.run(data, count)? == Seen::Cut {
                return Ok(Seen::Cut);
            }
            if self.stopped {
                break;
            }
        }
        Ok(Seen::All)
    }

    fn buckets(&mut self, map: u64) -> Result<Seen, MemoryError> {
        let head = self.memory.read_bytes(map, 32)?;
        let word = |at| u64_at(&head, at).unwrap_or(0);
        let byte = |at| u8_at(&head, at).unwrap_or(0);
        if word(0) == 0 {
            return Ok(Seen::All);
        }
        let (flags, log2) = (byte(8), u32::from(byte(9)));
        let Some(count) = 1u64.checked_shl(log2) else {
            return Ok(Seen::Cut);
        };
        let seen = self.run(word(16), count)?;
        if self.stopped || seen == Seen::Cut || word(24) == 0 {
            return Ok(seen);
        }
        let same_size = flags & SAME_SIZE_GROW != 0;
        self.run(word(24), if same_size { count } else { (count / 2).max(1) })
    }

    /// Blocks that lie one after the other, each with its overflow chain.
    fn run(&mut self, data: u64, count: u64) -> Result<Seen, MemoryError> {
        let len = self.shape.block_len();
        let mut at = data;
        let mut rest = count;
        while rest > 0 && !self.stopped {
            let now = rest.min(BLOCKS_PER_READ).min(self.left);
            if now == 0 {
                return Ok(Seen::Cut);
            }
            self.left -= now;
            let bytes = usize::try_from(now * len).unwrap_or(0);
            let blocks = self.memory.read_bytes(at, bytes)?;
            for block in blocks.chunks_exact(usize::try_from(len).unwrap_or(1)) {
                self.block(block)?;
                if self.overflow(block)? == Seen::Cut {
                    return Ok(Seen::Cut);
                }
                if self.stopped {
                    break;
                }
            }
            at = at.saturating_add(now * len);
            rest -= now;
        }
        Ok(Seen::All)
    }

    fn overflow(&mut self, first: &[u8]) -> Result<Seen, MemoryError> {
        if self.shape.kind == MapKind::Swiss || self.stopped {
            return Ok(Seen::All);
        }
        // An evacuated bucket's overflow cells were moved with it.
        if matches!(u8_at(first, 0), Some(2..=4)) {
            return Ok(Seen::All);
        }
        let len = self.shape.block_len();
        let link_at = u32::try_from(len - 8).unwrap_or(0);
        let mut next = u64_at(first, link_at).unwrap_or(0);
        while next != 0 && !self.stopped {
            if self.left == 0 {
                return Ok(Seen::Cut);
            }
            self.left -= 1;
            let block = self
                .memory
                .read_bytes(next, usize::try_from(len).unwrap_or(0))?;
            self.block(&block)?;
            next = u64_at(&block, link_at).unwrap_or(0);
        }
        Ok(Seen::All)
    }

    fn block(&mut self, block: &[u8]) -> Result<(), MemoryError> {
        for slot in 0..SLOTS {
            if self.stopped {
                break;
            }
            if self.shape.is_full(block, slot)
                && let Some((key, value)) = self.shape.entry(block, slot)
            {
                self.stopped = !(self.visit)(key, value)?;
            }
        }
        Ok(())
    }
}
