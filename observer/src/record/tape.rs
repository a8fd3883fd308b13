//! The file of a recording: it takes whole entries and is never left inside one.

use std::fs::File;
use std::io::{self, Write};

/// Bytes that wait before they are written.
const ROOM: usize = 8 << 10;

/// What a recording is written to.
pub trait Medium: Write {
    /// Takes back what was written after the first `len` bytes.
    ///
    /// # Errors
    /// What the kernel says; pipes and devices cannot.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Medium for File {
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Entries on their way to a medium.
#[derive(Debug)]
pub(super) struct Tape<M: Medium> {
    medium: M,
    /// Bytes written, all of whole entries.
    len: u64,
    waiting: Vec<u8>,
    /// Where in `waiting` each entry ends.
    ends: Vec<usize>,
}

impl<M: Medium> Tape<M> {
    /// Writes from the beginning of an empty medium.
    pub(super) const fn on(medium: M) -> Self {
        Self {
            medium,
            len: 0,
            waiting: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Takes one whole entry.
    ///
    /// # Errors
    /// As [`Tape::flush`].
    pub(super) fn append(&mut self, entry: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(entry);
        self.ends.push(self.waiting.len());
        if self.waiting.len() < ROOM {
            return Ok(());
        }
        self.flush()
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// What the kernel says. Then the medium ends with the last entry that it holds whole, what
    /// still waited is gone, and nothing may follow.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        let written = loop {
            let rest = self.waiting.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.medium.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = self.ends.iter().rev().find(|end| **end <= done);
        self.len += whole.map_or(0, |end| *end as u64);
        self.waiting.clear();
        self.ends.clear();
        if written.is_err() {
            // Where even this fails, the last entry stays torn: readers say so.
            let _best_effort = self.medium.cut(self.len);
        }
        written
    }
}

/// Whatever ends a run early, its recording has what came before.
impl<M: Medium> Drop for Tape<M> {
    fn drop(&mut self) {
        let _unheard = self.flush();
    }
}
