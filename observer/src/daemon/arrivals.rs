//! Who comes: processes that may have to be observed, as the kernel tells of them or a look at `/proc` does.
//!
//! A host may start thousands of processes a second, hardly any of them Go. One that is not costs a `stat` of its
//! executable; executables that were never seen are looked into at a bounded rate.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;

use crate::target::{Executables, FileId, all, exe_of};

use super::select::Selection;

/// Between two looks at all of `/proc`, ns: for processes that were not told of, moved into a unit or began to
/// listen after they had started.
const SCAN_NS: u64 = 1_000_000_000;
/// Processes that wait to be looked at; more, and all of `/proc` is looked at instead.
const WAITING: usize = 16_384;
/// Processes looked at in one turn of the loop.
const LOOKS: usize = 512;
/// Unknown executables looked into: one each so many ns, and at most so many at once.
const INSPECTION_NS: u64 = 5_000_000;
const INSPECTIONS_AT_ONCE: u64 = 40;

/// A process that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) pid: u32,
    pub(super) exe: FileId,
}

/// Processes to come.
#[derive(Debug)]
pub(super) struct Arrivals {
    selection: Selection,
    executables: Executables,
    waiting: VecDeque<u32>,
    is_waiting: HashSet<u32>,
    /// Those that could not be observed, until they execute something else.
    refused: HashMap<u32, FileId>,
    scan_ns: u64,
    /// Changes when a start was not told.
    starts_mark: u64,
    inspections: u64,
    refilled_ns: u64,
}

impl Arrivals {
    pub(super) fn of(selection: Selection) -> Self {
        Self {
            selection,
            executables: Executables::new(),
            waiting: VecDeque::new(),
            is_waiting: HashSet::new(),
            refused: HashMap::new(),
            scan_ns: 0,
            starts_mark: 0,
            inspections: INSPECTIONS_AT_ONCE,
            refilled_ns: 0,
        }
    }

    /// Whether every Go process is wanted.
    pub(super) fn is_all(&self) -> bool {
        self.selection.is_all()
    }

    /// A process has executed something.
    pub(super) fn executed(&mut self, pid: u32) {
        self.refused.remove(&pid);
        self.expect(pid);
    }

    fn expect(&mut self, pid: u32) {
        if self.waiting.len() >= WAITING {
            self.scan_ns = 0;
        } else if self.is_waiting.insert(pid) {
            self.waiting.push_back(pid);
        }
    }

    /// It cannot be observed: not to be tried again until it executes something else.
    pub(super) fn refuse(&mut self, arrival: Arrival) {
        self.refused.insert(arrival.pid, arrival.exe);
    }

    /// Somebody waits to be looked at, and may be looked at now.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty() && self.inspections > 0
    }

    /// Lets time pass: looks for processes where that is due.
    pub(super) fn tick(&mut self, now_ns: u64, starts_mark: u64) {
        let allowed = now_ns.saturating_sub(self.refilled_ns) / INSPECTION_NS;
        if allowed > 0 {
            self.inspections = self
                .inspections
                .saturating_add(allowed)
                .min(INSPECTIONS_AT_ONCE);
            self.refilled_ns = now_ns;
        }
        let untold = starts_mark != self.starts_mark;
        self.starts_mark = starts_mark;
        if now_ns.saturating_sub(self.scan_ns) < SCAN_NS && !untold {
            return;
        }
        self.scan_ns = now_ns;
        self.selection.refresh();
        // Without `/proc` nothing could have been attached; whoever is missed is found the next time.
        let there: HashSet<u32> = all()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|pid| u32::try_from(pid).ok())
            .collect();
        self.refused.retain(|pid, _| there.contains(pid));
        for pid in there {
            self.expect(pid);
        }
    }

    /// The next process that is to be observed and is not.
    pub(super) fn next(&mut self, is_observed: impl Fn(u32) -> bool) -> Option<Arrival> {
        for _ in 0..LOOKS {
            let pid = self.waiting.pop_front()?;
            self.is_waiting.remove(&pid);
            if is_observed(pid) {
                continue;
            }
            match self.look(pid) {
                Look::Fits(arrival) => return Some(arrival),
                Look::Passes => {}
                Look::Later => {
                    self.is_waiting.insert(pid);
                    self.waiting.push_front(pid);
                    return None;
                }
            }
        }
        None
    }

    fn look(&mut self, pid: u32) -> Look {
        let Ok(signed) = i32::try_from(pid) else {
            return Look::Passes;
        };
        let Some((exe, metadata)) = exe_of(signed) else {
            return Look::Passes;
        };
        let is_go = match self.executables.known(&metadata) {
            Some(known) => known,
            None if self.inspections == 0 => return Look::Later,
            None => {
                self.inspections -= 1;
                File::open(format!("/proc/{pid}/exe"))
                    .and_then(|file| self.executables.look_into(&file))
                    .unwrap_or(false)
            }
        };
        if is_go && self.refused.get(&pid) != Some(&exe) && self.selection.fits(signed, exe) {
            Look::Fits(Arrival { pid, exe })
        } else {
            Look::Passes
        }
    }
}

enum Look {
    Fits(Arrival),
    Passes,
    /// Too many executables were looked into just now.
    Later,
}

#[cfg(test)]
mod tests {
    use super::{Arrival, Arrivals, INSPECTIONS_AT_ONCE, SCAN_NS};
    use crate::cli::run::{Options, Selector};
    use crate::config::Settings;
    use crate::daemon::select::Selection;
    use crate::target::exe_of;

    fn arrivals() -> Arrivals {
        let settings = Settings {
            all: Some(true),
            ..Settings::default()
        };
        let options = Options::new(&settings).unwrap();
        assert_eq!(options.selectors, [Selector::All]);
        Arrivals::of(Selection::of(&options).unwrap())
    }

    /// This test's own process, which is not Go.
    fn own() -> Arrival {
        let pid = std::process::id();
        let (exe, _) = exe_of(i32::try_from(pid).unwrap()).unwrap();
        Arrival { pid, exe }
    }

    #[test]
    fn what_is_not_go_is_looked_into_once() {
        let mut arrivals = arrivals();
        for _ in 0..3 {
            arrivals.executed(own().pid);
            arrivals.executed(own().pid);
            assert_eq!(arrivals.waiting.len(), 1, "waits once");
            assert_eq!(arrivals.next(|_| false), None);
            assert!(arrivals.waiting.is_empty() && arrivals.is_waiting.is_empty());
        }
        assert_eq!(arrivals.inspections, INSPECTIONS_AT_ONCE - 1);
    }

    #[test]
    fn unknown_executables_wait_for_their_turn() {
        let mut arrivals = arrivals();
        arrivals.inspections = 0;
        arrivals.executed(own().pid);
        assert_eq!(arrivals.next(|_| false), None);
        assert_eq!((arrivals.waiting.len(), arrivals.is_busy()), (1, false));
        arrivals.refilled_ns = SCAN_NS;
        arrivals.scan_ns = SCAN_NS;
        arrivals.tick(SCAN_NS + 1, 0);
        assert!(!arrivals.is_busy(), "hardly any time has passed");
        arrivals.tick(2 * SCAN_NS - 1, 0);
        assert!(arrivals.is_busy());
        assert_eq!(arrivals.next(|_| false), None);
        assert!(arrivals.waiting.is_empty());
    }

    #[test]
    fn proc_is_looked_at_now_and_then_and_when_a_start_was_not_told() {
        let mut arrivals = arrivals();
        arrivals.scan_ns = SCAN_NS;
        arrivals.tick(SCAN_NS + 1, 0);
        assert!(arrivals.waiting.is_empty());
        arrivals.tick(SCAN_NS + 2, 1);
        assert!(arrivals.is_waiting.contains(&own().pid));
        arrivals.waiting.clear();
        arrivals.is_waiting.clear();
        arrivals.tick(SCAN_NS + 3, 1);
        assert!(arrivals.waiting.is_empty(), "told once");
        arrivals.tick(2 * SCAN_NS + 2, 1);
        assert!(arrivals.is_waiting.contains(&own().pid));
    }

    #[test]
    fn the_refused_are_forgotten_with_their_next_exec() {
        let mut arrivals = arrivals();
        arrivals.refuse(own());
        let gone = Arrival {
            pid: u32::MAX,
            ..own()
        };
        arrivals.refuse(gone);
        arrivals.tick(SCAN_NS, 0);
        assert_eq!(arrivals.refused.len(), 1, "whoever is gone is forgotten");
        arrivals.executed(own().pid);
        assert!(arrivals.refused.is_empty());
    }
}
