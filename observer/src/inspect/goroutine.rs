//! One goroutine: is it still there, what is it doing, since when, where, and on what.

use std::sync::Arc;

use crate::target::{Memory, MemoryError};

use super::outer::outer;
use super::raw_g::RawG;
use super::stack::{Extent, WalkEnd, Window, is_odd, walk};
use super::tally::stack_bytes;
use super::wait_reason::{SELECT, is_for_ever};
use super::waits::{FedBy, Waits};
use super::{AllGs, GOffsets, SemTable, StackTable, Status};

/// How often a goroutine that moved under the look is looked at again.
const ATTEMPTS: usize = 3;

/// What is known of one executable's runtime in one process.
#[derive(Clone, Copy)]
pub struct Runtime<'a> {
    /// Stack steps and wait reasons of the executable.
    pub table: &'a dyn StackTable,
    /// Fields of its `runtime.g`.
    pub offsets: &'a GOffsets,
    /// What to take off an address at run time to get the executable's.
    pub bias: u64,
    /// Its list of goroutines, if found.
    pub allgs: Option<AllGs>,
    /// Its table of semaphores, if found.
    pub semtable: Option<SemTable>,
}

/// How much of a stack is in [`Goroutine::stack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackState {
    /// Everything down to the goroutine's first function.
    Whole,
    /// The innermost frames; the rest is beyond our bounds.
    Cut,
    /// Nothing: the goroutine runs, or its stack is on the move.
    None,
}

/// A goroutine at one moment. Everything in it held at the same time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Goroutine {
    /// Its number, never reused in a process.
    pub goid: u64,
    /// Its struct, which is reused: a hint for the next look.
    pub g_addr: u64,
    /// What it does.
    pub status: Status,
    /// Why it waits, in the runtime's words; only for [`Status::Waiting`] and [`Status::Leaked`].
    pub wait_reason: Option<Arc<str>>,
    /// When the marking of a garbage collection ended (`CLOCK_MONOTONIC`): the one before that which found it waiting.
    /// So the wait may have begun later than that; it began before the end of the next collection. `None` until one
    /// has found it.
    pub wait_since_ns: Option<u64>,
    /// Return addresses, innermost first, load bias taken off. Look up `pc - 1`, except for an address that is
    /// a function's first: such a goroutine has not begun.
    pub stack: Vec<u64>,
    /// How much of the stack that is.
    pub stack_state: StackState,
    /// Return addresses of the outermost frames of one that runs, as far as they are certain,
    /// innermost first, load bias taken off; the innermost may be over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outer: Vec<u64>,
    /// Return address of the `go` statement that made it, load bias taken off; 0 for the first one.
    pub gopc: u64,
    /// First instruction of its function, load bias taken off.
    pub startpc: u64,
    /// The goroutine that made it (from Go 1.21); 0 for what the runtime started.
    pub parent_goid: Option<u64>,
    /// Channels it waits on, as addresses of `runtime.hchan`, in the order of the runtime's locks.
    pub waiting_channels: Vec<u64>,
    /// One of them says that a timer feeds it. Before Go 1.23 none does; up to Go 1.26 none where `asynctimerchan=1`.
    /// A census does not ask for that, nor for the next.
    #[serde(default)]
    pub waits_on_timer: bool,
    /// It waits on channels, and none of them can be a timer's: only other goroutines wake it.
    #[serde(default)]
    pub waits_on_others: bool,
    /// How often it has stopped running, modulo 256.
    #[serde(default)]
    pub stops: u8,
    /// Of one in a system call in which its thread sleeps: how often that thread has given up its processor. As long as that stays
    /// the same, it is in the same call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleeps: Option<u64>,
    /// Stack that it holds, bytes; 0 where that is not known, as in older recordings.
    #[serde(default)]
    pub stack_bytes: u64,
}

impl Goroutine {
    /// Whether nothing ends the wait that it is in: Go says so of a nil channel and of an empty `select`, and a `select` whose
    /// channels are all nil waits on none.
    #[must_use]
    pub fn waits_for_ever(&self) -> bool {
        self.wait_reason.as_deref().is_some_and(|reason| {
            is_for_ever(reason) || reason == SELECT && self.waiting_channels.is_empty()
        })
    }

    /// The stack, or what is certain of it while the goroutine runs; innermost first.
    #[must_use]
    pub fn known_stack(&self) -> &[u64] {
        if self.stack.is_empty() {
            &self.outer
        } else {
            &self.stack
        }
    }
}

/// What a look at a goroutine found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inspection {
    /// It is there.
    Alive(Box<Goroutine>),
    /// It has ended: a look at every goroutine of the process did not find it.
    Gone,
    /// It moved at every attempt: alive a moment ago, nothing more is known.
    Torn,
    /// Not to be known: the process ended, memory could not be read, or the list of goroutines is unknown or
    /// longer than we look.
    Unknown,
}

/// Looks at goroutines of one process.
#[derive(Clone, Copy)]
pub struct Inspector<'a, M> {
    pub(super) memory: &'a M,
    pub(super) runtime: Runtime<'a>,
}

/// One attempt at one goroutine.
pub(super) enum Look {
    Seen(Box<Goroutine>),
    /// The struct belongs to another goroutine now, or to none.
    Other,
    Moved,
}

impl<'a, M: Memory> Inspector<'a, M> {
    /// Reads through `memory`; nothing is read yet.
    pub fn new(memory: &'a M, runtime: Runtime<'a>) -> Self {
        Self { memory, runtime }
    }

    /// Looks at goroutine `goid`. `hint` is where its struct was when last heard of: if it is still there, the
    /// list of all goroutines need not be read.
    #[must_use]
    pub fn inspect(&self, goid: u64, hint: Option<u64>) -> Inspection {
        if let Some(addr) = hint.filter(|&addr| addr != 0) {
            match self.look_repeatedly(addr, goid) {
                Ok(Look::Seen(seen)) => return Inspection::Alive(seen),
                Ok(Look::Moved) => return Inspection::Torn,
                Ok(Look::Other) => {}
                Err(cause) if cause.is_final() => return Inspection::Unknown,
                Err(_) => {}
            }
        }
        self.inspect_listed(goid).unwrap_or(Inspection::Unknown)
    }

    fn inspect_listed(&self, goid: u64) -> Result<Inspection, MemoryError> {
        let Some(found) = self.find(goid)? else {
            return Ok(Inspection::Unknown);
        };
        let Some(addr) = found else {
            return Ok(Inspection::Gone);
        };
        Ok(match self.look_repeatedly(addr, goid)? {
            Look::Seen(seen) => Inspection::Alive(seen),
            Look::Moved => Inspection::Torn,
            // It was there a moment ago, and goids are not reused.
            Look::Other => Inspection::Gone,
        })
    }

    pub(super) fn look_repeatedly(&self, addr: u64, goid: u64) -> Result<Look, MemoryError> {
        let mut odd = None;
        for _ in 0..ATTEMPTS {
            match self.look(addr, goid)? {
                Look::Moved => {}
                Look::Seen(seen)
                    if self.is_odd(&seen.stack) && odd.as_ref() != Some(&seen.stack) =>
                {
                    odd = Some(seen.stack);
                }
                settled => return Ok(settled),
            }
        }
        Ok(Look::Moved)
    }

    /// Whether a stack is one of two moments, most likely: it is believed only when it is found again.
    pub(super) fn is_odd(&self, stack: &[u64]) -> bool {
        is_odd(self.runtime.table, stack)
    }

    /// The thread that a goroutine in a system call is on, by its number in the process's own pid namespace; `procid` is the
    /// offset of `m.procid`. `None` where it has left that call by now, or memory does not tell.
    #[must_use]
    pub fn thread_in_call(&self, goroutine: &Goroutine, procid: u32) -> Option<i32> {
        let raw = RawG::read(self.memory, self.runtime.offsets, goroutine.g_addr).ok()?;
        let is_there = raw.goid == goroutine.goid && raw.status == Status::Syscall && raw.m != 0;
        let at = raw.m.wrapping_add(u64::from(procid));
        let thread = is_there.then(|| self.memory.read_u64(at).ok())??;
        i32::try_from(thread).ok()
    }

    fn look(&self, addr: u64, goid: u64) -> Result<Look, MemoryError> {
        let before = RawG::read(self.memory, self.runtime.offsets, addr)?;
        if before.goid != goid || !before.status.is_alive() {
            return Ok(Look::Other);
        }
        let window = before
            .resume_point()
            .map(|(_, sp)| Window::new(sp, before.stack_hi));
        let Some(waits) = self.waits(addr, &before, None)? else {
            return Ok(Look::Moved);
        };
        let Some((mut seen, _)) = self.describe(addr, &before, window, waits)? else {
            return Ok(Look::Moved);
        };
        let fed_by = self.fed_by(&seen.waiting_channels)?;
        seen.waits_on_timer = fed_by == FedBy::Timer;
        seen.waits_on_others = fed_by == FedBy::Others;
        if before.status == Status::Running {
            seen.outer = outer(
                self.memory,
                self.runtime.table,
                self.runtime.bias,
                (before.stack_lo, before.stack_hi),
                seen.startpc,
            )?;
        }
        let after = RawG::read(self.memory, self.runtime.offsets, addr)?;
        let held = if before.status == Status::Running {
            after.lives_on(&before)
        } else {
            after.agrees_with(&before)
        };
        Ok(if held {
            Look::Seen(Box::new(seen))
        } else {
            Look::Moved
        })
    }

    /// Everything about a g but the second look, and where its frames lie. `None` where its parts do not fit together.
    pub(super) fn describe(
        &self,
        addr: u64,
        raw: &RawG,
        window: Option<Window>,
        waits: Waits,
    ) -> Result<Option<(Goroutine, Vec<Extent>)>, MemoryError> {
        let mut extents = Vec::new();
        let (stack, stack_state) = match (raw.resume_point(), window) {
            (Some((pc, _)), Some(mut window)) => {
                let (table, bias) = (self.runtime.table, self.runtime.bias);
                let found = walk(self.memory, table, bias, pc, &mut window)?;
                extents = found.extents;
                match found.end {
                    WalkEnd::Top => (found.pcs, StackState::Whole),
                    WalkEnd::Bound => (found.pcs, StackState::Cut),
                    WalkEnd::Lost => return Ok(None),
                }
            }
            _ if raw.should_have_stack() => return Ok(None),
            _ => (Vec::new(), StackState::None),
        };
        let goroutine = Goroutine {
            goid: raw.goid,
            g_addr: addr,
            status: raw.status,
            wait_reason: raw
                .waits()
                .then(|| self.runtime.table.wait_reason(raw.wait_reason))
                .flatten()
                .map(Arc::from),
            wait_since_ns: (raw.wait_since != 0).then_some(raw.wait_since),
            stack,
            stack_state,
            outer: Vec::new(),
            gopc: self.unbiased(raw.gopc),
            startpc: self.unbiased(raw.startpc),
            parent_goid: raw.parent_goid,
            waiting_channels: waits.channels,
            waits_on_timer: false,
            waits_on_others: false,
            stops: raw.stops,
            sleeps: None,
            stack_bytes: stack_bytes(raw),
        };
        Ok(Some((goroutine, extents)))
    }

    /// An address as the executable has it; 0 stays 0.
    pub(super) fn unbiased(&self, addr: u64) -> u64 {
        if addr == 0 {
            0
        } else {
            addr.wrapping_sub(self.runtime.bias)
        }
    }
}
