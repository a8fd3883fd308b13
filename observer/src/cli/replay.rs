//! `observer replay`.

use std::path::PathBuf;

use clap::Args;

use crate::config::Settings;
use crate::error::{Error, Exit};
use crate::finding::RuleChoice;
use crate::sink::{Delivery, Sinks};

use super::shown::ShownArgs;
use super::{Engine, show};

const AFTER_HELP: &str = "\
Examples:
  observer replay run.rec
  observer replay run.rec --output json | jq '.message // empty'
  observer replay run.rec --rule cancel-ignored --fail-on error
  observer replay edge.rec store.rec

Thresholds are those of the recording: the findings are the same as when it was made. With several
recordings what goes on between their processes is found too, as `observer correlate` finds it.";

/// Flags of `replay`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReplayArgs {
    /// Made by `observer run --record FILE`
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Which findings are shown, and how.
    #[command(flatten)]
    pub shown: ShownArgs,
}

/// Everything that replaying depends on, besides where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The recordings.
    pub files: Vec<PathBuf>,
    /// Which rules are shown.
    pub rules: RuleChoice,
}

/// Runs it.
pub(super) fn run(args: ReplayArgs, engine: &impl Engine) -> Result<Exit, Error> {
    let settings = args.shown.settings(Settings::default())?;
    let options = Options {
        files: args.files,
        rules: show::rules(&settings),
    };
    let mut sinks = Sinks::open(show::sink_options(&settings, Delivery::Lossless)?)?;
    let ran = engine.replay(&options, &mut sinks);
    let delivered = sinks.finish();
    ran.and(delivered)
}
