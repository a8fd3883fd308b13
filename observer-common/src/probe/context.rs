//! `(*cancelCtx).propagateCancel`, `(*cancelCtx).cancel`, `WithDeadlineCause`: creation, end and
//! wished deadline of contexts.

use crate::event::{
    CANCEL_AGAIN, CANCEL_CASCADE, CANCEL_END, ContextCancelled, ContextCancelledShort,
    ContextCreated, ContextCreatedShort, DeadlineAsked, Header, Kind, Link,
};
use crate::layout::{CREATE_IS_METHOD, Layout, Range, TIMER_BY_POINTER};
use crate::limits::{AFTER_FUNC_FRAMES, MAX_CANCEL_FRAMES, MAX_FRAMES};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::Skip;
use super::walk::{self, Innermost};

/// How much of an event is worth writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// The short record; holds what was read to find out.
    Short(u64),
    /// The full record.
    Full,
}

/// Parent and child of a creation, in the registers' order of the Go version.
#[inline(always)]
fn family<R: Registers>(layout: &Layout, regs: &R) -> (Link, Link) {
    // All five first: chosen after the branch, the compiler would merge two loads from the
    // context into one with a computed offset, which the verifier refuses.
    let args = [
        regs.arg::<0>(),
        regs.arg::<1>(),
        regs.arg::<2>(),
        regs.arg::<3>(),
        regs.arg::<4>(),
    ];
    if layout.has(CREATE_IS_METHOD) {
        (
            Link {
                itab: args[1],
                data: args[2],
            },
            Link {
                itab: args[3],
                data: args[4],
            },
        )
    } else {
        (
            Link {
                itab: args[0],
                data: args[1],
            },
            Link {
                itab: args[2],
                data: args[3],
            },
        )
    }
}

/// Looks one frame up, or two where a constructor is not inlined: most creations are the server's and the client's own.
/// Gives the first of these frames, too, for the walk.
#[inline(always)]
pub fn create_detail<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
) -> (Detail, Option<[u64; 2]>) {
    let outer = mem.pair(regs.bp());
    let Some([next, around]) = outer else {
        return (Detail::Full, None);
    };
    let [cancel, cause] = layout.create_via;
    let caller = if cancel.holds_return(around) | cause.holds_return(around) {
        mem.pair(next).map_or(around, |[_, pc]| pc)
    } else {
        around
    };
    let detail = if Range::any_holds_return(&layout.create_drop, caller) {
        Detail::None
    } else if Range::any_holds_return(&layout.create_short, caller) {
        Detail::Short(caller)
    } else {
        Detail::Full
    };
    (detail, outer)
}

/// Fills the short record of a creation.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn created_short<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    caller: u64,
    record: &mut ContextCreatedShort,
) -> Result<(), Skip> {
    record.header.kind = Kind::ContextCreatedShort as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    let (parent, child) = family(layout, regs);
    record.child = child;
    record.parent = parent;
    record.caller = caller;
    Ok(())
}

/// Fills the full record of a creation; `Ok(true)` when the stack ended at a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn created<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    outer: Option<[u64; 2]>,
    record: &mut ContextCreated,
) -> Result<bool, Skip> {
    record.header.kind = Kind::ContextCreated as u8;
    walk::goroutine(mem, layout, regs.g(), &mut record.header, &mut record.chain)?;
    let (parent, child) = family(layout, regs);
    record.child = child;
    record.indirect = if layout.has(TIMER_BY_POINTER) {
        mem.word(child.data).unwrap_or(0)
    } else {
        0
    };
    let deadline = child.data.wrapping_add(u64::from(layout.ctx_deadline));
    record.deadline = mem.pair(deadline).unwrap_or([0; 2]);
    let first = mem.word(regs.sp());
    let innermost = Innermost { first, outer };
    let most = if layout.after_func.holds_return(first.unwrap_or(0)) {
        AFTER_FUNC_FRAMES
    } else {
        MAX_FRAMES
    };
    let (frames, partial) = walk::stack_up_to(mem, regs, innermost, most, &mut record.pcs);
    record.frames = frames;
    record.links = walk::chain(mem, layout, parent, &mut record.chain);
    Ok(partial)
}

/// Bytes of the smallest page that memory is mapped by.
const PAGE: u64 = 4096;

/// What can be told of a cancel before a record is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelSight {
    /// The two innermost return addresses, without what the transport hands its cancels through; at an end the first is
    /// the itab of the parent.
    pub pcs: [u64; 2],
    /// What was read of the stack.
    pub innermost: Innermost,
    /// `CANCEL_…` bits.
    pub flags: u64,
    /// How much to write; `Short`'s value is unused here.
    pub detail: Detail,
}

/// Looks at who calls and whether the context is already done.
///
/// # Errors
/// [`Skip::Object`] when the context's memory cannot be read.
#[inline(always)]
pub fn cancel_detail<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
) -> Result<CancelSight, Skip> {
    let above = mem.pair(regs.bp());
    let [next, around] = above.unwrap_or([0; 2]);
    if Range::any_holds_return(&layout.cancel_end, around) {
        // The context that it is derived from comes first in a `cancelCtx`.
        let parent = mem.word(regs.arg::<0>()).unwrap_or(0);
        let pcs = [parent, around];
        let innermost = Innermost {
            first: None,
            outer: above,
        };
        return Ok(CancelSight {
            pcs,
            innermost,
            flags: CANCEL_END,
            detail: Detail::Short(0),
        });
    }
    let first = mem.word(regs.sp());
    let inner = first.unwrap_or(0);
    let outer = if layout.cancel_via.holds_return(around) {
        mem.pair(next).map_or(around, |[_, pc]| pc)
    } else {
        around
    };
    let pcs = [inner, outer];
    let innermost = Innermost {
        first,
        outer: above,
    };
    let cascade = layout.cancel_self.holds_return(inner) | layout.cancel_self.holds_return(outer);
    let ctx = regs.arg::<0>();
    let err = ctx.wrapping_add(u64::from(layout.ctx_err));
    let again = match mem.word(err) {
        Some(itab) => itab != 0,
        // Up to Go 1.21 a context may begin at the end of one page and go on where the heap has never
        // been written: nobody has cancelled it.
        None if ctx / PAGE != err / PAGE => false,
        None => return Err(Skip::Object),
    };
    let flags = if cascade { CANCEL_CASCADE } else { 0 } | if again { CANCEL_AGAIN } else { 0 };
    let known = Range::any_holds_return(&layout.cancel_short, outer);
    let detail = match (cascade, again) {
        (true, true) => Detail::None,
        (false, false) if !known => Detail::Full,
        _ => Detail::Short(0),
    };
    Ok(CancelSight {
        pcs,
        innermost,
        flags,
        detail,
    })
}

/// Fills the short record of a cancel.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn cancelled_short<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    sight: CancelSight,
    record: &mut ContextCancelledShort,
) -> Result<(), Skip> {
    record.header.kind = Kind::ContextCancelledShort as u8;
    if sight.flags & CANCEL_END == 0 {
        walk::goid(mem, layout, regs.g(), &mut record.header)?;
    } else {
        no_goroutine(&mut record.header);
    }
    record.ctx = regs.arg::<0>();
    record.flags = sight.flags;
    record.err = Link {
        itab: regs.arg::<2>(),
        data: regs.arg::<3>(),
    };
    record.pcs = sight.pcs;
    Ok(())
}

/// Fills the full record of a cancel; `Ok(true)` when the stack ended at a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn cancelled<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    sight: CancelSight,
    record: &mut ContextCancelled,
) -> Result<bool, Skip> {
    record.header.kind = Kind::ContextCancelled as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.ctx = regs.arg::<0>();
    record.flags = sight.flags;
    record.err = Link {
        itab: regs.arg::<2>(),
        data: regs.arg::<3>(),
    };
    let [_, outer] = sight.pcs;
    let most = if layout.cancel_write.holds_return(outer) {
        MAX_FRAMES
    } else {
        MAX_CANCEL_FRAMES
    };
    let (frames, partial) = walk::stack_up_to(mem, regs, sight.innermost, most, &mut record.pcs);
    record.frames = u64::from(frames);
    Ok(partial)
}

#[inline(always)]
fn no_goroutine(header: &mut Header) {
    header.goid = 0;
    header.parent_goid = 0;
    header.g = 0;
}

/// Fills the record of a deadline that is asked for: parent, then the `time.Time`, in registers.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn deadline_asked<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut DeadlineAsked,
) -> Result<(), Skip> {
    record.header.kind = Kind::DeadlineAsked as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.parent = Link {
        itab: regs.arg::<0>(),
        data: regs.arg::<1>(),
    };
    record.deadline = [regs.arg::<2>(), regs.arg::<3>()];
    Ok(())
}
