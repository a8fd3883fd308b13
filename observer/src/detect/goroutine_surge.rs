//! # goroutine-surge
//!
//! There are suddenly many more goroutines than there were.
//!
//! ## What it finds
//!
//! Once a second the goroutines of the process are counted, without the runtime's own. It is a surge where their number
//! exceeds
//!
//! - three times its moving average over the last minute (`--surge-factor`, `--surge-window`), and
//! - 500 (`--surge-min`),
//!
//! in two counts in a row (`--surge-times`). In the first minute after observer came nothing is a surge: there is no average
//! yet.
//!
//! `at` is the `go` statement whose goroutines have become most, `stack` where most of those are, `live` how many of them
//! there are. `grown` lists up to five such statements, each with its most frequent stack and the bytes of stack that its
//! goroutines hold. With `--snapshot-dir`, all goroutines are written to a file, as `observer goroutines --group-by site
//! --output json` prints them. Beyond `--snapshot-max` the oldest files go: an earlier finding may name one that is gone, its latest update
//! names the newest.
//!
//! ## Why it matters
//!
//! A service that hangs on a lock, a pool or a slow dependency goes on taking requests, and each leaves a goroutine behind
//! that waits. Minutes later there is no memory left, and what was read of the process then is gone with it. This is the
//! fuse: it says what piles up, and where, while it does.
//!
//! ## Example
//!
//! ```go
//! func Notify(w http.ResponseWriter, r *http.Request) {
//! 	for _, user := range users {
//! 		// As many goroutines as users, and one connection for all.
//! 		go func() { mail(user) }()
//! 	}
//! }
//! ```
//!
//! As observer shows it:
//!
//! ```text
//! warning[goroutine-surge]: 2503 goroutines, where there were 3 on average;
//!     2500 came within 2.04 s
//!   at       main.burst   main.go:45   chan receive
//!   grown    main.burst   main.go:45   2 000 more
//!   grown    main.burst   main.go:48   500 more
//!   help     bound how many of them there are at once: a semaphore, a pool
//!            of workers, or errgroup's SetLimit
//! ```
//!
//! ## How to fix
//!
//! Bound how many run at once, and let requests that find no room wait for it, or fail:
//!
//! ```go
//! group, ctx := errgroup.WithContext(r.Context())
//! group.SetLimit(16)
//! for _, user := range users {
//! 	group.Go(func() error { return mail(ctx, user) })
//! }
//! ```
//!
//! ## How sure
//!
//! High, warning: the goroutines were counted, twice. Whether so many are too many, only the service's owner knows.
//!
//! ## When silent
//!
//! - a load that is steady, or that grows slowly: the average follows;
//! - what was there before observer came, however much;
//! - while one surge lasts, and for `--surge-window` after it was told: then the next one is;
//! - counts in which a goroutine could not be read: they are none.

use std::collections::BTreeMap;

use crate::finding::{Confidence, Finding, Grown, RuleName, Severity, SurgeEvidence};
use crate::inspect::Started;

use super::ask::{Answer, Count, Question};
use super::context::Context;
use super::draft::{self, span};
use super::site;
use super::timers::Topic;

const HELP: &str = "bound how many of them there are at once: a semaphore, a pool of workers, or errgroup's SetLimit";
/// Between two counts, ns.
const EVERY_NS: u64 = 1_000_000_000;
/// `go` statements told of.
const GROWN: usize = 5;
/// One that makes up less than one in so many of what came is not told of.
const PART: u64 = 20;
/// The average is kept in so many parts of a goroutine.
const PARTS: u64 = 1_000;

/// When goroutines have become too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SurgeLimits {
    /// More than so many times the average.
    pub factor: u32,
    /// More than so many.
    pub min: u64,
    /// In so many counts in a row.
    pub times: u32,
    /// Time constant of the average, and how long there is none yet, ns.
    pub window_ns: u64,
    /// Nobody asks for it: nothing is counted.
    pub is_off: bool,
}

impl Default for SurgeLimits {
    fn default() -> Self {
        Self {
            factor: 3,
            min: 500,
            times: 2,
            window_ns: 60_000_000_000,
            is_off: false,
        }
    }
}

/// The rule.
#[derive(Debug, Default)]
pub(super) struct GoroutineSurge {
    watches: BTreeMap<u64, Watch>,
    next: u64,
}

/// One process.
#[derive(Debug)]
struct Watch {
    pid: u32,
    seen: Option<Seen>,
    /// Counts in a row that were too many.
    over: u32,
    /// It was told and lasts.
    lasts: bool,
    /// Nothing is told before, ns.
    quiet_until_ns: u64,
    /// Told as soon as it is known what its goroutines do.
    pending: Option<Pending>,
}

/// What earlier counts have shown.
#[derive(Debug)]
struct Seen {
    first_ns: u64,
    last_ns: u64,
    /// In `PARTS` of a goroutine.
    average: u64,
    /// The last count.
    last: u64,
    /// The last count that was not too many.
    calm: Calm,
}

/// A count that was not too many.
#[derive(Debug)]
struct Calm {
    at_ns: u64,
    count: Count,
    /// Of the counts before and of this one, as in [`Seen`].
    average: u64,
}

/// A surge that is being looked at.
#[derive(Debug)]
struct Pending {
    surge: SurgeEvidence,
    gopcs: Vec<u64>,
}

impl GoroutineSurge {
    /// A process is observed from now on. Gives what it is counted under.
    pub(super) fn begin(&mut self, pid: u32) -> Topic {
        self.forget(pid);
        self.next += 1;
        let watch = Watch {
            pid,
            seen: None,
            over: 0,
            lasts: false,
            quiet_until_ns: 0,
            pending: None,
        };
        self.watches.insert(self.next, watch);
        Topic::Count(self.next)
    }

    /// A process is no more.
    pub(super) fn forget(&mut self, pid: u32) {
        self.watches.retain(|_, watch| watch.pid != pid);
    }

    /// Goroutines of all processes, as last counted; `None` where none was.
    pub(super) fn total(&self) -> Option<u64> {
        let seen = self
            .watches
            .values()
            .filter_map(|watch| watch.seen.as_ref());
        seen.map(|seen| seen.last).reduce(u64::saturating_add)
    }

    /// Time to count.
    pub(super) fn look(&self, number: u64, cx: &mut Context<'_>) {
        if let Some(watch) = self.watches.get(&number) {
            cx.ask(watch.pid, Topic::Count(number), Question::Count);
        }
    }

    /// How many there are.
    pub(super) fn counted(&mut self, number: u64, answer: &Answer, cx: &mut Context<'_>) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        cx.later(EVERY_NS, Topic::Count(number));
        let Answer::Count(Some(count)) = answer else {
            return;
        };
        let limits = &cx.thresholds.surges;
        if let Some(pending) = watch.take(count, limits, cx.now_ns) {
            let gopcs = pending.gopcs.clone();
            watch.pending = Some(pending);
            let pid = watch.pid;
            cx.ask(pid, Topic::Crowds(number), Question::Crowds { gopcs });
        }
    }

    /// What those do that have become more.
    pub(super) fn answer(&mut self, number: u64, answer: &Answer, cx: &mut Context<'_>) {
        let Some(watch) = self.watches.get_mut(&number) else {
            return;
        };
        let Some(Pending { mut surge, gopcs }) = watch.pending.take() else {
            return;
        };
        let pid = watch.pid;
        for (grown, gopc) in surge.grown.iter_mut().zip(&gopcs) {
            grown.site = statement(pid, *gopc, cx);
        }
        if let Answer::Crowds(found) = answer {
            for (grown, crowd) in surge.grown.iter_mut().zip(&found.crowds) {
                grown.most.clone_from(crowd);
            }
            surge.snapshot = found.snapshot.as_deref().map(str::to_owned);
        }
        if let Some(finding) = finding(pid, surge, cx) {
            cx.report(finding);
        }
    }
}

impl Watch {
    /// Takes a count; what has surged, where that is to be told.
    fn take(&mut self, count: &Count, limits: &SurgeLimits, now_ns: u64) -> Option<Pending> {
        let Some(seen) = &mut self.seen else {
            self.seen = Some(Seen {
                first_ns: now_ns,
                last_ns: now_ns,
                average: count.alive.saturating_mul(PARTS),
                last: count.alive,
                calm: Calm {
                    at_ns: now_ns,
                    count: count.clone(),
                    average: count.alive.saturating_mul(PARTS),
                },
            });
            return None;
        };
        let is_warm = now_ns.saturating_sub(seen.first_ns) >= limits.window_ns;
        let average = seen.average;
        let is_over = is_warm
            && count.alive > limits.min
            && count.alive.saturating_mul(PARTS) > average.saturating_mul(u64::from(limits.factor));
        // What may be a surge is no part of what it is measured by until it is one, however rare the counts are.
        if !is_over || self.over.saturating_add(1) >= limits.times {
            seen.average = moved(
                average,
                count.alive.saturating_mul(PARTS),
                now_ns.saturating_sub(seen.last_ns),
                limits.window_ns,
            );
        }
        seen.last_ns = now_ns;
        seen.last = count.alive;
        if !is_over {
            self.over = 0;
            seen.calm = Calm {
                at_ns: now_ns,
                count: count.clone(),
                average: seen.average,
            };
            self.lasts = false;
            return None;
        }
        self.over = self.over.saturating_add(1);
        let is_told = self.lasts || self.pending.is_some() || now_ns < self.quiet_until_ns;
        if self.over < limits.times || is_told {
            return None;
        }
        self.lasts = true;
        self.quiet_until_ns = now_ns.saturating_add(limits.window_ns);
        let calm = &seen.calm;
        let (gopcs, grown) = grown(&calm.count, count);
        Some(Pending {
            surge: SurgeEvidence {
                goroutines: count.alive,
                average: calm.average / PARTS,
                grew: count.alive.saturating_sub(calm.count.alive),
                span_ns: now_ns.saturating_sub(calm.at_ns),
                grown,
                snapshot: None,
            },
            gopcs,
        })
    }
}

/// The average after one more sample: an exponential one for steps that are short beside the window, and never beyond
/// the sample. In whole numbers, so that every machine gets the same.
fn moved(average: u64, sample: u64, step_ns: u64, window_ns: u64) -> u64 {
    let (step, window) = (u128::from(step_ns), u128::from(window_ns));
    let all = (step + window).max(1);
    let sum = u128::from(average) * window + u128::from(sample) * step;
    u64::try_from(sum / all).unwrap_or(u64::MAX)
}

/// The statements that have grown most between two counts.
fn grown(calm: &Count, now: &Count) -> (Vec<u64>, Vec<Grown>) {
    // What is not listed had no more than the least that is.
    let least = if calm.is_cut {
        calm.lines.iter().map(|line| line.alive).min()
    } else {
        None
    };
    let before = |gopc: u64| {
        let line = calm.lines.iter().find(|line| line.gopc == gopc);
        line.map_or(least.unwrap_or(0), |line| line.alive)
    };
    let growth = |line: &Started| line.alive.saturating_sub(before(line.gopc));
    let all = now.alive.saturating_sub(calm.alive);
    let mut lines: Vec<(u64, &Started)> = now
        .lines
        .iter()
        .map(|line| (growth(line), line))
        .filter(|(grew, _)| *grew > 0 && *grew >= all / PART)
        .collect();
    lines.sort_by_key(|(grew, line)| (std::cmp::Reverse(*grew), line.gopc));
    lines.truncate(GROWN);
    let told = |(grew, line): &(u64, &Started)| Grown {
        site: None,
        live: line.alive,
        grew: *grew,
        stack_bytes: line.stack_bytes,
        most: None,
    };
    let gopcs = lines.iter().map(|(_, line)| line.gopc).collect();
    (gopcs, lines.iter().map(told).collect())
}

/// The innermost frame at a `go` statement.
fn statement(pid: u32, gopc: u64, cx: &Context<'_>) -> Option<crate::go::Frame> {
    if gopc == 0 {
        return None;
    }
    site::written(cx.code, pid, gopc).into_iter().next()
}

fn finding(pid: u32, surge: SurgeEvidence, cx: &Context<'_>) -> Option<Finding> {
    let unit = cx.unit(pid)?;
    let mut finding = draft::blank(
        RuleName::GoroutineSurge,
        Severity::Warning,
        Confidence::High,
        cx.now_ns,
        &unit,
    );
    finding.message = format!(
        "{} goroutines, where there were {} on average; {} came within {}",
        surge.goroutines,
        surge.average,
        surge.grew,
        span(surge.span_ns)
    );
    if let Some(first) = surge.grown.first() {
        finding.site.clone_from(&first.site);
        finding.evidence.live = Some(first.live);
        finding.evidence.stack_bytes = Some(first.stack_bytes);
        if let Some(most) = &first.most {
            finding.stack.clone_from(&most.stack);
            finding.evidence.state = Some(most.state);
            finding.evidence.wait_reason.clone_from(&most.wait_reason);
            let is_own = finding
                .site
                .as_ref()
                .is_some_and(|at| site::is_own(&unit, &at.function));
            if !is_own {
                finding.caller = site::caller(&unit, &most.stack).cloned();
            }
        }
    }
    finding.evidence.surge = Some(Box::new(surge));
    finding.help = HELP.to_owned();
    Some(finding)
}
