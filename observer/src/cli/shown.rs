//! Flags of the commands that read files: what they find is shown as `run` shows it.

use std::path::PathBuf;

use clap::Args;

use crate::config::{self, FailOn, OutputForm, RuleSetting, Settings};
use crate::error::Error;
use crate::style::Color;

/// Which findings are shown, and how.
#[derive(Debug, Clone, Args)]
pub struct ShownArgs {
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

    /// Show findings, warnings and the last line only
    #[arg(long, short)]
    pub quiet: bool,
}

impl ShownArgs {
    /// These over those of the file that they name. A service's log is not the place for what is said of files.
    pub(super) fn settings(self, more: Settings) -> Result<Settings, Error> {
        let file = config::from_file(self.config.as_deref())?;
        let flags = Settings {
            fail_on: self.fail_on,
            rule: self.rule,
            baseline: self.baseline,
            write_baseline: self.write_baseline,
            output: self.output,
            color: self.color,
            verbose: self.verbose.then_some(true),
            quiet: self.quiet.then_some(true),
            ..more
        };
        let settings = flags.over(Settings { log: None, ..file });
        super::warn_of_variables(settings.color);
        Ok(settings)
    }
}
