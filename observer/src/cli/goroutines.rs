//! `observer goroutines`.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use crate::config::{OutputForm, Span, pid};
use crate::error::{Error, Exit};
use crate::picture::{GroupBy, Picture};
use crate::sink::{Clock, folded, goroutines, wire};

use super::look::LookArgs;
use super::{Engine, check, print, screen};

const AFTER_HELP: &str = "\
Examples:
  observer goroutines --pid 4121
  observer goroutines --pid 4121 --min-age 1m --group-by site
  observer goroutines --pid 4121 --references
  observer goroutines --pid 4121 --folded | flamegraph.pl > goroutines.svg
  observer goroutines --pid 4121 --output json | jq 'select(.type == \"group\") | .count'

The process is only read: it is not stopped, gets no signal, and need not have been observed
before. It runs on meanwhile, so the goroutines are not all of one moment; each is whole in itself,
and one that never holds still is counted as unknown.

How long a goroutine has been waiting follows from garbage collections, as far as the Go runtime has
noted them: a wait began between two of them, and the last one may not have been noted yet. With
`--min-age` goroutines are left out that run, that are known to be younger, and those of which these
notes do not tell: the last line counts the latter. A program that does little collects every two
minutes, one with GOGC=off never: then nothing is known to be old.

Of more than 200 000 goroutines, evenly chosen ones are looked at: the first line says how many of
how many, and all numbers are of these.

With `--references`, the heap is searched from the program's variables and from the stacks of those
that may go on: nobody is left to wake a goroutine where no way leads to what it waits on. That is
said where two searches a second apart agree, and only as `no reference found`: what a register,
memory of C or an address kept as a number holds is not seen. A large heap is not searched, and none
for a sync.Cond before Go 1.26, which no goroutine names: the last line says so.

By `request`, goroutines are put to the one that serves a request now (HTTP/1, HTTP/2, gRPC) and is
one of them or, from Go 1.21 on, has started them: for its present request, or for an earlier one on
its connection. It and those between must still be there and, of more than 200 000, be among those
that are looked at: other goroutines are told as of no request that is known.";

/// Flags of `goroutines`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GoroutinesArgs {
    /// Look at this running process
    // No environment variable: `run` takes a list of pids there.
    #[arg(long, value_name = "PID", value_parser = pid, allow_hyphen_values = true)]
    pub pid: u32,

    /// What makes goroutines one group
    #[arg(
        long,
        env = "OBSERVER_GROUP_BY",
        value_name = "WHAT",
        default_value = "stack"
    )]
    pub group_by: GroupBy,

    /// Only goroutines that are known to have waited for so long [such as: 1m]
    #[arg(
        long,
        env = "OBSERVER_MIN_AGE",
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub min_age: Option<Span>,

    /// Search twice, a second apart, for references to what goroutines wait on
    #[arg(long, env = "OBSERVER_REFERENCES", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub references: Option<bool>,

    /// Print stacks for flame graph tools instead, never with `--output json`: `outermost;...;innermost count`
    #[arg(long, env = "OBSERVER_FOLDED", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub folded: Option<bool>,

    /// Show every group and whole stacks
    #[arg(long, short, env = "OBSERVER_VERBOSE", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    pub verbose: Option<bool>,

    /// Form and colour.
    #[command(flatten)]
    pub look: LookArgs,
}

impl GoroutinesArgs {
    /// Two forms of the output exclude each other: where only one of them is a flag, it beats the other's variable.
    pub(super) fn prefer_flags(&mut self, matches: &ArgMatches) {
        let [folded, output] = ["folded", "output"].map(|name| matches.value_source(name));
        match (folded, output) {
            (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable))
                if self.folded == Some(true) =>
            {
                self.look.output = OutputForm::Human;
            }
            (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => self.folded = None,
            _ => {}
        }
    }

    /// # Errors
    /// [`Error::Usage`] where two forms of the output are asked for.
    fn form(&self) -> Result<Form, Error> {
        match (self.folded == Some(true), self.look.output) {
            (false, output) => Ok(Form::Whole(output)),
            (true, OutputForm::Human) => Ok(Form::Folded),
            (true, OutputForm::Json) => Err(Error::Usage {
                problem: "`--folded` cannot be used with `--output json`".into(),
                remedy: "leave one of them out: `--folded` for flame graph tools, `--output json` for all that is known"
                    .into(),
            }),
        }
    }
}

/// What a picture is printed as.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Everything.
    Whole(OutputForm),
    /// Stacks for flame graph tools.
    Folded,
}

/// What is wanted of which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The process.
    pub pid: u32,
    /// What makes goroutines one group.
    pub group_by: GroupBy,
    /// Only those known to have waited for so long.
    pub min_age: Option<Duration>,
    /// Search for references to what they wait on.
    pub references: bool,
}

/// Runs it.
pub(super) fn run(args: &GoroutinesArgs, engine: &impl Engine) -> Result<Exit, Error> {
    super::warn_of_variables(Some(args.look.color));
    let form = args.form()?;
    let (picture, clock) = engine.goroutines(&Options {
        pid: args.pid,
        group_by: args.group_by,
        min_age: args.min_age.map(|span| span.0),
        references: args.references == Some(true),
    })?;
    print(&rendered(args, form, &picture, clock)?)
}

fn rendered(
    args: &GoroutinesArgs,
    form: Form,
    picture: &Picture,
    clock: Clock,
) -> Result<String, Error> {
    match form {
        Form::Folded => Ok(folded(picture)),
        Form::Whole(OutputForm::Human) => {
            let terminal = screen::terminal(args.look.color, args.verbose == Some(true));
            Ok(goroutines(picture, &terminal))
        }
        Form::Whole(OutputForm::Json) => {
            let by_age = args.min_age.is_some();
            check::lines(wire::goroutines::lines(picture, clock, by_age))
        }
    }
}
