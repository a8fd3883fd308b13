//! Who refers to objects that were not found: nobody who can be got at, if they are lost.
//!
//! What was not found may only have been on its way from one place to another. Two things tell that from what is lost: a
//! reference in an object that was found, and a reference that was not there at an earlier look. Nobody can make a new one
//! to what nobody can get at. Followed upwards, from what a goroutine waits on to all that leads there.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::target::{Memory, MemoryError};

use super::marking::Marking;

/// Steps upwards.
const STEPS: usize = 8;
/// References remembered of all objects.
const MAX_REFERENCES: usize = 1 << 16;

/// References to lost objects.
#[derive(Default)]
pub(super) struct Referrers {
    /// Addresses of the words that hold them, by the object.
    places: FxHashMap<u64, Vec<u64>>,
    /// Objects whose referrers were not looked for, rising once all is done.
    open: Vec<u64>,
}

impl Referrers {
    /// Looks for them through all objects. What turns out to be found after all is followed. `None` where there is too much to
    /// read, or to remember.
    ///
    /// # Errors
    /// Some of it cannot be read.
    pub(super) fn of<M: Memory>(
        lost: impl IntoIterator<Item = u64>,
        passed_over: &FxHashSet<u64>,
        marking: &mut Marking<'_, M>,
    ) -> Result<Option<Self>, MemoryError> {
        let mut all = Self {
            open: bases(lost, marking),
            ..Self::default()
        };
        let mut known: FxHashSet<u64> = all.open.iter().copied().collect();
        let mut count = 0;
        for _ in 0..STEPS {
            if all.open.is_empty() {
                break;
            }
            let targets: FxHashSet<u64> = all.open.drain(..).collect();
            let mut unread = marking.heap.with_pointers();
            while !unread.is_empty() {
                let Some(words) = marking.next(&mut unread)? else {
                    return Ok(None);
                };
                for (place, word) in words {
                    let Some(target) = marking.heap.base(word).filter(|to| targets.contains(to))
                    else {
                        continue;
                    };
                    let Some(holder) = marking.heap.base(place) else {
                        continue;
                    };
                    if holder == target || passed_over.contains(&holder) {
                        continue;
                    }
                    if marking.heap.is_found(holder) {
                        marking.follow(word);
                        continue;
                    }
                    count += 1;
                    if count > MAX_REFERENCES {
                        return Ok(None);
                    }
                    all.places.entry(target).or_default().push(place);
                    if known.insert(holder) {
                        all.open.push(holder);
                    }
                }
            }
        }
        all.open.sort_unstable();
        Ok(Some(all))
    }

    /// All references that lead to some objects, rising; `None` where not all were looked for.
    pub(super) fn leading_to<M: Memory>(
        &self,
        lost: impl IntoIterator<Item = u64>,
        marking: &Marking<'_, M>,
    ) -> Option<Vec<u64>> {
        let mut next = bases(lost, marking);
        let mut seen: FxHashSet<u64> = next.iter().copied().collect();
        let mut all = Vec::new();
        while let Some(object) = next.pop() {
            if self.open.binary_search(&object).is_ok() {
                return None;
            }
            for place in self.places.get(&object).into_iter().flatten() {
                all.push(*place);
                next.extend(
                    marking
                        .heap
                        .base(*place)
                        .filter(|holder| seen.insert(*holder)),
                );
            }
        }
        all.sort_unstable();
        Some(all)
    }
}

fn bases<M: Memory>(of: impl IntoIterator<Item = u64>, marking: &Marking<'_, M>) -> Vec<u64> {
    of.into_iter()
        .filter_map(|addr| marking.heap.base(addr))
        .collect()
}
