//! Walks over foreign memory, bounded: the stack by frame pointers, a context chain by parents.

use crate::event::{Header, Link};
use crate::layout::Layout;
use crate::limits::MAX_LINKS;
use crate::mem::MemRead;
use crate::regs::Registers;

use super::Skip;

/// Frames of the runtime within which a stack may go on somewhere else.
const RUNTIME_FRAMES: u32 = 3;
/// Words from `g.goid` on that may be read: `g.parentGoid` is at most 16 words further (Go 1.26).
const GOROUTINE_WORDS: usize = 2 * MAX_LINKS;

/// Reads the goroutine's number, and its creator's where Go keeps it, in one block.
///
/// `scratch` is overwritten: the record's own chain area, filled only afterwards.
///
/// # Errors
/// [`Skip::Goroutine`] when the descriptor cannot be read.
#[inline(always)]
pub fn goroutine<M: MemRead>(
    mem: &M,
    layout: &Layout,
    g: u64,
    header: &mut Header,
    scratch: &mut [Link; MAX_LINKS],
) -> Result<(), Skip> {
    let words = (layout.g_parent_words as usize) & (GOROUTINE_WORDS - 1);
    let bytes: &mut [u8; GOROUTINE_WORDS * 8] = zerocopy::transmute_mut!(scratch);
    let at = g.wrapping_add(u64::from(layout.g_goid));
    if !mem.read_prefix(at, bytes, (words as u64 + 1) * 8) {
        return Err(Skip::Goroutine);
    }
    let block: &mut [u64; GOROUTINE_WORDS] = zerocopy::transmute_mut!(scratch);
    header.g = g;
    header.goid = block[0];
    header.parent_goid = if words == 0 { 0 } else { block[words] };
    Ok(())
}

/// Reads only the goroutine's number.
///
/// # Errors
/// [`Skip::Goroutine`] when the descriptor cannot be read.
#[inline(always)]
pub fn goid<M: MemRead>(mem: &M, layout: &Layout, g: u64, header: &mut Header) -> Result<(), Skip> {
    header.g = g;
    header.parent_goid = 0;
    header.goid = mem
        .word(g.wrapping_add(u64::from(layout.g_goid)))
        .ok_or(Skip::Goroutine)?;
    Ok(())
}

/// The number of a goroutine's creator; 0 where Go keeps none (≤ 1.20).
///
/// # Errors
/// [`Skip::Goroutine`] when the descriptor cannot be read.
#[inline(always)]
pub fn parent<M: MemRead>(mem: &M, layout: &Layout, g: u64) -> Result<u64, Skip> {
    let words = u64::from(layout.g_parent_words);
    if words == 0 {
        return Ok(0);
    }
    let at = u64::from(layout.g_goid) + 8 * words;
    mem.word(g.wrapping_add(at)).ok_or(Skip::Goroutine)
}

/// Return addresses from the site upwards; gives their number and whether a read failed.
///
/// At every site of ours the return address is at the stack pointer and the frame pointer is
/// still the caller's. Go's frame pointers grow upwards; anything else ends the walk.
#[inline(always)]
pub fn stack<const N: usize, M: MemRead, R: Registers>(
    mem: &M,
    regs: &R,
    pcs: &mut [u64; N],
) -> (u32, bool) {
    let first = mem.word(regs.sp());
    let outer = if first.is_some() {
        mem.pair(regs.bp())
    } else {
        None
    };
    stack_up_to(mem, regs, Innermost { first, outer }, N, pcs)
}

/// What a probe has read of a stack to find out whether the rest is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Innermost {
    /// Innermost return address, if it could be read.
    pub first: Option<u64>,
    /// The innermost frame, likewise: the frame pointer above, and its return address.
    pub outer: Option<[u64; 2]>,
}

/// [`stack`], where its innermost frame was read before, and of no more than `most` return addresses, which are two at least.
#[inline(always)]
pub fn stack_up_to<const N: usize, M: MemRead, R: Registers>(
    mem: &M,
    regs: &R,
    innermost: Innermost,
    most: usize,
    pcs: &mut [u64; N],
) -> (u32, bool) {
    let Some(first) = innermost.first else {
        return (0, true);
    };
    pcs[0] = first;
    let mut frame = regs.bp();
    let Some([mut next, pc]) = innermost.outer else {
        return (1, frame != 0);
    };
    if pc == 0 || frame == 0 {
        return (1, false);
    }
    pcs[1] = pc;
    let mut count = 2u32;
    for slot in pcs.iter_mut().take(most).skip(2) {
        if next <= frame {
            return (count, false);
        }
        frame = next;
        let Some([above, pc]) = mem.pair(frame) else {
            return (count, true);
        };
        if pc == 0 {
            return (count, false);
        }
        *slot = pc;
        count += 1;
        next = above;
    }
    (count, false)
}

/// Return addresses of the frame at `frame` and of those above it, where the instruction pointer is in the middle of
/// a function whose own frame is set up; gives their number and whether a read failed.
#[inline(always)]
pub fn frames<const N: usize, M: MemRead>(mem: &M, frame: u64, pcs: &mut [u64; N]) -> (u32, bool) {
    let mut frame = frame;
    let mut count = 0u32;
    for slot in pcs.iter_mut() {
        if frame == 0 {
            return (count, false);
        }
        let Some([next, pc]) = mem.pair(frame) else {
            return (count, true);
        };
        if pc == 0 {
            return (count, false);
        }
        *slot = pc;
        count += 1;
        // From the thread's own stack to the goroutine's is the one step that may go anywhere.
        if next <= frame && count > RUNTIME_FRAMES {
            return (count, false);
        }
        frame = next;
    }
    (count, false)
}

/// Links from `first` upwards, as if every type kept its parent at offset 0.
///
/// Types are not known here; user space decides how far the links can be believed. Ends at a context whose
/// creation is an event, at a nil interface, at a failed read (contexts without fields point nowhere useful), or
/// when full.
#[inline(always)]
pub fn chain<M: MemRead>(
    mem: &M,
    layout: &Layout,
    first: Link,
    links: &mut [Link; MAX_LINKS],
) -> u32 {
    let mut link = first;
    let mut count = 0u32;
    for slot in links.iter_mut() {
        if link.itab == 0 {
            return count;
        }
        *slot = link;
        count += 1;
        if layout.is_node(link.itab) {
            return count;
        }
        let Some([itab, data]) = mem.pair(link.data) else {
            return count;
        };
        link = Link { itab, data };
    }
    count
}
