//! How often things happen: between two lines that say so.

use crate::model::GoroutineTotals;
use crate::sink::GoroutineStats;

/// What the last line said, and when.
#[derive(Debug, Default)]
pub(super) struct Rates {
    last_ns: u64,
    started: u64,
    ended: u64,
}

impl Rates {
    /// From `now_ns` on.
    pub(super) fn begin(now_ns: u64) -> Self {
        Self {
            last_ns: now_ns,
            ..Self::default()
        }
    }

    /// What is new since the last time.
    pub(super) fn since_last(
        &mut self,
        totals: GoroutineTotals,
        follows: bool,
        now_ns: u64,
    ) -> GoroutineStats {
        let span_ns = now_ns.saturating_sub(self.last_ns);
        let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), span_ns);
        let stats = GoroutineStats {
            started_per_s: rate(totals.started, self.started),
            ended_per_s: rate(totals.ended, self.ended),
            follows,
            totals,
        };
        *self = Self {
            last_ns: now_ns,
            started: stats.totals.started,
            ended: stats.totals.ended,
        };
        stats
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than 52 bits of its two numbers"
)]
fn per_second(count: u64, span_ns: u64) -> Option<f64> {
    const THOUSAND: f64 = 1_000.0;
    let per_second = count as f64 * 1e9 / span_ns as f64;
    (span_ns > 0).then(|| (per_second * THOUSAND).round() / THOUSAND)
}

#[cfg(test)]
mod tests {
    use super::Rates;
    use crate::model::GoroutineTotals;

    #[test]
    fn rates_are_those_since_the_last_time() {
        let totals = |started, ended| GoroutineTotals {
            started,
            ended,
            ..GoroutineTotals::default()
        };
        let mut rates = Rates::begin(1_000_000_000);
        let first = rates.since_last(totals(20, 10), true, 11_000_000_000);
        assert_eq!(
            (first.started_per_s, first.ended_per_s),
            (Some(2.0), Some(1.0))
        );
        let second = rates.since_last(totals(21, 13), true, 14_000_000_000);
        assert_eq!(
            (second.started_per_s, second.ended_per_s),
            (Some(0.333), Some(1.0))
        );
        let at_once = rates.since_last(totals(22, 13), true, 14_000_000_000);
        assert_eq!(at_once.started_per_s, None);
    }
}
