//! The heap as the runtime divides it: spans of objects of one size, and which of them have been found.

use crate::go::layout::Layout;
use crate::target::fields::{u8_at, u64_at};
use crate::target::{Memory, MemoryError, ReadRequest};

use super::Unsearched;
use super::types::TypeOffsets;

/// Bytes of a page of the runtime (`runtime.pageSize`, all versions).
const PAGE: u64 = 8 << 10;
/// A span that holds objects (`runtime.mSpanInUse`, all versions).
const IN_USE: u8 = 1;
/// A span that the runtime manages by hand: stacks, most of all (`runtime.mSpanManual`, all versions).
const MANUAL: u8 = 2;
/// Set in the class of a span whose objects hold no pointers (`runtime.spanClass`, all versions).
const NO_POINTERS: u8 = 1;
/// The class of a span of a single large object with pointers (`runtime.spanClass` of size class 0, all versions).
const ONE_OBJECT: u8 = 0;
/// Larger objects with pointers begin with the address of their type, where objects do (`runtime.minSizeForMallocHeader`).
const WITHOUT_HEADER: u64 = 512;
/// Spans read: of 8 KiB at least each.
const MAX_SPANS: u64 = 1 << 18;
/// Objects told apart: a bit each.
const MAX_OBJECTS: u64 = 1 << 26;
/// Specials read of all spans.
const MAX_SPECIALS: usize = 1 << 16;
/// Span structs read together.
const SPANS_PER_READ: usize = 1024;
/// Bytes of a special that hold whatever it refers to, its own head included (`runtime.specialfinalizer` is the longest).
const SPECIAL_BYTES: usize = 64;
const WORD: usize = 8;

/// Where fields of the heap are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapOffsets {
    /// From `mheap.arenas` to `mheap.allspans`, modulo 2⁶⁴.
    spans: u64,
    start: u32,
    pages: u32,
    object_size: u32,
    class: u32,
    state: u32,
    specials: u32,
    next_special: u32,
    special_offset: u32,
    /// Bytes of that offset.
    special_width: u32,
    /// The type of a span's only object; `None` up to Go 1.21, where objects do not name theirs.
    large_type: Option<u32>,
    pub(super) types: Option<TypeOffsets>,
    /// Bytes of a `runtime.g`.
    pub(super) g_len: u32,
}

impl HeapOffsets {
    /// As the layout has them; `None` where it lacks one.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        let heap = |name| layout.field("runtime.mheap", name).map(u64::from);
        let span = |name| layout.field("runtime.mspan", name);
        let special = |name| layout.field("runtime.special", name);
        let special_offset = special("offset")?;
        Some(Self {
            spans: heap("allspans")?.wrapping_sub(heap("arenas")?),
            start: span("startAddr")?,
            pages: span("npages")?,
            object_size: span("elemsize")?,
            class: span("spanclass")?,
            state: span("state")?,
            specials: span("specials")?,
            next_special: special("next")?,
            special_offset,
            special_width: special("kind")?.checked_sub(special_offset)?,
            large_type: span("largeType"),
            types: span("largeType").and_then(|_| TypeOffsets::of(layout)),
            g_len: layout.size("runtime.g")?,
        })
    }

    fn span_len(&self) -> usize {
        let last = [
            self.start,
            self.pages,
            self.object_size,
            self.class,
            self.state,
            self.specials,
            self.large_type.unwrap_or(0),
        ]
        .into_iter()
        .max()
        .unwrap_or(0);
        usize::try_from(last).unwrap_or(0).saturating_add(WORD)
    }
}

/// Objects of one size, one after the other.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    object_size: u64,
    has_pointers: bool,
    specials: u64,
    named: Named,
    /// Its first object's bit.
    first: u64,
}

/// Where objects have their types' addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// Nowhere.
    Nowhere,
    /// In the first word of each.
    InFront,
    /// With the span of the only one.
    BySpan(u64),
}

/// Memory of which one type says all, if any does: an object, or a span of objects that name no types.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) named: Named,
}

/// Which objects there are, and which were found.
pub(super) struct Heap {
    /// Rising, apart.
    spans: Vec<Span>,
    /// Where stacks are, rising: beginnings and ends.
    stacks: Vec<(u64, u64)>,
    found: Vec<u64>,
}

/// An object, found for the first time.
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) has_pointers: bool,
}

impl Heap {
    /// Reads where the objects are, if those that hold pointers are no more than `limit` bytes. `arenas` is the address of
    /// `mheap_.arenas`.
    pub(super) fn read(
        memory: &impl Memory,
        offsets: &HeapOffsets,
        arenas: u64,
        limit: u64,
    ) -> Result<Result<Self, Unsearched>, MemoryError> {
        let list = arenas.wrapping_add(offsets.spans);
        let at = memory.read_u64(list)?;
        let count = memory.read_u64(list.wrapping_add(8))?;
        if count == 0 {
            return Ok(Err(Unsearched::Unclear));
        }
        if count > MAX_SPANS {
            return Ok(Err(Unsearched::TooMuch));
        }
        let bytes = usize::try_from(count).unwrap_or(0) * WORD;
        let list = memory.read_bytes(at, bytes)?;
        let addrs: Vec<u64> = list
            .chunks_exact(WORD)
            .filter_map(|w| u64_at(w, 0))
            .collect();
        let (mut spans, mut stacks) = (Vec::new(), Vec::new());
        for_blocks(memory, &addrs, offsets.span_len(), |block| {
            spans.extend(Span::decode(block, offsets));
            stacks.extend(manual(block, offsets));
        })?;
        Ok(Self::of(spans, stacks, limit))
    }

    fn of(
        mut spans: Vec<Span>,
        mut stacks: Vec<(u64, u64)>,
        limit: u64,
    ) -> Result<Self, Unsearched> {
        spans.sort_unstable_by_key(|span| span.start);
        stacks.sort_unstable();
        let (mut objects, mut bytes, mut end) = (0u64, 0u64, 0u64);
        for span in &mut spans {
            if span.start < end {
                return Err(Unsearched::Unclear);
            }
            end = span.end;
            span.first = objects;
            objects += (span.end - span.start) / span.object_size;
            if span.has_pointers {
                bytes += span.end - span.start;
            }
        }
        if bytes > limit || objects > MAX_OBJECTS {
            return Err(Unsearched::TooMuch);
        }
        let words = usize::try_from(objects.div_ceil(64)).map_err(|_| Unsearched::TooMuch)?;
        Ok(Self {
            spans,
            stacks,
            found: vec![0; words],
        })
    }

    /// The object around an address: its span and its number there.
    fn object(&self, addr: u64) -> Option<(&Span, u64)> {
        let after = self.spans.partition_point(|span| span.start <= addr);
        let span = self.spans.get(after.checked_sub(1)?)?;
        let number = (addr - span.start) / span.object_size;
        let is_one = addr < span.end && number < (span.end - span.start) / span.object_size;
        is_one.then_some((span, number))
    }

    /// Where the object around an address begins.
    pub(super) fn base(&self, addr: u64) -> Option<u64> {
        let (span, number) = self.object(addr)?;
        Some(span.start + number * span.object_size)
    }

    /// What may say which words around an address are pointers; `None` outside the heap.
    pub(super) fn stretch(&self, addr: u64) -> Option<Stretch> {
        let (span, number) = self.object(addr)?;
        let (at, len) = match span.named {
            Named::Nowhere => (span.start, span.end - span.start),
            Named::InFront | Named::BySpan(_) => {
                let at = span.start + number * span.object_size;
                (at, span.object_size)
            }
        };
        Some(Stretch {
            at,
            len,
            named: span.named,
        })
    }

    /// Whether stacks end at `end`, and `within` is in one of them.
    pub(super) fn ends_stack(&self, within: u64, end: u64) -> bool {
        end.is_multiple_of(PAGE) && self.stack(within).is_some_and(|(_, last)| last == end)
    }

    /// Whether an address lies in a stack.
    pub(super) fn is_in_stack(&self, addr: u64) -> bool {
        self.stack(addr).is_some()
    }

    /// The span of stacks around an address.
    fn stack(&self, addr: u64) -> Option<(u64, u64)> {
        let after = self.stacks.partition_point(|(start, _)| *start <= addr);
        let span = *self.stacks.get(after.checked_sub(1)?)?;
        (addr < span.1).then_some(span)
    }

    /// Where all objects with pointers lie, and how many bytes.
    pub(super) fn with_pointers(&self) -> Vec<(u64, u64)> {
        let spans = self.spans.iter().filter(|span| span.has_pointers);
        spans
            .map(|span| (span.start, span.end - span.start))
            .collect()
    }

    /// Whether an address lies in an object.
    pub(super) fn holds(&self, addr: u64) -> bool {
        self.object(addr).is_some()
    }

    /// Whether the object around an address was found.
    pub(super) fn is_found(&self, addr: u64) -> bool {
        self.object(addr).is_some_and(|(span, number)| {
            let (word, bit) = place(span.first + number);
            self.found.get(word).is_some_and(|word| word & bit != 0)
        })
    }

    /// Finds the object around an address; `None` where there is none, or it was found before.
    pub(super) fn find(&mut self, addr: u64) -> Option<Found> {
        let (span, number) = self.object(addr)?;
        let found = Found {
            at: span.start + number * span.object_size,
            len: span.object_size,
            has_pointers: span.has_pointers,
        };
        let (word, bit) = place(span.first + number);
        let word = self.found.get_mut(word)?;
        if *word & bit != 0 {
            return None;
        }
        *word |= bit;
        Some(found)
    }

    /// What is noted beside objects: addresses of those that have a note (a finalizer, a cleanup, a weak pointer), and the
    /// notes' words. `None` where there are more than are read.
    pub(super) fn specials(
        &self,
        memory: &impl Memory,
        offsets: &HeapOffsets,
    ) -> Result<Option<Vec<u64>>, MemoryError> {
        let mut words = Vec::new();
        let mut left = MAX_SPECIALS;
        for span in self.spans.iter().filter(|span| span.specials != 0) {
            let mut next = span.specials;
            while next != 0 {
                if left == 0 {
                    return Ok(None);
                }
                left -= 1;
                let block = memory.read_bytes(next, SPECIAL_BYTES)?;
                words.extend(block.chunks_exact(WORD).filter_map(|word| u64_at(word, 0)));
                let offset = u64_at(&block, offsets.special_offset).unwrap_or(0);
                let kept = offsets.special_width.saturating_mul(8).min(64);
                let offset = offset & u64::MAX.checked_shr(64 - kept).unwrap_or(0);
                words.push(span.start.wrapping_add(offset));
                next = u64_at(&block, offsets.next_special).unwrap_or(0);
            }
        }
        Ok(Some(words))
    }
}

impl Span {
    /// `None` for one that holds no objects now.
    fn decode(block: &[u8], at: &HeapOffsets) -> Option<Self> {
        let (start, end) = bounds(block, at)?;
        let object_size = u64_at(block, at.object_size)?;
        let sound = (1..=end - start).contains(&object_size);
        let class = u8_at(block, at.class)?;
        let has_pointers = class & NO_POINTERS == 0;
        let named = match at.large_type {
            Some(offset) if has_pointers && class == ONE_OBJECT => {
                Named::BySpan(u64_at(block, offset)?)
            }
            Some(_) if has_pointers && object_size > WITHOUT_HEADER => Named::InFront,
            _ => Named::Nowhere,
        };
        (sound && u8_at(block, at.state)? == IN_USE).then_some(Self {
            start,
            end,
            object_size,
            has_pointers,
            named,
            specials: u64_at(block, at.specials)?,
            first: 0,
        })
    }
}

/// Where a span begins and ends, if that can be.
fn bounds(block: &[u8], at: &HeapOffsets) -> Option<(u64, u64)> {
    let (start, pages) = (u64_at(block, at.start)?, u64_at(block, at.pages)?);
    let end = start.checked_add(pages.checked_mul(PAGE)?)?;
    (start != 0 && start < end).then_some((start, end))
}

/// Where a span that the runtime manages by hand begins and ends; `None` for another.
fn manual(block: &[u8], at: &HeapOffsets) -> Option<(u64, u64)> {
    bounds(block, at).filter(|_| u8_at(block, at.state) == Some(MANUAL))
}

const fn place(object: u64) -> (usize, u64) {
    ((object / 64) as usize, 1 << (object % 64))
}

/// Calls `visit` for `len` bytes at each address, with as few calls as can be.
///
/// # Errors
/// One of them cannot be read.
fn for_blocks(
    memory: &impl Memory,
    addrs: &[u64],
    len: usize,
    mut visit: impl FnMut(&[u8]),
) -> Result<(), MemoryError> {
    let mut space = vec![0; len * SPANS_PER_READ.min(addrs.len())];
    for batch in addrs.chunks(SPANS_PER_READ) {
        let buffers = space.chunks_exact_mut(len);
        let mut requests: Vec<_> = batch
            .iter()
            .zip(buffers)
            .map(|(&addr, buf)| ReadRequest::new(addr, buf))
            .collect();
        memory.read_many(&mut requests);
        for request in &requests {
            request.result?;
            visit(request.buf);
        }
    }
    Ok(())
}
