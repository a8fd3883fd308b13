//! Looks through all goroutines of processes that tell of no beginnings: who is new, and who is gone.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use crate::inspect::{Kin, Listing};

use super::inspector;
use super::subject::Target;
use super::tallies::within;

/// Once a look has taken some time, the same process is left alone for so many times as long, times the number of
/// processes. A process with a hundred thousand goroutines takes some 20 ms.
const REST: u64 = 99;
/// Goroutines told of at once: those with the lowest numbers, which have mostly been there for longest.
const TOLD: usize = 4096;

/// What is remembered of processes between two looks.
#[derive(Debug, Default)]
pub(super) struct Listings {
    processes: BTreeMap<u32, Known>,
}

#[derive(Debug, Default)]
struct Known {
    rests_until_ns: u64,
    /// Told of, and alive at the last look.
    told: FxHashSet<u64>,
    /// Seen by the last look, and not told of yet.
    seen: FxHashSet<u64>,
}

impl Listings {
    /// Looks once more; `None` where that would cost too much, or not all could be read. `clock` gives monotonic ns.
    pub(super) fn look(
        &mut self,
        target: &Target,
        processes: usize,
        clock: impl Fn() -> u64,
    ) -> Option<Listing> {
        let known = self.processes.entry(target.pid()).or_default();
        let rest = REST.saturating_mul(u64::try_from(processes).unwrap_or(u64::MAX));
        let begun_ns = clock();
        let look = || inspector::kin(target);
        let mut all = within(&mut known.rests_until_ns, rest, clock, look)?;
        let gone = known.gone(&all);
        all.retain(|one| !target.unit.older.has(one.goid));
        Some(Listing {
            begun_ns,
            ..known.sort(all, gone)
        })
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }
}

impl Known {
    /// Those that were told of and are no more.
    fn gone(&mut self, all: &[Kin]) -> Vec<u64> {
        let alive: FxHashSet<u64> = all.iter().map(|one| one.goid).collect();
        let mut gone: Vec<u64> = self.told.difference(&alive).copied().collect();
        gone.sort_unstable();
        for goid in &gone {
            self.told.remove(goid);
        }
        gone
    }

    /// Takes those that are alive, by number, and tells of the first that it has not told of yet.
    fn sort(&mut self, all: Vec<Kin>, gone: Vec<u64>) -> Listing {
        let mut listing = Listing {
            gone,
            ..Listing::default()
        };
        let seen = std::mem::take(&mut self.seen);
        let mut room = TOLD;
        for one in all {
            if self.told.contains(&one.goid) {
                continue;
            }
            if room == 0 {
                self.seen.insert(one.goid);
                continue;
            }
            room -= 1;
            self.told.insert(one.goid);
            if seen.contains(&one.goid) {
                listing.late.push(one);
            } else {
                listing.came.push(one);
            }
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::{Known, TOLD};
    use crate::inspect::Kin;

    fn kin(goids: impl IntoIterator<Item = u64>) -> Vec<Kin> {
        let one = |goid| Kin {
            goid,
            g_addr: goid * 0x1000,
            parent_goid: 1,
            gopc: 7,
        };
        goids.into_iter().map(one).collect()
    }

    /// Those that came, that came before, and that are gone.
    fn look(known: &mut Known, goids: impl IntoIterator<Item = u64>) -> [Vec<u64>; 3] {
        let all = kin(goids);
        let gone = known.gone(&all);
        let listing = known.sort(all, gone);
        let goids = |all: &[Kin]| all.iter().map(|one| one.goid).collect();
        [goids(&listing.came), goids(&listing.late), listing.gone]
    }

    #[test]
    fn each_is_told_of_once_and_so_is_its_end() {
        let mut known = Known::default();
        let nobody = Vec::<u64>::new();
        let [came, late, gone] = look(&mut known, [3, 5]);
        assert_eq!(
            (came, late, gone),
            (vec![3, 5], nobody.clone(), nobody.clone())
        );
        assert_eq!(look(&mut known, [3, 5, 9])[0], [9]);
        let [came, late, gone] = look(&mut known, [5]);
        assert_eq!(
            (came, late, gone),
            (nobody.clone(), nobody.clone(), vec![3, 9])
        );
        assert_eq!(look(&mut known, [5])[2], nobody);
    }

    #[test]
    fn of_very_many_the_rest_is_told_of_later_and_as_late() {
        let many = u64::try_from(TOLD).unwrap();
        let mut known = Known::default();
        let [came, late, _] = look(&mut known, 0..many + 3);
        assert_eq!((came.len(), late.len()), (TOLD, 0));
        // One of the three has ended meanwhile, and one more is there.
        let rest = (0..many).chain([many + 1, many + 2, many + 9]);
        let [came, late, gone] = look(&mut known, rest);
        assert_eq!(late, [many + 1, many + 2]);
        assert_eq!(came, [many + 9]);
        assert!(gone.is_empty());
    }
}
