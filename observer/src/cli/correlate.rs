//! `observer correlate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{Percent, Settings, Span};
use crate::error::{Error, Exit};
use crate::sink::{Delivery, Sinks};

use super::deadlines::{self, Deadlines};
use super::shown::ShownArgs;
use super::{Engine, show};

const GRACE: Duration = Duration::from_millis(500);

const AFTER_HELP: &str = "\
Examples:
  sudo observer run --all --facts --output json > edge.jsonl      on each host
  observer correlate edge.jsonl api.jsonl worker.jsonl
  observer correlate *.jsonl --output json --fail-on error

Calls and requests are joined by trace ID or request ID, method, path and time; without an ID those of
one host over HTTP/1 by the connection that both were read to be on. How far the clocks of two
hosts are apart is estimated from the calls between them, and said; work counts as wasted only
beyond what that may be wrong by. What could be joined in two ways is not joined, and counted. What
is there more than once (rotated logs that overlap) counts once. Findings of the files themselves
are not shown again. Where no file has requests and calls, that is an error.";

/// Flags of `correlate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CorrelateArgs {
    /// Made by `observer run --facts --output json` or `--log FILE`
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// How long work may go on after its caller gave up [default: 500ms]
    #[arg(
        long,
        env = "OBSERVER_GRACE",
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub grace: Option<Span>,

    /// Deadlines that differ by no more than this part of the shorter count as equal [default: 10%]
    #[arg(long, env = "OBSERVER_DEADLINE_TOLERANCE", value_name = "PERCENT")]
    pub deadline_tolerance: Option<Percent>,

    /// Nor do those that differ by no more than this [default: 20ms]
    #[arg(long, env = "OBSERVER_DEADLINE_TOLERANCE_MIN", value_name = "TIME")]
    pub deadline_tolerance_min: Option<Span>,

    /// Which findings are shown, and how.
    #[command(flatten)]
    pub shown: ShownArgs,
}

/// Everything that joining depends on, besides where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Files of JSON lines.
    pub files: Vec<PathBuf>,
    /// How long work may go on after its caller gave up.
    pub grace: Duration,
    /// Which deadlines are equal.
    pub deadlines: Deadlines,
}

impl Options {
    /// What `settings` mean for these files, defaults filled in.
    fn new(files: Vec<PathBuf>, settings: &Settings) -> Self {
        Self {
            files,
            grace: settings.grace.map_or(GRACE, |span| span.0),
            deadlines: deadlines::of(settings),
        }
    }
}

/// Runs it.
pub(super) fn run(args: CorrelateArgs, engine: &impl Engine) -> Result<Exit, Error> {
    let settings = args.shown.settings(Settings {
        grace: args.grace,
        deadline_tolerance: args.deadline_tolerance,
        deadline_tolerance_min: args.deadline_tolerance_min,
        ..Settings::default()
    })?;
    let options = Options::new(args.files, &settings);
    let mut sinks = Sinks::open(show::sink_options(&settings, Delivery::Lossless)?)?;
    let ran = engine.correlate(&options, &mut sinks);
    let delivered = sinks.finish();
    ran.and(delivered)
}
