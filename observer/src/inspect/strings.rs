//! Go strings in foreign memory, bounded.

use std::sync::Arc;

use crate::target::{Memory, MemoryError};

/// A length above this is not a string that anybody keeps in a request: the bytes are something else.
const ABSURD: u64 = 16 << 20;

/// The string whose two words are `ptr`, `len`, at most `limit` bytes of it. Bytes that are not UTF-8 are
/// replaced: names and headers come from the network. `None` where the words cannot be a string.
pub(super) fn read_string(
    memory: &impl Memory,
    (ptr, len): (u64, u64),
    limit: usize,
) -> Result<Option<Arc<str>>, MemoryError> {
    if len == 0 {
        return Ok(Some(Arc::from("")));
    }
    if len > ABSURD || ptr == 0 {
        return Ok(None);
    }
    let taken = usize::try_from(len).unwrap_or(limit).min(limit);
    let bytes = memory.read_bytes(ptr, taken)?;
    Ok(Some(Arc::from(String::from_utf8_lossy(&bytes).as_ref())))
}
