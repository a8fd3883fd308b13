//! Finds a few headers in a Go `http.Header`: a Swiss map (Go ≥ 1.24) or a bucket map (≤ 1.23).
//!
//! All state of the search lives in the record and is read and written volatile: the kernel's
//! verifier then forgets it at every step and needs not follow each path on its own. Maps that
//! need more than [`MAX_GROUPS`] steps, or that are half way through growing, are left to user
//! space.

use core::ptr::{read_volatile, write_volatile};

use crate::event::{REQUEST_BIG_MAP, RequestStarted, SCRATCH_WORDS};
use crate::layout::{Layout, SWISS_MAP};
use crate::limits::{MAX_GROUPS, MAX_HEADER_NAMES, MAX_VALUE};
use crate::mem::MemRead;

/// Slots of a group and of a bucket.
const SLOTS: usize = 8;
/// Bytes of a Swiss group of `string → []string`.
const GROUP_BYTES: u64 = 328;
/// Bytes of a bucket of `string → []string`.
const BUCKET_BYTES: u64 = 336;
/// Smallest tophash of a full cell.
const MIN_TOP_HASH: u64 = 5;
const PAGE: u64 = 4096;

// Words of `RequestStarted::search`.
/// Address of the next block, 0 when there is none.
const NEXT: usize = 0;
/// Blocks left in the array.
const LEFT: usize = 1;
/// Address of the array's next block.
const ARRAY: usize = 2;
/// Row of the best ID header found, from 1; larger than any row when none.
const BEST: usize = 3;
/// 1 when the trace header was found.
const TRACED: usize = 4;

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
#[inline(always)]
pub fn find<M: MemRead>(mem: &M, layout: &Layout, map: u64, record: &mut RequestStarted) {
    set(record, BEST, MAX_HEADER_NAMES as u64);
    set(record, TRACED, 0);
    if map == 0 {
        return;
    }
    let begun = if layout.has(SWISS_MAP) {
        begin_swiss(mem, map, record)
    } else {
        begin_buckets(mem, map, record)
    };
    if !begun {
        return;
    }
    for _ in 0..MAX_GROUPS {
        if get(record, NEXT) == 0 || done(layout, record) {
            return;
        }
        if layout.has(SWISS_MAP) {
            group(mem, layout, record);
        } else {
            bucket(mem, layout, record);
        }
    }
    if get(record, NEXT) != 0 && !done(layout, record) {
        record.flags |= REQUEST_BIG_MAP;
    }
}

/// The preferred ID header and the trace header are found.
#[inline(always)]
fn done(layout: &Layout, record: &RequestStarted) -> bool {
    let id = get(record, BEST) == 0 || layout.headers[0].len == 0;
    let trace = get(record, TRACED) != 0 || layout.headers[MAX_HEADER_NAMES - 1].len == 0;
    id && trace
}

/// Go ≥ 1.24: `used`, `seed`, `dirPtr`, `dirLen`.
#[inline(always)]
fn begin_swiss<M: MemRead>(mem: &M, map: u64, record: &mut RequestStarted) -> bool {
    let mut head = [0u64; 4];
    if !mem.read_words(map, &mut head) || head[0] == 0 {
        return false;
    }
    let [_, _, directory, tables] = head;
    if tables == 0 {
        set(record, NEXT, directory);
        set(record, LEFT, 0);
        set(record, ARRAY, 0);
        return true;
    }
    if tables > 1 {
        record.flags |= REQUEST_BIG_MAP;
        return false;
    }
    let Some(table) = mem.word(directory) else { return false };
    let Some([groups, mask]) = mem.pair(table.wrapping_add(16)) else { return false };
    set(record, NEXT, groups);
    set(record, LEFT, mask);
    set(record, ARRAY, groups.wrapping_add(GROUP_BYTES));
    true
}

/// Go ≤ 1.23: `count`, then `flags` and `B`, `buckets` at 16, `oldbuckets` at 24.
#[inline(always)]
fn begin_buckets<M: MemRead>(mem: &M, map: u64, record: &mut RequestStarted) -> bool {
    let mut head = [0u64; 4];
    if !mem.read_words(map, &mut head) || head[0] == 0 {
        return false;
    }
    let [_, bits, buckets, old] = head;
    if old != 0 {
        record.flags |= REQUEST_BIG_MAP;
        return false;
    }
    let log2 = (bits >> 8) & 0xff;
    if log2 > 6 {
        record.flags |= REQUEST_BIG_MAP;
        return false;
    }
    set(record, NEXT, buckets);
    set(record, LEFT, (1 << log2) - 1);
    set(record, ARRAY, buckets.wrapping_add(BUCKET_BYTES));
    true
}

/// Goes on to the next block of the array.
#[inline(always)]
fn advance(record: &mut RequestStarted, bytes: u64) {
    let left = get(record, LEFT);
    if left == 0 {
        set(record, NEXT, 0);
        return;
    }
    let array = get(record, ARRAY);
    set(record, NEXT, array);
    set(record, ARRAY, array.wrapping_add(bytes));
    set(record, LEFT, left - 1);
}

/// Reads a block. Its tail may lie on a page that was never touched; full slots never do.
#[inline(always)]
fn load<M: MemRead>(mem: &M, record: &mut RequestStarted) -> bool {
    let at = get(record, NEXT);
    if mem.read_words(at, &mut record.scratch) {
        return true;
    }
    let to_page_end = PAGE - (at & (PAGE - 1));
    for word in 0..SCRATCH_WORDS {
        record.scratch[word] = 0;
    }
    // Whole words at a time: what is cut is in slots that are not full.
    for word in 0..SCRATCH_WORDS {
        if (word as u64) * 8 >= to_page_end {
            return word != 0;
        }
        match mem.word(at.wrapping_add((word as u64) * 8)) {
            Some(value) => record.scratch[word] = value,
            None => return false,
        }
    }
    true
}

#[inline(always)]
fn group<M: MemRead>(mem: &M, layout: &Layout, record: &mut RequestStarted) {
    if !load(mem, record) {
        set(record, NEXT, 0);
        record.flags |= REQUEST_BIG_MAP;
        return;
    }
    for slot in 0..SLOTS {
        let control = scratch(record, 0);
        if (control >> (8 * slot)) & 0x80 == 0 {
            let key = 1 + 5 * slot;
            let (name, len) = (scratch(record, key), scratch(record, key + 1));
            let (values, count) = (scratch(record, key + 2), scratch(record, key + 3));
            cell(mem, layout, record, name, len, if count == 0 { 0 } else { values });
        }
    }
    advance(record, GROUP_BYTES);
}

#[inline(always)]
fn bucket<M: MemRead>(mem: &M, layout: &Layout, record: &mut RequestStarted) {
    if !load(mem, record) {
        set(record, NEXT, 0);
        record.flags |= REQUEST_BIG_MAP;
        return;
    }
    for slot in 0..SLOTS {
        let tops = scratch(record, 0);
        if (tops >> (8 * slot)) & 0xff >= MIN_TOP_HASH {
            let (key, value) = (1 + 2 * slot, 17 + 3 * slot);
            let (name, len) = (scratch(record, key), scratch(record, key + 1));
            let (values, count) = (scratch(record, value), scratch(record, value + 1));
            cell(mem, layout, record, name, len, if count == 0 { 0 } else { values });
        }
    }
    let overflow = scratch(record, SCRATCH_WORDS - 1);
    if overflow == 0 {
        advance(record, BUCKET_BYTES);
    } else {
        set(record, NEXT, overflow);
    }
}

/// One full slot: is it one of ours, and better than what we have?
#[inline(always)]
fn cell<M: MemRead>(
    mem: &M,
    layout: &Layout,
    record: &mut RequestStarted,
    name: u64,
    len: u64,
    values: u64,
) {
    let row = row_of(mem, layout, name, len);
    if row >= MAX_HEADER_NAMES as u64 || values == 0 {
        return;
    }
    let trace = row == MAX_HEADER_NAMES as u64 - 1;
    if !trace && row >= get(record, BEST) {
        return;
    }
    let Some([text, text_len]) = mem.pair(values) else { return };
    let kept = if text_len > MAX_VALUE as u64 { MAX_VALUE as u64 } else { text_len };
    if trace {
        if mem.read_prefix(text, &mut record.trace, kept) {
            record.trace_len = kept;
            set(record, TRACED, 1);
        }
    } else if mem.read_prefix(text, &mut record.id, kept) {
        record.id_len = kept as u32;
        record.id_row = row as u32 + 1;
        set(record, BEST, row);
    }
}

/// Row of the header with this name; `MAX_HEADER_NAMES` when it is none of ours.
#[inline(always)]
fn row_of<M: MemRead>(mem: &M, layout: &Layout, name: u64, len: u64) -> u64 {
    let none = MAX_HEADER_NAMES as u64;
    if len == 0 {
        return none;
    }
    if !layout.headers.iter().any(|header| header.len == len) {
        return none;
    }
    let mut key = [0u64; 4];
    if !read_name(mem, name, len, &mut key) {
        return none;
    }
    for (row, header) in layout.headers.iter().enumerate() {
        if header.len == len && equal(&header.bytes, &key) {
            return row as u64;
        }
    }
    none
}

#[inline(always)]
fn read_name<M: MemRead>(mem: &M, name: u64, len: u64, key: &mut [u64; 4]) -> bool {
    let bytes: &mut [u8; 32] = zerocopy::transmute_mut!(key);
    mem.read_prefix(name, bytes, len)
}

#[inline(always)]
fn equal(name: &[u8; 32], key: &[u64; 4]) -> bool {
    let words: [u64; 4] = zerocopy::transmute!(*name);
    (words[0] ^ key[0]) | (words[1] ^ key[1]) | (words[2] ^ key[2]) | (words[3] ^ key[3]) == 0
}
