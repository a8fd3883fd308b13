//! `observer replay`.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, FailOn, OutputForm, RuleSetting, Settings};
use crate::error::{Error, Exit};
use crate::finding::RuleChoice;
use crate::sink::{Delivery, Sinks};
use crate::style::Color;

use super::{Engine, show};

const AFTER_HELP: &str = "\
Examples:
  observer replay run.rec
  observer replay run.rec --output json | jq '.message // empty'
  observer replay run.rec --rule cancel-ignored --fail-on error

Thresholds are those of the recording: the findings are the same as when it was made.";

/// Flags of `replay`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReplayArgs {
    /// Made by `observer run --record FILE`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Read settings from this file instead of /etc/observer/observer.toml
    #[arg(long, env = "OBSERVER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Exit with 1 when a finding is at least this severe [default: never]
    #[arg(long, env = "OBSERVER_FAIL_ON", value_name = "SEVERITY")]
    pub fail_on: Option<FailOn>,

    /// Show only the named rules (`observer explain` lists them); with =off|info|warning|error,
    /// adjust one; repeatable
    #[arg(
        long,
        env = "OBSERVER_RULE",
        value_name = "NAME[=LEVEL]",
        value_delimiter = ','
    )]
    pub rule: Option<Vec<RuleSetting>>,

    /// Count findings listed in this file, but do not show them
    #[arg(long, env = "OBSERVER_BASELINE", value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// At the end, write all findings to this file, for --baseline
    #[arg(long, env = "OBSERVER_WRITE_BASELINE", value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,

    /// Form of the output on stdout [default: human]
    #[arg(long, short, env = "OBSERVER_OUTPUT", value_name = "FORM")]
    pub output: Option<OutputForm>,

    /// When to colour [default: auto]
    #[arg(long, env = "OBSERVER_COLOR", value_name = "WHEN")]
    pub color: Option<Color>,

    /// Show all that is known about each finding
    #[arg(long, short, conflicts_with = "quiet")]
    pub verbose: bool,

    /// Show findings and the last line only
    #[arg(long, short)]
    pub quiet: bool,
}

/// Everything that replaying depends on, besides where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The recording.
    pub file: PathBuf,
    /// Which rules are shown.
    pub rules: RuleChoice,
}

/// Runs it.
pub(super) fn run(args: ReplayArgs, engine: &impl Engine) -> Result<Exit, Error> {
    let flags = Settings {
        fail_on: args.fail_on,
        rule: args.rule,
        baseline: args.baseline,
        write_baseline: args.write_baseline,
        output: args.output,
        color: args.color,
        verbose: args.verbose.then_some(true),
        quiet: args.quiet.then_some(true),
        ..Settings::default()
    };
    let file = config::from_file(args.config.as_deref())?;
    // A service's log is not the place for what a replay says.
    let settings = flags.over(Settings { log: None, ..file });
    super::warn_of_variables(settings.quiet, settings.color);
    let options = Options {
        file: args.file,
        rules: show::rules(&settings),
    };
    let mut sinks = Sinks::open(show::sink_options(&settings, Delivery::Lossless)?)?;
    let ran = engine.replay(&options, &mut sinks);
    let delivered = sinks.finish();
    ran.and(delivered)
}
