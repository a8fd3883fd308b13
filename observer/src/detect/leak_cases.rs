//! Goroutines that have outlived their requests, by `go` line: which of them are looked at, and how many there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::finding::{Fingerprint, RequestInfo};
use crate::model::{GoId, ReqId, Told};

use super::context::Context;
use super::draft;
use super::lasting::Wait;
use super::leak_finding::KindOf;
use super::origin::Origin;
use super::timers::Topic;

/// Goroutines of one line that are looked at, until it is told; the others are only counted.
const LOOKED_AT: usize = 64;
/// Goroutines remembered of all lines.
const CASES: usize = 16_384;
/// Lines remembered.
const LINES: usize = 4096;
/// Looks within the time that makes a leak by age.
const LOOKS: u64 = 4;
/// Least time between two looks, ns.
const LEAST_NS: u64 = 100_000_000;
/// A rate is told from so much time, ns.
const RATE_NS: u64 = 60_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;

/// When a goroutine that has outlived its request is a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeakTimes {
    /// By its age alone, ns; told after twice that, when those of its line have had as long to show that they end so late.
    pub after_ns: u64,
    /// Where nothing can wake it, ns.
    pub proved_after_ns: u64,
}

impl Default for LeakTimes {
    fn default() -> Self {
        Self {
            after_ns: 30_000_000_000,
            proved_after_ns: 5_000_000_000,
        }
    }
}

impl LeakTimes {
    /// Between two looks at one goroutine, ns.
    pub(super) fn interval_ns(&self) -> u64 {
        (self.after_ns / LOOKS)
            .min(self.proved_after_ns)
            .max(LEAST_NS)
    }
}

/// What is known of the goroutines of one `go` line.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// One has ended later than what makes a leak by age.
    pub(super) ends_late: bool,
    /// References to what its goroutines wait on were searched for.
    pub(super) is_searched: bool,
    /// To what one of its goroutines waits on a way was found.
    pub(super) is_reached: bool,
    /// One of its goroutines was told.
    pub(super) told: bool,
    /// Those that are looked at.
    pub(super) looked_at: BTreeSet<GoId>,
    /// Those that are only counted: the oldest takes the place of one that is gone.
    counted: BTreeSet<GoId>,
    /// Those that have waited for long enough, with their requests.
    pub(super) ripe: BTreeMap<GoId, ReqId>,
}

/// A goroutine that has outlived its request.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) line: (u32, Fingerprint),
    /// Its number, and its struct: the model may have had to forget it.
    pub(super) goid: u64,
    pub(super) g: u64,
    pub(super) origin: Origin,
    pub(super) request: ReqId,
    /// Who told of it.
    pub(super) told_by: Told,
    /// The request, described at the first look; `None` where it may have been another one.
    pub(super) info: Option<RequestInfo>,
    /// The first look was taken.
    pub(super) is_described: bool,
    /// When it was last known to live, ns.
    pub(super) alive_ns: u64,
    /// Its end, ns; of a connection that its handler has taken over, the end of that.
    pub(super) ended_ns: u64,
    /// Its handler has taken the connection over.
    pub(super) is_taken_over: bool,
    /// The wait that it was seen in last.
    pub(super) wait: Option<Wait>,
    /// Whether the `Done` of a context of its request was among what it waited for then.
    pub(super) names_done: bool,
    /// Stack that it held then, bytes.
    pub(super) stack_bytes: u64,
    /// It was looked for and not found, and nobody has told of its end yet.
    pub(super) is_missed: bool,
    pub(super) told: bool,
}

impl Case {
    /// Keeps what is known of its request, where that is certain.
    pub(super) fn describe(&mut self, cx: &Context<'_>) {
        self.is_described = true;
        let named = Some(self.request).filter(|_| self.told_by != Told::Doubtful);
        self.info = draft::request_of(cx, named);
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Cases {
    cases: BTreeMap<GoId, Case>,
    lines: BTreeMap<(u32, Fingerprint), Line>,
}

impl Cases {
    /// Forgets what belongs to processes that `whose` names; what is remembered of their lines stays.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.cases.retain(|_, case| !whose(case.line.0));
        for ((pid, _), line) in &mut self.lines {
            if whose(*pid) {
                line.looked_at.clear();
                line.counted.clear();
                line.ripe.clear();
            }
        }
    }

    /// Forgets the lines of a process that has ended.
    pub(super) fn forget_lines(&mut self, pid: u32) {
        self.lines.retain(|(of, _), _| *of != pid);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    pub(super) fn get(&self, id: GoId) -> Option<&Case> {
        self.cases.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: GoId) -> Option<&mut Case> {
        self.cases.get_mut(&id)
    }

    pub(super) fn line(&mut self, line: (u32, Fingerprint)) -> Option<&mut Line> {
        self.lines.get_mut(&line)
    }

    /// Those of a process that were not told of.
    pub(super) fn open(&self, pid: u32) -> impl Iterator<Item = (GoId, &Case)> {
        let cases = self.cases.iter();
        let open = cases.filter(move |(_, case)| case.line.0 == pid && !case.told);
        open.map(|(id, case)| (*id, case))
    }

    /// A search has found ways to what these goroutines of a process wait on.
    pub(super) fn reached(&mut self, pid: u32, goids: &[u64]) {
        let open = self.open(pid);
        let open = open.filter(|(_, case)| goids.binary_search(&case.goid).is_ok());
        let lines: BTreeSet<_> = open.map(|(_, case)| case.line).collect();
        for line in lines {
            if let Some(line) = self.lines.get_mut(&line) {
                line.is_reached = true;
            }
        }
    }

    /// Remembers one. Gives whether it is to be looked at; the others of its line are only counted.
    pub(super) fn insert(&mut self, id: GoId, case: Case, cx: &mut Context<'_>) -> bool {
        let key = case.line;
        if self.lines.len() >= LINES && !self.lines.contains_key(&key) {
            *cx.forgotten += 1;
            return false;
        }
        let line = self.lines.entry(key).or_default();
        let is_looked_at = line.looked_at.len() < LOOKED_AT;
        if self.cases.len() >= CASES {
            *cx.forgotten += 1;
            // A line that has enough of them must not make others blind, nor itself.
            if !is_looked_at {
                return false;
            }
            self.make_room(cx);
        }
        let line = self.lines.entry(key).or_default();
        if is_looked_at {
            line.looked_at.insert(id);
        } else {
            line.counted.insert(id);
        }
        self.cases.insert(id, case);
        is_looked_at
    }

    /// Forgets one goroutine: the youngest of the line that has the most to count, or else the oldest of all.
    fn make_room(&mut self, cx: &mut Context<'_>) {
        let fullest = self.lines.values().max_by_key(|line| line.counted.len());
        let youngest = fullest.and_then(|line| line.counted.last().copied());
        let oldest = || self.cases.keys().next().copied();
        if let Some(id) = youngest.or_else(oldest) {
            self.remove(id, cx);
        }
    }

    /// Forgets one: another one of its line is looked at in its place.
    pub(super) fn remove(&mut self, id: GoId, cx: &mut Context<'_>) {
        let case = self.cases.remove(&id);
        let Some(line) = case.and_then(|case| self.lines.get_mut(&case.line)) else {
            return;
        };
        line.counted.remove(&id);
        line.ripe.remove(&id);
        if line.looked_at.remove(&id)
            && let Some(next) = line.counted.pop_first()
        {
            line.looked_at.insert(next);
            cx.later(LEAST_NS, Topic::Leak(next));
        }
    }

    /// All of a line that are known to live.
    pub(super) fn kind_of(&self, line: (u32, Fingerprint), now_ns: u64) -> KindOf {
        let cases = self.cases.values();
        let cases = cases.filter(|case| case.line == line && !case.is_missed);
        let (mut live, mut measured, mut stack_bytes, mut oldest_ns) = (0u64, 0u64, 0u64, now_ns);
        for case in cases {
            live += 1;
            measured += u64::from(case.stack_bytes > 0);
            stack_bytes = stack_bytes.saturating_add(case.stack_bytes);
            oldest_ns = oldest_ns.min(case.ended_ns);
        }
        // Those that are only counted hold as much as the others of their line.
        let stack_bytes = u128::from(stack_bytes) * u128::from(live) / u128::from(measured.max(1));
        let stack_bytes = u64::try_from(stack_bytes).unwrap_or(u64::MAX);
        let span_ns = now_ns.saturating_sub(oldest_ns);
        let per_hour = u128::from(live) * u128::from(HOUR_NS) / u128::from(span_ns.max(1));
        KindOf {
            live,
            per_hour: (span_ns >= RATE_NS).then(|| u64::try_from(per_hour).unwrap_or(u64::MAX)),
            stack_bytes,
        }
    }

    /// How many of those that are left wait for what, as last seen; those that are only counted, as most of their line do.
    pub(super) fn waiting(&self) -> BTreeMap<String, u64> {
        let mut lines: BTreeMap<_, BTreeMap<&str, u64>> = BTreeMap::new();
        for case in self.cases.values() {
            if let Some(wait) = &case.wait {
                let of_line = lines.entry(case.line).or_default();
                *of_line.entry(wait.reason.as_str()).or_default() += 1;
            }
        }
        let mut waiting = BTreeMap::new();
        for (key, mut of_line) in lines {
            let counted = self.lines.get(&key).map_or(0, |line| line.counted.len());
            let most = of_line.iter_mut().max_by_key(|(_, seen)| **seen);
            if let Some((_, seen)) = most {
                *seen += u64::try_from(counted).unwrap_or(0);
            }
            for (reason, seen) in of_line {
                *waiting.entry(reason.to_owned()).or_default() += seen;
            }
        }
        waiting
    }
}
