//! HTTP/1: the request that a connection of `net/http` serves now.

use crate::go::layout::Layout;
use crate::target::{Memory, MemoryError};

use super::{Served, TextOffsets, read_request, word};

/// Fields on the way from a connection to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Http1Offsets {
    /// The pointer in `conn.curReq`: the first word of an `atomic.Pointer`, the second of an `atomic.Value` (Go 1.18 and
    /// 1.19).
    pub(super) current: u32,
    /// `response.conn`.
    pub(super) conn: u32,
    /// `response.req`.
    pub(super) request: u32,
    /// Fields of the request.
    pub(super) text: TextOffsets,
}

impl Http1Offsets {
    /// First Go 1.N whose `curReq` is an `atomic.Pointer`.
    const POINTER_SINCE: u32 = 20;

    /// As the layout has them, for Go 1.`minor`.
    pub(super) fn of(layout: &Layout, minor: u32) -> Option<Self> {
        let current = layout.field("net/http.conn", "curReq")?;
        Some(Self {
            current: if minor >= Self::POINTER_SINCE {
                current
            } else {
                current.checked_add(8)?
            },
            conn: layout.field("net/http.response", "conn")?,
            request: layout.field("net/http.response", "req")?,
            text: TextOffsets::of(layout, "net/http.Request")?,
        })
    }
}

/// The request that the `net/http.conn` at `conn` serves now. `None` where `conn` is none, which shows in that its
/// response does not point back to it; where it serves none; and where it went on to another meanwhile.
///
/// # Errors
/// Memory cannot be read.
pub(super) fn served(
    memory: &impl Memory,
    at: &Http1Offsets,
    conn: u64,
) -> Result<Option<Served>, MemoryError> {
    let response = word(memory, conn, at.current)?;
    if response == 0 || word(memory, response, at.conn)? != conn {
        return Ok(None);
    }
    let request = word(memory, response, at.request)?;
    let found = read_request(memory, at.text, request)?;
    Ok(found.filter(|_| word(memory, conn, at.current) == Ok(response)))
}

#[cfg(test)]
mod tests {
    use super::{Http1Offsets, served};
    use crate::go::GoVersion;
    use crate::go::layout::Layout;
    use crate::target::RecordedMemory;

    const CONN: u64 = 0x1000;
    const RESPONSE: u64 = 0x2000;

    fn memory(at: &Http1Offsets) -> RecordedMemory {
        let mut memory = RecordedMemory::new();
        let mut word = |base: u64, offset: u32, value: u64| {
            memory.insert(base + u64::from(offset), &value.to_le_bytes());
        };
        word(CONN, at.current, RESPONSE);
        word(RESPONSE, at.conn, CONN);
        word(RESPONSE, at.request, 0x3000);
        word(0x3000, at.text.method, 0x5000);
        word(0x3000, at.text.method + 8, 4);
        word(0x3000, at.text.url, 0x4000);
        word(0x4000, at.text.path, 0x5004);
        word(0x4000, at.text.path + 8, 7);
        memory.insert(0x5000, b"POST/report");
        memory
    }

    #[test]
    fn a_request_is_believed_where_its_response_is_the_connections() {
        for go in ["go1.18.10", "go1.27.3"] {
            let version = GoVersion::parse(go).unwrap();
            let layout = Layout::for_version(&version).unwrap();
            let at = Http1Offsets::of(&layout, version.minor).unwrap();
            let mut memory = memory(&at);
            let found = served(&memory, &at, CONN).unwrap().unwrap();
            assert_eq!((&*found.method, &*found.path), ("POST", "/report"));
            let back = RESPONSE + u64::from(at.conn);
            memory.insert(back, &0x1008u64.to_le_bytes());
            assert_eq!(served(&memory, &at, CONN), Ok(None));
        }
    }
}
