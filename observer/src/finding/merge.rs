//! Repeats become one finding.
//!
//! The first occurrence of a fingerprint in a process is shown whole; later ones are counted and
//! shown again only when that tells something new. Pure: time comes from the events, and the
//! table is bounded with a counter for what the bound cost.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Routes, RuleName};

/// Counts alone are shown at most this often, ns.
pub const COUNT_INTERVAL_NS: u64 = 10_000_000_000;

/// A worse case that follows a line sooner than this, ns, waits: requests that are cancelled
/// together end together, and one line tells the worst of them.
pub const TOGETHER_NS: u64 = 1_000_000_000;

/// A case is worse only when its harm exceeds the shown one's by this much, percent: otherwise
/// the jitter of equal cases would be reported as news.
pub const WORSE_PERCENT: u64 = 10;

/// Related findings named of one.
const RELATED: usize = 16;

/// Findings kept at once. One entry holds one finding with its stack (about 8 KiB at worst).
pub const DEFAULT_LIMIT: usize = 4096;

/// Names one running case of a finding; the rule chooses it (the request's number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseId(pub u64);

/// What a rule reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Complete at once: nothing of it runs on.
    Whole,
    /// It still runs: `Ended` with the same case will follow.
    Running(CaseId),
    /// A case that was reported before has grown worse and runs on; it is not counted again.
    Grew(CaseId),
    /// The end of a case reported as `Running`; it is not counted again.
    Ended(CaseId),
}

/// Why a finding is shown again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum UpdateReason {
    /// The case that was shown has ended.
    Ended,
    /// The severity rose.
    Severity,
    /// A case with clearly more harm came.
    Worse,
    /// Nothing but the count changed.
    Count,
    /// Another finding with the same root cause came.
    Related,
}

/// What is to be shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Emission {
    /// First occurrence.
    Finding(Box<Finding>),
    /// The whole finding again.
    Update(Box<Finding>, UpdateReason),
}

#[derive(Debug)]
struct Entry {
    /// The worst case, with count and times of all.
    shown: Finding,
    /// The shown case, while it runs.
    running: Option<CaseId>,
    emitted_ns: u64,
    /// What changed since it was emitted and may wait.
    pending: Option<UpdateReason>,
}

/// The table of findings so far, by id.
#[derive(Debug)]
pub struct Merger {
    limit: usize,
    entries: BTreeMap<u64, Entry>,
    by_age: BTreeSet<(u64, u64)>,
    stale: BTreeSet<u64>,
    evicted: u64,
}

impl Merger {
    /// For at most `limit` findings (at least one).
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            limit: if limit == 0 { 1 } else { limit },
            entries: BTreeMap::new(),
            by_age: BTreeSet::new(),
            stale: BTreeSet::new(),
            evicted: 0,
        }
    }

    /// Findings forgotten because the table was full: if they come again, they are new again.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes one identified occurrence ([`Finding::identified`]); its count, first and last seen
    /// are set here from `time_ns`. What is to be shown is appended to `out`.
    pub fn report(&mut self, mut case: Finding, phase: Phase, out: &mut Vec<Emission>) {
        let id = case.id;
        let now_ns = case.time_ns;
        let Some(entry) = self.entries.get_mut(&id) else {
            case.count = 1;
            case.first_seen_ns = now_ns;
            case.last_seen_ns = now_ns;
            let mut routes = Routes::default();
            if let Some(route) = case.route() {
                routes.count(route);
            }
            case.routes = routes;
            case.causes.note(&case.evidence);
            out.push(Emission::Finding(Box::new(case.clone())));
            self.insert(case, phase, out);
            return;
        };
        self.by_age.remove(&(entry.shown.last_seen_ns, id));
        let reason = entry.take(case, phase);
        self.by_age.insert((entry.shown.last_seen_ns, id));
        match reason {
            Some(reason) => {
                self.stale.remove(&id);
                out.push(entry.emit(now_ns, reason));
            }
            None if entry.pending.is_some() => {
                self.stale.insert(id);
            }
            None => {}
        }
    }

    /// Says of a finding that another has the same root cause; shown the first time.
    pub fn relate(&mut self, id: u64, other: u64, now_ns: u64, out: &mut Vec<Emission>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let related = &mut entry.shown.related;
        let first = related.is_empty();
        name(related, other);
        if first {
            self.stale.remove(&id);
            out.push(entry.emit(now_ns, UpdateReason::Related));
        }
    }

    /// Shows counts that are due at `now_ns`. Call it about once a second.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Emission>) {
        let due: Vec<u64> = self
            .stale
            .iter()
            .copied()
            .filter(|id| {
                self.entries
                    .get(id)
                    .is_none_or(|entry| entry.is_due(now_ns))
            })
            .collect();
        self.emit_pending(&due, now_ns, out);
    }

    /// Shows every count that has not been shown. Call it once, at the end.
    pub fn flush(&mut self, now_ns: u64, out: &mut Vec<Emission>) {
        let due: Vec<u64> = self.stale.iter().copied().collect();
        self.emit_pending(&due, now_ns, out);
    }

    fn emit_pending(&mut self, due: &[u64], now_ns: u64, out: &mut Vec<Emission>) {
        for id in due {
            self.stale.remove(id);
            if let Some(entry) = self.entries.get_mut(id) {
                let reason = entry.pending.unwrap_or(UpdateReason::Count);
                out.push(entry.emit(now_ns, reason));
            }
        }
    }

    fn insert(&mut self, case: Finding, phase: Phase, out: &mut Vec<Emission>) {
        if self.entries.len() >= self.limit
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.evicted += 1;
            if self.stale.contains(&oldest) {
                self.emit_pending(&[oldest], case.time_ns, out);
            }
            self.entries.remove(&oldest);
        }
        let id = case.id;
        self.by_age.insert((case.last_seen_ns, id));
        let entry = Entry {
            emitted_ns: case.time_ns,
            running: match phase {
                Phase::Running(name) | Phase::Grew(name) => Some(name),
                Phase::Whole | Phase::Ended(_) => None,
            },
            pending: None,
            shown: case,
        };
        self.entries.insert(id, entry);
    }
}

impl Entry {
    /// Merges one case; the reason, if it must be shown at once.
    fn take(&mut self, case: Finding, phase: Phase) -> Option<UpdateReason> {
        let ends_shown = matches!(phase, Phase::Ended(name) if self.running == Some(name));
        let rises = case.severity > self.shown.severity;
        let worse = rises
            || (case.severity == self.shown.severity
                && is_worse(harm_ns(&case), harm_ns(&self.shown)));
        let counts = !matches!(phase, Phase::Ended(_) | Phase::Grew(_));
        let case_ns = case.time_ns;
        let severity = self.shown.severity.max(case.severity);
        let count = self.shown.count.saturating_add(u64::from(counts));
        let first_seen_ns = self.shown.first_seen_ns.min(case.time_ns);
        let last_seen_ns = self.shown.last_seen_ns.max(case.time_ns);
        let mut routes = std::mem::take(&mut self.shown.routes);
        if counts && let Some(route) = case.route() {
            routes.count(route);
        }
        let mut causes = std::mem::take(&mut self.shown.causes);
        let new_cause = causes.note(&case.evidence);
        let kind_of = kind_of(&case);
        if ends_shown || worse {
            self.running = match phase {
                Phase::Running(name) | Phase::Grew(name) => Some(name),
                Phase::Whole | Phase::Ended(_) => None,
            };
            for id in std::mem::replace(&mut self.shown, case).related {
                name(&mut self.shown.related, id);
            }
        }
        if let Some((live, per_hour, stack_bytes)) = kind_of {
            let evidence = &mut self.shown.evidence;
            (evidence.live, evidence.per_hour, evidence.stack_bytes) =
                (live, per_hour, stack_bytes);
        }
        self.shown.routes = routes;
        self.shown.causes = causes;
        self.shown.severity = severity;
        self.shown.count = count;
        self.shown.first_seen_ns = first_seen_ns;
        self.shown.last_seen_ns = last_seen_ns;
        let together = case_ns.saturating_sub(self.emitted_ns) < TOGETHER_NS;
        if worse && together {
            self.pending = Some(UpdateReason::Worse);
        } else if counts || new_cause {
            self.pending.get_or_insert(UpdateReason::Count);
        }
        if rises {
            Some(UpdateReason::Severity)
        } else if ends_shown {
            Some(UpdateReason::Ended)
        } else if worse && !together {
            Some(UpdateReason::Worse)
        } else {
            None
        }
    }

    /// Whether what waits has waited long enough.
    fn is_due(&self, now_ns: u64) -> bool {
        let wait_ns = match self.pending {
            Some(UpdateReason::Worse) => TOGETHER_NS,
            _ => COUNT_INTERVAL_NS,
        };
        now_ns.saturating_sub(self.emitted_ns) >= wait_ns
    }

    fn emit(&mut self, now_ns: u64, reason: UpdateReason) -> Emission {
        self.emitted_ns = self.emitted_ns.max(now_ns);
        self.pending = None;
        Emission::Update(Box::new(self.shown.clone()), reason)
    }
}

/// Names one more related finding.
fn name(related: &mut Vec<u64>, id: u64) {
    if !related.contains(&id) && related.len() < RELATED {
        related.push(id);
    }
}

/// What holds of all goroutines of a leak's line now, and not of one case: the newest is right.
fn kind_of(case: &Finding) -> Option<(Option<u64>, Option<u64>, Option<u64>)> {
    let evidence = &case.evidence;
    (case.rule == RuleName::GoroutineLeak).then_some((
        evidence.live,
        evidence.per_hour,
        evidence.stack_bytes,
    ))
}

/// One number to rank cases of one finding by: time lost, ns.
fn harm_ns(finding: &Finding) -> u64 {
    let evidence = &finding.evidence;
    evidence
        .after_cancel_ns
        .or(evidence.after_close_ns)
        .or(evidence.outlived_ns)
        .or_else(|| evidence.call.as_ref().and_then(|call| call.duration_ns))
        .or(evidence.live)
        .unwrap_or(0)
}

const fn is_worse(new_ns: u64, old_ns: u64) -> bool {
    new_ns > old_ns.saturating_add(old_ns / 100 * WORSE_PERCENT)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
