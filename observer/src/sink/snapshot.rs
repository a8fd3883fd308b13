//! Files that hold all goroutines of a process at one moment: JSON lines, mode 0600, whole or not there, bounded in
//! number and size.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Notice};
use crate::picture::Picture;

use super::Clock;
use super::log::{is_stamp, stamp};
use super::wire::goroutines::lines;

const PREFIX: &str = "goroutines-";
const SUFFIX: &str = ".jsonl";
/// Bytes of one file; the smallest groups are left out of a larger one, and counted in its first line.
const MAX_BYTES: usize = 16 << 20;
/// Letters of a process's name in that of the file.
const NAME: usize = 64;
/// What is written for so long belongs to an observer that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Where, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// The folder.
    pub dir: PathBuf,
    /// Files in it; the oldest are deleted.
    pub max: usize,
}

/// A folder that takes snapshots.
#[derive(Debug, Clone)]
pub struct SnapshotFolder {
    options: SnapshotOptions,
}

impl SnapshotFolder {
    /// Tries whether the folder takes new files.
    ///
    /// # Errors
    /// [`Error::Output`] where it does not.
    pub fn open(options: SnapshotOptions) -> Result<Self, Error> {
        let path = options.dir.join(unfinished());
        // An empty file would fit on a full disk.
        let tried = create(&path).and_then(|mut file| file.write_all(&[b'\n'; 4096]));
        let removed = fs::remove_file(&path);
        if let Err(source) = tried.and(removed) {
            return Err(Error::Output {
                what: format!("snapshots into `{}`", options.dir.display()),
                path: Some(path),
                source,
            });
        }
        Ok(Self { options })
    }

    /// Writes one; gives its path.
    ///
    /// # Errors
    /// [`Notice::SnapshotFailed`] with what the kernel says; nothing of the file is left then.
    pub fn write(&self, picture: Picture, clock: Clock) -> Result<PathBuf, Notice> {
        let dir = &self.options.dir;
        let unfinished = dir.join(unfinished());
        let written = text(picture, clock).and_then(|(name, text)| {
            let mut file = create(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            self.make_room()?;
            let path = dir.join(name);
            fs::rename(&unfinished, &path)?;
            Ok(path)
        });
        written.map_err(|error| {
            let _not_there = fs::remove_file(&unfinished);
            Notice::SnapshotFailed {
                dir: dir.clone(),
                why: error.to_string(),
            }
        })
    }

    /// Leaves room for one more, once that is written whole; takes away what killed observers have left.
    fn make_room(&self) -> io::Result<()> {
        let mut whole = Vec::new();
        for entry in fs::read_dir(&self.options.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(stamp) = stamp_of(&name) {
                whole.push((stamp.to_owned(), entry.path()));
            } else if is_unfinished(&name) && is_abandoned(&entry.path()) {
                fs::remove_file(entry.path())?;
            }
        }
        whole.sort();
        let excess = (whole.len() + 1).saturating_sub(self.options.max);
        for (_, path) in whole.into_iter().take(excess) {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// The name and all lines, within the bound.
fn text(mut picture: Picture, clock: Clock) -> io::Result<(String, String)> {
    let name = name_of(&picture, SystemTime::now());
    let mut texts = Vec::new();
    let mut len = 0;
    for line in lines(&picture, clock, false) {
        let text = line.to_json()?;
        len += text.len();
        if len > MAX_BYTES && texts.len() > 1 {
            break;
        }
        texts.push(text);
    }
    let kept = texts.len().saturating_sub(1);
    if kept < picture.groups.len() {
        leave_out(&mut picture, kept);
        if let (Some(first), Some(line)) = (texts.first_mut(), lines(&picture, clock, false).next())
        {
            *first = line.to_json()?;
        }
    }
    Ok((name, texts.concat()))
}

/// Counts the groups beyond `kept` instead of telling of them.
fn leave_out(picture: &mut Picture, kept: usize) {
    let rest = picture.groups.split_off(kept);
    let (groups, goroutines) = &mut picture.groups_other;
    *groups = groups.saturating_add(u64::try_from(rest.len()).unwrap_or(u64::MAX));
    for group in rest {
        *goroutines = goroutines.saturating_add(group.count);
    }
}

/// `goroutines-shop-api-4121-20260102T030405.000000006Z.jsonl`.
fn name_of(picture: &Picture, now: SystemTime) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let letters = picture.process.name.chars().take(NAME);
    let name: String = letters.map(|c| if harmless(c) { c } else { '_' }).collect();
    let pid = picture.process.pid;
    format!("{PREFIX}{name}-{pid}-{}{SUFFIX}", stamp(now))
}

/// When a snapshot was made, from its name; `None` for what is none.
fn stamp_of(name: &OsStr) -> Option<&str> {
    let rest = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (_, stamp) = rest.rsplit_once('-')?;
    is_stamp(stamp).then_some(stamp)
}

/// What is being written, one file for each observer.
fn unfinished() -> String {
    format!(".{PREFIX}{}.tmp", std::process::id())
}

fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    name.strip_prefix('.')
        .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(".tmp"))
}

fn is_abandoned(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED))
}

/// Anew, and never through a link: root writes it, maybe where others may write too.
fn create(path: &Path) -> io::Result<File> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
