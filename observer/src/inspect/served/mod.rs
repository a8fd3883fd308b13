//! Which request a goroutine serves now: read from the frame of the function that serves it.
//!
//! What lies in a frame may be old, so nothing is believed that does not lead back to where it came from.

mod grpc;
mod http1;
mod http2;

use std::sync::Arc;

use crate::go::layout::Layout;
use crate::target::{Memory, MemoryError};

use super::Extent;
use super::strings::read_string;

/// Bytes kept of a method.
const MAX_METHOD: usize = 32;
/// Bytes kept of a path.
const MAX_PATH: usize = 512;
/// Bytes from the return address of a frame to the first argument behind it.
const TO_ARGUMENTS: u64 = 8;

/// What serves: tells what the frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBy {
    /// `net/http.(*conn).serve`.
    Http1,
    /// `(*serverConn).runHandler` inside `net/http`.
    Http2,
    /// `(*serverConn).runHandler` of `golang.org/x/net/http2`.
    XNetHttp2,
    /// `google.golang.org/grpc.(*Server).handleStream`.
    Grpc,
}

/// A request, by what a reader calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `GET`; empty means that, too.
    pub method: Arc<str>,
    /// Without the query.
    pub path: Arc<str>,
}

/// Fields on the ways to a request; `None` where the layout lacks one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedOffsets {
    http1: Option<http1::Http1Offsets>,
    http2: Option<http2::Http2Offsets>,
    x_net: Option<http2::Http2Offsets>,
    grpc: Option<grpc::GrpcOffsets>,
}

impl ServedOffsets {
    /// As the layout has them, for Go 1.`minor`.
    #[must_use]
    pub fn of(layout: &Layout, minor: u32) -> Self {
        Self {
            http1: http1::Http1Offsets::of(layout, minor),
            http2: http2::Http2Offsets::of(layout),
            x_net: http2::Http2Offsets::of_x_net(layout),
            grpc: grpc::GrpcOffsets::of(layout),
        }
    }
}

/// The request that is served in `frame`. `None` where it is not to be known.
///
/// # Errors
/// Memory cannot be read.
pub fn served(
    memory: &impl Memory,
    at: &ServedOffsets,
    by: ServedBy,
    frame: Extent,
) -> Result<Option<Served>, MemoryError> {
    let http2 = |at: Option<http2::Http2Offsets>| match at {
        Some(at) => http2::served(memory, at, frame),
        None => Ok(None),
    };
    let arguments = frame.to.saturating_add(TO_ARGUMENTS);
    match by {
        ServedBy::Http1 => match at.http1 {
            Some(at) => http1::served(memory, &at, memory.read_u64(arguments)?),
            None => Ok(None),
        },
        ServedBy::Http2 => http2(at.http2),
        ServedBy::XNetHttp2 => http2(at.x_net),
        ServedBy::Grpc => match at.grpc {
            Some(at) => grpc::served(memory, at, arguments),
            None => Ok(None),
        },
    }
}

/// Fields of a request of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TextOffsets {
    /// The method, a string.
    method: u32,
    /// The URL, a pointer.
    url: u32,
    /// `URL.Path`, a string.
    path: u32,
}

impl TextOffsets {
    /// Those of one type of request.
    fn of(layout: &Layout, request: &str) -> Option<Self> {
        Some(Self {
            method: layout.field(request, "Method")?,
            url: layout.field(request, "URL")?,
            path: layout.field("net/url.URL", "Path")?,
        })
    }
}

fn read_request(
    memory: &impl Memory,
    at: TextOffsets,
    request: u64,
) -> Result<Option<Served>, MemoryError> {
    let url = word(memory, request, at.url)?;
    let method = text(memory, request, at.method, MAX_METHOD)?;
    let path = text(memory, url, at.path, MAX_PATH)?;
    Ok(method
        .zip(path)
        .map(|(method, path)| Served { method, path }))
}

fn word(memory: &impl Memory, base: u64, offset: u32) -> Result<u64, MemoryError> {
    memory.read_u64(base.wrapping_add(u64::from(offset)))
}

fn text(
    memory: &impl Memory,
    base: u64,
    offset: u32,
    limit: usize,
) -> Result<Option<Arc<str>>, MemoryError> {
    let pair = (
        word(memory, base, offset)?,
        word(memory, base, offset.wrapping_add(8))?,
    );
    read_string(memory, pair, limit)
}
