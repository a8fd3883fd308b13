//! Which goroutines others have started: one look through a process's goroutines for all questions
//! that come together, and never more than a part of the time.

use std::collections::{BTreeMap, BTreeSet};

use crate::detect::{Ask, Question};
use crate::inspect::Child;

use super::inspector;
use super::subject::Target;

/// Once a look has taken some time, none follows for so many times as long: a tenth of one
/// processor at most. A process with a hundred thousand goroutines takes some 20 ms.
const REST: u64 = 9;

/// Children by parent; `None` where they are not to be known.
type Found = Option<BTreeMap<u64, Vec<Child>>>;

/// What was found for the questions at hand, and until when processes are left alone.
#[derive(Debug, Default)]
pub(super) struct Families {
    wanted: BTreeMap<u32, BTreeSet<u64>>,
    found: BTreeMap<u32, Found>,
    rests_until_ns: BTreeMap<u32, u64>,
}

impl Families {
    /// Questions that came together. What was found for earlier ones is forgotten.
    pub(super) fn begin(&mut self, asks: &[Ask]) {
        self.wanted.clear();
        self.found.clear();
        for ask in asks {
            if let Question::Children { parent_goid } = ask.question {
                self.wanted.entry(ask.pid).or_default().insert(parent_goid);
            }
        }
    }

    /// The children of one goroutine asked about; `None` where they are not to be known, or where
    /// looking once more would cost too much. `clock` gives monotonic ns.
    pub(super) fn children(
        &mut self,
        target: &Target,
        parent: u64,
        clock: impl Fn() -> u64,
    ) -> Option<Vec<Child>> {
        let pid = target.pid();
        let parents = self.wanted.remove(&pid);
        if let Some(parents) = parents {
            let look = || inspector::children(target, &parents);
            let found = look_within(&mut self.rests_until_ns, pid, &clock, look);
            self.found.insert(pid, found);
        }
        let found = self.found.get(&pid)?.as_ref()?;
        Some(found.get(&parent).cloned().unwrap_or_default())
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, pid: u32) {
        self.rests_until_ns.remove(&pid);
    }
}

/// Looks, unless the last look was too long for that.
fn look_within<T>(
    rests_until_ns: &mut BTreeMap<u32, u64>,
    pid: u32,
    clock: impl Fn() -> u64,
    look: impl FnOnce() -> Option<T>,
) -> Option<T> {
    let begun_ns = clock();
    if rests_until_ns
        .get(&pid)
        .is_some_and(|until| begun_ns < *until)
    {
        return None;
    }
    let found = look();
    let ended_ns = clock();
    let took_ns = ended_ns.saturating_sub(begun_ns);
    rests_until_ns.insert(pid, ended_ns.saturating_add(took_ns.saturating_mul(REST)));
    found
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::{REST, look_within};

    #[test]
    fn after_a_look_a_process_is_left_alone_for_some_time() {
        let now_ns = Cell::new(1_000);
        let clock = || now_ns.get();
        let mut rests = BTreeMap::new();
        // A look that takes 100 ns.
        let mut look = |pid| {
            look_within(&mut rests, pid, clock, || {
                now_ns.set(now_ns.get() + 100);
                Some(())
            })
        };
        assert_eq!(look(1), Some(()));
        assert_eq!(look(1), None);
        assert_eq!(look(2), Some(()), "each process has its own time");
        now_ns.set(1_100 + REST * 100 - 1);
        assert_eq!(look(1), None);
        now_ns.set(1_100 + REST * 100);
        assert_eq!(look(1), Some(()));
    }
}
