//! Outgoing HTTP calls: `(*Transport).roundTrip`, `(*Transport).cancelRequest`, and what becomes of
//! the connection: `(*persistConn).cancelRequest`, `(*persistConn).canceled`.

use crate::event::{BodyFailed, CallCancelled, CallStarted, ConnCancelled, Kind, Link};
use crate::layout::Layout;
use crate::limits::{MAX_HOST, MAX_PATH};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, walk};

/// Fills the record of a starting call; `Ok(true)` when something was cut by a failed read.
///
/// # Errors
/// [`Skip::Goroutine`], [`Skip::Object`] when the goroutine or the request cannot be read.
#[inline(always)]
pub fn started<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut CallStarted,
) -> Result<bool, Skip> {
    record.header.kind = Kind::CallStarted as u8;
    walk::goroutine(mem, layout, regs.g(), &mut record.header, &mut record.chain)?;
    record.request = regs.arg::<1>();
    let ctx = record.request.wrapping_add(u64::from(layout.req_ctx));
    let [itab, data] = mem.pair(ctx).ok_or(Skip::Object)?;
    record.links = walk::chain(mem, layout, Link { itab, data }, &mut record.chain);
    let (frames, partial) = walk::stack(mem, regs, &mut record.pcs);
    record.frames = frames;
    let named = name(mem, layout, record);
    Ok(partial | !named)
}

/// Method, host and path: for the reader of a finding.
#[inline(always)]
fn name<M: MemRead>(mem: &M, layout: &Layout, record: &mut CallStarted) -> bool {
    record.method_len = 0;
    record.host_len = 0;
    record.path_len = 0;
    let mut head = [0u64; 3];
    if !mem.read_words(record.request, &mut head) {
        return false;
    }
    let mut url = [0u64; 4];
    if !mem.read_words(head[2].wrapping_add(u64::from(layout.url_host)), &mut url) {
        return false;
    }
    let method = bounded(head[1], 8);
    let host = bounded(url[1], MAX_HOST as u64);
    let path = bounded(url[3], MAX_PATH as u64);
    let mut complete = true;
    if mem.read_prefix(head[0], &mut record.method, method) {
        record.method_len = method as u32;
    } else {
        complete = false;
    }
    if mem.read_prefix(url[0], &mut record.host, host) {
        record.host_len = host as u32;
    } else {
        complete = false;
    }
    if mem.read_prefix(url[2], &mut record.path, path) {
        record.path_len = path;
    } else {
        complete = false;
    }
    complete
}

#[inline(always)]
fn bounded(len: u64, most: u64) -> u64 {
    if len > most { most } else { len }
}

/// Fills the record of a call that the transport gives up; `cancelKey`'s request is argument 1.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn cancelled<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut CallCancelled,
) -> Result<(), Skip> {
    record.header.kind = Kind::CallCancelled as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.request = regs.arg::<1>();
    record.err = Link {
        itab: regs.arg::<2>(),
        data: regs.arg::<3>(),
    };
    Ok(())
}

/// Fills the record of a connection that is closed because the context of its request died.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn conn_cancelled<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut ConnCancelled,
) -> Result<(), Skip> {
    record.header.kind = Kind::ConnCancelled as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.conn = regs.arg::<0>();
    Ok(())
}

/// Fills the record of a read that failed on such a connection; `Ok(true)` when the stack ended at
/// a failed read. The error is set before the connection is closed, so before a read can fail.
///
/// # Errors
/// [`Skip::Quiet`] when the connection failed for another reason, [`Skip::Object`] or
/// [`Skip::Goroutine`] when it or the goroutine cannot be read.
#[inline(always)]
pub fn body_failed<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut BodyFailed,
) -> Result<bool, Skip> {
    record.header.kind = Kind::BodyFailed as u8;
    record.conn = regs.arg::<0>();
    let err = record.conn.wrapping_add(u64::from(layout.conn_canceled));
    if mem.word(err).ok_or(Skip::Object)? == 0 {
        return Err(Skip::Quiet);
    }
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    let (frames, partial) = walk::stack(mem, regs, &mut record.pcs);
    record.frames = u64::from(frames);
    Ok(partial)
}
