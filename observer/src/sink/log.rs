//! The log file: JSON lines, mode 0600, rotated by size and age, bounded in total.
//!
//! Rotation is a rename to `FILE.<time>`. A rotation that fails is reported once and tried again
//! later; the log goes on in the same file. Time is an argument.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Notice;

/// After a rotation that failed, the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(60);

/// `YYYYMMDDTHHMMSS.nnnnnnnnnZ`: sorts by time.
const STAMP_LEN: usize = 26;

/// Where and how large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// The file that is written now.
    pub path: PathBuf,
    /// Bytes after which it is rotated.
    pub max_size: u64,
    /// Age after which it is rotated.
    pub max_age: Duration,
    /// Bytes of it and of all rotated ones; the oldest are deleted.
    pub max_total: u64,
}

/// An open log.
#[derive(Debug)]
pub struct RotatingLog {
    options: LogOptions,
    file: File,
    /// Only regular files are rotated and cut.
    regular: bool,
    len: u64,
    born: SystemTime,
    retry_at: Option<SystemTime>,
    failure_said: bool,
}

impl RotatingLog {
    /// Opens or makes the file. Symbolic links are refused: the log is written by root, often
    /// into a folder where others may write.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(options: LogOptions, now: SystemTime) -> io::Result<Self> {
        let file = open_append(&options.path)?;
        let meta = file.metadata()?;
        let born = if meta.len() == 0 {
            now
        } else {
            meta.created().or_else(|_| meta.modified())?
        };
        Ok(Self {
            options,
            file,
            regular: meta.is_file(),
            len: meta.len(),
            born,
            retry_at: None,
            failure_said: false,
        })
    }

    /// Appends one whole line, rotating first where it is time.
    ///
    /// # Errors
    /// What the kernel says; a part of the line that was written is taken back.
    pub fn append(&mut self, line: &str, now: SystemTime) -> io::Result<Option<Notice>> {
        let notice = if self.is_due(line.len() as u64, now) {
            self.try_rotate(now)
        } else {
            None
        };
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            if self.regular {
                // Where even this fails, the next line is glued to a torn one: nothing better is left.
                let _best_effort = self.file.set_len(self.len);
            }
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(notice)
    }

    fn is_due(&self, more: u64, now: SystemTime) -> bool {
        let age = now.duration_since(self.born).unwrap_or_default();
        self.regular
            && self.len > 0
            && self.retry_at.is_none_or(|at| now >= at)
            && (self.len + more > self.options.max_size || age >= self.options.max_age)
    }

    fn try_rotate(&mut self, now: SystemTime) -> Option<Notice> {
        match self.rotate(now) {
            Ok(()) => {
                self.retry_at = None;
                self.failure_said = false;
                None
            }
            Err(error) => {
                self.retry_at = Some(now + RETRY);
                let first = !std::mem::replace(&mut self.failure_said, true);
                first.then(|| Notice::RotationFailed {
                    path: self.options.path.clone(),
                    why: error.to_string(),
                })
            }
        }
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let path = &self.options.path;
        let rotated = with_suffix(path, &stamp(now));
        if rotated.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(path, &rotated)?;
        match open_append(path) {
            Ok(file) => self.file = file,
            Err(error) => {
                std::fs::rename(&rotated, path)?;
                return Err(error);
            }
        }
        self.len = 0;
        self.born = now;
        self.prune()
    }

    /// Deletes the oldest so that all of them and a full current file stay within the total.
    fn prune(&self) -> io::Result<()> {
        let mut rotated = rotated_files(&self.options.path)?;
        rotated.sort();
        let room = self.options.max_total.saturating_sub(self.options.max_size);
        let mut total: u64 = rotated.iter().map(|(_, _, size)| size).sum();
        for (_, path, size) in rotated {
            if total <= room {
                break;
            }
            std::fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Stamp, path and size of every file that a rotation of `path` made.
fn rotated_files(path: &Path) -> io::Result<Vec<(String, PathBuf, u64)>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut found = vec![];
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(found);
    };
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let suffix = entry_name
            .to_str()
            .and_then(|entry_name| entry_name.strip_prefix(name))
            .and_then(|rest| rest.strip_prefix('.'));
        if let Some(suffix) = suffix.filter(|suffix| is_stamp(suffix)) {
            found.push((suffix.to_owned(), entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(found)
}

pub(super) fn stamp(now: SystemTime) -> String {
    let now = now.max(UNIX_EPOCH);
    humantime::format_rfc3339_nanos(now)
        .to_string()
        .replace(['-', ':'], "")
}

/// Somebody else's `FILE.bak` is not ours to delete.
pub(super) fn is_stamp(text: &str) -> bool {
    text.len() == STAMP_LEN
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'T',
            15 => byte == b'.',
            25 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
