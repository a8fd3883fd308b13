//! Writes a recording while observing.

use std::error::Error as _;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, BytesMut};

use crate::error::{Error, Notice};
use crate::stream::scrub;

use super::entry::{Answered, MAGIC, RecordingHeader, Resolved, kind};
use super::tape::{Medium, Tape};

/// A recording being written. The file is readable to its owner only: it holds paths and IDs.
///
/// It ends where it cannot be written for the first time: one with a hole would replay what never was.
/// Observing does not depend on it and goes on; [`Recorder::finish`] fails then.
#[derive(Debug)]
pub struct Recorder<M: Medium = File> {
    path: PathBuf,
    tape: Tape<M>,
    /// Why it has ended early.
    failure: Option<Error>,
    failure_said: bool,
    scratch: Vec<u64>,
    entry: BytesMut,
}

impl Recorder {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn create(path: &Path, header: &RecordingHeader) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| failed(path, source))?;
        Self::on(file, path, header)
    }
}

impl<M: Medium> Recorder<M> {
    /// Writes to an empty medium, which messages call `path`.
    ///
    /// # Errors
    /// [`Error::Output`] when not even the header can be written.
    pub fn on(medium: M, path: &Path, header: &RecordingHeader) -> Result<Self, Error> {
        let mut tape = Tape::on(medium);
        let mut begin = || -> io::Result<()> {
            let header = serde_json::to_vec(header)?;
            tape.append(&[MAGIC, &length(header.len())?[..], &header].concat())?;
            tape.flush()
        };
        begin().map_err(|source| failed(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            tape,
            failure: None,
            failure_said: false,
            scratch: Vec::new(),
            entry: BytesMut::new(),
        })
    }

    /// An event at its time, ns. What must not be kept is removed first.
    pub fn event(&mut self, now_ns: u64, bytes: &[u8]) {
        // Records are words; a copy in words keeps them aligned for scrubbing.
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend(bytes.chunks(8).map(|chunk| {
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            u64::from_le_bytes(word)
        }));
        let words = zerocopy::IntoBytes::as_mut_bytes(scratch.as_mut_slice());
        scrub(words);
        self.entry(kind::EVENT, &[&now_ns.to_le_bytes(), words]);
        self.scratch = scratch;
    }

    /// Events were lost here.
    pub fn loss(&mut self) {
        self.entry(kind::LOSS, &[]);
    }

    /// Time passes, ns.
    pub fn tick(&mut self, now_ns: u64) {
        self.entry(kind::TICK, &[&now_ns.to_le_bytes()]);
    }

    /// The wall clock stands so from here on: realtime minus monotonic, ns.
    pub fn clock(&mut self, realtime_minus_monotonic_ns: i64) {
        self.entry(kind::CLOCK, &[&realtime_minus_monotonic_ns.to_le_bytes()]);
    }

    /// An answer of the inspector.
    pub fn answer(&mut self, now_ns: u64, answered: &Answered) {
        self.json(kind::ANSWER, &now_ns.to_le_bytes(), answered);
    }

    /// Addresses resolved since the last entry.
    pub fn resolved(&mut self, resolved: Vec<Resolved>) {
        for one in resolved {
            self.json(kind::RESOLVED, &[], &one);
        }
    }

    /// A process has ended.
    pub fn process_ended(&mut self, pid: u32) {
        self.entry(kind::PROCESS_ENDED, &[&pid.to_le_bytes()]);
    }

    /// That it has ended early, once.
    pub fn complaint(&mut self) -> Option<Notice> {
        let failure = self.failure.as_ref().filter(|_| !self.failure_said)?;
        self.failure_said = true;
        Some(Notice::RecordingEnded {
            path: self.path.clone(),
            why: failure
                .source()
                .map_or_else(String::new, ToString::to_string),
            remedy: failure.hint(),
        })
    }

    /// The end, as it should be.
    ///
    /// # Errors
    /// [`Error::Output`] where it has ended before, or cannot be written to its end.
    pub fn finish(mut self, now_ns: u64) -> Result<(), Error> {
        self.entry(kind::END, &[&now_ns.to_le_bytes()]);
        let flushed = self.tape.flush();
        self.failure.take().map_or(Ok(()), Err)?;
        flushed.map_err(|source| failed(&self.path, source))
    }

    fn json(&mut self, kind: u8, head: &[u8], value: &impl serde::Serialize) {
        if self.failure.is_none() {
            match serde_json::to_vec(value) {
                Ok(json) => self.entry(kind, &[head, &json]),
                Err(error) => self.failure = Some(failed(&self.path, error.into())),
            }
        }
    }

    fn entry(&mut self, kind: u8, parts: &[&[u8]]) {
        if self.failure.is_none() {
            let written =
                assemble(&mut self.entry, kind, parts).and_then(|()| self.tape.append(&self.entry));
            self.failure = written.err().map(|source| failed(&self.path, source));
        }
    }
}

/// Puts an entry together, so that it is written whole.
fn assemble(entry: &mut BytesMut, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    entry.clear();
    entry.put_slice(&length(len)?);
    entry.put_u8(kind);
    for part in parts {
        entry.put_slice(part);
    }
    Ok(())
}

fn length(len: usize) -> io::Result<[u8; 4]> {
    let len = u32::try_from(len).map_err(|_| io::Error::other("an entry is too long"))?;
    Ok(len.to_le_bytes())
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Output {
        what: format!("the recording `{}`", path.display()),
        path: Some(path.to_owned()),
        source,
    }
}
