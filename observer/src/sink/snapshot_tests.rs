use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{MAX_BYTES, PREFIX, SUFFIX, SnapshotFolder, SnapshotOptions, text};
use crate::error::{Error, Notice};
use crate::picture::samples;
use crate::sink::Clock;

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("observer-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn open(dir: &Path, max: usize) -> Result<SnapshotFolder, Error> {
    let dir = dir.to_owned();
    SnapshotFolder::open(SnapshotOptions { dir, max })
}

#[test]
fn a_snapshot_is_whole_and_for_its_owner_only() {
    let folder = Folder::new("snapshot-whole");
    let snapshots = open(&folder.0, 3).unwrap();
    assert_eq!(folder.names(), [""; 0], "trying leaves nothing behind");
    let picture = samples::picture();
    let path = snapshots.write(picture.clone(), Clock::default()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(folder.names(), [name]);
    assert!(name.starts_with(PREFIX) && name.ends_with(SUFFIX), "{name}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1 + picture.groups.len());
    assert!(text.ends_with('\n'));
}

#[test]
fn the_oldest_make_room_and_nobody_elses_files_do() {
    let folder = Folder::new("snapshot-room");
    fs::write(folder.0.join("goroutines-mine.jsonl"), "").unwrap();
    let snapshots = open(&folder.0, 2).unwrap();
    let write = || snapshots.write(samples::picture(), Clock::default());
    let paths: Vec<PathBuf> = (0..5).map(|_| write().unwrap()).collect();
    let mut kept = vec!["goroutines-mine.jsonl".to_owned()];
    for path in &paths[3..] {
        kept.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    kept.sort();
    assert_eq!(folder.names(), kept);
}

#[test]
fn a_folder_that_is_not_there_is_an_error_with_its_remedy() {
    let folder = Folder::new("snapshot-missing");
    let missing = folder.0.join("not-there");
    let error = open(&missing, 1).unwrap_err();
    assert!(error.hint().contains("mkdir -p"), "{}", error.hint());
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file, 1).unwrap_err();
    assert!(error.hint().contains("not a folder"), "{}", error.hint());
}

#[test]
fn a_folder_that_goes_away_is_a_warning() {
    let folder = Folder::new("snapshot-gone");
    let inner = folder.0.join("inner");
    fs::create_dir(&inner).unwrap();
    let snapshots = open(&inner, 1).unwrap();
    fs::remove_dir(&inner).unwrap();
    let notice = snapshots.write(samples::picture(), Clock::default());
    assert!(
        matches!(&notice, Err(Notice::SnapshotFailed { dir, .. }) if *dir == inner),
        "{notice:?}"
    );
}

#[test]
fn what_does_not_fit_is_counted_in_the_first_line() {
    let mut picture = samples::picture();
    let mut large = picture.groups[0].clone();
    let frame = large.stacks[0].frames[0].clone();
    large.stacks[0].frames = vec![frame; MAX_BYTES / 3 / 100];
    large.count = 7;
    picture.groups = vec![large; 5];
    picture.groups_other = (1, 2);
    let (_, text) = text(picture, Clock::default()).unwrap();
    assert!(text.len() <= MAX_BYTES);
    let lines: Vec<&str> = text.lines().collect();
    let first: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    let left_out = 5 - (lines.len() as u64 - 1);
    assert!(left_out > 0, "{} lines", lines.len());
    assert_eq!(first["groups"], lines.len() as u64 - 1);
    assert_eq!(first["groups_other"], 1 + left_out);
    assert_eq!(first["goroutines_other"], 2 + 7 * left_out);
}

#[test]
fn a_name_steers_no_path() {
    let folder = Folder::new("snapshot-name");
    let snapshots = open(&folder.0, 1).unwrap();
    let mut picture = samples::picture();
    let mut process = (*picture.process).clone();
    process.name = "../../shop\n".into();
    picture.process = process.into();
    let path = snapshots.write(picture, Clock::default()).unwrap();
    assert_eq!(path.parent(), Some(&*folder.0));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("goroutines-.._.._shop_-"), "{name}");
}
