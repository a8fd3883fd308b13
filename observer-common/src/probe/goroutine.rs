//! `runtime.newproc.func1` and `runtime.goexit0`: goroutines begin and end.
//!
//! Both run on the thread's own stack: the current goroutine is `g0` there.

use crate::event::{GoroutineCreated, GoroutineEnded, Kind};
use crate::layout::{Layout, Range};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, walk};

/// A goroutine of a process, as the map of followed ones knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Followed {
    /// Process id in the initial namespace.
    pub pid: u64,
    /// Goroutine.
    pub goid: u64,
}

/// Who starts the goroutine that is about to be queued; 0: the runtime itself, such as for a timer.
///
/// # Errors
/// [`Skip::Goroutine`] when a descriptor cannot be read.
#[inline(always)]
pub fn creator<M: MemRead, R: Registers>(mem: &M, layout: &Layout, regs: &R) -> Result<u64, Skip> {
    if layout.g_parent_words != 0 {
        return walk::parent(mem, layout, regs.arg::<1>());
    }
    // Up to Go 1.20 no goroutine says who made it; it is the one that this thread runs.
    let thread = mem.word(regs.g().wrapping_add(u64::from(layout.g_m)));
    let thread = thread.ok_or(Skip::Goroutine)?;
    let current = mem.word(thread.wrapping_add(u64::from(layout.m_curg)));
    match current.ok_or(Skip::Goroutine)? {
        0 => Ok(0),
        current => number(mem, layout, current),
    }
}

/// The `go` statement of the goroutine that is about to be queued; `None` where it starts what serves everybody.
///
/// # Errors
/// [`Skip::Goroutine`] when its descriptor cannot be read.
#[inline(always)]
pub fn statement<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
) -> Result<Option<u64>, Skip> {
    let at = regs.arg::<1>().wrapping_add(u64::from(layout.g_gopc));
    let gopc = mem.word(at).ok_or(Skip::Goroutine)?;
    Ok((!Range::any_holds_return(&layout.spawn_drop, gopc)).then_some(gopc))
}

/// Its number.
///
/// # Errors
/// [`Skip::Goroutine`] when its descriptor cannot be read.
#[inline(always)]
pub fn made<M: MemRead, R: Registers>(mem: &M, layout: &Layout, regs: &R) -> Result<u64, Skip> {
    number(mem, layout, regs.arg::<1>())
}

/// The goroutine that ends: the first argument.
///
/// # Errors
/// [`Skip::Goroutine`] when its descriptor cannot be read.
#[inline(always)]
pub fn ending<M: MemRead, R: Registers>(mem: &M, layout: &Layout, regs: &R) -> Result<u64, Skip> {
    number(mem, layout, regs.arg::<0>())
}

#[inline(always)]
fn number<M: MemRead>(mem: &M, layout: &Layout, g: u64) -> Result<u64, Skip> {
    mem.word(g.wrapping_add(u64::from(layout.g_goid)))
        .ok_or(Skip::Goroutine)
}

/// What is known of a new goroutine before its record is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// Its number.
    pub goid: u64,
    /// Who starts it.
    pub creator: u64,
    /// Return address of its `go` statement.
    pub gopc: u64,
}

/// Fills the record of a new goroutine; `Ok(true)` when the stack ended at a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when its descriptor cannot be read.
#[inline(always)]
pub fn created<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    birth: Birth,
    record: &mut GoroutineCreated,
) -> Result<bool, Skip> {
    let g = regs.arg::<1>();
    record.header.kind = Kind::GoroutineCreated as u8;
    record.header.goid = birth.goid;
    record.header.parent_goid = birth.creator;
    record.header.g = g;
    record.gopc = birth.gopc;
    record.startpc = mem
        .word(g.wrapping_add(u64::from(layout.g_startpc)))
        .ok_or(Skip::Goroutine)?;
    let (frames, partial) = walk::frames(mem, regs.bp(), &mut record.pcs);
    record.frames = u64::from(frames);
    Ok(partial)
}

/// Fills the record of a goroutine's end.
#[inline(always)]
pub fn ended<R: Registers>(regs: &R, goid: u64, record: &mut GoroutineEnded) {
    record.header.kind = Kind::GoroutineEnded as u8;
    record.header.goid = goid;
    record.header.parent_goid = 0;
    record.header.g = regs.arg::<0>();
}
