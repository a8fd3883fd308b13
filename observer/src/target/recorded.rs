//! Memory kept in a file, so that whatever reads a process can be tested without one.
//!
//! Owns the format (`address hexbytes`, one range a line, `.16.` for sixteen zero bytes, `#` starts a comment) and the
//! recorder that makes it. Knows nothing of what the bytes mean.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Memory, MemoryError};

/// Zero bytes that are counted instead of written.
const SHORTEST_RUN: usize = 4;
/// Zero bytes that a file may ask for in one place.
const LONGEST_RUN: usize = 16 << 20;

/// A process' memory as far as somebody read it once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedMemory {
    /// Start address to bytes; ranges neither overlap nor touch.
    ranges: BTreeMap<u64, Vec<u8>>,
}

impl RecordedMemory {
    /// Memory with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts bytes at an address. Where ranges overlap, the later bytes win.
    pub fn insert(&mut self, addr: u64, bytes: &[u8]) {
        let mut start = addr;
        let mut merged = bytes.to_vec();
        let end = end_of(addr, bytes);
        // From the last range that begins at or before the end, downwards, while they reach us.
        while let Some((&other, _)) = self.ranges.range(..=end).next_back() {
            let Some(old) = self.ranges.remove(&other) else {
                break;
            };
            let old_end = end_of(other, &old);
            if old_end < start {
                self.ranges.insert(other, old);
                break;
            }
            let merged_end = end_of(start, &merged);
            if old_end > merged_end {
                let keep = usize::try_from(merged_end - other).unwrap_or(usize::MAX);
                merged.extend_from_slice(old.get(keep..).unwrap_or_default());
            }
            if other < start {
                let keep = usize::try_from(start - other).unwrap_or(usize::MAX);
                let mut joined = old.get(..keep).unwrap_or_default().to_vec();
                joined.append(&mut merged);
                merged = joined;
                start = other;
            }
        }
        self.ranges.insert(start, merged);
    }

    /// Reads the text form. `None` where a line is not `address hexbytes`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut memory = Self::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (addr, hex) = line.split_once(' ')?;
            let addr = u64::from_str_radix(addr.strip_prefix("0x")?, 16).ok()?;
            memory.insert(addr, &from_text(hex)?);
        }
        Some(memory)
    }

    /// The text form that [`RecordedMemory::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (addr, bytes) in &self.ranges {
            // Writing to a String cannot fail.
            let _ = write!(text, "{addr:#x} ");
            for run in bytes.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
                if run.len() >= SHORTEST_RUN && run.first() == Some(&0) {
                    let _ = write!(text, ".{}.", run.len());
                    continue;
                }
                for byte in run {
                    let _ = write!(text, "{byte:02x}");
                }
            }
            text.push('\n');
        }
        text
    }
}

fn end_of(addr: u64, bytes: &[u8]) -> u64 {
    addr.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

/// `dead.16.beef`
fn from_text(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('.').enumerate() {
        if index % 2 == 0 {
            bytes.extend(from_hex(part)?);
        } else {
            let zeros = part.parse().ok().filter(|&len| len <= LONGEST_RUN)?;
            bytes.resize(bytes.len().checked_add(zeros)?, 0);
        }
    }
    Some(bytes)
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

impl Memory for RecordedMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let unmapped = MemoryError::Unmapped { addr };
        let (&start, bytes) = self.ranges.range(..=addr).next_back().ok_or(unmapped)?;
        let from = usize::try_from(addr - start).map_err(|_| unmapped)?;
        let to = from.checked_add(buf.len()).ok_or(unmapped)?;
        buf.copy_from_slice(bytes.get(from..to).ok_or(unmapped)?);
        Ok(())
    }
}

/// Passes reads on to live memory and keeps what came back: makes the files [`RecordedMemory`] reads.
#[derive(Debug)]
pub struct RecordingMemory<M> {
    inner: M,
    seen: RefCell<RecordedMemory>,
}

impl<M: Memory> RecordingMemory<M> {
    /// Records everything read through the result.
    pub fn new(inner: M) -> Self {
        Self {
            inner,
            seen: RefCell::default(),
        }
    }

    /// What was read so far. A range read twice holds what it held the last time.
    pub fn recorded(&self) -> RecordedMemory {
        self.seen.borrow().clone()
    }
}

impl<M: Memory> Memory for RecordingMemory<M> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.inner.read(addr, buf)?;
        self.seen.borrow_mut().insert(addr, buf);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{RecordedMemory, RecordingMemory};
    use crate::target::{Memory, MemoryError};

    #[test]
    fn overlapping_and_touching_ranges_become_one() {
        let mut memory = RecordedMemory::new();
        memory.insert(100, &[1, 1, 1, 1]);
        memory.insert(108, &[3, 3, 3, 3]);
        memory.insert(102, &[2, 2, 2, 2, 2, 2, 2]);
        assert_eq!(
            memory.read_bytes(100, 12).unwrap(),
            [1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3]
        );
        memory.insert(104, &[9]);
        assert_eq!(memory.read_bytes(103, 3).unwrap(), [2, 9, 2]);
        memory.insert(90, &[7; 10]);
        assert_eq!(memory.read_bytes(98, 3).unwrap(), [7, 7, 1]);
        assert_eq!(
            memory.read_bytes(110, 3),
            Err(MemoryError::Unmapped { addr: 110 })
        );
        assert_eq!(memory.to_text().lines().count(), 1);
    }

    #[test]
    fn text_form_is_read_back() {
        let mut memory = RecordedMemory::new();
        memory.insert(0xc0_0000, &[0xde, 0xad]);
        memory.insert(0x10, &[0]);
        memory.insert(
            0x2000,
            &[[1, 0, 0, 0, 2].as_slice(), &[0; 99], &[3]].concat(),
        );
        memory.insert(0x3000, &[0; 64]);
        let text = format!("# made by hand\n\n{}", memory.to_text());
        assert_eq!(RecordedMemory::parse(&text), Some(memory));
        assert!(text.contains("0x2000 0100000002.99.03\n0x3000 .64.\n"));
        for broken in ["0x10 0", "0x10 .x.", "0x10 .99999999999."] {
            assert_eq!(RecordedMemory::parse(broken), None, "{broken}");
        }
        assert_eq!(RecordedMemory::parse("10 00"), None);
    }

    #[test]
    fn the_recorder_keeps_what_was_read_and_no_more() {
        let mut source = RecordedMemory::new();
        source.insert(0x1000, &[5; 64]);
        let recorder = RecordingMemory::new(&source);
        recorder.read_u64(0x1008).unwrap();
        assert!(recorder.read_u64(0x2000).is_err());
        let kept = recorder.recorded();
        assert_eq!(kept.to_text(), "0x1008 0505050505050505\n");
    }
}
