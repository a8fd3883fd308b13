//! What several hosts told, joined: findings about two processes, and how far the hosts' clocks are apart.

use std::collections::HashMap;

use crate::correlate::{Across, Host, HostClock, Pair, Told};
use crate::detect::hop::Below;
use crate::detect::{Deadlines, deadline_not_forwarded, orphaned_downstream};
use crate::error::Notice;
use crate::finding::{DEFAULT_LIMIT, Emission, Merger, Phase};
use crate::sink::{Clock, Output, Sinks, Stats};

/// Findings of the sources that are remembered, to be named by those about their requests.
const KNOWN: usize = 65_536;

/// A request as a finding of its source names it: which source, process, goroutine and start (RFC 3339).
pub(super) type Whose = (usize, u32, u64, String);

/// What a source's own finding says of a request.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Of the finding.
    pub(super) id: u64,
    /// Where the request's work stood.
    pub(super) below: Below,
}

/// What is measured by.
#[derive(Debug, Clone)]
pub(super) struct Measures {
    /// How long work may go on after its caller gave up, ns.
    pub(super) grace_ns: u64,
    /// Which deadlines are equal.
    pub(super) deadlines: Deadlines,
}

/// Calls, requests and findings of several sources.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    across: Across,
    known: HashMap<Whose, Known>,
    /// What one source tells of both sides it has found itself.
    own_pairs_are_known: bool,
}

/// What came of them.
pub(super) struct Found {
    /// By time.
    pub(super) emissions: Vec<Emission>,
    /// Their numbers.
    pub(super) stats: Stats,
}

impl Gathered {
    /// For sources that have found by themselves what goes on between their own processes.
    pub(super) fn of_engines() -> Self {
        Self {
            own_pairs_are_known: true,
            ..Self::default()
        }
    }

    /// Takes a call or a request in. Times are wall-clock ns of its host.
    pub(super) fn take(&mut self, told: Told, host: &Host, source: usize) {
        self.across.take(told, host, source);
    }

    /// Where a request stood, as its own source tells.
    pub(super) fn note(&mut self, whose: Whose, known: Known) {
        if self.known.len() < KNOWN {
            self.known.insert(whose, known);
        }
    }

    /// Joins them, says how far clocks are apart, and judges.
    pub(super) fn judge(mut self, measures: &Measures, sinks: &mut Sinks) -> Found {
        if self.across.twice() > 0 {
            let twice = self.across.twice();
            sinks.emit(Output::Notice(Notice::FactsTwice { twice }));
        }
        if self.across.left_out() > 0 {
            let left_out = self.across.left_out();
            sinks.emit(Output::Notice(Notice::FactsLeftOut { left_out }));
        }
        let (_, requests) = self.across.len();
        let joined = std::mem::take(&mut self.across).join();
        say_clocks(&joined.clocks, sinks);
        let mut merger = Merger::new(DEFAULT_LIMIT);
        let mut emissions = Vec::new();
        let (mut first_ns, mut last_ns) = (u64::MAX, 0);
        for pair in &joined.pairs {
            first_ns = first_ns.min(pair.call.call.start_ns);
            last_ns = last_ns.max(pair.call.until_ns).max(pair.request.until_ns);
            if self.own_pairs_are_known && pair.call_source == pair.request_source {
                continue;
            }
            if let Some(finding) = deadline_not_forwarded::judge(pair, &measures.deadlines) {
                merger.report(finding.identified(), Phase::Whole, &mut emissions);
            }
            let known = self.of(pair);
            let below = known.map(|known| known.below.clone()).unwrap_or_default();
            if let Some(mut finding) = orphaned_downstream::judge(pair, below, measures.grace_ns) {
                finding.related.extend(known.map(|known| known.id));
                merger.report(finding.identified(), Phase::Whole, &mut emissions);
            }
        }
        merger.flush(last_ns, &mut emissions);
        let stats = Stats {
            time_ns: last_ns,
            duration_ns: last_ns.saturating_sub(first_ns),
            requests: requests as u64,
            findings_evicted: merger.evicted(),
            joins: joined.totals,
            ..Stats::default()
        };
        Found { emissions, stats }
    }

    fn of(&self, pair: &Pair) -> Option<&Known> {
        let request = &pair.request.request;
        // As its own source writes it.
        let moved_ns = pair.other_host.as_ref().map_or(0, |other| other.moved_ns);
        let start_ns = request
            .start_ns
            .saturating_add_signed(moved_ns.saturating_neg());
        let start = Clock::default().rfc3339(start_ns);
        let pid = pair.request.process.pid;
        self.known
            .get(&(pair.request_source, pid, request.goid, start))
    }
}

/// Says how far clocks are apart.
fn say_clocks(clocks: &[HostClock], sinks: &mut Sinks) {
    for clock in clocks {
        let offset = clock.offset;
        let Some(common) = clocks.get(offset.common) else {
            continue;
        };
        let notice = if common.host != clock.host {
            Notice::ClockOffset {
                host: clock.host.name.to_string(),
                common: common.host.name.to_string(),
                offset_ns: offset.ns,
                error_ns: offset.error_ns,
                pairs: offset.pairs,
            }
        } else if clocks.len() > 1
            && clocks
                .iter()
                .all(|it| it.host == clock.host || it.offset.common != offset.common)
        {
            Notice::ClockUnknown {
                host: clock.host.name.to_string(),
            }
        } else {
            continue;
        };
        sinks.emit(Output::Notice(notice));
    }
}
