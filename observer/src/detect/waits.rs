//! For how long a goroutine has been in its wait at least, as all looks of ours prove it.
//!
//! One look proves nothing: what the runtime notes of a wait may be a moment before it began
//! (`docs/adr/0026-waitsince-is-the-collection-before.md`). Two things prove a bound: an earlier look that has found the
//! same wait, and the end of a later collection than the one that is noted, which other goroutines of the process tell.

use std::collections::BTreeMap;

use crate::go::Frame;
use crate::inspect::{Goroutine, Status, is_for_runtime};
use crate::picture::{Collections, Noted};

/// Waits remembered; of more, those of the oldest goroutines go.
const MAX_WAITS: usize = 16_384;

/// Whether it would go on if it were let: it was woken and waits for a processor, or it waits for the runtime. On a host
/// that has more to do than it can, that takes long, and says nothing of what the goroutine does.
pub(super) fn is_held_up(goroutine: &Goroutine, stack: &[Frame]) -> bool {
    let reason = goroutine.wait_reason.as_deref();
    match goroutine.status {
        Status::Waiting => reason.is_some_and(is_for_runtime),
        // One that has just been woken is still where it waited.
        Status::Runnable => stack
            .first()
            .is_some_and(|frame| &*frame.function == "runtime.gopark"),
        _ => false,
    }
}

/// Waits of the goroutines that were looked at.
#[derive(Debug, Default)]
pub(super) struct Waits {
    collections: BTreeMap<u32, Collections>,
    /// By process and goroutine.
    first_looks: BTreeMap<(u32, u64), FirstLook>,
}

/// The first look that found a wait.
#[derive(Debug, Clone, Copy)]
struct FirstLook {
    wait: Mark,
    at_ns: u64,
}

/// What no other wait of a goroutine bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Nothing ends it, so there is no other.
    ForEver,
    /// The runtime's note.
    Noted(u64),
}

impl Mark {
    fn of(goroutine: &Goroutine) -> Option<Self> {
        if !is_waiting(goroutine) {
            return None;
        }
        if goroutine.waits_for_ever() {
            return Some(Self::ForEver);
        }
        match Noted::of(goroutine) {
            Noted::At(end_ns) => Some(Self::Noted(end_ns)),
            Noted::Nothing | Noted::NotYet => None,
        }
    }
}

impl Waits {
    /// Takes in a look that was over at `now_ns`.
    pub(super) fn looked(&mut self, pid: u32, goroutine: &Goroutine, now_ns: u64) {
        self.collections.entry(pid).or_default().learn(goroutine);
        let key = (pid, goroutine.goid);
        let before = self.first_looks.remove(&key);
        let Some(wait) = Mark::of(goroutine) else {
            return;
        };
        let at_ns = before
            .filter(|before| before.wait == wait)
            .map_or(now_ns, |before| before.at_ns);
        self.first_looks.insert(key, FirstLook { wait, at_ns });
        if self.first_looks.len() > MAX_WAITS {
            self.first_looks.pop_first();
        }
    }

    /// A moment, ns, at which a goroutine was in the wait that a look at `now_ns` found it in; `None` where nothing
    /// proves one before that look.
    pub(super) fn since_ns(&self, pid: u32, goroutine: &Goroutine, now_ns: u64) -> Option<u64> {
        let wait = Mark::of(goroutine)?;
        let first = self
            .first_looks
            .get(&(pid, goroutine.goid))
            .filter(|first| first.wait == wait)
            .map(|first| first.at_ns);
        let later = self
            .collections
            .get(&pid)
            .and_then(|ends| ends.waited(Noted::of(goroutine), now_ns).at_least_ns)
            .map(|at_least_ns| now_ns.saturating_sub(at_least_ns));
        first
            .into_iter()
            .chain(later)
            .filter(|&since_ns| since_ns < now_ns)
            .min()
    }

    /// The same as a length, ns.
    pub(super) fn at_least_ns(&self, pid: u32, goroutine: &Goroutine, now_ns: u64) -> Option<u64> {
        self.since_ns(pid, goroutine, now_ns)
            .map(|since_ns| now_ns.saturating_sub(since_ns))
    }

    /// Forgets a process that has ended.
    pub(super) fn forget(&mut self, pid: u32) {
        self.collections.remove(&pid);
        self.first_looks.retain(|&(of, _), _| of != pid);
    }
}

fn is_waiting(goroutine: &Goroutine) -> bool {
    matches!(goroutine.status, Status::Waiting | Status::Leaked)
}
