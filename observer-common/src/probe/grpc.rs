//! gRPC: `(*Server).handleStream` and `writeStatus` of its transport; the client's `newClientStream`.

use crate::event::{GrpcCalled, GrpcEnded, GrpcStarted, Kind, Link};
use crate::layout::{GRPC_BY_POINTER, Layout};
use crate::limits::{MAX_HOST, MAX_PATH};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, bounded, walk};

/// Fills the record of a stream whose handler is about to run: receiver, transport (two words), stream.
///
/// # Errors
/// [`Skip::Goroutine`], [`Skip::Object`] when the goroutine or the stream cannot be read.
#[inline(always)]
pub fn started<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut GrpcStarted,
) -> Result<(), Skip> {
    record.header.kind = Kind::GrpcStarted as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.stream = regs.arg::<3>();
    let common = if layout.has(GRPC_BY_POINTER) {
        mem.word(record.stream).ok_or(Skip::Object)?
    } else {
        record.stream
    };
    let field = |offset: u32| {
        mem.pair(common.wrapping_add(u64::from(offset)))
            .ok_or(Skip::Object)
    };
    let [itab, data] = field(layout.grpc_ctx)?;
    let [text, len] = field(layout.grpc_method)?;
    record.links = walk::chain(mem, layout, Link { itab, data }, &mut record.chain);
    let len = bounded(len, MAX_PATH as u64);
    if !mem.read_prefix(text, &mut record.method, len) {
        return Err(Skip::Object);
    }
    record.method_len = len as u32;
    Ok(())
}

/// Fills the record of a stream whose handler has returned: transport, stream.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn ended<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut GrpcEnded,
) -> Result<(), Skip> {
    record.header.kind = Kind::GrpcEnded as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.stream = regs.arg::<1>();
    Ok(())
}

/// Frames above a write to a stream within which the unary handler's answer is sent: `writeHeader`, `write`, the stream's
/// own `Write`, `sendResponse`.
const ANSWER_FRAMES: usize = 4;

/// Fills the record of a stream whose unary handler has returned, if this write to it is the answer: transport, stream.
///
/// # Errors
/// [`Skip::Quiet`] when the handler itself writes, [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn answered<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut GrpcEnded,
) -> Result<(), Skip> {
    let mut pcs = [0u64; ANSWER_FRAMES];
    walk::stack(mem, regs, &mut pcs);
    let answer = &layout.grpc_answer;
    let is_answer = answer.holds_return(pcs[0])
        | answer.holds_return(pcs[1])
        | answer.holds_return(pcs[2])
        | answer.holds_return(pcs[3]);
    if !is_answer {
        return Err(Skip::Quiet);
    }
    ended(mem, layout, regs, record)
}

/// Fills the record of a client's stream that is about to be made: context (two words), description, connection,
/// method (two words). `Ok(true)` when something was cut by a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn called<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut GrpcCalled,
) -> Result<bool, Skip> {
    record.header.kind = Kind::GrpcCalled as u8;
    walk::goroutine(mem, layout, regs.g(), &mut record.header, &mut record.chain)?;
    let ctx = Link {
        itab: regs.arg::<0>(),
        data: regs.arg::<1>(),
    };
    record.links = walk::chain(mem, layout, ctx, &mut record.chain);
    let (frames, partial) = walk::stack(mem, regs, &mut record.pcs);
    record.frames = frames;
    record.host_len = 0;
    record.method_len = 0;
    let authority = regs
        .arg::<3>()
        .wrapping_add(u64::from(layout.grpc_authority));
    let mut complete = !partial;
    let [text, len] = mem.pair(authority).unwrap_or([0, 0]);
    let len = bounded(len, MAX_HOST as u64);
    if mem.read_prefix(text, &mut record.host, len) {
        record.host_len = len as u32;
    } else {
        complete = false;
    }
    let len = regs.arg::<5>();
    let len = bounded(len, MAX_PATH as u64);
    if mem.read_prefix(regs.arg::<4>(), &mut record.method, len) {
        record.method_len = len as u32;
    } else {
        complete = false;
    }
    Ok(!complete)
}
