//! Walks over foreign memory, bounded: the stack by frame pointers, a context chain by parents.

use crate::event::{Header, Link};
use crate::layout::Layout;
use crate::limits::{MAX_FRAMES, MAX_LINKS};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::Skip;

/// Reads the goroutine's number, and its creator's where Go keeps it, in one block.
///
/// `scratch` is overwritten: the record's own stack area, filled only afterwards.
///
/// # Errors
/// [`Skip::Goroutine`] when the descriptor cannot be read.
#[inline(always)]
pub fn goroutine<M: MemRead>(
    mem: &M,
    layout: &Layout,
    g: u64,
    header: &mut Header,
    scratch: &mut [u64; MAX_FRAMES],
) -> Result<(), Skip> {
    if !mem.read_words(g.wrapping_add(u64::from(layout.g_goid)), scratch) {
        return Err(Skip::Goroutine);
    }
    header.g = g;
    header.goid = scratch[0];
    let words = (layout.g_parent_words as usize) & (MAX_FRAMES - 1);
    header.parent_goid = if words == 0 { 0 } else { scratch[words] };
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
    let Some(first) = mem.word(regs.sp()) else {
        return (0, true);
    };
    pcs[0] = first;
    let mut frame = regs.bp();
    let mut count = 1u32;
    for slot in pcs.iter_mut().skip(1) {
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
        if next <= frame {
            return (count, false);
        }
        frame = next;
    }
    (count, false)
}

/// Links from `first` upwards, as if every type kept its parent at offset 0.
///
/// Types are not known here; user space decides how far the links can be believed. Ends at a nil
/// interface, at a failed read (contexts without fields point nowhere useful), or when full.
#[inline(always)]
pub fn chain<M: MemRead>(mem: &M, first: Link, links: &mut [Link; MAX_LINKS]) -> u32 {
    let mut link = first;
    let mut count = 0u32;
    for slot in links.iter_mut() {
        if link.itab == 0 {
            return count;
        }
        *slot = link;
        count += 1;
        let Some([itab, data]) = mem.pair(link.data) else {
            return count;
        };
        link = Link { itab, data };
    }
    count
}
