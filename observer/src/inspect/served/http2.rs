//! HTTP/2: the request that `(*serverConn).runHandler(rw, req, handler)` was given.
//!
//! Where in its frame the function keeps what it was given differs by version, so every word of the frame is tried. Three
//! of them must belong together: a response writer, and the connection and the request that its state names.

use crate::go::layout::Layout;
use crate::inspect::Extent;
use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError};

use super::{Served, TextOffsets, read_request, word};

/// Bytes of the frame looked at, the outermost: 0x80 are usual.
const MAX_FRAME: u64 = 512;
/// The return address, and the four arguments behind it.
const BEHIND: u64 = 5 * 8;

/// Fields on the way from a response writer to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Http2Offsets {
    /// `responseWriter.rws`.
    state: u32,
    /// `responseWriterState.stream`.
    stream: u32,
    /// `responseWriterState.req`.
    request: u32,
    /// The request lies in the state itself.
    inline: bool,
    /// `responseWriterState.conn`.
    conn: u32,
    /// `stream.sc`.
    stream_conn: u32,
    /// Fields of the request.
    text: TextOffsets,
}

impl Http2Offsets {
    /// Those inside `net/http`, as the layout has them.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        const REQUEST: &str = "net/http/internal/http2.ServerRequest";
        let state = |name| layout.field("net/http/internal/http2.responseWriterState", name);
        let own = TextOffsets::of(layout, REQUEST);
        Some(Self {
            state: layout.field("net/http/internal/http2.responseWriter", "rws")?,
            stream: state("stream")?,
            request: state("req")?,
            inline: own.is_some(),
            conn: state("conn")?,
            stream_conn: layout.field("net/http/internal/http2.stream", "sc")?,
            text: own.or_else(|| TextOffsets::of(layout, "net/http.Request"))?,
        })
    }

    /// Those of `golang.org/x/net/http2` since 2022. Another release has others, which shows in that its words do not
    /// belong together.
    pub(super) fn of_x_net(layout: &Layout) -> Option<Self> {
        Some(Self {
            state: 0,
            stream: 0,
            request: 8,
            inline: false,
            conn: 16,
            stream_conn: 0,
            text: TextOffsets::of(layout, "net/http.Request")?,
        })
    }
}

/// The request of the response writer in `frame`.
pub(super) fn served(
    memory: &impl Memory,
    at: Http2Offsets,
    frame: Extent,
) -> Result<Option<Served>, MemoryError> {
    let from = frame.from.max(frame.to.saturating_sub(MAX_FRAME));
    let end = frame.to.saturating_add(BEHIND);
    let len = usize::try_from(end.saturating_sub(from)).unwrap_or(0);
    let block = memory.read_bytes(from, len)?;
    let words: Vec<u64> = block
        .chunks_exact(8)
        .filter_map(|word| u64_at(word, 0))
        .collect();
    for &writer in &words {
        if writer == 0 || !writer.is_multiple_of(8) {
            continue;
        }
        match of_writer(memory, at, writer, &words) {
            Err(cause) if cause.is_final() => return Err(cause),
            Ok(Some(request)) => return Ok(Some(request)),
            Ok(None) | Err(_) => {}
        }
    }
    Ok(None)
}

fn of_writer(
    memory: &impl Memory,
    at: Http2Offsets,
    writer: u64,
    frame: &[u64],
) -> Result<Option<Served>, MemoryError> {
    let state = word(memory, writer, at.state)?;
    let conn = word(memory, state, at.conn)?;
    if conn == 0 || !frame.contains(&conn) {
        return Ok(None);
    }
    let stream = word(memory, state, at.stream)?;
    let request = if at.inline {
        state.wrapping_add(u64::from(at.request))
    } else {
        word(memory, state, at.request)?
    };
    if word(memory, stream, at.stream_conn)? != conn || !frame.contains(&request) {
        return Ok(None);
    }
    let found = read_request(memory, at.text, request)?;
    // States are used again, for any connection.
    let still = word(memory, state, at.stream)? == stream && word(memory, state, at.conn)? == conn;
    Ok(found.filter(|_| still))
}

#[cfg(test)]
mod tests {
    use super::{Http2Offsets, served};
    use crate::go::GoVersion;
    use crate::go::layout::Layout;
    use crate::inspect::Extent;
    use crate::target::RecordedMemory;

    const FRAME: Extent = Extent {
        from: 0x1000,
        to: 0x1038,
    };
    const WRITER: u64 = 0x2000;
    const STATE: u64 = 0x3000;
    const STREAM: u64 = 0x4000;
    const CONN: u64 = 0x5000;
    const REQUEST: u64 = 0x6000;
    const TEXT: u64 = 0x7000;

    fn memory(at: &Http2Offsets) -> RecordedMemory {
        let mut memory = RecordedMemory::new();
        let mut word = |base: u64, offset: u32, value: u64| {
            memory.insert(base + u64::from(offset), &value.to_le_bytes());
        };
        let request = if at.inline {
            STATE + u64::from(at.request)
        } else {
            REQUEST
        };
        for (index, value) in (0u32..).zip([1, WRITER + 1, 0, WRITER, request, 8, CONN]) {
            word(FRAME.from, index * 8, value);
        }
        for index in 0..5 {
            word(FRAME.to, index * 8, 0);
        }
        word(WRITER, at.state, STATE);
        word(STATE, at.stream, STREAM);
        word(STATE, at.conn, CONN);
        if !at.inline {
            word(STATE, at.request, REQUEST);
        }
        word(STREAM, at.stream_conn, CONN);
        word(request, at.text.method, TEXT);
        word(request, at.text.method + 8, 4);
        word(request, at.text.url, 0x8000);
        word(0x8000, at.text.path, TEXT + 4);
        word(0x8000, at.text.path + 8, 7);
        memory.insert(TEXT, b"POST/report");
        memory
    }

    fn offsets(go: &str) -> Http2Offsets {
        let layout = Layout::for_version(&GoVersion::parse(go).unwrap()).unwrap();
        Http2Offsets::of(&layout).unwrap()
    }

    #[test]
    fn a_request_is_believed_where_writer_connection_and_request_belong_together() {
        for go in ["go1.18.10", "go1.24.11", "go1.27.3"] {
            let at = offsets(go);
            assert_eq!(at.inline, go == "go1.27.3");
            let whole = memory(&at);
            let found = served(&whole, at, FRAME).unwrap().unwrap();
            assert_eq!((&*found.method, &*found.path), ("POST", "/report"), "{go}");
            for (base, offset) in [
                (STATE, at.conn),
                (STATE, at.stream),
                (STREAM, at.stream_conn),
                (WRITER, at.state),
                // The connection and the request of the frame.
                (FRAME.from, 48),
                (FRAME.from, 32),
            ] {
                let mut other = whole.clone();
                other.insert(base + u64::from(offset), &0x9000u64.to_le_bytes());
                assert_eq!(served(&other, at, FRAME), Ok(None), "{go} {base:#x}");
            }
        }
    }
}
