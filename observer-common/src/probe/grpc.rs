//! gRPC's server: `(*Server).handleStream`, and `writeStatus` of its transport.

use crate::event::{GrpcEnded, GrpcStarted, Kind, Link};
use crate::layout::{GRPC_BY_POINTER, Layout};
use crate::limits::MAX_PATH;
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, walk};

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
    let len = if len > MAX_PATH as u64 {
        MAX_PATH as u64
    } else {
        len
    };
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
