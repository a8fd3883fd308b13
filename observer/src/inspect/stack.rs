//! Walking a stack by the executable's own tables: exact for every goroutine that is not running.
//!
//! Frame pointers would do for waiting goroutines only; in a system call they are wrong before Go 1.23.

use crate::go::image::StackStep;
use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError};

use super::CallSite;

/// Bytes of stack read at a time.
const WINDOW: u64 = 64 << 10;
/// Bytes of stack looked at in all. A stack may be 512 MiB; nobody reads the middle of that.
const MAX_STACK: u64 = 1 << 20;
/// Return addresses kept in all.
pub(super) const MAX_FRAMES: usize = 512;

/// The tables of one executable, as far as reading goroutines needs them.
pub trait StackTable {
    /// The frame at `pc`, an address as the executable has it (load bias taken off). `None` outside its code.
    fn stack_step(&self, pc: u64) -> Option<StackStep>;

    /// First instruction of the function around `pc`.
    fn entry(&self, pc: u64) -> Option<u64>;

    /// The call that returns to `pc`; `None` where none does.
    fn call_before(&self, pc: u64) -> Option<CallSite>;

    /// Whether the call that returns to `outer` may have led to the frame at `inner`: where it names another function, it has
    /// not, but for functions that jump on to another one.
    fn may_lead(&self, outer: u64, inner: u64) -> bool;

    /// Whether the function around `pc` is the runtime's, or of one of the standard library's internal packages: nobody
    /// else calls those through a pointer.
    fn is_inner(&self, pc: u64) -> bool;

    /// Text for a `runtime.waitReason`; `None` for a number this Go version does not define.
    fn wait_reason(&self, id: u8) -> Option<&str>;
}

/// Whether some frame of a stack, innermost first, is of another function than the one that its caller calls. Rare, and then
/// most likely a stack of two moments: one that stops 256 times between two looks is counted as one that never left.
pub(super) fn is_odd(table: &(impl StackTable + ?Sized), stack: &[u64]) -> bool {
    let pairs = stack.iter().zip(stack.iter().skip(1));
    let mut odd = pairs.filter(|(inner, outer)| !table.may_lead(**outer, **inner));
    odd.next().is_some()
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WalkEnd {
    /// At the goroutine's first function.
    Top,
    /// At a bound of ours, or at a function that changes stacks, above which nothing can be told.
    Bound,
    /// Where no frame can be: the stack moved under the walk, or the tables do not cover the code (C).
    Lost,
}

/// The part of a stack that was read so far, from the stack pointer upwards.
pub(super) struct Window {
    start: u64,
    hi: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// An unread window over `[sp, hi)`.
    pub(super) fn new(sp: u64, hi: u64) -> Self {
        Self::with_bytes(sp, hi, Vec::new())
    }

    /// A window whose first bytes were read already.
    pub(super) fn with_bytes(sp: u64, hi: u64, bytes: Vec<u8>) -> Self {
        Self {
            start: sp,
            hi,
            bytes,
        }
    }

    /// The word at `addr`; `None` outside the stack or beyond our bound.
    fn word(&mut self, memory: &impl Memory, addr: u64) -> Result<Option<u64>, MemoryError> {
        let Some(offset) = addr.checked_sub(self.start) else {
            return Ok(None);
        };
        let wanted = offset.saturating_add(8);
        let size = self.hi.saturating_sub(self.start);
        if wanted > size || wanted > MAX_STACK {
            return Ok(None);
        }
        let have = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        if wanted > have {
            let upto = wanted.saturating_add(WINDOW).min(size).min(MAX_STACK);
            let more = usize::try_from(upto - have).unwrap_or(0);
            let fresh = memory.read_bytes(self.start.saturating_add(have), more)?;
            self.bytes.extend_from_slice(&fresh);
        }
        Ok(u32::try_from(offset)
            .ok()
            .and_then(|at| u64_at(&self.bytes, at)))
    }

    /// Whether `addr` lies on the stack but beyond what a walk may look at.
    fn is_beyond_bound(&self, addr: u64) -> bool {
        addr < self.hi && addr.saturating_sub(self.start).saturating_add(8) > MAX_STACK
    }
}

/// Where a frame lies on its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its lowest address.
    pub from: u64,
    /// Where its return address is. Behind it, the caller has room for the arguments, should the function keep them in
    /// memory (the spill area of Go's ABI).
    pub to: u64,
}

/// What a walk found.
pub(super) struct Walk {
    /// Return addresses from the innermost outwards, load bias taken off, without the top frame itself.
    pub(super) pcs: Vec<u64>,
    pub(super) end: WalkEnd,
    /// Where each of them lies, as far as that is known.
    pub(super) extents: Vec<Extent>,
}

/// Walks from `pc` outwards.
pub(super) fn walk(
    memory: &impl Memory,
    table: &(impl StackTable + ?Sized),
    bias: u64,
    pc: u64,
    window: &mut Window,
) -> Result<Walk, MemoryError> {
    let mut pcs = Vec::new();
    let mut pc = pc.wrapping_sub(bias);
    let mut sp = window.start;
    let mut extents = Vec::new();
    let end = loop {
        let Some(step) = table.stack_step(pc) else {
            break WalkEnd::Lost;
        };
        if step.top {
            break WalkEnd::Top;
        }
        if pcs.len() >= MAX_FRAMES {
            break WalkEnd::Bound;
        }
        pcs.push(pc);
        if step.writes_sp {
            break WalkEnd::Bound;
        }
        let Ok(frame) = u64::try_from(step.sp_delta) else {
            break WalkEnd::Lost;
        };
        let slot = sp.saturating_add(frame);
        let Some(caller) = window.word(memory, slot)? else {
            break if window.is_beyond_bound(slot) {
                WalkEnd::Bound
            } else {
                WalkEnd::Lost
            };
        };
        extents.push(Extent { from: sp, to: slot });
        pc = caller.wrapping_sub(bias);
        sp = slot.saturating_add(8);
    };
    Ok(Walk { pcs, end, extents })
}
