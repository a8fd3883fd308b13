//! What Go's reasons of waits say of who can end them.
//!
//! The reasons are the runtime's own words, of every Go version that observer knows (`go/wait_reason.rs` has them).
//! A test holds these lists against them.

/// Waits for another goroutine, as their reasons begin.
const FOR_OTHERS: [&str; 5] = ["chan receive", "chan send", "select", "semacquire", "sync."];

/// Of those, as they begin, the ones on no channel.
const FOR_LOCKS: [&str; 2] = ["semacquire", "sync."];

/// Of those, as they begin, the ones in which healthy goroutines stay until there is work or news for them; for locks and
/// for somebody who receives, they wait for moments.
const FOR_WORK: [&str; 4] = [
    "chan receive",
    "select",
    "sync.Cond.Wait",
    "sync.WaitGroup.Wait",
];

/// The wait of a `select` with cases.
pub(super) const SELECT: &str = "select";

/// Of waits for locks, the one for no semaphore.
const FOR_COND: &str = "sync.Cond.Wait";

/// Waits that nothing ends.
const FOR_EVER: [&str; 3] = [
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "select (no cases)",
];

/// Waits that end without anybody else in the process.
const BY_THEMSELVES: [&str; 2] = ["sleep", "IO wait"];

/// Waits for the runtime: for the garbage collector, most of all.
const FOR_RUNTIME: [&str; 8] = [
    "GC assist marking",
    "GC assist wait",
    "GC weak to strong wait",
    "flushing proc caches",
    "garbage collection",
    "garbage collection scan",
    "preempted",
    "stopping the world",
];

/// Waits of goroutines that the runtime has for itself: they wake none of the program's.
const OF_RUNTIME: [&str; 6] = [
    "force gc (idle)",
    "GC scavenge wait",
    "GC sweep wait",
    "GC worker (active)",
    "GC worker (idle)",
    "GOMAXPROCS updater (idle)",
];

/// The wait of `iter.Pull`'s two sides for each other: neither names what it waits on.
const COROUTINE: &str = "coroutine";

/// Whether another goroutine of the process must end a wait for this reason, and can, by what both refer to.
#[must_use]
pub fn is_for_others(reason: &str) -> bool {
    FOR_OTHERS.iter().any(|start| reason.starts_with(start)) && !is_for_ever(reason)
}

/// Whether only a goroutine that lets go of a lock, or has done its part, ends a wait for this reason.
#[must_use]
pub fn is_for_lock(reason: &str) -> bool {
    FOR_LOCKS.iter().any(|start| reason.starts_with(start))
}

/// Whether a healthy goroutine may stay in a wait for this reason until there is work or news for it.
#[must_use]
pub fn is_for_work(reason: &str) -> bool {
    FOR_WORK.iter().any(|start| reason.starts_with(start)) && !is_for_ever(reason)
}

/// Whether a wait for this reason is one for a semaphore: a lock's, a wait group's, or one of the runtime's own.
#[must_use]
pub fn is_for_semaphore(reason: &str) -> bool {
    is_for_lock(reason) && reason != FOR_COND
}

/// Whether nothing ends a wait for this reason.
#[must_use]
pub fn is_for_ever(reason: &str) -> bool {
    FOR_EVER.contains(&reason)
}

/// Whether a wait for this reason ends without anybody else in the process.
#[must_use]
pub fn ends_by_itself(reason: &str) -> bool {
    BY_THEMSELVES.contains(&reason)
}

/// Whether a wait for this reason is one for the runtime, which says nothing of what the goroutine does.
#[must_use]
pub fn is_for_runtime(reason: &str) -> bool {
    FOR_RUNTIME.contains(&reason)
}

/// Whether only goroutines that the runtime has for itself wait for this reason.
#[must_use]
pub fn is_of_runtime(reason: &str) -> bool {
    OF_RUNTIME.contains(&reason)
}

/// Whether a wait for this reason is one for the other side of a coroutine.
#[must_use]
pub fn is_for_coroutine(reason: &str) -> bool {
    reason == COROUTINE
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::go::{GoVersion, wait_reason};

    /// Every reason of every Go version.
    fn known() -> BTreeSet<&'static str> {
        let versions = (18..=27).filter_map(|minor| GoVersion::parse(&format!("go1.{minor}")));
        versions
            .flat_map(|version| (0..=u8::MAX).filter_map(move |code| wait_reason(&version, code)))
            .collect()
    }

    #[test]
    fn every_reason_that_is_listed_is_one_of_gos() {
        let known = known();
        let begins = FOR_OTHERS.iter().chain(&FOR_WORK).chain(&FOR_LOCKS);
        for start in begins {
            assert!(known.iter().any(|it| it.starts_with(start)), "{start}");
        }
        let whole = FOR_EVER.iter().chain(&BY_THEMSELVES).chain(&FOR_RUNTIME);
        let whole = whole.chain(&OF_RUNTIME);
        for reason in whole.chain([&COROUTINE, &SELECT]) {
            assert!(known.contains(reason), "{reason}");
        }
    }

    #[test]
    fn semaphores_are_of_locks_and_wait_groups() {
        let known = known();
        let of: Vec<&str> = known
            .iter()
            .copied()
            .filter(|reason| is_for_semaphore(reason))
            .collect();
        let expected = [
            "semacquire",
            "sync.Mutex.Lock",
            "sync.RWMutex.Lock",
            "sync.RWMutex.RLock",
            "sync.WaitGroup.Wait",
            "sync.WaitGroup.Wait (durable)",
        ];
        assert_eq!(of, expected);
        assert!(known.contains(FOR_COND));
    }

    #[test]
    fn a_reason_is_of_one_kind_only() {
        for reason in known() {
            let kinds = [
                is_for_others(reason),
                is_for_ever(reason),
                ends_by_itself(reason),
                is_for_runtime(reason),
                is_of_runtime(reason),
                is_for_coroutine(reason),
            ];
            let of = kinds.iter().filter(|is| **is).count();
            assert!(of <= 1, "{reason}: {kinds:?}");
            assert!(!is_for_work(reason) || is_for_others(reason), "{reason}");
            assert!(!is_for_lock(reason) || is_for_others(reason), "{reason}");
        }
    }

    #[test]
    fn nobody_ends_a_wait_on_what_is_not_there() {
        let ended_by_nobody =
            |reason: &&str| reason.ends_with("(nil chan)") || *reason == "select (no cases)";
        for reason in known().iter().filter(|it| ended_by_nobody(it)) {
            assert!(is_for_ever(reason) && !is_for_others(reason) && !is_for_work(reason));
        }
        assert!(is_for_others("sync.Mutex.Lock") && !is_for_work("sync.Mutex.Lock"));
        assert!(is_for_others("chan send") && !is_for_work("chan send"));
        assert!(is_for_work("select") && is_for_work("sync.Cond.Wait"));
    }
}
