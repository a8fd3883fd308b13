//! Files that are no Go executable, or no longer one, are refused at once and never panic.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use observer::go::image::{Image, ImageError};
use proptest::prelude::*;
use tempfile::tempfile;

use crate::SOURCE;
use crate::build::{FLAVOURS, build};

/// Far above what a refusal takes, far below what a search through such a file takes.
const AT_ONCE: Duration = Duration::from_millis(250);

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    file
}

fn refusal(file: &File, what: &str) -> ImageError {
    let started = Instant::now();
    let error = Image::open(file).err();
    let took = started.elapsed();
    eprintln!("{what}: refused in {took:?}: {error:?}");
    assert!(took < AT_ONCE, "{what}: {took:?}");
    error.unwrap_or_else(|| panic!("{what}: not refused"))
}

fn program() -> Vec<u8> {
    std::fs::read(build(SOURCE, "1.27.3", FLAVOURS[0])).expect("the program")
}

#[test]
fn foreign_files() {
    assert!(matches!(
        refusal(&file_of(b""), "empty"),
        ImageError::NotElf
    ));
    assert!(matches!(
        refusal(&file_of(b"#!/bin/sh\n"), "script"),
        ImageError::NotElf
    ));
    assert!(matches!(
        refusal(&file_of(b"\x7fELF"), "magic only"),
        ImageError::NotElf
    ));
    let shell = File::open("/bin/sh").expect("a shell");
    assert!(matches!(refusal(&shell, "shell"), ImageError::NotGo { .. }));
    let own = File::open(std::env::current_exe().expect("this test")).expect("this test");
    assert!(matches!(
        refusal(&own, "Rust executable"),
        ImageError::NotGo { .. }
    ));
    let folder = File::open("/").expect("a folder");
    assert!(matches!(refusal(&folder, "folder"), ImageError::NotElf));
}

#[test]
fn a_foreign_executable_of_any_length() {
    let file = file_of(&std::fs::read("/bin/sh").expect("a shell"));
    file.set_len(3 << 30).expect("a sparse file");
    assert!(matches!(
        refusal(&file, "3 GiB sparse shell"),
        ImageError::NotGo { .. }
    ));
}

#[test]
fn a_go_executable_whose_sections_claim_gigabytes() {
    // The section headers stay, but each section that is searched is a sparse gigabyte.
    let mut bytes = program();
    let headers = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().expect("8")))
        .expect("an offset");
    let count = usize::from(u16::from_le_bytes(bytes[60..62].try_into().expect("2")));
    for header in (headers..).step_by(64).take(count).skip(1) {
        bytes[header + 24..header + 32].copy_from_slice(&(1u64 << 30).to_le_bytes());
        bytes[header + 32..header + 40].copy_from_slice(&(1u64 << 30).to_le_bytes());
    }
    let file = file_of(&bytes);
    file.set_len(3 << 30).expect("a sparse file");
    refusal(&file, "3 GiB of empty sections");
}

#[test]
fn other_machines_and_older_versions() {
    let mut bytes = program();
    bytes[18] = 40;
    assert!(matches!(
        refusal(&file_of(&bytes), "ARM"),
        ImageError::WrongArch { .. }
    ));
    bytes[18] = 62;
    bytes[4] = 1;
    assert!(matches!(
        refusal(&file_of(&bytes), "32 bits"),
        ImageError::WrongArch { .. }
    ));
    bytes[4] = 2;
    let at = bytes
        .windows(14)
        .position(|window| window == b"\xff Go buildinf:")
        .expect("build info");
    let version = bytes[at..]
        .windows(8)
        .position(|window| window == b"go1.27.3")
        .expect("version");
    bytes[at + version + 4..at + version + 6].copy_from_slice(b"17");
    assert!(matches!(
        refusal(&file_of(&bytes), "Go 1.17"),
        ImageError::TooOld { .. }
    ));
    bytes[at + version..at + version + 2].copy_from_slice(b"xx");
    assert!(matches!(
        refusal(&file_of(&bytes), "no version"),
        ImageError::NoVersion
    ));
}

#[test]
fn truncation_at_every_scale() {
    let bytes = program();
    let mut length = 0;
    while length < bytes.len() {
        let error = Image::open(&file_of(&bytes[..length])).err();
        assert!(
            matches!(
                error,
                Some(ImageError::NotElf | ImageError::Truncated { .. } | ImageError::NotGo { .. })
            ),
            "{length}: {error:?}"
        );
        length += (length / 5).max(1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is damaged, reading goes wrong in words, never in a panic.
    #[test]
    fn damage_never_panics(
        seed in any::<u64>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..6), 1..40),
    ) {
        let mut file = damaged_copy();
        let length = file.metadata().expect("a length").len();
        let bytes = program_cached();
        let spots = spots(bytes);
        for (index, value, spot) in damage {
            let (start, end) = spots[spot % spots.len()];
            let at = start + index.index(end - start);
            file.seek(SeekFrom::Start(u64::try_from(at).expect("an offset"))).expect("a place");
            file.write_all(&[value]).expect("written");
        }
        prop_assert!(length > 0);
        if let Ok(image) = Image::open(&file) {
            exercise(&image, seed);
        }
    }
}

fn program_cached() -> &'static [u8] {
    static PROGRAM: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    PROGRAM.get_or_init(program)
}

fn damaged_copy() -> File {
    file_of(program_cached())
}

/// The places that are read as structure: headers, section table, build info, function
/// table's head and middle, the rest.
fn spots(bytes: &[u8]) -> Vec<(usize, usize)> {
    let find = |needle: &[u8]| {
        bytes
            .windows(needle.len())
            .position(|window| window == needle)
            .unwrap_or(0)
    };
    static FOUND: std::sync::OnceLock<(usize, usize)> = std::sync::OnceLock::new();
    let &(info, table) = FOUND.get_or_init(|| {
        (
            find(b"\xff Go buildinf:"),
            find(&[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]),
        )
    });
    let sections =
        usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().expect("8"))).expect("offset");
    vec![
        (0, 600),
        (sections, (sections + 2000).min(bytes.len())),
        (info, info + 300),
        (table, table + 80),
        (table, bytes.len()),
        (0, bytes.len()),
    ]
}

fn exercise(image: &Image, seed: u64) {
    let _ = image.functions("context.(*cancelCtx).cancel");
    let _ = image.functions_under("net/http.(*conn).serve").count();
    let _ = image.allgs();
    let range = image.address_range();
    let span = range.high.wrapping_sub(range.low).max(1);
    for step in 0..200u64 {
        let vaddr = range
            .low
            .wrapping_add(seed.wrapping_mul(step.wrapping_mul(2) + 1) % span);
        let _ = image.frames(vaddr);
        let _ = image.stack_step(vaddr);
        let _ = image.type_of(vaddr);
        let _ = image.itab_type_vaddr(vaddr);
        let _ = image.function_at(vaddr);
    }
}
