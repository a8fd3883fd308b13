//! The outer part of a running goroutine's stack.
//!
//! Where its stack pointer is, memory does not tell. But the functions that wait for a call to
//! return keep their frames until it does, and from the outermost on each frame says where the
//! next one lies: the size of a frame is in the executable's tables, the return address at its end
//! belongs to its function, and below that the callee has saved the frame pointer. What calls that
//! are over left behind can look the same only below a call through a pointer, which is none of the
//! runtime's own functions; where more than one function fits there, the walk ends. The innermost of
//! the frames may be over, too: its function goes on, at another line.

use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError};

use super::StackTable;
use super::stack::MAX_FRAMES;

/// Bytes looked at, from the stack's beginning on: handlers begin within the first few hundred.
const OUTER: u64 = 16 << 10;
/// Words above a goroutine's first frame (runtime.newproc1 leaves four).
const ABOVE: u64 = 16;

/// A call in machine code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSite {
    /// First instruction of the callee; `None` for a call through a pointer.
    pub callee: Option<u64>,
    /// First instructions of everything that the calling function calls directly.
    pub direct: Vec<u64>,
}

/// Return addresses of the outermost frames in `[lo, hi)`, innermost first, load bias taken off.
/// `first` is the first instruction of the goroutine's function. Empty where nothing is certain.
pub(super) fn outer(
    memory: &impl Memory,
    table: &(impl StackTable + ?Sized),
    bias: u64,
    (lo, hi): (u64, u64),
    first: u64,
) -> Result<Vec<u64>, MemoryError> {
    let size = hi.saturating_sub(lo).min(OUTER);
    let start = hi.saturating_sub(size);
    let bytes = memory.read_bytes(start, usize::try_from(size).unwrap_or(0))?;
    let word = |addr: u64| {
        let at = u32::try_from(addr.checked_sub(start)?).ok()?;
        u64_at(&bytes, at)
    };
    let code = |addr: u64| word(addr).map(|word| word.wrapping_sub(bias));
    let top = (1..=ABOVE)
        .filter_map(|words| hi.checked_sub(words * 8))
        .find(|&addr| {
            code(addr)
                .and_then(|pc| table.stack_step(pc))
                .is_some_and(|step| step.top)
        });
    let Some(mut slot) = top else {
        return Ok(Vec::new());
    };
    let mut pcs = Vec::new();
    let (mut callee, mut others) = (Some(first), Vec::new());
    let mut caller_is_inner = false;
    while pcs.len() < MAX_FRAMES {
        let fits = |addr: u64| {
            let pc = code(addr)?;
            let step = table.stack_step(pc)?;
            let frame = u64::try_from(step.sp_delta).ok()?;
            let below = word(addr.checked_sub(8)?)?;
            let entry = table.entry(pc)?;
            let right = match callee {
                Some(callee) => entry == callee,
                None => !others.contains(&entry),
            };
            let placed = addr.checked_add(frame)?.checked_add(8)? == slot;
            let fits = right && placed && !step.top && below == slot.checked_sub(8)?;
            // Names are looked up for the few words that are a frame in all else.
            let reachable = || callee.is_some() || caller_is_inner || !table.is_inner(entry);
            (fits && reachable()).then_some((addr, pc, entry))
        };
        let words = slot.saturating_sub(start) / 8;
        let mut found = (2..words).filter_map(|n| fits(slot.checked_sub(n * 8)?));
        let Some((addr, pc, entry)) = found.next() else {
            break;
        };
        if found.any(|(_, _, other)| other != entry) {
            break;
        }
        pcs.push(pc);
        let Some(call) = table.call_before(pc) else {
            // Put off the thread between two instructions.
            break;
        };
        slot = addr;
        caller_is_inner = table.is_inner(entry);
        callee = call.callee;
        others = call.direct;
    }
    pcs.reverse();
    Ok(pcs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CallSite, outer};
    use crate::go::image::StackStep;
    use crate::inspect::StackTable;
    use crate::target::RecordedMemory;

    const BIAS: u64 = 0x1000_0000;
    const HI: u64 = 0xc000_8000;
    /// Functions: a page each.
    const GOEXIT: u64 = 0x1000;
    const SERVE: u64 = 0x2000;
    const ROUTE: u64 = 0x3000;
    const HANDLER: u64 = 0x4000;
    const MIX: u64 = 0x5000;
    const PARSE: u64 = 0x6000;
    /// The runtime's.
    const ALLOC: u64 = 0x8000;

    /// Frame size by function; calls by return address.
    struct Table {
        frames: BTreeMap<u64, i32>,
        calls: BTreeMap<u64, Option<u64>>,
    }

    impl StackTable for Table {
        fn stack_step(&self, pc: u64) -> Option<StackStep> {
            Some(StackStep {
                sp_delta: *self.frames.get(&(pc & !0xfff))?,
                top: pc & !0xfff == GOEXIT,
                writes_sp: false,
            })
        }

        fn may_lead(&self, _: u64, _: u64) -> bool {
            true
        }

        fn is_inner(&self, pc: u64) -> bool {
            pc & !0xfff == ALLOC
        }

        fn wait_reason(&self, _: u8) -> Option<&str> {
            None
        }

        fn entry(&self, pc: u64) -> Option<u64> {
            Some(pc & !0xfff)
        }

        fn call_before(&self, pc: u64) -> Option<CallSite> {
            let in_function = self.calls.range(pc & !0xfff..=pc | 0xfff);
            Some(CallSite {
                callee: *self.calls.get(&pc)?,
                direct: in_function.filter_map(|(_, callee)| *callee).collect(),
            })
        }
    }

    fn table() -> Table {
        Table {
            frames: [
                (GOEXIT, 0),
                (SERVE, 0x100),
                (ROUTE, 0x40),
                (HANDLER, 0x80),
                (MIX, 0x20),
                (PARSE, 0x20),
            ]
            .into(),
            calls: [
                (SERVE + 0x50, Some(ROUTE)),
                (SERVE + 0x20, Some(PARSE)),
                (ROUTE + 0x30, None),
                (ROUTE + 0x10, Some(PARSE)),
                (HANDLER + 0x60, Some(MIX)),
            ]
            .into(),
        }
    }

    /// The frame of a function whose return address is at `slot`, up to the call that returns to
    /// `pc`; gives where that is kept.
    fn frame(memory: &mut RecordedMemory, table: &Table, slot: u64, pc: u64) -> u64 {
        let size = table.stack_step(pc).unwrap().sp_delta;
        let addr = slot - 8 - u64::try_from(size).unwrap();
        memory.insert(addr, &(pc + BIAS).to_le_bytes());
        memory.insert(addr - 8, &(slot - 8).to_le_bytes());
        addr
    }

    fn stack(table: &Table, pcs: &[u64]) -> RecordedMemory {
        let mut memory = RecordedMemory::new();
        memory.insert(HI - 0x4000, &[0; 0x4000]);
        let mut slot = HI - 40;
        memory.insert(slot, &(GOEXIT + 1 + BIAS).to_le_bytes());
        for &pc in pcs {
            slot = frame(&mut memory, table, slot, pc);
        }
        memory
    }

    fn read(table: &Table, memory: &RecordedMemory) -> Vec<u64> {
        outer(memory, table, BIAS, (HI - 0x8000, HI), SERVE).unwrap()
    }

    #[test]
    fn frames_are_found_from_the_outermost_on() {
        let table = table();
        // The last was put off its thread between two instructions.
        let pcs = [SERVE + 0x50, ROUTE + 0x30, HANDLER + 0x60, MIX + 0x11];
        let memory = stack(&table, &pcs);
        let inward: Vec<u64> = read(&table, &memory).into_iter().rev().collect();
        assert_eq!(inward, pcs);
    }

    #[test]
    fn what_a_call_left_behind_that_is_over_is_not_taken_for_a_frame() {
        let table = table();
        let mut memory = stack(&table, &[SERVE + 0x50, ROUTE + 0x30, HANDLER + 0x60]);
        // ROUTE called PARSE before, whose smaller frame lies inside the handler's.
        let route = HI - 40 - 0x108;
        frame(&mut memory, &table, route - 0x48, PARSE + 0x9);
        assert_eq!(
            read(&table, &memory),
            [HANDLER + 0x60, ROUTE + 0x30, SERVE + 0x50]
        );
    }

    #[test]
    fn of_two_handlers_that_fit_none_is_chosen() {
        let mut table = table();
        table.frames.insert(0x7000, 0x60);
        let mut memory = stack(&table, &[SERVE + 0x50, ROUTE + 0x30, HANDLER + 0x60]);
        let route = HI - 40 - 0x108;
        frame(&mut memory, &table, route - 0x48, 0x7010);
        assert_eq!(read(&table, &memory), [ROUTE + 0x30, SERVE + 0x50]);
    }

    #[test]
    fn the_runtimes_own_functions_are_called_by_name() {
        let mut table = table();
        table.frames.insert(ALLOC, 0x60);
        let mut memory = stack(&table, &[SERVE + 0x50, ROUTE + 0x30, HANDLER + 0x60]);
        let route = HI - 40 - 0x108;
        frame(&mut memory, &table, route - 0x48, ALLOC + 0x10);
        let pcs = [HANDLER + 0x60, ROUTE + 0x30, SERVE + 0x50];
        assert_eq!(read(&table, &memory), pcs);
    }

    #[test]
    fn a_stack_of_another_function_tells_nothing() {
        let table = table();
        let memory = stack(&table, &[ROUTE + 0x30, HANDLER + 0x60]);
        assert_eq!(read(&table, &memory), [0u64; 0]);
        let blank = stack(&table, &[]);
        assert_eq!(read(&table, &blank), [0u64; 0]);
    }
}
