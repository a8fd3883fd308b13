//! A server's connection: who is at its other end, whether writing to it has failed, who reads it, and whether
//! `net/http` still owns it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::target::{Memory, MemoryError};

use super::context::{Link, walk_chain};
use super::socket::tcp_address;
use super::strings::read_string;
use super::{
    ConnOffsets, ContextOffsets, ErrorKind, LocalOffsets, ServerOffsets, TypeNames, error_kind,
};
use crate::target::fields::{pair_at, u8_at, u64_at};

/// Longest `remoteAddr` kept, in bytes.
const MAX_PEER: usize = 128;
/// Reads a type and its data.
const INTERFACE: usize = 16;

/// What `net/http.conn` says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConnState {
    /// The first error of a write to the peer; `None` while there was none.
    pub write_error: Option<ErrorKind>,
    /// The handler took the connection over.
    pub hijacked: bool,
    /// `remoteAddr`: the peer's address and port; `None` where it cannot be a string.
    #[serde(default)]
    pub peer: Option<Arc<str>>,
    /// Who reads it; `None` where that cannot be told.
    #[serde(default)]
    pub reading: Option<Reading>,
    /// What its server allows; `None` where that could not be read.
    #[serde(default)]
    pub server: Option<ServerTimeouts>,
}

/// What `net/http.connReader` and the request's body say of reading: whether Go would notice that the peer closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reading {
    /// Somebody reads: the handler its body, or `net/http` in the background.
    pub in_read: bool,
    /// A byte that follows the request was read in the background, which has ended with it.
    pub has_byte: bool,
    /// The request's body was read to its end, or it has none; `None` where its type is not known.
    pub body_ended: Option<bool>,
}

/// Reads the `net/http.conn` at `conn`, and what it knows of the `net/http.response` at `response`. The caller knows
/// that they are such: a connection in use cannot be freed.
///
/// # Errors
/// They cannot be read.
pub fn inspect_conn(
    memory: &impl Memory,
    offsets: &ConnOffsets,
    types: &dyn TypeNames,
    (conn, response): (u64, u64),
) -> Result<ConnState, MemoryError> {
    let end = [
        offsets.write_error.saturating_add(16),
        offsets.remote.saturating_add(16),
        offsets.reader.saturating_add(8),
        offsets.hijacked.saturating_add(1),
    ];
    let len = usize::try_from(end.into_iter().max().unwrap_or(0)).unwrap_or(0);
    let block = memory.read_bytes(conn, len)?;
    let unmapped = MemoryError::Unmapped { addr: conn };
    let words = pair_at(&block, offsets.write_error).ok_or(unmapped)?;
    let peer = pair_at(&block, offsets.remote).ok_or(unmapped)?;
    let reader = u64_at(&block, offsets.reader).ok_or(unmapped)?;
    Ok(ConnState {
        write_error: error_kind(memory, &offsets.error, types, words)?,
        hijacked: u8_at(&block, offsets.hijacked).ok_or(unmapped)? != 0,
        peer: read_string(memory, peer, MAX_PEER)?,
        reading: reading(memory, offsets, types, (reader, response)).ok(),
        server: offsets.server.and_then(|at| {
            let server = u64_at(&block, at.pointer)?;
            inspect_server(memory, at, server).ok().flatten()
        }),
    })
}

fn reading(
    memory: &impl Memory,
    offsets: &ConnOffsets,
    types: &dyn TypeNames,
    (reader, response): (u64, u64),
) -> Result<Reading, MemoryError> {
    let flag = |at: u32| {
        let addr = reader.saturating_add(u64::from(at));
        let byte = memory.read_bytes(addr, 1)?;
        Ok(byte.first().is_some_and(|byte| *byte != 0))
    };
    Ok(Reading {
        in_read: flag(offsets.in_read)?,
        has_byte: flag(offsets.has_byte)?,
        body_ended: body_ended(memory, offsets, types, response)?,
    })
}

/// The response keeps the request's own body, whatever a middleware put in its place.
fn body_ended(
    memory: &impl Memory,
    offsets: &ConnOffsets,
    types: &dyn TypeNames,
    response: u64,
) -> Result<Option<bool>, MemoryError> {
    let addr = response.saturating_add(u64::from(offsets.response_body));
    let body = if offsets.body_is_pointer {
        memory.read_u64(addr)?
    } else {
        let words = memory.read_bytes(addr, INTERFACE)?;
        let (itab, data) = pair_at(&words, 0).unwrap_or((0, 0));
        match types.of_itab(itab) {
            Some(name) if &*name.package == "net/http" && &*name.name == "noBody" => 0,
            Some(name) if &*name.package == "net/http" && &*name.name == "body" => data,
            _ => return Ok(None),
        }
    };
    if body == 0 {
        return Ok(Some(true));
    }
    let at = body.saturating_add(u64::from(offsets.body_saw_eof));
    let byte = memory.read_bytes(at, 1)?;
    Ok(byte.first().map(|byte| *byte != 0))
}

/// The local address of the connection that the request with this context came over: `net/http` keeps it in a
/// value of the connection's context. `None` where it is no TCP address or cannot be read.
pub fn local_address(
    memory: &impl Memory,
    (contexts, offsets): (&ContextOffsets, &LocalOffsets),
    types: &dyn TypeNames,
    ctx: (u64, u64),
) -> Option<SocketAddr> {
    let chain = walk_chain(memory, contexts, types, &|_| None, ctx);
    chain
        .links
        .iter()
        .filter(|link| is_value(link))
        .find_map(|link| {
            let words = memory
                .read_bytes(link.data, offsets.value.checked_add(INTERFACE)?)
                .ok()?;
            let is = |words: (u64, u64), package: &str, wanted: &str| {
                types
                    .of_type(words.0)
                    .is_some_and(|name| &*name.package == package && &*name.name == wanted)
            };
            let key = pair_at(&words, offsets.key)?;
            let value = pair_at(&words, u32::try_from(offsets.value).ok()?)?;
            if !is(key, "net/http", "contextKey") || !is(value, "net", "TCPAddr") {
                return None;
            }
            tcp_address(memory, offsets.address, value.1).ok().flatten()
        })
}

pub(super) fn is_value(link: &Link) -> bool {
    link.type_name
        .as_ref()
        .is_some_and(|name| &*name.package == "context" && &*name.name == "valueCtx")
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
