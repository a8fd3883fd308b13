//! The log on a real file system.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{LogOptions, RotatingLog, is_stamp, rotated_files, stamp};

fn options(folder: &Path) -> LogOptions {
    LogOptions {
        path: folder.join("o.jsonl"),
        max_size: 100,
        max_age: Duration::from_secs(3600),
        max_total: 350,
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

fn line(letter: char) -> String {
    format!("{}\n", letter.to_string().repeat(39))
}

#[test]
fn stamps_sort_by_time_and_are_recognised() {
    let one = stamp(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_772_366_400_000_000_001));
    assert_eq!(one, "20260301T120000.000000001Z");
    assert!(is_stamp(&one));
    assert!(!is_stamp("bak") && !is_stamp("20260301T120000.00000000xZ"));
}

#[test]
fn rotates_by_size_and_keeps_the_total() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let mut log = RotatingLog::open(options.clone(), at(0)).unwrap();
    std::fs::write(folder.path().join("o.jsonl.bak"), "mine").unwrap();
    for index in 0..20u8 {
        let text = line(char::from(b'a' + index));
        let notice = log.append(&text, at(u64::from(index))).unwrap();
        assert_eq!(notice, None);
    }
    let current = std::fs::read_to_string(&options.path).unwrap();
    assert_eq!(current, line('s') + &line('t'));
    let mode = options.path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut rotated = rotated_files(&options.path).unwrap();
    rotated.sort();
    let texts: Vec<String> = rotated
        .iter()
        .map(|(_, path, _)| std::fs::read_to_string(path).unwrap())
        .collect();
    let expected = [
        line('m') + &line('n'),
        line('o') + &line('p'),
        line('q') + &line('r'),
    ];
    assert_eq!(texts.last(), expected.last());
    let total: u64 = rotated.iter().map(|(_, _, size)| size).sum();
    assert!(total + options.max_size <= options.max_total, "{total}");
    assert!(folder.path().join("o.jsonl.bak").exists(), "not ours");
}

#[test]
fn rotates_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let mut log = RotatingLog::open(options.clone(), at(0)).unwrap();
    log.append("a\n", at(0)).unwrap();
    log.append("b\n", at(3500)).unwrap();
    assert_eq!(rotated_files(&options.path).unwrap().len(), 0);
    log.append("c\n", at(3700)).unwrap();
    assert_eq!(rotated_files(&options.path).unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(&options.path).unwrap(), "c\n");
}

#[test]
fn goes_on_in_the_same_file_when_rotation_fails_and_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let mut log = RotatingLog::open(options.clone(), at(0)).unwrap();
    log.append(&line('a'), at(0)).unwrap();
    log.append(&line('b'), at(0)).unwrap();
    // Somebody took the file away: there is nothing to rename.
    let moved = folder.path().join("moved");
    std::fs::rename(&options.path, &moved).unwrap();
    assert!(log.append(&line('c'), at(1)).unwrap().is_some());
    assert!(log.append(&line('d'), at(2)).unwrap().is_none(), "waits");
    assert!(log.append(&line('e'), at(62)).unwrap().is_none(), "said");
    let text = std::fs::read_to_string(moved).unwrap();
    assert_eq!(text.lines().count(), 5);
}

#[test]
fn refuses_symbolic_links_and_leaves_devices_alone() {
    let folder = tempfile::tempdir().unwrap();
    let link = options(folder.path());
    std::os::unix::fs::symlink("/etc/passwd", &link.path).unwrap();
    assert!(RotatingLog::open(link, at(0)).is_err());
    let full = LogOptions {
        path: "/dev/full".into(),
        ..options(folder.path())
    };
    let mut log = RotatingLog::open(full, at(0)).unwrap();
    let error = log.append("x\n", at(0)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}
