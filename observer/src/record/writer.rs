//! Writes a recording while observing.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, BytesMut};

use crate::error::Error;
use crate::stream::scrub;

use super::entry::{Answered, MAGIC, RecordingHeader, Resolved, kind};

/// A recording being written. The file is readable to its owner only: it holds paths and IDs.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
    scratch: Vec<u64>,
    entry: BytesMut,
}

impl Recorder {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn create(path: &Path, header: &RecordingHeader) -> Result<Self, Error> {
        let open = || -> io::Result<BufWriter<File>> {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(path)?;
            let mut file = BufWriter::new(file);
            let header = serde_json::to_vec(header)?;
            file.write_all(MAGIC)?;
            file.write_all(&length(header.len())?)?;
            file.write_all(&header)?;
            Ok(file)
        };
        let file = open().map_err(|source| failed(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            scratch: Vec::new(),
            entry: BytesMut::new(),
        })
    }

    /// An event at its time, ns. What must not be kept is removed first.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn event(&mut self, now_ns: u64, bytes: &[u8]) -> Result<(), Error> {
        // Records are words; a copy in words keeps them aligned for scrubbing.
        self.scratch.clear();
        self.scratch.extend(bytes.chunks(8).map(|chunk| {
            let mut word = [0u8; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            u64::from_le_bytes(word)
        }));
        let scratch = zerocopy::IntoBytes::as_mut_bytes(self.scratch.as_mut_slice());
        scrub(scratch);
        assemble(
            &mut self.entry,
            kind::EVENT,
            &[&now_ns.to_le_bytes(), scratch],
        )
        .and_then(|()| self.file.write_all(&self.entry))
        .map_err(|source| failed(&self.path, source))
    }

    /// Events were lost here.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn loss(&mut self) -> Result<(), Error> {
        self.entry(kind::LOSS, &[])
    }

    /// Time passes, ns.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn tick(&mut self, now_ns: u64) -> Result<(), Error> {
        self.entry(kind::TICK, &[&now_ns.to_le_bytes()])
    }

    /// The wall clock stands so from here on: realtime minus monotonic, ns.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn clock(&mut self, realtime_minus_monotonic_ns: i64) -> Result<(), Error> {
        self.entry(kind::CLOCK, &[&realtime_minus_monotonic_ns.to_le_bytes()])
    }

    /// An answer of the inspector.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn answer(&mut self, now_ns: u64, answered: &Answered) -> Result<(), Error> {
        let json = self.json(answered)?;
        self.entry(kind::ANSWER, &[&now_ns.to_le_bytes(), &json])
    }

    /// Addresses resolved since the last entry.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn resolved(&mut self, resolved: Vec<Resolved>) -> Result<(), Error> {
        for one in resolved {
            let json = self.json(&one)?;
            self.entry(kind::RESOLVED, &[&json])?;
        }
        Ok(())
    }

    /// A process has ended.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn process_ended(&mut self, pid: u32) -> Result<(), Error> {
        self.entry(kind::PROCESS_ENDED, &[&pid.to_le_bytes()])
    }

    /// The end, as it should be.
    ///
    /// # Errors
    /// [`Error::Output`] when it cannot be written.
    pub fn finish(mut self, now_ns: u64) -> Result<(), Error> {
        self.entry(kind::END, &[&now_ns.to_le_bytes()])?;
        self.file
            .flush()
            .map_err(|source| failed(&self.path, source))
    }

    fn json(&self, value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(value).map_err(|error| failed(&self.path, error.into()))
    }

    fn entry(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), Error> {
        assemble(&mut self.entry, kind, parts)
            .and_then(|()| self.file.write_all(&self.entry))
            .map_err(|source| failed(&self.path, source))
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
