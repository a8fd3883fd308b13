//! What a run counts and says of itself: losses, totals, cost.

use observer_common::hook::Counter;

use crate::error::{Error, Notice};
use crate::probe::Counters;
use crate::sink::{DeliveryTimes, Loss, LossCause, Losses, Output, Sinks, Stats};

use super::observe::Loop;
use super::{clock, errors};

impl Loop {
    fn counters(&self) -> Result<Counters, Error> {
        self.kernel
            .counters()
            .map_err(|error| errors::of_probe("", error))
    }

    fn losses(&self, counters: &Counters) -> Losses {
        let causes = [
            (LossCause::RingFull, counters.total(Counter::RingFull)),
            (
                LossCause::Unreadable,
                counters.total(Counter::ReadGoroutine) + counters.total(Counter::ReadObject),
            ),
            (LossCause::Malformed, self.malformed),
            (LossCause::TableFull, self.engine.totals().evicted),
        ];
        causes.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Says what was lost since the last time, if anything was.
    pub(super) fn say_loss(&mut self, sinks: &mut Sinks) -> Result<(), Error> {
        let losses = self.losses(&self.counters()?);
        let fresh: Losses = losses
            .iter()
            .map(|(cause, count)| {
                (
                    *cause,
                    count.saturating_sub(self.reported.get(cause).copied().unwrap_or(0)),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let causes: Vec<String> = fresh
            .iter()
            .map(|(cause, count)| format!("{} {count}", cause.label()))
            .collect();
        sinks.emit(Output::Notice(Notice::EventsLost {
            events: fresh.values().sum(),
            causes: causes.join(", "),
        }));
        let requests = std::mem::take(&mut self.unknown);
        let time_ns = clock::now_ns();
        sinks.emit(Output::Loss(Loss {
            time_ns,
            lost: fresh,
            requests,
        }));
        self.reported = losses;
        Ok(())
    }

    pub(super) fn stats(&mut self) -> Result<Stats, Error> {
        let counters = self.counters()?;
        let totals = self.engine.totals();
        let now_ns = clock::now_ns();
        let goroutines = self.engine.goroutines();
        let goroutines = self.rates.since_last(goroutines, self.follows, now_ns);
        Ok(Stats {
            time_ns: now_ns,
            duration_ns: now_ns.saturating_sub(self.begun_ns),
            requests: totals.requests,
            requests_unknown: totals.unknown,
            traceparents_broken: totals.traces_broken,
            deadlines_broken: totals.deadlines_broken,
            events: totals.events,
            lost: self.losses(&counters),
            findings_evicted: self.engine.findings_evicted(),
            own_cpu_ns: Some(self.cost.own_cpu_ns()),
            target_cpu_ns: self.cost.target_cpu_ns(&self.kernel, &counters),
            delivery: DeliveryTimes::of(self.engine.delivery()),
            health: self.engine.health(),
            joins: self.engine.joins(),
            goroutines,
        })
    }
}
