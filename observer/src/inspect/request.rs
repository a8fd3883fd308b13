//! An `http.Request` in memory: who asked for what. Read on suspicion, while the request lives.

use std::sync::Arc;

use crate::target::{Memory, MemoryError};

use super::gomap::{MapShape, for_each};
use super::strings::read_string;
use super::{MapKind, RequestOffsets};
use crate::target::fields::{pair_at, u64_at};

/// Longest `Host`, `RemoteAddr`, `Proto` or `Pattern` kept, in bytes.
const MAX_FIELD: usize = 512;
/// Longest header value kept, in bytes.
const MAX_VALUE: usize = 4096;

/// What a request says of itself. `None`: this Go version has no such field, or it cannot be a string.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RequestDetails {
    /// `RemoteAddr`: the peer of the connection, address and port.
    pub peer: Option<Arc<str>>,
    /// `Proto`, such as `HTTP/1.1`.
    pub proto: Option<Arc<str>>,
    /// `Host`.
    pub host: Option<Arc<str>>,
    /// `Pattern` of the route that matched (from Go 1.23); empty before the router ran, or without one.
    pub pattern: Option<Arc<str>>,
    /// First value of each header asked for, in the order asked; `None` where the request has none.
    pub headers: Vec<Option<Arc<str>>>,
    /// All headers were looked through.
    pub headers_whole: bool,
    /// First value of each of the same headers that its answer has so far; empty where that is unknown.
    #[serde(default)]
    pub response: Vec<Option<Arc<str>>>,
}

impl RequestDetails {
    /// It came over HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        let proto = self.proto.as_deref();
        proto.is_some_and(|proto| proto.starts_with("HTTP/2"))
    }
}

/// What a look at a request found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestReading {
    /// The request, which was still the same one afterwards.
    Is(Box<RequestDetails>),
    /// The memory holds something else by now.
    Reused,
    /// It cannot be read.
    Unreadable,
}

/// Reads the request at `request`, which is believed while its context is `ctx_data` (the data word of
/// `Request.ctx`) before and after. `headers` are canonical names (`X-Request-Id`).
#[must_use]
pub fn inspect_request(
    memory: &impl Memory,
    offsets: &RequestOffsets,
    request: u64,
    ctx_data: u64,
    headers: &[&str],
) -> RequestReading {
    let reading = read(memory, offsets, request, ctx_data, headers);
    reading.unwrap_or(RequestReading::Unreadable)
}

fn read(
    memory: &impl Memory,
    at: &RequestOffsets,
    request: u64,
    ctx_data: u64,
    headers: &[&str],
) -> Result<RequestReading, MemoryError> {
    let last = at.ctx.max(at.remote_addr).max(at.pattern.unwrap_or(0));
    let len = usize::try_from(last).unwrap_or(0).saturating_add(16);
    let block = memory.read_bytes(request, len)?;
    let ctx_at = at.ctx.saturating_add(8);
    if u64_at(&block, ctx_at) != Some(ctx_data) {
        return Ok(RequestReading::Reused);
    }
    let text = |offset| match pair_at(&block, offset) {
        Some(words) => read_string(memory, words, MAX_FIELD),
        None => Ok(None),
    };
    let map = u64_at(&block, at.header).unwrap_or(0);
    let (values, headers_whole) = look_up(memory, at.map, map, headers)?;
    let details = RequestDetails {
        peer: text(at.remote_addr)?,
        proto: text(at.proto)?,
        host: text(at.host)?,
        pattern: match at.pattern {
            Some(offset) => text(offset)?,
            None => None,
        },
        headers: values,
        headers_whole,
        response: Vec::new(),
    };
    let still = memory.read_u64(request.saturating_add(u64::from(ctx_at)))? == ctx_data;
    Ok(if still {
        RequestReading::Is(Box::new(details))
    } else {
        RequestReading::Reused
    })
}

/// First values of headers, and whether the whole map was looked through.
type Values = (Vec<Option<Arc<str>>>, bool);

pub(super) fn look_up(
    memory: &impl Memory,
    kind: MapKind,
    map: u64,
    names: &[&str],
) -> Result<Values, MemoryError> {
    let mut values = vec![None; names.len()];
    if names.is_empty() {
        return Ok((values, true));
    }
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    let seen = for_each(memory, MapShape::header(kind), map, |key, value| {
        let Some((ptr, len)) = pair_at(key, 0) else {
            return Ok(true);
        };
        // Keys are compared only where the length can fit: most are never fetched.
        let fits = |name: &&str| u64::try_from(name.len()).is_ok_and(|wanted| wanted == len);
        if !names.iter().any(fits) {
            return Ok(true);
        }
        let Some(name) = read_string(memory, (ptr, len), longest)? else {
            return Ok(true);
        };
        for (wanted, slot) in names.iter().zip(&mut values) {
            if **wanted == *name {
                *slot = first_value(memory, value)?;
            }
        }
        Ok(values.iter().any(Option::is_none))
    })?;
    Ok((values, seen == super::gomap::Seen::All))
}

/// First string of a `[]string` whose words are `slice`.
fn first_value(memory: &impl Memory, slice: &[u8]) -> Result<Option<Arc<str>>, MemoryError> {
    let Some((ptr, len)) = pair_at(slice, 0) else {
        return Ok(None);
    };
    if len == 0 || ptr == 0 {
        return Ok(None);
    }
    let words = memory.read_bytes(ptr, 16)?;
    match pair_at(&words, 0) {
        Some(words) => read_string(memory, words, MAX_VALUE),
        None => Ok(None),
    }
}
