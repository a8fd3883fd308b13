//! A server's connection: whether writing to the peer has failed, and whether `net/http` still owns it.

use crate::target::{Memory, MemoryError};

use super::{ConnOffsets, ErrorKind, ServerOffsets, TypeNames, error_kind};
use crate::target::fields::{pair_at, u8_at, u64_at};

/// What `net/http.conn` says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnState {
    /// The first error of a write to the peer; `None` while there was none.
    pub write_error: Option<ErrorKind>,
    /// The handler took the connection over.
    pub hijacked: bool,
    /// What its server allows; `None` where that could not be read.
    #[serde(default)]
    pub server: Option<ServerTimeouts>,
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
        server: offsets.server.and_then(|at| {
            let server = u64_at(&block, at.pointer)?;
            inspect_server(memory, at, server).ok().flatten()
        }),
    })
}

/// Timeouts of a `net/http.Server`, ns; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServerTimeouts {
    /// `ReadTimeout`.
    pub read_ns: i64,
    /// `ReadHeaderTimeout`.
    pub read_header_ns: i64,
    /// `WriteTimeout`.
    pub write_ns: i64,
    /// `IdleTimeout`.
    pub idle_ns: i64,
}

fn inspect_server(
    memory: &impl Memory,
    at: ServerOffsets,
    server: u64,
) -> Result<Option<ServerTimeouts>, MemoryError> {
    let first = at.read.min(at.read_header).min(at.write).min(at.idle);
    let last = at.read.max(at.read_header).max(at.write).max(at.idle);
    let len = usize::try_from(last.saturating_sub(first)).unwrap_or(0) + 8;
    let block = memory.read_bytes(server.saturating_add(u64::from(first)), len)?;
    let field = |at: u32| u64_at(&block, at.saturating_sub(first)).map(u64::cast_signed);
    let read = || {
        Some(ServerTimeouts {
            read_ns: field(at.read)?,
            read_header_ns: field(at.read_header)?,
            write_ns: field(at.write)?,
            idle_ns: field(at.idle)?,
        })
    };
    Ok(read())
}
