//! Which request a connection of `net/http` serves now.

use std::sync::Arc;

use crate::go::layout::Layout;
use crate::target::{Memory, MemoryError};

use super::strings::read_string;

/// Bytes kept of a method.
const MAX_METHOD: usize = 32;
/// Bytes kept of a path.
const MAX_PATH: usize = 512;

/// Fields on the way from a connection to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedOffsets {
    /// The pointer in `conn.curReq`: the first word of an `atomic.Pointer`, the second of an `atomic.Value` (Go 1.18 and
    /// 1.19).
    pub current: u32,
    /// `response.conn`.
    pub conn: u32,
    /// `response.req`.
    pub request: u32,
    /// `Request.Method`, a string.
    pub method: u32,
    /// `Request.URL`.
    pub url: u32,
    /// `URL.Path`, a string.
    pub path: u32,
}

impl ServedOffsets {
    /// First Go 1.N whose `curReq` is an `atomic.Pointer`.
    const POINTER_SINCE: u32 = 20;

    /// As the layout has them, for Go 1.`minor`.
    #[must_use]
    pub fn of(layout: &Layout, minor: u32) -> Option<Self> {
        let current = layout.field("net/http.conn", "curReq")?;
        Some(Self {
            current: if minor >= Self::POINTER_SINCE {
                current
            } else {
                current.checked_add(8)?
            },
            conn: layout.field("net/http.response", "conn")?,
            request: layout.field("net/http.response", "req")?,
            method: layout.field("net/http.Request", "Method")?,
            url: layout.field("net/http.Request", "URL")?,
            path: layout.field("net/url.URL", "Path")?,
        })
    }
}

/// A request, by what a reader calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `GET`; empty means that, too.
    pub method: Arc<str>,
    /// Without the query.
    pub path: Arc<str>,
}

/// The request that the `net/http.conn` at `conn` serves now. `None` where `conn` is none, which shows in that its
/// response does not point back to it; where it serves none; and where it went on to another meanwhile.
///
/// # Errors
/// Memory cannot be read.
pub fn served(
    memory: &impl Memory,
    at: &ServedOffsets,
    conn: u64,
) -> Result<Option<Served>, MemoryError> {
    let word = |base: u64, offset: u32| memory.read_u64(base.wrapping_add(u64::from(offset)));
    let text = |base: u64, offset: u32, limit: usize| {
        let pair = (word(base, offset)?, word(base, offset.wrapping_add(8))?);
        read_string(memory, pair, limit)
    };
    let response = word(conn, at.current)?;
    if response == 0 || word(response, at.conn)? != conn {
        return Ok(None);
    }
    let request = word(response, at.request)?;
    let method = text(request, at.method, MAX_METHOD)?;
    let path = text(word(request, at.url)?, at.path, MAX_PATH)?;
    if word(conn, at.current)? != response {
        return Ok(None);
    }
    Ok(method
        .zip(path)
        .map(|(method, path)| Served { method, path }))
}

#[cfg(test)]
mod tests {
    use super::{ServedOffsets, served};
    use crate::go::GoVersion;
    use crate::go::layout::Layout;
    use crate::target::RecordedMemory;

    const CONN: u64 = 0x1000;
    const RESPONSE: u64 = 0x2000;

    fn memory(at: &ServedOffsets) -> RecordedMemory {
        let mut memory = RecordedMemory::new();
        let mut word = |base: u64, offset: u32, value: u64| {
            memory.insert(base + u64::from(offset), &value.to_le_bytes());
        };
        word(CONN, at.current, RESPONSE);
        word(RESPONSE, at.conn, CONN);
        word(RESPONSE, at.request, 0x3000);
        word(0x3000, at.method, 0x5000);
        word(0x3000, at.method + 8, 4);
        word(0x3000, at.url, 0x4000);
        word(0x4000, at.path, 0x5004);
        word(0x4000, at.path + 8, 7);
        memory.insert(0x5000, b"POST/report");
        memory
    }

    #[test]
    fn a_request_is_believed_where_its_response_is_the_connections() {
        for go in ["go1.18.10", "go1.27.3"] {
            let version = GoVersion::parse(go).unwrap();
            let layout = Layout::for_version(&version).unwrap();
            let at = ServedOffsets::of(&layout, version.minor).unwrap();
            let mut memory = memory(&at);
            let found = served(&memory, &at, CONN).unwrap().unwrap();
            assert_eq!((&*found.method, &*found.path), ("POST", "/report"));
            let back = RESPONSE + u64::from(at.conn);
            memory.insert(back, &0x1008u64.to_le_bytes());
            assert_eq!(served(&memory, &at, CONN), Ok(None));
        }
    }
}
