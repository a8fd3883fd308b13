//! What a goroutine waits on: its sudogs, as far as the Go version lists them.

use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError};

use super::Inspector;
use super::raw_g::RawG;

/// Channels listed for one waiting goroutine: a select with more cases is cut there.
const MAX_WAITING: usize = 64;

/// `time.NewTimer` and `NewTicker` make a `chan Time` with room for one (time/sleep.go, tick.go).
const TIMER_CAP: u64 = 1;
/// Bytes of a `time.Time` on 64-bit machines.
const TIMER_ELEM_SIZE: u64 = 24;
/// The 16 bits of `hchan.elemsize`, first in a word.
const ELEM_SIZE: u64 = 0xffff;

/// What feeds the channels that a goroutine waits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FedBy {
    /// A timer, one of them.
    Timer,
    /// Other goroutines, all of them.
    Others,
    /// Of one at least it is not known, or there is none.
    Unknown,
}

/// Whether a goroutine that names so many things names all that it waits on.
pub(super) fn names_all(named: usize) -> bool {
    (1..MAX_WAITING).contains(&named)
}

/// What one goroutine waits on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waits {
    /// Addresses of `runtime.hchan`, each once, in the order of the runtime's locks.
    pub(super) channels: Vec<u64>,
    /// Address of the semaphore, or of a `sync.Cond`'s list (from Go 1.26).
    pub(super) semaphore: Option<u64>,
}

impl<M: Memory> Inspector<'_, M> {
    /// Bytes of a sudog that hold every field named.
    pub(super) fn sudog_len(&self) -> usize {
        let at = &self.runtime.offsets.sudog;
        let fields = [at.g, at.waitlink, at.channel, at.semaphore.unwrap_or(0)];
        let last = fields.into_iter().max().unwrap_or(0);
        usize::try_from(last).unwrap_or(0).saturating_add(8)
    }

    /// What feeds these channels, which are all that a goroutine's sudogs name.
    pub(super) fn fed_by(&self, channels: &[u64]) -> Result<FedBy, MemoryError> {
        let mut fed_by = if names_all(channels.len()) {
            FedBy::Others
        } else {
            FedBy::Unknown
        };
        for channel in channels {
            if self.says_timer(*channel)? {
                return Ok(FedBy::Timer);
            }
            if self.may_be_timers(*channel)? {
                fed_by = FedBy::Unknown;
            }
        }
        Ok(fed_by)
    }

    fn says_timer(&self, channel: u64) -> Result<bool, MemoryError> {
        let Some(offset) = self.runtime.offsets.channel_timer else {
            return Ok(false);
        };
        let timer = channel.saturating_add(offset.into());
        Ok(self.memory.read_u64(timer)? != 0)
    }

    /// Whether it looks like the channels that package `time` makes.
    fn may_be_timers(&self, channel: u64) -> Result<bool, MemoryError> {
        let offsets = self.runtime.offsets;
        let (Some(cap), Some(elem_size)) = (offsets.channel_cap, offsets.channel_elem_size) else {
            return Ok(true);
        };
        let cap = self.memory.read_u64(channel.saturating_add(cap.into()))?;
        let word = self
            .memory
            .read_u64(channel.saturating_add(elem_size.into()))?;
        Ok(cap == TIMER_CAP && word & ELEM_SIZE == TIMER_ELEM_SIZE)
    }

    /// What the sudogs of a g name; `None` where one belongs to another goroutine: the list was let go.
    /// `first` is the first of them, if it was read already.
    pub(super) fn waits(
        &self,
        g: u64,
        raw: &RawG,
        first: Option<&[u8]>,
    ) -> Result<Option<Waits>, MemoryError> {
        let mut waits = Waits::default();
        if !raw.waits() {
            return Ok(Some(waits));
        }
        let at = &self.runtime.offsets.sudog;
        let mut read_already = first;
        let mut next = raw.waiting;
        for _ in 0..MAX_WAITING {
            if next == 0 {
                break;
            }
            let fresh;
            let block = match read_already.take() {
                Some(block) => block,
                None => {
                    fresh = self.memory.read_bytes(next, self.sudog_len())?;
                    &fresh
                }
            };
            let (Some(owner), Some(link), Some(channel)) = (
                u64_at(block, at.g),
                u64_at(block, at.waitlink),
                u64_at(block, at.channel),
            ) else {
                return Ok(None);
            };
            if owner != g {
                return Ok(None);
            }
            // From Go 1.26 a semaphore's or a sync.Cond's sudog is listed too. It has no channel, and its link
            // leads to others that wait for the same.
            if channel == 0 {
                waits.semaphore = at
                    .semaphore
                    .and_then(|offset| u64_at(block, offset))
                    .filter(|&addr| addr != 0);
                break;
            }
            if !waits.channels.contains(&channel) {
                waits.channels.push(channel);
            }
            next = link;
        }
        Ok(Some(waits))
    }
}
