//! Plain dials: `(*Dialer).DialContext`, and the call that wraps a new TCP connection.

use crate::event::{DialDone, DialStarted, Kind, Link, TIMEOUT_UNREAD};
use crate::layout::Layout;
use crate::limits::{MAX_ADDRESS, MAX_NETWORK};
use crate::mem::MemRead;
use crate::regs::Registers;

use super::{Skip, bounded, walk};

/// `(*Dialer).DialContext(ctx, network, address)`; `Ok(true)` when something was cut by a failed read.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn started<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut DialStarted,
) -> Result<bool, Skip> {
    record.header.kind = Kind::DialStarted as u8;
    walk::goroutine(mem, layout, regs.g(), &mut record.header, &mut record.chain)?;
    let mut limits = [0u64; 3];
    let dialer = regs.arg::<0>();
    let at = dialer.wrapping_add(u64::from(layout.dialer_timeout));
    // A dialer without any may lie on a page that nobody has ever written, which cannot be read from here.
    if !mem.read_words(at, &mut limits) {
        limits = [TIMEOUT_UNREAD, 0, 0];
    }
    let [timeout_ns, wall, ext] = limits;
    record.timeout_ns = timeout_ns;
    record.deadline = [wall, ext];
    let ctx = Link {
        itab: regs.arg::<1>(),
        data: regs.arg::<2>(),
    };
    record.links = walk::chain(mem, layout, ctx, &mut record.chain);
    let (frames, partial) = walk::stack(mem, regs, &mut record.pcs);
    record.frames = frames;
    let network = bounded(regs.arg::<4>(), MAX_NETWORK as u64);
    let address = bounded(regs.arg::<6>(), MAX_ADDRESS as u64);
    let named = mem.read_prefix(regs.arg::<3>(), &mut record.network, network);
    record.network_len = if named { network as u32 } else { 0 };
    let placed = mem.read_prefix(regs.arg::<5>(), &mut record.address, address);
    record.address_len = if placed { address as u32 } else { 0 };
    Ok(partial | !named | !placed)
}

/// A dial has its connection. Of interest is only the goroutine, and who started it: with several addresses each is
/// tried on a goroutine of its own.
///
/// # Errors
/// [`Skip::Goroutine`] when the goroutine cannot be read.
#[inline(always)]
pub fn done<M: MemRead, R: Registers>(
    mem: &M,
    layout: &Layout,
    regs: &R,
    record: &mut DialDone,
) -> Result<(), Skip> {
    record.header.kind = Kind::DialDone as u8;
    walk::goid(mem, layout, regs.g(), &mut record.header)?;
    record.header.parent_goid = walk::parent(mem, layout, regs.g())?;
    Ok(())
}
