//! Builders of `http.Header`: Swiss maps (Go ≥ 1.24) and bucket maps (≤ 1.23), as Go lays them out.

use super::memory::{HEAP, Memory};

/// Where maps are put; keys and values follow at [`TEXTS`].
pub const MAP: u64 = HEAP + 0x1_0000;
pub const TABLE: u64 = HEAP + 0x1_1000;
/// Blocks begin at a page.
pub const BLOCKS: u64 = HEAP + 0x2_0000;
const TEXTS: u64 = HEAP + 0x10_0000;

const GROUP_WORDS: usize = 41;
const BUCKET_WORDS: usize = 42;
pub const GROUP_BYTES: u64 = GROUP_WORDS as u64 * 8;
pub const BUCKET_BYTES: u64 = BUCKET_WORDS as u64 * 8;

pub type Entry<'a> = (&'a str, &'a str);

/// A key and the header of its `[]string` in memory: five words.
fn cells(memory: &mut Memory, (key, value): Entry<'_>, number: u64) -> [u64; 5] {
    let at = TEXTS + number * 0x400;
    memory.bytes(at, key.as_bytes());
    memory.words(at + 0x100, &[at + 0x110, value.len() as u64]);
    memory.bytes(at + 0x110, value.as_bytes());
    [at, key.len() as u64, at + 0x100, 1, 1]
}

/// Memory comes in pages: what lies beside a block can be read too.
fn pages(memory: &mut Memory) {
    memory.bytes(BLOCKS, &[0; 0x8000]);
}

/// One group at `at`. A `None` slot is empty; slots beyond the list are too.
pub fn group(memory: &mut Memory, at: u64, slots: &[Option<Entry<'_>>]) {
    let mut words = [0u64; GROUP_WORDS];
    let mut control = [0x80u8; 8];
    for (number, entry) in slots.iter().enumerate() {
        let Some(entry) = entry else { continue };
        control[number] = 0x11 + u8::try_from(number).unwrap();
        let seed = (at - BLOCKS) / 8 + number as u64;
        words[1 + 5 * number..6 + 5 * number].copy_from_slice(&cells(memory, *entry, seed));
    }
    words[0] = u64::from_le_bytes(control);
    memory.words(at, &words);
}

/// A map of one group without a directory.
pub fn small_swiss(memory: &mut Memory, slots: &[Option<Entry<'_>>]) -> u64 {
    pages(memory);
    group(memory, BLOCKS, slots);
    let used = slots.iter().flatten().count() as u64;
    memory.words(MAP, &[used, 0x1234, BLOCKS, 0])
}

/// A map of one table with `groups` groups at `at`.
pub fn swiss_at(memory: &mut Memory, at: u64, groups: &[&[Option<Entry<'_>>]]) -> u64 {
    assert!(groups.len().is_power_of_two());
    pages(memory);
    for (number, slots) in groups.iter().enumerate() {
        group(memory, at + GROUP_BYTES * number as u64, slots);
    }
    memory.words(TABLE, &[0, 0, at, groups.len() as u64 - 1]);
    memory.words(TABLE + 0x100, &[TABLE]);
    let used = groups.iter().flat_map(|slots| slots.iter().flatten());
    memory.words(MAP, &[used.count() as u64, 0x1234, TABLE + 0x100, 1])
}

/// One bucket at `at`.
pub fn bucket(memory: &mut Memory, at: u64, slots: &[Option<Entry<'_>>], overflow: u64) {
    let mut words = [0u64; BUCKET_WORDS];
    // 1: this cell is empty; 0: and so are all that follow.
    let mut top = [1u8; 8];
    for (number, entry) in slots.iter().enumerate() {
        let Some(entry) = entry else { continue };
        top[number] = 5 + u8::try_from(number).unwrap();
        let seed = (at - BLOCKS) / 8 + number as u64;
        let [key, len, slice, count, cap] = cells(memory, *entry, seed);
        words[1 + 2 * number..3 + 2 * number].copy_from_slice(&[key, len]);
        words[17 + 3 * number..20 + 3 * number].copy_from_slice(&[slice, count, cap]);
    }
    words[0] = u64::from_le_bytes(top);
    words[41] = overflow;
    memory.words(at, &words);
}

/// An `hmap` of `1 << log2` buckets at [`BLOCKS`].
pub fn hmap(memory: &mut Memory, count: u64, log2: u64, old: u64) -> u64 {
    memory.words(MAP, &[count, log2 << 8 | 0x5678_0000_0000, BLOCKS, old])
}

/// A bucket map; its number of buckets is a power of two.
pub fn buckets_of(memory: &mut Memory, buckets: &[&[Option<Entry<'_>>]]) -> u64 {
    for (number, slots) in buckets.iter().enumerate() {
        bucket(memory, BLOCKS + BUCKET_BYTES * number as u64, slots, 0);
    }
    let count = buckets.iter().flat_map(|slots| slots.iter().flatten());
    let count = count.count() as u64;
    hmap(memory, count, u64::from(buckets.len().ilog2()), 0)
}
