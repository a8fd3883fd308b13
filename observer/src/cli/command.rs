//! The subcommands and their help.

use clap::{CommandFactory as _, Parser, Subcommand};

use super::{check, correlate, explain, generate, goroutines, ps, replay, run};

const AFTER_HELP: &str = "\
Examples:
  observer ps                           which Go processes are there
  observer check --pid 4121             what could be observed of one
  sudo observer run --pid 4121          observe it; Ctrl-C ends
  sudo observer goroutines --pid 4121   what its goroutines do now
  observer explain cancel-ignored       what a finding means and how to fix it

Every flag of `run` has an environment variable (--grace: OBSERVER_GRACE; lists comma separated)
and a key in /etc/observer/observer.toml (grace = \"1s\"). Flags win over the environment, the
environment over the file. Unknown keys are errors, unknown OBSERVER_ variables are warned of.

Exit codes: 0 fine, 1 findings at or above --fail-on, 2 usage or configuration, 3 this host cannot,
4 the target cannot, 5 output failed, 70 a bug in observer.";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  observer schema > observer.schema.json
  observer schema | jq -r '.. | .description? // empty'";

/// Finds where cancellation and deadlines stop travelling in running Go servers.
///
/// Attaches to Go processes that are already running, without a restart or a rebuild, and says
/// with function, file and line where a cancel or a deadline was lost and what that cost.
#[derive(Debug, Parser)]
#[command(name = "observer", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe running Go processes
    Run(Box<run::RunArgs>),
    /// List the Go processes of this host
    Ps(ps::PsArgs),
    /// Say what could be observed of a process or an executable, and why not the rest
    Check(check::CheckArgs),
    /// Show what the goroutines of a running process do: grouped stacks, since when, who started them
    Goroutines(goroutines::GoroutinesArgs),
    /// Replay a recording: the same findings, without the target and without root
    Replay(Box<replay::ReplayArgs>),
    /// Find what several processes and hosts did to each other, from their JSON lines
    Correlate(Box<correlate::CorrelateArgs>),
    /// Explain a rule: what it finds, why it matters, how to fix it
    Explain(explain::ExplainArgs),
    /// Print the JSON Schema of the JSON lines
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions(generate::CompletionsArgs),
    /// Print the manual page, or write all of them to a folder
    #[command(hide = true)]
    Man(generate::ManArgs),
}

/// The command as it is parsed and documented: help names environment variables, and never shows
/// what this user has set them to.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|sub| sub.mut_args(|arg| arg.hide_env_values(true)))
}
