//! `serverHandler.ServeHTTP`: a request begins.

use crate::event::{Kind, Link, REQUEST_HTTP2, REQUEST_IDS_UNREAD, RequestStarted, SCRATCH_WORDS};
use crate::layout::{Layout, READ_DEADLINES, READ_IDS};
use crate::limits::{MAX_LINE, MAX_PATH};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, bounded, headers, walk};

/// Words of `http.Request` read at once: `Method` at 0 to `ctx` at 248 in Go 1.18 … 1.27.
const REQUEST_WORDS: usize = 33;
/// Bytes of an interface value.
const INTERFACE: u64 = 16;
/// Where the path goes when it does not follow the method in memory.
const APART: usize = MAX_LINE - MAX_PATH;

/// Fills the record. `SWISS`: `http.Header` is a Swiss map (Go ≥ 1.24), else a bucket map.
///
/// # Errors
/// [`Skip::Goroutine`], [`Skip::Object`] when the goroutine or the request cannot be read.
#[inline(always)]
pub fn started<const SWISS: bool, M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut RequestStarted,
) -> Result<(), Skip> {
    record.writer = Link {
        itab: regs.arg::<1>(),
        data: regs.arg::<2>(),
    };
    record.request = regs.arg::<3>();
    let at = Offsets {
        ctx: layout.req_ctx,
        method: 0,
        uri: layout.req_uri,
        header: layout.req_header,
    };
    fill::<SWISS, M, R>(mem, layout, regs, at, record)
}

/// Where a request keeps what is told of it, in bytes.
#[derive(Clone, Copy)]
struct Offsets {
    ctx: u32,
    method: u32,
    uri: u32,
    header: u32,
}

/// The same for `(*serverConn).runHandler(rw, req, handler)` of a server of HTTP/2.
///
/// # Errors
/// See [`started`].
#[inline(always)]
pub fn started_by_http2<const SWISS: bool, M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut RequestStarted,
) -> Result<(), Skip> {
    record.writer = Link {
        itab: 0,
        data: regs.arg::<1>(),
    };
    record.request = regs.arg::<2>();
    let at = Offsets {
        ctx: layout.h2_ctx,
        method: layout.h2_method,
        uri: layout.h2_uri,
        header: layout.h2_header,
    };
    fill::<SWISS, M, R>(mem, layout, regs, at, record)?;
    record.flags |= REQUEST_HTTP2;
    Ok(())
}

/// What the request itself says; writer and address are there.
#[inline(always)]
fn fill<const SWISS: bool, M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    at: Offsets,
    record: &mut RequestStarted,
) -> Result<(), Skip> {
    record.header.kind = Kind::RequestStarted as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    let last = if at.ctx > at.uri { at.ctx } else { at.uri };
    // Not a byte more than the struct has: what follows may lie on a page that was never touched.
    let block: &mut [u8; SCRATCH_WORDS * 8] = zerocopy::transmute_mut!(&mut record.scratch);
    if !mem.read_prefix(record.request, block, u64::from(last) + INTERFACE) {
        return Err(Skip::Object);
    }
    let head: &[u64; REQUEST_WORDS] = record.scratch.first_chunk().ok_or(Skip::Object)?;
    // Masked, not compared: the verifier must see the bound in the very register that is used.
    let ctx = (at.ctx / 8) as usize & (REQUEST_WORDS - 2);
    let uri = (at.uri / 8) as usize & (REQUEST_WORDS - 2);
    let header = (at.header / 8) as usize & (REQUEST_WORDS - 2);
    record.ctx = Link {
        itab: head[ctx],
        data: head[ctx + 1],
    };
    let method = (at.method / 8) as usize & (REQUEST_WORDS - 2);
    let method = Text {
        at: head[method],
        len: head[method + 1],
    };
    let target = Text {
        at: head[uri],
        len: head[uri + 1],
    };
    let map = head[header];
    line(mem, method, target, record);
    record.id_row = 0;
    record.id_len = 0;
    record.trace_len = 0;
    record.deadline_row = 0;
    record.deadline_len = 0;
    record.flags = if layout.has(READ_IDS) {
        0
    } else {
        REQUEST_IDS_UNREAD
    };
    if layout.has(READ_IDS | READ_DEADLINES) {
        headers::find::<SWISS, M>(mem, layout, map, record);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Text {
    at: u64,
    len: u64,
}

/// Method and target. In HTTP/1 both are parts of one request line: then one read is enough.
#[inline(always)]
fn line<M: MemRead>(mem: &M, method: Text, target: Text, record: &mut RequestStarted) {
    record.method_len = 0;
    record.path_at = 0;
    record.path_len = 0;
    if method.len >= APART as u64 {
        return;
    }
    let path_len = bounded(target.len, MAX_PATH as u64);
    let after = method.len + 1;
    if method.at.wrapping_add(after) == target.at {
        if mem.read_prefix(method.at, &mut record.line, after + path_len) {
            record.method_len = method.len as u32;
            record.path_at = after as u32;
            record.path_len = path_len as u32;
        }
        return;
    }
    if let Some(front) = record.line.first_chunk_mut::<APART>()
        && mem.read_prefix(method.at, front, method.len)
    {
        record.method_len = method.len as u32;
    }
    if let Some(back) = record.line.last_chunk_mut::<MAX_PATH>()
        && mem.read_prefix(target.at, back, path_len)
    {
        record.path_at = APART as u32;
        record.path_len = path_len as u32;
    }
}
