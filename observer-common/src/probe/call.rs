//! Outgoing HTTP calls: `(*Transport).roundTrip`, `(*Transport).cancelRequest`, what becomes of
//! the connection: `(*persistConn).cancelRequest`, `(*persistConn).canceled`, and of the attempts:
//! `(*Transport).replaceReqCanceler`, `rewindBody`, `(*clientStream).cleanupWriteRequest`.

use crate::event::{
    ATTEMPT_AGAIN, ATTEMPT_BEGINS, ATTEMPT_OVER, BodyFailed, CallAttempt, CallCancelled,
    CallRedirected, CallStarted, CallStreamEnded, ConnCancelled, Kind, Link,
};
use crate::layout::Layout;
use crate::limits::{MAX_HOST, MAX_PATH};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, bounded, walk};

/// What is read of a request before it is known which records tell of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its context.
    pub ctx: Link,
    /// `Request.Response`: the answer that redirected to it; 0 where none did.
    pub response: u64,
}

/// Reads both in one block: `Response` stands one word before `ctx`, or three (Go ≥ 1.23).
///
/// # Errors
/// [`Skip::Object`] when the request cannot be read.
#[inline(always)]
pub fn head<M: MemRead, R: Registers>(mem: &M, layout: &Layout, regs: &R) -> Result<Head, Skip> {
    let request = regs.arg::<1>();
    let at = request.wrapping_add(u64::from(layout.req_response));
    let (response, itab, data) = match layout.req_ctx.wrapping_sub(layout.req_response) {
        8 => {
            let mut words = [0u64; 3];
            if !mem.read_words(at, &mut words) {
                return Err(Skip::Object);
            }
            (words[0], words[1], words[2])
        }
        24 => {
            let mut words = [0u64; 5];
            if !mem.read_words(at, &mut words) {
                return Err(Skip::Object);
            }
            (words[0], words[3], words[4])
        }
        _ => {
            let ctx = request.wrapping_add(u64::from(layout.req_ctx));
            let [itab, data] = mem.pair(ctx).ok_or(Skip::Object)?;
            (0, itab, data)
        }
    };
    Ok(Head {
        ctx: Link { itab, data },
        response,
    })
}

/// Fills the record that says what redirected to a request; that of the call itself follows.
///
/// # Errors
/// [`Skip::Goroutine`], [`Skip::Object`] when the goroutine or the answer cannot be read.
#[inline(always)]
pub fn redirected<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    head: Head,
    record: &mut CallRedirected,
) -> Result<(), Skip> {
    record.header.kind = Kind::CallRedirected as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.request = regs.arg::<1>();
    let previous = head.response.wrapping_add(u64::from(layout.response_req));
    let previous = mem.word(previous).ok_or(Skip::Object)?;
    // `Request` begins with its method, then the URL.
    record.previous_url = mem.word(previous.wrapping_add(16)).ok_or(Skip::Object)?;
    Ok(())
}

/// Fills the record of a starting call; `Ok(true)` when something was cut by a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn started<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    head: Head,
    record: &mut CallStarted,
) -> Result<bool, Skip> {
    record.header.kind = Kind::CallStarted as u8;
    walk::goroutine(mem, layout, regs.g(), &mut record.header, &mut record.chain)?;
    record.request = regs.arg::<1>();
    record.links = walk::chain(mem, layout, head.ctx, &mut record.chain);
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
    record.url = 0;
    let mut head = [0u64; 3];
    if !mem.read_words(record.request, &mut head) {
        return false;
    }
    record.url = head[2] as u32;
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
        record.path_len = path as u32;
    } else {
        complete = false;
    }
    complete
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

/// Fills the record of a stream that is over. Its goroutine tells by its creator whose call it was.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn stream_ended<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut CallStreamEnded,
) -> Result<(), Skip> {
    record.header.kind = Kind::CallStreamEnded as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.header.parent_goid = walk::parent(mem, layout, regs.g())?;
    record.err = Link {
        itab: regs.arg::<1>(),
        data: regs.arg::<2>(),
    };
    record.text = [0; 24];
    if record.err.itab != 0 {
        // Another type of error has no text there: the decoder asks for the type.
        let [text, len] = mem.pair(record.err.data).unwrap_or([0; 2]);
        if !mem.read_prefix(text, &mut record.text, bounded(len, 24)) {
            record.text = [0; 24];
        }
    }
    Ok(())
}

/// Fills the record of a round trip that takes a connection, or of a connection that has done with
/// it: `replaceReqCanceler(key, fn)`, where `fn` is nil at the end.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn attempted<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut CallAttempt,
) -> Result<(), Skip> {
    record.header.kind = Kind::CallAttempt as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.request = regs.arg::<1>();
    record.what = if regs.arg::<2>() == 0 {
        ATTEMPT_OVER
    } else {
        ATTEMPT_BEGINS
    };
    Ok(())
}

/// Fills the record of a request that is about to be tried again: `rewindBody(req)`.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn retried<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut CallAttempt,
) -> Result<(), Skip> {
    record.header.kind = Kind::CallAttempt as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.request = regs.arg::<0>();
    record.what = ATTEMPT_AGAIN;
    Ok(())
}
