//! How many goroutines the observed processes have: read from memory, and never more than a part of the time.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::detect::Count;
use crate::go::Image;
use crate::inspect::Started;
use crate::picture::is_runtime;

use super::inspector;
use super::subject::Target;

/// Once a count has taken some time, the same process is left alone for so many times as long, times the number of
/// processes: all counts together take a hundredth of one processor at most. A process with a hundred thousand
/// goroutines takes some 20 ms.
const REST: u64 = 99;
/// `go` statements told of.
const LINES: usize = 32;
/// Functions remembered of one process.
const STARTS: usize = 1 << 16;

/// What is remembered of processes between two counts.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    processes: BTreeMap<u32, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    rests_until_ns: u64,
    /// Whether goroutines that begin at an address are the runtime's own.
    runtime_starts: FxHashMap<u64, bool>,
}

/// Why the goroutines of a process cannot be counted, in the words of what is not covered; `None` where they can.
pub(super) fn gap(target: &Target) -> Option<String> {
    let knows =
        target.layout.is_proved() && target.offsets.goroutine.is_some() && target.allgs.is_some();
    (!knows).then(|| {
        let version = &target.image.go_version().raw;
        format!("goroutine-surge (where {version} keeps its goroutines is not known)")
    })
}

impl Tallies {
    /// Counts once more; `None` where that would cost too much, or not all could be read. `clock` gives monotonic ns.
    pub(super) fn count(
        &mut self,
        target: &Target,
        processes: usize,
        clock: impl Fn() -> u64,
    ) -> Option<Count> {
        if gap(target).is_some() {
            return None;
        }
        let tally = self.processes.entry(target.pid()).or_default();
        let image = &*target.image;
        let starts = &mut tally.runtime_starts;
        let look = || {
            inspector::tally(target, |startpc| {
                if starts.len() >= STARTS {
                    starts.clear();
                }
                *starts
                    .entry(startpc)
                    .or_insert_with(|| starts_in_runtime(image, startpc))
            })
        };
        let rest = REST.saturating_mul(u64::try_from(processes).unwrap_or(u64::MAX));
        let found = within(&mut tally.rests_until_ns, rest, clock, look)?;
        Some(summed(found))
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }
}

fn starts_in_runtime(image: &Image, startpc: u64) -> bool {
    let start = image.frames_at(startpc).pop();
    start.is_some_and(|at| is_runtime(&at.function))
}

/// Looks, unless the last look was too long for that.
pub(super) fn within<T>(
    rests_until_ns: &mut u64,
    rest: u64,
    clock: impl Fn() -> u64,
    look: impl FnOnce() -> Option<T>,
) -> Option<T> {
    let begun_ns = clock();
    if begun_ns < *rests_until_ns {
        return None;
    }
    let found = look();
    let ended_ns = clock();
    let took_ns = ended_ns.saturating_sub(begun_ns);
    *rests_until_ns = ended_ns.saturating_add(took_ns.saturating_mul(rest));
    found
}

fn summed(mut lines: Vec<Started>) -> Count {
    lines.sort_by_key(|line| (Reverse(line.alive), line.gopc));
    let alive = lines.iter().map(|line| line.alive).sum();
    let is_cut = lines.len() > LINES;
    lines.truncate(LINES);
    Count {
        alive,
        lines,
        is_cut,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{LINES, summed, within};
    use crate::inspect::Started;

    #[test]
    fn counting_takes_no_more_than_its_part_of_the_time() {
        let now_ns = Cell::new(1_000);
        let clock = || now_ns.get();
        let mut rests = 0;
        // A look that takes 10 ns, of two processes.
        let mut look = || {
            within(&mut rests, 2 * 99, clock, || {
                now_ns.set(now_ns.get() + 10);
                Some(())
            })
        };
        assert_eq!(look(), Some(()));
        now_ns.set(1_010 + 1_979);
        assert_eq!(look(), None);
        now_ns.set(1_010 + 1_980);
        assert_eq!(look(), Some(()));
    }

    #[test]
    fn all_are_counted_and_most_are_listed() {
        let lines = (0..40)
            .map(|gopc| Started {
                gopc,
                alive: gopc,
                stack_bytes: 0,
            })
            .collect();
        let count = summed(lines);
        assert_eq!(count.alive, 39 * 40 / 2);
        assert_eq!(count.lines.len(), LINES);
        assert!(count.is_cut);
        assert_eq!(count.lines[0].gopc, 39, "most first");
    }
}
