//! A server's connection: whether writing to the peer has failed, and whether `net/http` still owns it.

use crate::target::{Memory, MemoryError};

use super::{ConnOffsets, ErrorKind, TypeNames, error_kind};
use crate::target::fields::{pair_at, u8_at};

/// What `net/http.conn` says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnState {
    /// The first error of a write to the peer; `None` while there was none.
    pub write_error: Option<ErrorKind>,
    /// The handler took the connection over.
    pub hijacked: bool,
}

/// Reads the `net/http.conn` at `conn`. The caller knows that it is one: a connection in use cannot be freed.
///
/// # Errors
/// It cannot be read.
pub fn inspect_conn(
    memory: &impl Memory,
    offsets: &ConnOffsets,
    types: &dyn TypeNames,
    conn: u64,
) -> Result<ConnState, MemoryError> {
    let end = offsets
        .write_error
        .saturating_add(16)
        .max(offsets.hijacked.saturating_add(1));
    let len = usize::try_from(end).unwrap_or(0);
    let block = memory.read_bytes(conn, len)?;
    let unmapped = MemoryError::Unmapped { addr: conn };
    let words = pair_at(&block, offsets.write_error).ok_or(unmapped)?;
    Ok(ConnState {
        write_error: error_kind(memory, &offsets.error, types, words)?,
        hijacked: u8_at(&block, offsets.hijacked).ok_or(unmapped)? != 0,
    })
}
