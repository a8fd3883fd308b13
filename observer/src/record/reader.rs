//! Reads a recording back, entry by entry, trusting nothing in it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::Error;

use super::entry::{Entry, FORMAT, MAGIC, MAX_ENTRY, RecordingHeader, kind};

/// Words that the longest record has grown by since recordings are made.
const GROWN: usize = 8;

/// A recording being read.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    header: RecordingHeader,
}

#[derive(serde::Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::NotARecording`], [`Error::RecordingTooNew`],
    /// [`Error::RecordingDamaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable {
            what: "recording",
            path: path.to_owned(),
            source,
        };
        let not_one = || Error::NotARecording {
            path: path.to_owned(),
        };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut magic = [0u8; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if &magic == MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(unreadable(error));
            }
            _ => return Err(not_one()),
        }
        let mut len = [0u8; 4];
        file.read_exact(&mut len).map_err(|_| not_one())?;
        let len = u32::from_le_bytes(len);
        if len > MAX_ENTRY {
            return Err(not_one());
        }
        let mut json = vec![0u8; usize::try_from(len).unwrap_or(0)];
        file.read_exact(&mut json).map_err(|_| not_one())?;
        let format: FormatOnly = serde_json::from_slice(&json).map_err(|_| not_one())?;
        if format.format > FORMAT {
            return Err(Error::RecordingTooNew {
                path: path.to_owned(),
                found: format.format,
                known: FORMAT,
            });
        }
        let header = serde_json::from_slice(&json).map_err(|_| not_one())?;
        let offset = (MAGIC.len() as u64)
            .saturating_add(4)
            .saturating_add(u64::from(len));
        Ok(Self {
            path: path.to_owned(),
            file,
            offset,
            header,
        })
    }

    /// What holds for the whole recording.
    #[must_use]
    pub const fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// The next entry; `None` at the end of the file.
    ///
    /// # Errors
    /// [`Error::RecordingDamaged`] where it ends inside an entry or holds what is none.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut head = [0u8; 5];
        let got = read_up_to(&mut self.file, &mut head).map_err(|error| self.damaged(&error))?;
        if got == 0 {
            return Ok(None);
        }
        if got < head.len() {
            return Err(self.damaged("it ends inside an entry"));
        }
        let [a, b, c, d, kind] = head;
        let len = u32::from_le_bytes([a, b, c, d]);
        if len > MAX_ENTRY {
            return Err(self.damaged("an entry is longer than any can be"));
        }
        let mut body = vec![0u8; usize::try_from(len).unwrap_or(0)];
        let got = read_up_to(&mut self.file, &mut body).map_err(|error| self.damaged(&error))?;
        if got < body.len() {
            return Err(self.damaged("it ends inside an entry"));
        }
        let entry = parse(kind, &body).map_err(|problem| self.damaged(&problem))?;
        self.offset = self.offset.saturating_add(5).saturating_add(u64::from(len));
        Ok(Some(entry))
    }

    fn damaged(&self, problem: &(impl ToString + ?Sized)) -> Error {
        Error::RecordingDamaged {
            path: self.path.clone(),
            offset: self.offset,
            problem: problem.to_string(),
        }
    }
}

fn read_up_to(file: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buf.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn word(body: &[u8], at: usize) -> Result<u64, String> {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk::<8>());
    bytes
        .map(|bytes| u64::from_le_bytes(*bytes))
        .ok_or_else(|| "an entry is too short".to_owned())
}

fn rest(body: &[u8], at: usize) -> &[u8] {
    body.get(at..).unwrap_or(&[])
}

fn parse(kind: u8, body: &[u8]) -> Result<Entry, String> {
    let json = |error: serde_json::Error| error.to_string();
    Ok(match kind {
        kind::EVENT => {
            let (words, _) = rest(body, 8).as_chunks::<8>();
            let words = words.iter().map(|bytes| u64::from_le_bytes(*bytes));
            // Records grow at their end only: what is not there was not known then.
            let words = words.chain([0; GROWN]).collect();
            Entry::Event(word(body, 0)?, words)
        }
        kind::LOSS => Entry::Loss,
        kind::TICK => Entry::Tick(word(body, 0)?),
        kind::CLOCK => Entry::Clock(word(body, 0)?.cast_signed()),
        kind::ANSWER => {
            let answered = serde_json::from_slice(rest(body, 8)).map_err(json)?;
            Entry::Answer(word(body, 0)?, Box::new(answered))
        }
        kind::RESOLVED => Entry::Resolved(Box::new(serde_json::from_slice(body).map_err(json)?)),
        kind::PROCESS_ENDED => {
            let pid = body.first_chunk::<4>().ok_or("an entry is too short")?;
            Entry::ProcessEnded(u32::from_le_bytes(*pid))
        }
        kind::END => Entry::End(word(body, 0)?),
        other => return Err(format!("entry of unknown kind {other}")),
    })
}
