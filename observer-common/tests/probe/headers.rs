//! Headers are found in maps of every shape, or the map is left to user space.

use observer_common::event::{REQUEST_BIG_MAP, RequestStarted};
use observer_common::layout::{HeaderName, Layout};
use observer_common::limits::{
    MAX_DEADLINE, MAX_GROUPS, MAX_HEADER_NAMES, MAX_ID_HEADERS, MAX_VALUE,
};
use observer_common::probe::headers::find;

use super::maps::{
    BLOCKS, BUCKET_BYTES, Entry, GROUP_BYTES, MAP, bucket, buckets_of, hmap, small_swiss, swiss_at,
};
use super::memory::{HEAP, Memory, layout, record};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID: Option<Entry<'static>> = Some(("X-Request-Id", "3f1c9a"));
const OTHER_ID: Option<Entry<'static>> = Some(("X-Correlation-Id", "c0ffee"));
const PARENT: Option<Entry<'static>> = Some(("Traceparent", TRACE));
const NOISE: Option<Entry<'static>> = Some(("Accept", "*/*"));

fn wanted(names: &[&str]) -> Layout {
    let mut layout = layout();
    let rows = names.iter().map(|name| HeaderName::new(name).unwrap());
    for (row, name) in layout.headers.iter_mut().zip(rows) {
        *row = name;
    }
    layout.headers[MAX_HEADER_NAMES - 1] = HeaderName::new("Traceparent").unwrap();
    let lens = layout.headers.iter().filter(|row| row.len != 0);
    layout.header_lens = lens.fold(0, |lens, row| lens | 1 << row.len);
    layout
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    row: u32,
    id: String,
    trace: String,
    big: bool,
}

fn search<const SWISS: bool>(memory: &Memory, map: u64, names: &[&str]) -> Found {
    let mut event: RequestStarted = record();
    (event.id_row, event.id_len, event.trace_len, event.flags) = (0, 0, 0, 0);
    find::<SWISS, _>(memory, &wanted(names), map, &mut event);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Found {
        row: event.id_row,
        id: text(&event.id[..(event.id_len as usize).min(MAX_VALUE)]),
        trace: text(&event.trace[..usize::try_from(event.trace_len).unwrap()]),
        big: event.flags & REQUEST_BIG_MAP != 0,
    }
}

fn found(row: u32, id: &str, trace: &str) -> Found {
    Found {
        row,
        id: id.into(),
        trace: trace.into(),
        big: false,
    }
}

const NAMES: [&str; 2] = ["X-Request-Id", "X-Correlation-Id"];

#[test]
fn no_map_and_an_empty_map_hold_nothing() {
    let mut memory = Memory::default();
    assert_eq!(search::<true>(&memory, 0, &NAMES), found(0, "", ""));
    assert_eq!(search::<false>(&memory, 0, &NAMES), found(0, "", ""));
    memory.words(MAP, &[0, 0x1234, 0, 0]);
    assert_eq!(search::<true>(&memory, MAP, &NAMES), found(0, "", ""));
    assert_eq!(search::<false>(&memory, MAP, &NAMES), found(0, "", ""));
}

#[test]
fn one_group_and_one_bucket() {
    let slots = [NOISE, None, PARENT, NOISE, None, None, None, ID];
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &slots);
    let both = found(1, "3f1c9a", TRACE);
    assert_eq!(search::<true>(&memory, map, &NAMES), both);
    let mut memory = Memory::default();
    let map = buckets_of(&mut memory, &[&slots]);
    assert_eq!(search::<false>(&memory, map, &NAMES), both);
}

#[test]
fn several_groups_and_buckets_up_to_the_last_slot() {
    let empty: &[Option<Entry<'_>>] = &[NOISE; 8];
    let last: &[Option<Entry<'_>>] = &[NOISE, NOISE, NOISE, NOISE, NOISE, NOISE, PARENT, ID];
    let mut blocks = [empty; MAX_GROUPS];
    blocks[MAX_GROUPS - 1] = last;
    for count in [1, 2, 4, MAX_GROUPS] {
        let blocks = &blocks[MAX_GROUPS - count..];
        let mut memory = Memory::default();
        let map = swiss_at(&mut memory, BLOCKS, blocks);
        let both = found(1, "3f1c9a", TRACE);
        assert_eq!(search::<true>(&memory, map, &NAMES), both, "{count}");
        let mut memory = Memory::default();
        let map = buckets_of(&mut memory, blocks);
        assert_eq!(search::<false>(&memory, map, &NAMES), both, "{count}");
    }
}

#[test]
fn a_map_with_more_groups_is_left_to_user_space() {
    let empty: &[Option<Entry<'_>>] = &[NOISE];
    let mut blocks = [empty; 2 * MAX_GROUPS];
    let mut memory = Memory::default();
    let map = swiss_at(&mut memory, BLOCKS, &blocks);
    assert!(search::<true>(&memory, map, &NAMES).big);
    let mut memory = Memory::default();
    let map = buckets_of(&mut memory, &blocks);
    assert!(search::<false>(&memory, map, &NAMES).big);
    // Unless everything is found before the bound.
    blocks[1] = &[ID, PARENT];
    let both = found(1, "3f1c9a", TRACE);
    let mut memory = Memory::default();
    let map = swiss_at(&mut memory, BLOCKS, &blocks);
    assert_eq!(search::<true>(&memory, map, &NAMES), both);
    let mut memory = Memory::default();
    let map = buckets_of(&mut memory, &blocks);
    assert_eq!(search::<false>(&memory, map, &NAMES), both);
}

#[test]
fn several_tables_are_left_to_user_space() {
    let mut memory = Memory::default();
    let map = swiss_at(&mut memory, BLOCKS, &[&[ID]]);
    memory.words(map + 24, &[2]);
    let result = search::<true>(&memory, map, &NAMES);
    assert!(result.big);
    assert_eq!(result.row, 0);
}

#[test]
fn a_growing_bucket_map_is_left_to_user_space() {
    let mut memory = Memory::default();
    buckets_of(&mut memory, &[&[ID]]);
    let map = hmap(&mut memory, 1, 0, BLOCKS + 0x8000);
    assert!(search::<false>(&memory, map, &NAMES).big);
    // So is one whose size cannot be a header's.
    let map = hmap(&mut memory, 1, 7, 0);
    assert!(search::<false>(&memory, map, &NAMES).big);
}

#[test]
fn overflow_buckets_come_before_the_next_bucket() {
    let mut memory = Memory::default();
    let over = BLOCKS + 0x4000;
    bucket(&mut memory, BLOCKS, &[NOISE; 8], over);
    bucket(&mut memory, over, &[NOISE, ID], over + 0x1000);
    bucket(&mut memory, over + 0x1000, &[None, None, PARENT], 0);
    bucket(&mut memory, BLOCKS + BUCKET_BYTES, &[NOISE], 0);
    let map = hmap(&mut memory, 12, 1, 0);
    let both = found(1, "3f1c9a", TRACE);
    assert_eq!(search::<false>(&memory, map, &NAMES), both);
    // After the overflow the array goes on where it was left.
    bucket(&mut memory, over + 0x1000, &[NOISE], 0);
    bucket(&mut memory, BLOCKS + BUCKET_BYTES, &[PARENT], 0);
    assert_eq!(search::<false>(&memory, map, &NAMES), both);
}

#[test]
fn overflow_that_runs_in_a_circle_is_bounded() {
    let mut memory = Memory::default();
    bucket(&mut memory, BLOCKS, &[NOISE; 8], BLOCKS);
    let map = hmap(&mut memory, 8, 0, 0);
    assert!(search::<false>(&memory, map, &NAMES).big);
}

#[test]
fn a_name_of_the_same_length_is_another_name() {
    let slots = [
        Some(("X-Request-Ip", "10.0.0.1")),
        Some(("Tracepatent", "x")),
    ];
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &slots);
    assert_eq!(search::<true>(&memory, map, &NAMES), found(0, "", ""));
    // A length that is the same but for a multiple of 64 is no match either.
    let long = format!("X-Request-Id{}", "-".repeat(64));
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[Some((&long, "no")), ID]);
    assert_eq!(search::<true>(&memory, map, &NAMES), found(1, "3f1c9a", ""));
}

#[test]
fn the_preferred_name_wins_in_any_order() {
    for slots in [[ID, OTHER_ID], [OTHER_ID, ID]] {
        let mut memory = Memory::default();
        let map = small_swiss(&mut memory, &slots);
        assert_eq!(search::<true>(&memory, map, &NAMES), found(1, "3f1c9a", ""));
        let turned = ["X-Correlation-Id", "X-Request-Id"];
        assert_eq!(
            search::<true>(&memory, map, &turned),
            found(1, "c0ffee", "")
        );
        let second = ["X-Amzn-Trace-Id", "X-Correlation-Id"];
        assert_eq!(
            search::<true>(&memory, map, &second),
            found(2, "c0ffee", "")
        );
    }
}

#[test]
fn a_value_that_cannot_be_read_leaves_no_wrong_one() {
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[OTHER_ID, ID]);
    // The second slot's `[]string` points nowhere.
    let values = memory.words(HEAP, &[8, 6]);
    memory.words(BLOCKS + 8 + 40 + 16, &[values]);
    assert_eq!(search::<true>(&memory, map, &NAMES), found(0, "", ""));
}

#[test]
fn only_the_first_value_and_its_beginning_are_kept() {
    let long = "v".repeat(MAX_VALUE + 36);
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[Some(("X-Request-Id", &long))]);
    assert_eq!(
        search::<true>(&memory, map, &NAMES),
        found(1, &"v".repeat(MAX_VALUE), "")
    );
    // How long it is, is told.
    let mut event: RequestStarted = record();
    find::<true, _>(&memory, &wanted(&NAMES), map, &mut event);
    assert_eq!(event.id_len as usize, MAX_VALUE + 36);
}

#[test]
fn a_name_may_have_the_longest_length() {
    let name = "X-".to_owned() + &"N".repeat(30);
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[Some((&name, "yes"))]);
    assert_eq!(search::<true>(&memory, map, &[&name]), found(1, "yes", ""));
    assert!(HeaderName::new(&(name + "N")).is_none());
    assert!(HeaderName::new("").is_none());
}

#[test]
fn a_header_without_values_is_not_found() {
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[ID]);
    // The slice's length, in the group's first slot.
    memory.words(BLOCKS + 8 + 24, &[0]);
    assert_eq!(search::<true>(&memory, map, &NAMES), found(0, "", ""));
}

#[test]
fn the_untouched_tail_of_a_block_is_not_missed() {
    // The page ends inside the group; its full slots lie before.
    for room in [48, 88, 200, GROUP_BYTES - 8, GROUP_BYTES] {
        let at = BLOCKS + 0x1000 - room;
        let mut memory = Memory::default();
        let map = swiss_at(&mut memory, at, &[&[ID]]);
        memory.cut(BLOCKS + 0x1000);
        assert_eq!(
            search::<true>(&memory, map, &NAMES),
            found(1, "3f1c9a", ""),
            "{room}"
        );
    }
}

#[test]
fn the_untouched_tail_of_a_bucket_holds_no_overflow() {
    let at = BLOCKS + 0x1000 - 200;
    let mut memory = Memory::default();
    buckets_of(&mut memory, &[&[]]);
    bucket(&mut memory, at, &[NOISE], BLOCKS);
    memory.cut(BLOCKS + 0x1000);
    let map = memory.words(MAP, &[1, 0, at, 0]);
    assert_eq!(search::<false>(&memory, map, &NAMES), found(0, "", ""));
}

#[test]
fn a_deleted_slot_is_not_read() {
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[ID, OTHER_ID]);
    memory.bytes(BLOCKS, &[0xfe]);
    assert_eq!(search::<true>(&memory, map, &NAMES), found(2, "c0ffee", ""));
}

#[test]
fn a_block_that_is_not_there_is_left_to_user_space() {
    let mut memory = Memory::default();
    let map = memory.words(MAP, &[3, 0, HEAP + 0x9000_0000, 0]);
    assert!(search::<true>(&memory, map, &NAMES).big);
    // In the middle of a page there is no tail to blame.
    let map = memory.words(MAP, &[3, 0, HEAP + 0x9000_0800, 0]);
    assert!(search::<true>(&memory, map, &NAMES).big);
    // A map, a directory or a table that is gone holds nothing.
    assert_eq!(search::<true>(&memory, 8, &NAMES), found(0, "", ""));
    let map = memory.words(MAP, &[3, 0, 8, 1]);
    assert_eq!(search::<true>(&memory, map, &NAMES), found(0, "", ""));
}

/// Row, length and kept part of the deadline that a map holds, beside its ID and trace.
fn deadline(memory: &Memory, map: u64, names: &[&str]) -> (u32, u32, String) {
    let mut layout = wanted(&NAMES);
    for (row, name) in layout.headers[MAX_ID_HEADERS..].iter_mut().zip(names) {
        *row = HeaderName::new(name).unwrap();
        layout.header_lens |= 1 << row.len;
    }
    let mut event: RequestStarted = record();
    (event.deadline_row, event.deadline_len, event.flags) = (0, 0, 0);
    (event.id_row, event.id_len, event.trace_len) = (0, 0, 0);
    find::<true, _>(memory, &layout, map, &mut event);
    assert_eq!((event.id_row, event.trace_len), (1, 55));
    let kept = (event.deadline_len as usize).min(MAX_DEADLINE);
    let text = String::from_utf8(event.deadline[..kept].to_vec()).unwrap();
    (event.deadline_row, event.deadline_len, text)
}

#[test]
fn a_deadline_is_found_beside_id_and_trace() {
    const TIMEOUT: Option<Entry<'static>> = Some(("X-Timeout", "250m"));
    const MS: Option<Entry<'static>> = Some(("X-Timeout-Ms", "300"));
    let names = ["X-Timeout", "X-Timeout-Ms"];
    for slots in [[ID, TIMEOUT, MS, PARENT], [PARENT, MS, TIMEOUT, ID]] {
        let mut memory = Memory::default();
        let map = small_swiss(&mut memory, &slots);
        let first = (1, 4, "250m".to_owned());
        assert_eq!(deadline(&memory, map, &names), first);
        let turned = [names[1], names[0]];
        let other = (1, 3, "300".to_owned());
        assert_eq!(deadline(&memory, map, &turned), other);
        let second = ["Grpc-Timeout", "X-Timeout-Ms"];
        let (_, len, text) = other;
        assert_eq!(deadline(&memory, map, &second), (2, len, text));
        assert_eq!(deadline(&memory, map, &[]), (0, 0, String::new()));
    }
}

#[test]
fn of_a_long_deadline_the_length_is_told() {
    let long = "9".repeat(MAX_DEADLINE + 5);
    let mut memory = Memory::default();
    let map = small_swiss(&mut memory, &[Some(("X-Timeout", &long)), ID, PARENT]);
    let (row, len, text) = deadline(&memory, map, &["X-Timeout"]);
    assert_eq!(
        (row, len as usize, text.len()),
        (1, long.len(), MAX_DEADLINE)
    );
}
