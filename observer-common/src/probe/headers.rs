//! Finds a few headers in a Go `http.Header`: a Swiss map (Go ≥ 1.24) or a bucket map (≤ 1.23).
//!
//! All state of the search lives in the record and is read and written volatile: the kernel's
//! verifier then forgets it at every step and needs not follow each path on its own. Maps that
//! need more than [`MAX_GROUPS`] steps, or that are half way through growing, are left to user
//! space.

use core::ptr::{read_volatile, write_volatile};

use crate::event::{REQUEST_BIG_MAP, RequestStarted, SCRATCH_WORDS, SEARCH_WORDS};
use crate::layout::{HeaderName, Layout};
use crate::limits::{MAX_DEADLINE, MAX_GROUPS, MAX_HEADER_NAMES, MAX_ID_HEADERS, MAX_VALUE};
use crate::mem::MemRead;

use super::bounded;

/// Bytes of a Swiss group of `string → []string`.
const GROUP_BYTES: u64 = 328;
/// Bytes of a bucket of `string → []string`.
const BUCKET_BYTES: u64 = 336;
/// Smallest tophash of a full cell.
const MIN_TOP_HASH: u64 = 5;
const PAGE: u64 = 4096;
/// The first row of deadlines.
const DEADLINE_ROW: u64 = MAX_ID_HEADERS as u64;
/// The last row of header names is the trace header's.
const TRACE_ROW: u64 = MAX_HEADER_NAMES as u64 - 1;

// Words of `RequestStarted::search`.
/// Address of the next block, 0 when there is none.
const NEXT: usize = 0;
/// Blocks left in the array.
const LEFT: usize = 1;
/// Address of the array's next block.
const ARRAY: usize = 2;
/// Row of the best ID header found; larger than any row when none.
const BEST: usize = 3;
/// What is still looked for: bits of `SEEK_…`.
const OPEN: usize = 4;
/// Row that the slot's key matched.
const ROW: usize = 5;
/// Bytes of the matched header's value to keep.
const KEPT: usize = 6;
/// Length of the matched header's value; before it is read, the row that the matched one has to be better than.
const LENGTH: usize = 7;
const BOUND: usize = LENGTH;
/// Row of the best deadline header found; larger than any row when none.
const BEST_DEADLINE: usize = 8;
/// The slot's key, zero padded: four words.
const KEY: usize = 9;

#[inline(always)]
fn get(record: &RequestStarted, word: usize) -> u64 {
    // SAFETY: a reference is valid for reads.
    unsafe { read_volatile(&raw const record.search[word]) }
}

#[inline(always)]
fn set(record: &mut RequestStarted, word: usize, value: u64) {
    // SAFETY: a reference is valid for writes.
    unsafe { write_volatile(&raw mut record.search[word], value) }
}

#[inline(always)]
fn scratch(record: &RequestStarted, word: usize) -> u64 {
    // SAFETY: a reference is valid for reads.
    unsafe { read_volatile(&raw const record.scratch[word]) }
}

/// Looks for the layout's header names in the map at `map`.
///
/// The eight slots are written out: a loop over them would make the verifier see each slot once per
/// round, find that it has seen none of them before, and follow every path anew.
#[inline(always)]
pub fn find<const SWISS: bool, M: MemRead>(
    mem: &M,
    layout: &Layout,
    map: u64,
    record: &mut RequestStarted,
) {
    set(record, BEST, MAX_HEADER_NAMES as u64);
    set(record, BEST_DEADLINE, MAX_HEADER_NAMES as u64);
    seek(layout, record);
    set(record, NEXT, 0);
    if map == 0 {
        return;
    }
    if SWISS {
        begin_swiss(mem, map, record);
    } else {
        begin_buckets(mem, map, record);
    }
    for _ in 0..MAX_GROUPS {
        if get(record, NEXT) == 0 || get(record, OPEN) == 0 {
            return;
        }
        if !block::<SWISS, M>(mem, record) {
            return;
        }
        visit::<SWISS, M>(mem, layout, 0, record);
        visit::<SWISS, M>(mem, layout, 1, record);
        visit::<SWISS, M>(mem, layout, 2, record);
        visit::<SWISS, M>(mem, layout, 3, record);
        visit::<SWISS, M>(mem, layout, 4, record);
        visit::<SWISS, M>(mem, layout, 5, record);
        visit::<SWISS, M>(mem, layout, 6, record);
        visit::<SWISS, M>(mem, layout, 7, record);
    }
    if get(record, NEXT) != 0 && get(record, OPEN) != 0 {
        record.flags |= REQUEST_BIG_MAP;
    }
}

/// The preferred ID header, the preferred deadline, the trace header.
const SEEK_ID: u64 = 1;
const SEEK_DEADLINE: u64 = 2;
const SEEK_TRACE: u64 = 4;

/// Notes what is looked for in the record: asked of the layout at every block, each answer would be remembered by the
/// verifier, and double what it has to follow.
#[inline(always)]
fn seek(layout: &Layout, record: &mut RequestStarted) {
    set(record, OPEN, 0);
    if layout.headers[0].len != 0 {
        open(record, SEEK_ID);
    }
    if layout.headers[MAX_ID_HEADERS].len != 0 {
        open(record, SEEK_DEADLINE);
    }
    if layout.headers[MAX_HEADER_NAMES - 1].len != 0 {
        open(record, SEEK_TRACE);
    }
}

#[inline(always)]
fn open(record: &mut RequestStarted, what: u64) {
    let left = get(record, OPEN);
    set(record, OPEN, left | what);
}

#[inline(always)]
fn found(record: &mut RequestStarted, what: u64) {
    let left = get(record, OPEN);
    set(record, OPEN, left & !what);
}

/// Go ≥ 1.24: `used`, `seed`, `dirPtr`, `dirLen`.
#[inline(always)]
fn begin_swiss<M: MemRead>(mem: &M, map: u64, record: &mut RequestStarted) {
    let mut head = [0u64; 4];
    if !mem.read_words(map, &mut head) || head[0] == 0 {
        return;
    }
    let [_, _, directory, tables] = head;
    if tables == 0 {
        set(record, NEXT, directory);
        set(record, LEFT, 0);
        return;
    }
    if tables > 1 {
        record.flags |= REQUEST_BIG_MAP;
        return;
    }
    let Some(table) = mem.word(directory) else {
        return;
    };
    let Some([groups, mask]) = mem.pair(table.wrapping_add(16)) else {
        return;
    };
    set(record, NEXT, groups);
    set(record, LEFT, mask);
    set(record, ARRAY, groups.wrapping_add(GROUP_BYTES));
}

/// Go ≤ 1.23: `count`, then `flags` and `B`, `buckets` at 16, `oldbuckets` at 24.
#[inline(always)]
fn begin_buckets<M: MemRead>(mem: &M, map: u64, record: &mut RequestStarted) {
    let mut head = [0u64; 4];
    if !mem.read_words(map, &mut head) || head[0] == 0 {
        return;
    }
    let [_, bits, buckets, old] = head;
    let log2 = (bits >> 8) & 0xff;
    if old != 0 || log2 > 6 {
        record.flags |= REQUEST_BIG_MAP;
        return;
    }
    set(record, NEXT, buckets);
    set(record, LEFT, (1 << log2) - 1);
    set(record, ARRAY, buckets.wrapping_add(BUCKET_BYTES));
}

/// Reads the next block and finds the one after it.
#[inline(always)]
fn block<const SWISS: bool, M: MemRead>(mem: &M, record: &mut RequestStarted) -> bool {
    if !load(mem, record) {
        record.flags |= REQUEST_BIG_MAP;
        return false;
    }
    let overflow = if SWISS {
        0
    } else {
        scratch(record, SCRATCH_WORDS - 1)
    };
    let left = get(record, LEFT);
    if overflow != 0 {
        set(record, NEXT, overflow);
    } else if left == 0 {
        set(record, NEXT, 0);
    } else {
        let array = get(record, ARRAY);
        set(record, NEXT, array);
        set(
            record,
            ARRAY,
            array.wrapping_add(if SWISS { GROUP_BYTES } else { BUCKET_BYTES }),
        );
        set(record, LEFT, left - 1);
    }
    true
}

/// Reads a block whole, or up to the end of its page: the tail may lie on a page that was never
/// touched, but full slots never do.
#[inline(always)]
fn load<M: MemRead>(mem: &M, record: &mut RequestStarted) -> bool {
    let at = get(record, NEXT);
    if mem.read_words(at, &mut record.scratch) {
        return true;
    }
    let to_page_end = PAGE - (at & (PAGE - 1));
    if to_page_end >= (SCRATCH_WORDS * 8) as u64 {
        return false;
    }
    // What is cut off belongs to slots that are not full, and to the overflow pointer.
    record.scratch[SCRATCH_WORDS - 1] = 0;
    let bytes: &mut [u8; SCRATCH_WORDS * 8] = zerocopy::transmute_mut!(&mut record.scratch);
    mem.read_prefix(at, bytes, to_page_end)
}

/// One slot of the loaded block.
#[inline(always)]
fn visit<const SWISS: bool, M: MemRead>(
    mem: &M,
    layout: &Layout,
    slot: u64,
    record: &mut RequestStarted,
) {
    let tag = scratch(record, 0) >> (8 * slot) & 0xff;
    let (full, key, value) = if SWISS {
        (tag & 0x80 == 0, 1 + 5 * slot, 3 + 5 * slot)
    } else {
        (tag >= MIN_TOP_HASH, 1 + 2 * slot, 17 + 3 * slot)
    };
    if !full {
        return;
    }
    let (key, value) = (key as usize, value as usize);
    let (name, len) = (scratch(record, key), scratch(record, key + 1));
    let (values, count) = (scratch(record, value), scratch(record, value + 1));
    if count != 0 && matches(mem, layout, record, name, len) {
        keep(mem, record, values);
    }
}

/// Whether the key is one of ours, and better than what we have; leaves its row in `ROW`.
#[inline(always)]
fn matches<M: MemRead>(
    mem: &M,
    layout: &Layout,
    record: &mut RequestStarted,
    name: u64,
    len: u64,
) -> bool {
    if layout.header_lens >> (len & 63) & 1 == 0 {
        return false;
    }
    for word in KEY..SEARCH_WORDS {
        set(record, word, 0);
    }
    let Some(key) = record.search.last_chunk_mut::<4>() else {
        return false;
    };
    let bytes: &mut [u8; 32] = zerocopy::transmute_mut!(key);
    // Lengths of ours are 1 to 32; masked, so that no second range is left to follow.
    if !mem.read_prefix(name, bytes, ((len - 1) & 31) + 1) {
        return false;
    }
    let key = [
        get(record, KEY),
        get(record, KEY + 1),
        get(record, KEY + 2),
        get(record, KEY + 3),
    ];
    // Each branch leaves nothing but a word of the record behind, so its two paths meet again.
    set(record, ROW, MAX_HEADER_NAMES as u64);
    set(record, BOUND, 0);
    for row in (0..MAX_HEADER_NAMES).rev() {
        compare(layout, row, len, &key, record);
    }
    get(record, ROW) < get(record, BOUND)
}

/// Leaves `row` in `ROW` where the key is that row's name.
#[inline(always)]
fn compare(layout: &Layout, row: usize, len: u64, key: &[u64; 4], record: &mut RequestStarted) {
    if differ(&layout.headers[row], len, key) == 0 {
        set(record, ROW, row as u64);
        let bound = if row < MAX_ID_HEADERS {
            get(record, BEST)
        } else if row < MAX_HEADER_NAMES - 1 {
            get(record, BEST_DEADLINE)
        } else {
            MAX_HEADER_NAMES as u64
        };
        set(record, BOUND, bound);
    }
}

/// Reads the first value of the matched header.
#[inline(always)]
fn keep<M: MemRead>(mem: &M, record: &mut RequestStarted, values: u64) {
    let Some([text, len]) = mem.pair(values) else {
        return;
    };
    set(record, LENGTH, len);
    set(record, KEPT, bounded(len, MAX_VALUE as u64));
    let kept = get(record, KEPT);
    if kept == 0 {
        // An empty value names nothing: a less preferred header may.
        return;
    }
    let row = get(record, ROW);
    if row == TRACE_ROW {
        if mem.read_prefix(text, &mut record.trace, kept) {
            record.trace_len = kept;
            found(record, SEEK_TRACE);
        }
        return;
    }
    if row >= DEADLINE_ROW {
        // A read that fails spoils what a header of less worth has left there.
        record.deadline_row = 0;
        set(record, KEPT, bounded(kept, MAX_DEADLINE as u64));
        let kept = get(record, KEPT);
        if mem.read_prefix(text, &mut record.deadline, kept) {
            // No header is as long as 4 GiB.
            record.deadline_len = get(record, LENGTH) as u32;
            record.deadline_row = (row - DEADLINE_ROW) as u32 + 1;
            set(record, BEST_DEADLINE, row);
            if row == DEADLINE_ROW {
                found(record, SEEK_DEADLINE);
            }
        }
        return;
    }
    record.id_len = 0;
    record.id_row = 0;
    if mem.read_prefix(text, &mut record.id, kept) {
        // No header is as long as 4 GiB.
        record.id_len = get(record, LENGTH) as u32;
        record.id_row = row as u32 + 1;
        set(record, BEST, row);
        if row == 0 {
            found(record, SEEK_ID);
        }
    }
}

/// 0 when the padded names are equal. Read in place at every slot: kept over the loop, the names
/// would be spilled, and the spills compared at every step by the verifier.
#[inline(always)]
fn differ(header: &HeaderName, len: u64, key: &[u64; 4]) -> u64 {
    let mut bits = 0;
    for (word, have) in header.words.iter().zip(key) {
        // SAFETY: a reference is valid for reads.
        bits |= unsafe { read_volatile(word) } ^ have;
    }
    // SAFETY: a reference is valid for reads.
    bits | (unsafe { read_volatile(&raw const header.len) } ^ len)
}
