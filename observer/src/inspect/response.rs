//! What a handler has set in the header of its answer so far: where a service shows the ID that it made.

use std::sync::Arc;

use crate::go::layout::Layout;
use crate::target::{Memory, MemoryError};

use super::MapKind;
use super::request::look_up;

/// Where a `http.ResponseWriter` of `net/http` keeps the header that handlers get, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseOffsets {
    /// `response.req`, a pointer.
    request: u32,
    /// `response.handlerHeader`, a map.
    header: u32,
    /// The same of HTTP/2, where its writers are known to be those of the standard library.
    http2: Option<Http2Offsets>,
    /// How this Go version lays out maps.
    map: MapKind,
}

/// Where a writer of HTTP/2 keeps what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Http2Offsets {
    /// `responseWriter.rws`, a pointer.
    state: u32,
    /// `responseWriterState.handlerHeader`, a map.
    header: u32,
    /// What it knows of its request.
    owner: Owner,
}

/// How a writer's state names its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// A pointer to it at this offset.
    Request(u32),
    /// The data word of its context at this offset (from Go 1.27, where the state holds a request of its own kind).
    Context(u32),
}

impl ResponseOffsets {
    /// As the layout has them. `foreign_http2`: the program has a server of HTTP/2 of its own besides.
    #[must_use]
    pub fn of(layout: &Layout, map: MapKind, foreign_http2: bool) -> Option<Self> {
        Some(Self {
            request: layout.field("net/http.response", "req")?,
            header: layout.field("net/http.response", "handlerHeader")?,
            http2: Http2Offsets::of(layout).filter(|_| !foreign_http2),
            map,
        })
    }
}

impl Http2Offsets {
    fn of(layout: &Layout) -> Option<Self> {
        let state = |name| layout.field("net/http/internal/http2.responseWriterState", name);
        let request = state("req")?;
        let ctx = layout.field("net/http/internal/http2.ServerRequest", "Context");
        Some(Self {
            state: layout.field("net/http/internal/http2.responseWriter", "rws")?,
            header: state("handlerHeader")?,
            owner: match ctx {
                // The data word follows the itab.
                Some(ctx) => Owner::Context(request.checked_add(ctx)?.checked_add(8)?),
                None => Owner::Request(request),
            },
        })
    }
}

/// A request and the writer of its answer.
#[derive(Debug, Clone, Copy)]
pub struct Answering {
    /// The `*http.Request` that the server made.
    pub request: u64,
    /// Data word of its context.
    pub ctx: u64,
    /// Data word of the `http.ResponseWriter` that the server made.
    pub writer: u64,
    /// It is one of HTTP/2.
    pub http2: bool,
}

/// The first value of each of these headers (canonical names) that the answer will have, by what was set until now.
/// `None` where that cannot be read, where the writer serves another request, or where the header changed meanwhile.
pub fn response_headers(
    memory: &impl Memory,
    offsets: &ResponseOffsets,
    of: Answering,
    names: &[&str],
) -> Option<Vec<Option<Arc<str>>>> {
    let read = || read(memory, offsets, of, names).ok().flatten();
    let (first, second) = (read()?, read()?);
    // Handlers write into this map while it is read.
    (first == second).then_some(first)
}

fn read(
    memory: &impl Memory,
    offsets: &ResponseOffsets,
    of: Answering,
    names: &[&str],
) -> Result<Option<Vec<Option<Arc<str>>>>, MemoryError> {
    let word = |base: u64, at: u32| memory.read_u64(base.saturating_add(u64::from(at)));
    let (header, owner, wanted) = if of.http2 {
        let Some(at) = offsets.http2 else {
            return Ok(None);
        };
        let state = word(of.writer, at.state)?;
        let (owner, wanted) = match at.owner {
            Owner::Request(at) => (at, of.request),
            Owner::Context(at) => (at, of.ctx),
        };
        let owner = state.saturating_add(u64::from(owner));
        (word(state, at.header)?, owner, wanted)
    } else {
        let owner = of.writer.saturating_add(u64::from(offsets.request));
        (word(of.writer, offsets.header)?, owner, of.request)
    };
    if memory.read_u64(owner)? != wanted {
        return Ok(None);
    }
    let (values, _) = look_up(memory, offsets.map, header, names)?;
    Ok((memory.read_u64(owner)? == wanted).then_some(values))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{Answering, MapKind, ResponseOffsets, response_headers};
    use crate::go::GoVersion;
    use crate::go::layout::Layout;
    use crate::target::{Memory, MemoryError, RecordedMemory};

    const REQUEST: u64 = 0x1000;
    const CTX: u64 = 0x2000;
    const WRITER: u64 = 0x3000;
    const STATE: u64 = 0x4000;
    const MAP: u64 = 0x5000;
    const GROUP: u64 = 0x6000;
    const VALUE: u64 = 0x7000;

    /// Memory in which the first read of the map's group sees another value than later ones.
    struct Changing {
        memory: RecordedMemory,
        after: RecordedMemory,
        reads: Cell<u32>,
    }

    impl Memory for Changing {
        fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
            if addr == VALUE {
                self.reads.set(self.reads.get() + 1);
            }
            let memory = if self.reads.get() > 1 {
                &self.after
            } else {
                &self.memory
            };
            memory.read(addr, buf)
        }
    }

    fn offsets(go: &str, foreign_http2: bool) -> ResponseOffsets {
        let layout = Layout::for_version(&GoVersion::parse(go).unwrap()).unwrap();
        ResponseOffsets::of(&layout, MapKind::Swiss, foreign_http2).unwrap()
    }

    fn words(memory: &mut RecordedMemory, at: u64, words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.insert(at, &bytes);
    }

    /// A Swiss map with one group and in it `X-Request-Id`.
    fn header(value: &[u8; 4]) -> RecordedMemory {
        let mut memory = RecordedMemory::new();
        words(&mut memory, MAP, &[1, 0, GROUP, 0]);
        let mut group = vec![0x8080_8080_8080_8000, 0x6800, 12, 0x6900, 1, 1];
        group.resize(41, 0);
        words(&mut memory, GROUP, &group);
        memory.insert(0x6800, b"X-Request-Id");
        words(&mut memory, 0x6900, &[VALUE, 4]);
        memory.insert(VALUE, value);
        memory
    }

    fn read(memory: &impl Memory, offsets: &ResponseOffsets, http2: bool) -> Option<String> {
        let of = Answering {
            request: REQUEST,
            ctx: CTX,
            writer: WRITER,
            http2,
        };
        let values = response_headers(memory, offsets, of, &["X-Other", "X-Request-Id"])?;
        assert_eq!(values[0], None);
        values[1].as_deref().map(str::to_owned)
    }

    fn http1(memory: &mut RecordedMemory, request: u64) {
        memory.insert(WRITER, &[0; 256]);
        words(memory, WRITER + 8, &[request]);
        let at = offsets("go1.27.3", false).header;
        words(memory, WRITER + u64::from(at), &[MAP]);
    }

    #[test]
    fn the_header_of_the_answer_is_read_where_it_is_this_requests() {
        let mut memory = header(b"made");
        http1(&mut memory, REQUEST);
        let offsets = offsets("go1.27.3", false);
        assert_eq!(read(&memory, &offsets, false).as_deref(), Some("made"));
        http1(&mut memory, REQUEST + 8);
        assert_eq!(read(&memory, &offsets, false), None);
        assert_eq!(read(&RecordedMemory::new(), &offsets, false), None);
    }

    #[test]
    fn what_changes_while_it_is_read_is_unknown() {
        let [mut memory, mut after] = [header(b"made"), header(b"torn")];
        http1(&mut memory, REQUEST);
        http1(&mut after, REQUEST);
        let memory = Changing {
            memory,
            after,
            reads: Cell::new(0),
        };
        let offsets = offsets("go1.27.3", false);
        assert_eq!(read(&memory, &offsets, false), None);
    }

    #[test]
    fn a_writer_of_http2_names_its_request_by_address_or_by_context() {
        // Up to Go 1.26 the address of the request, then a request of its own kind that begins with the context.
        for (go, at, owner) in [("go1.26.8", 8, REQUEST), ("go1.27.3", 16, CTX)] {
            let own = offsets(go, false);
            let mut memory = header(b"made");
            words(&mut memory, WRITER, &[STATE]);
            memory.insert(STATE, &[0; 512]);
            words(&mut memory, STATE + at, &[owner]);
            let map_at = own.http2.unwrap().header;
            words(&mut memory, STATE + u64::from(map_at), &[MAP]);
            assert_eq!(read(&memory, &own, true).as_deref(), Some("made"), "{go}");
            assert_eq!(read(&memory, &offsets(go, true), true), None, "{go}");
            words(&mut memory, STATE + at, &[owner + 8]);
            assert_eq!(read(&memory, &own, true), None, "{go}");
        }
    }
}
