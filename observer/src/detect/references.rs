//! When the memory of a process is searched for references to what its goroutines wait on, and what two searches prove.
//!
//! A search reads much, so it is made only where a goroutine waits that may be lost, and where searches
//! find nothing they become rare.

use std::collections::BTreeMap;

use crate::inspect::confirmed;

use super::ask::{Answer, Question, Searched};
use super::context::Context;
use super::timers::Topic;

/// Between the two searches that belong together, ns.
const APART_NS: u64 = 1_000_000_000;
/// A search is paid for by so many times as long as it took: half a hundredth of a processor.
const REST: u64 = 200;
/// So much may be left to pay when the next one begins, ns: half a second of searching. Lines that show
/// soon after the first search need not wait for long.
const OWED_NS: u64 = 100_000_000_000;
/// Least rest after two searches, as often as goroutines take to be leaks for sure.
const REST_TIMES: u64 = 2;
/// Rest where all lines were searched for and many searches have proved nothing, ns.
const LONG_REST_NS: u64 = 600_000_000_000;

/// Searches of all processes.
#[derive(Debug, Default)]
pub(super) struct References {
    of: BTreeMap<u32, Searches>,
}

/// Searches of one process.
#[derive(Debug, Default)]
struct Searches {
    is_under_way: bool,
    /// The last one could not be brought to its end: the heap is too large, most likely.
    is_vain: bool,
    /// What the first of two has found.
    first: Option<Searched>,
    /// All that was searched is paid for by then.
    paid_ns: u64,
    /// Nothing is searched for until then.
    rests_until_ns: u64,
    /// What was searched for already is not searched for again until then.
    repeats_from_ns: u64,
    /// From the last time to that one.
    repeats_after_ns: u64,
}

impl References {
    /// A goroutine waits for what may be lost, and `is_new` says that nobody has searched for what the goroutines of its
    /// line wait on. Gives whether more will be known: age waits for that, but not where the last search came to nothing.
    pub(super) fn want(&mut self, pid: u32, is_new: bool, cx: &mut Context<'_>) -> bool {
        let searches = self.of.entry(pid).or_default();
        if searches.is_under_way {
            return true;
        }
        let is_due = is_new || cx.now_ns >= searches.repeats_from_ns;
        if is_due && cx.now_ns >= searches.rests_until_ns {
            searches.is_under_way = true;
            searches.is_vain = false;
            cx.later(0, Topic::References(pid));
        }
        is_due && !searches.is_vain
    }

    /// Searches once, for what these goroutines wait on. Gives whether it is the first of two searches.
    pub(super) fn search(&mut self, pid: u32, goids: Vec<u64>, cx: &mut Context<'_>) -> bool {
        let Some(searches) = self.of.get_mut(&pid) else {
            return false;
        };
        if goids.is_empty() {
            searches.is_under_way = false;
            searches.first = None;
            return false;
        }
        cx.ask(
            pid,
            Topic::References(pid),
            Question::Unreferenced { goids },
        );
        searches.first.is_none()
    }

    /// What a search has found. Gives the goroutines that two have found in one wait.
    pub(super) fn found(&mut self, pid: u32, answer: &Answer, cx: &mut Context<'_>) -> Vec<u64> {
        let Some(searches) = self.of.get_mut(&pid).filter(|it| it.is_under_way) else {
            return Vec::new();
        };
        let Answer::Unreferenced(Some(found)) = answer else {
            searches.is_vain = true;
            searches.rest(LONG_REST_NS, cx.now_ns);
            return Vec::new();
        };
        let earlier = searches.first.take();
        if earlier.is_none() && !found.lost.is_empty() {
            searches.first = Some(found.clone());
            cx.later(APART_NS, Topic::References(pid));
            return Vec::new();
        }
        let earlier = earlier.unwrap_or_default();
        let lost: Vec<u64> = confirmed(&found.lost, &earlier.lost).collect();
        if !lost.is_empty() {
            searches.repeats_after_ns = 0;
        }
        let took_ns = earlier.took_ns.saturating_add(found.took_ns);
        let least_ns = cx.thresholds.leaks.proved_after_ns;
        let price_ns = took_ns.saturating_mul(REST);
        searches.paid_ns = searches.paid_ns.max(cx.now_ns).saturating_add(price_ns);
        let rest_ns = searches
            .paid_ns
            .saturating_sub(cx.now_ns.saturating_add(OWED_NS))
            .max(least_ns.saturating_mul(REST_TIMES));
        searches.rest(rest_ns, cx.now_ns);
        lost
    }

    /// Forgets what is under way in processes that `whose` names; they go on to rest.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        for (_, searches) in self.of.iter_mut().filter(|(pid, _)| whose(**pid)) {
            searches.is_under_way = false;
            searches.first = None;
        }
    }

    /// Forgets a process that has ended.
    pub(super) fn forget_process(&mut self, pid: u32) {
        self.of.remove(&pid);
    }
}

impl Searches {
    fn rest(&mut self, rest_ns: u64, now_ns: u64) {
        self.is_under_way = false;
        self.first = None;
        self.rests_until_ns = now_ns.saturating_add(rest_ns);
        self.repeats_after_ns = self
            .repeats_after_ns
            .saturating_mul(2)
            .clamp(rest_ns, LONG_REST_NS.max(rest_ns));
        self.repeats_from_ns = now_ns.saturating_add(self.repeats_after_ns);
    }
}
