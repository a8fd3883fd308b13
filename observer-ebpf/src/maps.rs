//! The maps shared with user space, and the only functions that touch them.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use observer_common::hook::{COUNTER_ROWS, COUNTERS, Counter, HookId};
use observer_common::layout::{Layout, SocketLayout};
use observer_common::limits::{
    LOST_EVENTS, LOST_ROWS, LOST_STARTS, MAX_FOLLOWED, MAX_PID, MAX_SLOTS, PORTS, RING_BYTES,
    WAKE_BYTES,
};
use observer_common::probe::goroutine::Followed;

/// Records on their way to user space.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Layout blocks by slot.
#[map]
static LAYOUTS: Array<Layout> = Array::with_max_entries(MAX_SLOTS, 0);

/// `Counter` rows by hook.
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTER_ROWS, 0);

/// A mark that changes with every loss on any CPU and travels in every record; then one for processes whose start
/// was not told.
#[map]
static LOST: Array<u64> = Array::with_max_entries(LOST_ROWS, 0);

/// One bit per pid: for sites that several processes share, and for who begins to listen.
#[map]
static PIDS: Array<u64> = Array::with_max_entries(MAX_PID / 64, 0);

/// Row 0: where the kernel keeps what is told of a socket.
#[map]
static SOCKETS: Array<SocketLayout> = Array::with_max_entries(1, 0);

/// One bit per local port that an observed process listens on.
#[map]
static PORT_BITS: Array<u64> = Array::with_max_entries(PORTS / 64, 0);

/// Goroutines that serve requests, and those that they have started, with the one that serves. Of too many, those go
/// that were not heard of for longest: user space misses their ends, and counts that when it looks for them.
#[map]
static FOLLOWED: LruHashMap<Followed, u64> = LruHashMap::with_max_entries(MAX_FOLLOWED, 0);

/// Whose request a goroutine works for, by its serving goroutine.
#[inline(always)]
pub fn followed(pid: u32, goid: u64) -> Option<u64> {
    let key = Followed {
        pid: u64::from(pid),
        goid,
    };
    let found = FOLLOWED.get_ptr(&key)?;
    // SAFETY: the entry may be reused for another key meanwhile, whose value is as good a word.
    Some(unsafe { found.read_volatile() })
}

/// From now on it works for the request that `serving` serves.
#[inline(always)]
pub fn follow(pid: u32, goid: u64, serving: u64) {
    let key = Followed {
        pid: u64::from(pid),
        goid,
    };
    // Refused only while this CPU is inside the map: then user space does not hear of the goroutine.
    let _ = FOLLOWED.insert(&key, &serving, 0);
}

/// What the kernel says of a key that a map does not have: -ENOENT.
const ABSENT: i32 = -2;

/// It does so no more. Says whether it did; where this CPU is inside the map, it is said to have.
#[inline(always)]
pub fn unfollow(pid: u32, goid: u64) -> bool {
    let key = Followed {
        pid: u64::from(pid),
        goid,
    };
    FOLLOWED.remove(&key) != Err(ABSENT)
}

/// Where the kernel keeps what is told of a socket.
#[inline(always)]
pub fn sockets() -> Option<&'static SocketLayout> {
    SOCKETS.get(0)
}

/// Whether an observed process listens on the port.
#[inline(always)]
pub fn port_is_observed(port: u16) -> bool {
    let port = u32::from(port);
    PORT_BITS
        .get(port / 64)
        .is_some_and(|word| word >> (port % 64) & 1 != 0)
}

/// The layout block of a slot.
#[inline(always)]
pub fn layout(slot: u32) -> Option<&'static Layout> {
    LAYOUTS.get(slot)
}

/// Whether the process is one of the chosen.
#[inline(always)]
pub fn chosen(pid: u32) -> bool {
    PIDS.get(pid / 64)
        .is_some_and(|word| word >> (pid % 64) & 1 != 0)
}

/// Counts; a loss also in the total that every record carries.
#[inline(always)]
pub fn count(hook: HookId, counter: Counter) {
    if let Some(row) = COUNTS.get_ptr_mut(hook as u32 * COUNTERS + counter as u32) {
        // SAFETY: the row belongs to this CPU; a lost increment by preemption is acceptable here.
        unsafe { *row += 1 };
    }
    if counter.is_loss() {
        change(LOST_EVENTS);
    }
}

/// Hits of a hook on this CPU.
#[inline(always)]
pub fn hits(hook: HookId) -> u64 {
    COUNTS
        .get(hook as u32 * COUNTERS + Counter::Hits as u32)
        .copied()
        .unwrap_or(0)
}

/// The start of a process could not be told.
#[inline(always)]
pub fn start_lost() {
    change(LOST_STARTS);
}

#[inline(always)]
fn change(mark: u32) {
    if let Some(total) = LOST.get_ptr_mut(mark) {
        // SAFETY: the map's value is a live, aligned u64 shared by all CPUs. The target has no
        // atomic addition in stable Rust; two losses at the same moment may count as one here,
        // but the value changes, which is all that readers of the mark ask. `COUNTS` is exact.
        unsafe { total.write_volatile(total.read_volatile() + 1) };
    }
}

/// The mark of lost events.
#[inline(always)]
pub fn lost() -> u64 {
    LOST.get(LOST_EVENTS).copied().unwrap_or(0)
}

/// Without a wake-up: the reader looks by itself.
pub const QUIETLY: u64 = BPF_RB_NO_WAKEUP as u64;

/// How to submit: quietly while little waits, because the reader looks by itself.
#[inline(always)]
pub fn wake() -> u64 {
    if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= WAKE_BYTES {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        QUIETLY
    }
}
