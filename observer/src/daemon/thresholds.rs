//! The command line's thresholds as the core wants them.

use std::time::Duration;

use crate::cli::deadlines as cli;
use crate::cli::run::Options;
use crate::config;
use crate::detect::{Deadlines, LeakTimes, SurgeLimits, Thresholds};
use crate::finding::RuleName;
use crate::model::{DeadlineHeader, PlainUnit};

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// What the options ask for.
pub(super) fn of(options: &Options) -> Thresholds {
    Thresholds {
        grace_ns: ns(options.grace),
        id_headers: options
            .request_ids
            .headers
            .iter()
            .map(|name| canonical(name))
            .collect(),
        deadline_headers: options
            .deadline_headers
            .iter()
            .map(deadline_header)
            .collect(),
        redact_path: options.redact_path,
        deadlines: deadlines(
            options.deadlines,
            !options.rules.is_on(RuleName::DetachedContext),
        ),
        leaks: LeakTimes {
            after_ns: ns(options.leaks.after),
            proved_after_ns: ns(options.leaks.proved_after),
        },
        surges: SurgeLimits {
            factor: options.surges.factor,
            min: options.surges.min,
            times: options.surges.times,
            window_ns: ns(options.surges.window),
            is_off: !options.rules.is_on(RuleName::GoroutineSurge),
        },
    }
}

fn deadline_header(header: &config::DeadlineHeader) -> DeadlineHeader {
    DeadlineHeader {
        name: canonical(&header.name).into(),
        plain: if header.in_seconds {
            PlainUnit::S
        } else {
            PlainUnit::Ms
        },
    }
}

/// Which deadlines are equal, and which are short.
pub(super) fn deadlines(asked: cli::Deadlines, detached_is_off: bool) -> Deadlines {
    Deadlines {
        tolerance_percent: asked.tolerance_percent,
        tolerance_ns: ns(asked.tolerance),
        short_ns: ns(asked.short),
        short_depth: asked.short_depth,
        detached_is_off,
    }
}

/// Header names as Go keeps them: `x-request-id` → `X-Request-Id`.
fn canonical(name: &str) -> String {
    name.split('-')
        .map(|part| {
            let lower = part.to_ascii_lowercase();
            let mut letters = lower.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_ascii_uppercase().to_string() + letters.as_str()
            })
        })
        .collect::<Vec<_>>()
        .join("-")
}
