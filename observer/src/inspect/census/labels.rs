//! The labels that a program gives its goroutines for the profiler.

use std::sync::Arc;

use crate::inspect::gomap::{MapShape, for_each};
use crate::inspect::strings::read_string;
use crate::target::fields::pair_at;
use crate::target::{Memory, MemoryError};

use super::LabelShape;

/// Labels kept of one goroutine.
const MAX_LABELS: usize = 16;
/// Bytes kept of a key or a value.
const MAX_TEXT: usize = 256;
/// Bytes of a string.
const STRING: u32 = 16;

/// Keys and values, by key.
pub type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// What `g.labels` points to. `None` where it cannot be what it should.
pub(super) fn read_labels(
    memory: &impl Memory,
    shape: LabelShape,
    at: u64,
) -> Result<Option<Labels>, MemoryError> {
    let mut labels = Vec::new();
    let mut keep = |pair: &[u8]| -> Result<bool, MemoryError> {
        let (Some(key), Some(value)) = (pair_at(pair, 0), pair_at(pair, STRING)) else {
            return Ok(false);
        };
        let (key, value) = (
            read_string(memory, key, MAX_TEXT)?,
            read_string(memory, value, MAX_TEXT)?,
        );
        if let (Some(key), Some(value)) = (key, value) {
            labels.push((key, value));
        }
        Ok(labels.len() < MAX_LABELS)
    };
    match shape {
        LabelShape::List => {
            let header = memory.read_bytes(at, 16)?;
            let Some((list, len)) = pair_at(&header, 0) else {
                return Ok(None);
            };
            let taken = usize::try_from(len).unwrap_or(MAX_LABELS).min(MAX_LABELS);
            let pairs = memory.read_bytes(list, taken.saturating_mul(32))?;
            for pair in pairs.chunks_exact(32) {
                keep(pair)?;
            }
        }
        LabelShape::Map(kind) => {
            let shape = MapShape {
                kind,
                key: STRING,
                value: STRING,
                slot: 2 * STRING,
            };
            let map = memory.read_u64(at)?;
            for_each(memory, shape, map, |key, value| {
                keep(&[key, value].concat())
            })?;
        }
    }
    labels.sort();
    labels.dedup();
    Ok(Some(labels.into()))
}
