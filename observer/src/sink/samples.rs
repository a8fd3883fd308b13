//! One of everything that the engine can say, for the tests of the sinks.

use super::output::{
    Clock, End, EndReason, GoroutineStats, Loss, LossCause, Losses, Output, Start, Stats, Stop,
    StopReason,
};
use crate::correlate::JoinTotals;
use crate::error::Notice;
use crate::finding::{UpdateReason, samples};
use crate::model::{GoroutineTotals, Health};

/// A clock that makes monotonic zero 2026-03-01T12:00:00Z.
pub const CLOCK: Clock = Clock {
    realtime_minus_monotonic_ns: 1_772_366_400_000_000_000,
};

/// Thirty seconds of the example.
pub fn stats() -> Stats {
    Stats {
        time_ns: samples::START_NS + 30_000_000_000,
        duration_ns: 30_000_000_000,
        requests: 1904,
        requests_unknown: 0,
        traceparents_broken: 0,
        deadlines_broken: 0,
        events: 48_210,
        lost: Losses::new(),
        findings_evicted: 0,
        own_cpu_ns: Some(120_000_000),
        target_cpu_ns: Some(63_000_000),
        delivery: None,
        health: health(),
        goroutines: GoroutineStats {
            totals: GoroutineTotals {
                total: Some(214),
                started: 960,
                ended: 957,
                looks: false,
                outliving: 3,
                waiting: [("chan send".to_owned(), 2)].into(),
            },
            follows: true,
            started_per_s: Some(32.1),
            ended_per_s: Some(32.0),
        },
        joins: JoinTotals::default(),
    }
}

fn health() -> Health {
    let mut health = Health {
        requests: 16,
        lost: 1,
        cancelled: 3,
        recovered: 3,
        ..Health::default()
    };
    for ns in [140_000, 260_000, 4_310_000_000] {
        health.latency.add(ns);
    }
    health.wasted.add(Some("/report/{}".into()), 4_310_000_000);
    health
}

/// The start of the example.
pub fn start() -> Start {
    Start {
        time_ns: samples::START_NS,
        process: samples::process(),
        hooks: samples::hooks(),
        probes: 17,
        attach_ns: 121_000_000,
        not_covered: vec!["sql (not linked)".into()],
    }
}

/// One line of each type.
pub fn all() -> Vec<Output> {
    let mut worse = samples::cancel_ignored();
    worse.count = 4;
    worse.message = "handler worked 9.02 s after the client left".into();
    vec![
        Output::Start(Box::new(start())),
        Output::Finding(Box::new(samples::cancel_ignored())),
        Output::Finding(Box::new(samples::premature_cancel())),
        Output::Update(Box::new(worse), UpdateReason::Worse),
        Output::Notice(Notice::EventsLost {
            events: 13,
            causes: "ring buffer full 12, malformed 1".into(),
        }),
        Output::Loss(Loss {
            time_ns: samples::START_NS + 6_000_000_000,
            lost: Losses::from([(LossCause::RingFull, 12), (LossCause::Malformed, 1)]),
            requests: 3,
        }),
        Output::Notice(Notice::NoBtf),
        Output::Stop(Stop {
            time_ns: samples::START_NS + 7_000_000_000,
            process: samples::process(),
            why: StopReason::Ended,
        }),
        Output::Stats(Stats {
            lost: Losses::from([(LossCause::RingFull, 12), (LossCause::Malformed, 1)]),
            requests_unknown: 3,
            target_cpu_ns: None,
            ..stats()
        }),
        Output::End(End {
            why: EndReason::Duration,
            stats: stats(),
        }),
    ]
}
