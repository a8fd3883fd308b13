//! How long a goroutine has been waiting, from what the runtime notes of it.
//!
//! `g.waitsince` is written by the garbage collector when it finds a goroutine blocked, and holds `work.tstart`, which
//! is set when a collection's marking *ends* (`markroot`, `gcMark`; runtime/mgcmark.go and mgc.go, Go 1.18 to 1.27). So
//! it is the end of the collection *before* the one that found it, and the wait may have begun later. See
//! `docs/adr/0026-waitsince-is-the-collection-before.md`.

use std::collections::BTreeSet;

use crate::inspect::{Goroutine, Status};

/// Bounds of how long goroutines have been waiting; `None` where there is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// All have waited for so long, ns.
    pub at_least_ns: Option<u64>,
    /// None has waited for longer, ns.
    pub at_most_ns: Option<u64>,
}

impl Waited {
    /// Bounds that hold for two sets of goroutines.
    pub(super) fn or(self, other: Self) -> Self {
        let pair = |a: Option<u64>, b: Option<u64>| a.zip(b);
        Self {
            at_least_ns: pair(self.at_least_ns, other.at_least_ns).map(|(a, b)| a.min(b)),
            at_most_ns: pair(self.at_most_ns, other.at_most_ns).map(|(a, b)| a.max(b)),
        }
    }
}

/// What the runtime noted of a goroutine's wait.
///
/// A wake-up wipes the note, and a collection notes the end of the one before only where nothing is noted. So two looks
/// at one goroutine that find the same time have found the same wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noted {
    /// It does not wait, or its note is an old one.
    Nothing,
    /// No collection has found it waiting.
    NotYet,
    /// A collection has; `CLOCK_MONOTONIC`, ns.
    At(u64),
}

impl Noted {
    /// What it noted of this one.
    #[must_use]
    pub fn of(seen: &Goroutine) -> Self {
        // Handing over to another goroutine by a coroutine leaves the note of the wait before (`coroswitch_m`).
        let is_stale = seen.wait_reason.as_deref() == Some("coroutine");
        match seen.status {
            Status::Waiting | Status::Leaked | Status::Syscall if !is_stale => {
                seen.wait_since_ns.map_or(Self::NotYet, Self::At)
            }
            _ => Self::Nothing,
        }
    }
}

/// Ends remembered of the collections of one process. Of more, the oldest go: bounds become wider, and stay true.
const MAX_ENDS: usize = 1024;

/// Ends of the collections of one process, as far as its goroutines tell of them.
#[derive(Debug, Default)]
pub struct Collections {
    ends: BTreeSet<u64>,
}

impl Collections {
    /// Takes in what the runtime noted of a goroutine of the process.
    pub fn learn(&mut self, seen: &Goroutine) {
        self.ends.extend(seen.wait_since_ns);
        if self.ends.len() > MAX_ENDS {
            self.ends.pop_first();
        }
    }

    /// How long a goroutine has been waiting at `now_ns`.
    ///
    /// It was found by the collection after the one whose end it bears. The end of that, or of a later one, is an
    /// end that is greater. And the collection whose end it bears did not find it, so it began to wait after that
    /// had begun, thus after every end that is smaller.
    #[must_use]
    pub fn waited(&self, noted: Noted, now_ns: u64) -> Waited {
        let (before, after) = match noted {
            Noted::Nothing => (None, None),
            Noted::At(end) => (
                self.ends.range(..end).next_back(),
                self.ends.range(end.saturating_add(1)..).next(),
            ),
            // The one under way may have found others already, and bears the greatest end.
            Noted::NotYet => (self.ends.iter().rev().nth(1), None),
        };
        let since = |end: &u64| now_ns.saturating_sub(*end);
        Waited {
            at_least_ns: after.map(since),
            at_most_ns: before.map(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Collections, Noted, Waited};

    const fn waited(at_least_ns: Option<u64>, at_most_ns: Option<u64>) -> Waited {
        Waited {
            at_least_ns,
            at_most_ns,
        }
    }

    #[test]
    fn a_note_is_the_end_of_the_collection_before() {
        let collections = Collections {
            ends: [100, 200, 300].into(),
        };
        let at = |noted| collections.waited(noted, 1000);
        assert_eq!(at(Noted::At(200)), waited(Some(700), Some(900)));
        // The first collection there was may have found it waiting, and had no end to note.
        assert_eq!(at(Noted::At(100)), waited(Some(800), None));
        assert_eq!(at(Noted::At(300)), waited(None, Some(800)));
        assert_eq!(at(Noted::NotYet), waited(None, Some(800)));
        assert_eq!(at(Noted::Nothing), waited(None, None));
    }

    #[test]
    fn bounds_of_several_hold_for_each() {
        let a = waited(Some(5), Some(9));
        assert_eq!(a.or(waited(Some(3), Some(12))), waited(Some(3), Some(12)));
        assert_eq!(a.or(waited(None, Some(12))), waited(None, Some(12)));
        assert_eq!(a.or(waited(Some(7), None)), waited(Some(5), None));
    }
}
