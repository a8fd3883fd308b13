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
