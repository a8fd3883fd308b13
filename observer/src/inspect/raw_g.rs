//! One read of a `runtime.g`, decoded: numbers as they stood at that moment, without any claim that they
//! belong together.

use crate::target::{Memory, MemoryError};

use super::GOffsets;
use crate::target::fields::{u8_at, u32_at, u64_at};

/// Set while the garbage collector looks at the stack; the state below it stays what it is
/// (runtime/runtime2.go, all versions).
const SCAN_BIT: u32 = 0x1000;

/// No address of a program is above it (57-bit addresses).
const USER_SPACE_END: u64 = 1 << 56;
/// Both ends of a stack are multiples of it.
const STACK_ALIGN: u64 = 8;

/// What a goroutine is doing (`runtime.g.atomicstatus` without its scan bit; runtime/runtime2.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Allocated, not yet initialised.
    Idle,
    /// On a run queue.
    Runnable,
    /// Executing; what memory says of its stack is old.
    Running,
    /// In a system call.
    Syscall,
    /// Blocked in the runtime.
    Waiting,
    /// Ended; the struct waits for reuse.
    Dead,
    /// Its stack is being moved.
    CopyStack,
    /// Stopped itself for the scheduler.
    Preempted,
    /// Found unreachable by the leak profile (from Go 1.26).
    Leaked,
    /// Spare for a thread that comes from C (from Go 1.26).
    DeadExtra,
    /// A number no known version uses.
    Other(u32),
}

impl Status {
    fn of(word: u32) -> Self {
        match word & !SCAN_BIT {
            0 => Self::Idle,
            1 => Self::Runnable,
            2 => Self::Running,
            3 => Self::Syscall,
            4 => Self::Waiting,
            6 => Self::Dead,
            8 => Self::CopyStack,
            9 => Self::Preempted,
            10 => Self::Leaked,
            11 => Self::DeadExtra,
            other => Self::Other(other),
        }
    }

    /// Whether there is a goroutine behind the struct at all.
    #[must_use]
    pub fn is_alive(self) -> bool {
        !matches!(self, Self::Idle | Self::Dead | Self::DeadExtra)
    }
}

/// A decoded g. Two equal ones around a look at the stack mean that the stack did not move in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawG {
    pub(super) stack_lo: u64,
    pub(super) stack_hi: u64,
    pub(super) sched: (u64, u64),
    pub(super) syscall: (u64, u64),
    pub(super) status: Status,
    pub(super) goid: u64,
    pub(super) wait_since: u64,
    pub(super) wait_reason: u8,
    pub(super) parent_goid: Option<u64>,
    pub(super) gopc: u64,
    pub(super) startpc: u64,
    pub(super) waiting: u64,
    /// The thread's struct; 0 where it is on none, or that was not asked for.
    pub(super) m: u64,
    /// The profiler's labels; 0 where it has none, or that was not asked for.
    pub(super) labels: u64,
    /// Counts how often it stopped running, modulo 256; 0 where that was not asked for.
    pub(super) stops: u8,
}

impl RawG {
    /// Reads the g at `addr` in one piece.
    pub(super) fn read(
        memory: &impl Memory,
        offsets: &GOffsets,
        addr: u64,
    ) -> Result<Self, MemoryError> {
        let block = memory.read_bytes(addr, offsets.block_len())?;
        Self::decode(&block, offsets).ok_or(MemoryError::Unmapped { addr })
    }

    /// `None` where the block is shorter than [`GOffsets::block_len`].
    pub(super) fn decode(block: &[u8], at: &GOffsets) -> Option<Self> {
        Some(Self {
            stack_lo: u64_at(block, at.stack_lo)?,
            stack_hi: u64_at(block, at.stack_hi)?,
            sched: (u64_at(block, at.sched_pc)?, u64_at(block, at.sched_sp)?),
            syscall: (u64_at(block, at.syscall_pc)?, u64_at(block, at.syscall_sp)?),
            status: Status::of(u32_at(block, at.status)?),
            goid: u64_at(block, at.goid)?,
            wait_since: u64_at(block, at.wait_since)?,
            wait_reason: u8_at(block, at.wait_reason)?,
            parent_goid: match at.parent_goid {
                Some(offset) => Some(u64_at(block, offset)?),
                None => None,
            },
            gopc: u64_at(block, at.gopc)?,
            startpc: u64_at(block, at.startpc)?,
            waiting: u64_at(block, at.waiting)?,
            m: at.m.map_or(Some(0), |offset| u64_at(block, offset))?,
            labels: at.labels.map_or(Some(0), |offset| u64_at(block, offset))?,
            stops: at.stops.map_or(Some(0), |offset| u8_at(block, offset))?,
        })
    }

    /// Whether this can be a goroutine's struct at all: a state that Go has, and a stack. What lies behind the end of
    /// a list is seldom both.
    pub(super) fn is_plausible(&self) -> bool {
        let stack = self.stack_lo..self.stack_hi;
        !matches!(self.status, Status::Other(_))
            && !stack.is_empty()
            && stack.end < USER_SPACE_END
            && stack.start.is_multiple_of(STACK_ALIGN)
            && stack.end.is_multiple_of(STACK_ALIGN)
    }

    /// Program counter and stack pointer to walk from, if what memory says of them can be true.
    pub(super) fn resume_point(&self) -> Option<(u64, u64)> {
        let (pc, sp) = match self.status {
            Status::Syscall => self.syscall,
            Status::Waiting | Status::Runnable | Status::Preempted | Status::Leaked => self.sched,
            _ => return None,
        };
        let on_stack = sp >= self.stack_lo && sp < self.stack_hi;
        (pc != 0 && on_stack).then_some((pc, sp))
    }

    /// Whether it has a wait reason, and may have what it waits on.
    pub(super) fn waits(&self) -> bool {
        matches!(self.status, Status::Waiting | Status::Leaked)
    }

    /// Whether a state that should have a stack to walk has none: the read fell into a switch.
    pub(super) fn should_have_stack(&self) -> bool {
        self.status.is_alive()
            && !matches!(
                self.status,
                Status::Running | Status::CopyStack | Status::Other(_)
            )
    }

    /// Whether it lives, and is the same goroutine on the same stack as `earlier`. What memory says of one that runs is
    /// no more certain than this: it moves all the time, put off its thread in between or not.
    pub(super) fn lives_on(&self, earlier: &Self) -> bool {
        self.status.is_alive() && self.is_where(earlier)
    }

    fn is_where(&self, earlier: &Self) -> bool {
        self.goid == earlier.goid
            && self.stack_lo == earlier.stack_lo
            && self.stack_hi == earlier.stack_hi
    }

    /// Whether it has let go of its thread, where its state says that it has stopped: `park_m` and `goschedImpl` set the
    /// state, then count the stop, then let go (runtime/proc.go). In between it is not counted yet.
    fn is_settled(&self) -> bool {
        self.m == 0 || !(self.waits() || self.status == Status::Runnable)
    }

    /// Whether nothing a reader relies on has changed since `earlier`. A running goroutine's saved registers
    /// mean nothing, so they are not compared there.
    pub(super) fn agrees_with(&self, earlier: &Self) -> bool {
        let same_life = self.is_where(earlier)
            && self.is_settled()
            && self.status == earlier.status
            && self.labels == earlier.labels
            && self.stops == earlier.stops;
        if self.status == Status::Running {
            return same_life;
        }
        same_life
            && self.sched == earlier.sched
            && self.syscall == earlier.syscall
            && self.wait_since == earlier.wait_since
            && self.wait_reason == earlier.wait_reason
            && self.waiting == earlier.waiting
    }
}
