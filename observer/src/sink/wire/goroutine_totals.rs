//! The figures about goroutines inside `stats` and `end`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sink::output::GoroutineStats;

/// Goroutines of all observed processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Goroutines {
    /// How many there are, without the runtime's own, as last counted; null where they were not: without
    /// `goroutine-surge`, or before the first count.
    pub total: Option<u64>,
    /// Those that requests started. Absent where nothing tells of them: without `--goroutines`, before Go 1.21.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestGoroutines>,
}

/// Goroutines that requests started, themselves or through others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestGoroutines {
    /// Started since the start; null without `--goroutines`.
    pub started: Option<u64>,
    /// Those of them that have ended; likewise.
    pub ended: Option<u64>,
    /// Started per second, since the `stats` line before; null without `--goroutines`, and where no time has passed.
    pub started_per_s: Option<f64>,
    /// Ended per second, likewise.
    pub ended_per_s: Option<f64>,
    /// Alive although their requests have ended; without `--goroutines`, at the last look through all.
    pub outliving: u64,
    /// How many of those wait for what, in Go's own words, when last looked at. Looked at are those that
    /// `goroutine-leak` has to decide on: not those that run or ended lately, not plumbing's; of one `go` statement
    /// 64 at once, and the others are taken to wait as most of those do. Empty where none was.
    pub outliving_waiting: BTreeMap<String, u64>,
}

impl From<&GoroutineStats> for Goroutines {
    fn from(stats: &GoroutineStats) -> Self {
        let totals = &stats.totals;
        Self {
            total: totals.total,
            requests: (stats.follows || totals.looks).then(|| RequestGoroutines {
                started: stats.follows.then_some(totals.started),
                ended: stats.follows.then_some(totals.ended),
                started_per_s: stats.started_per_s.filter(|_| stats.follows),
                ended_per_s: stats.ended_per_s.filter(|_| stats.follows),
                outliving: totals.outliving,
                outliving_waiting: totals.waiting.clone(),
            }),
        }
    }
}
