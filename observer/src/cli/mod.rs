//! The command line: one file per subcommand, parsing only.
//!
//! Turns arguments into plain option structs and hands them to an [`Engine`]. It must not look at
//! processes, events or kernels itself.

mod check;
mod command;
pub mod correlate;
mod deadline_headers;
pub mod deadlines;
pub mod explain;
mod form;
mod generate;
pub mod goroutines;
mod id_headers;
mod look;
mod ps;
mod refusal;
pub mod replay;
pub mod run;
mod schema;
mod screen;
mod show;
mod shown;
mod surges;
mod wrap;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, FromArgMatches as _};

use crate::error::{Error, Exit, Subject};
use crate::picture::Picture;
use crate::sink::{Clock, Sinks, Start};
use crate::style::Color;

pub use command::Cli;
use command::Command;

/// What the subcommands need from the rest of observer.
pub trait Engine {
    /// Observes until `options` or a signal end it, emitting into `sinks`; returns soon after
    /// [`Sinks::is_closed`] becomes true. Emits the end itself.
    ///
    /// # Errors
    /// Whatever prevents observing.
    fn run(&self, options: &run::Options, sinks: &mut Sinks) -> Result<(), Error>;

    /// Replays a recording into `sinks`.
    ///
    /// # Errors
    /// A file that is no recording, is too new or damaged.
    fn replay(&self, options: &replay::Options, sinks: &mut Sinks) -> Result<(), Error>;

    /// Joins what several files tell into `sinks`.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn correlate(&self, options: &correlate::Options, sinks: &mut Sinks) -> Result<(), Error>;

    /// All Go processes that can be seen, by pid.
    ///
    /// # Errors
    /// Where processes cannot be listed.
    fn processes(&self) -> Result<Vec<Start>, Error>;

    /// What could be observed of one process or executable, without attaching.
    ///
    /// # Errors
    /// Where it is not there, not Go, too old or unreadable.
    fn examine(&self, subject: &Subject) -> Result<Start, Error>;

    /// What the goroutines of a process do now, and the clock that its times are by.
    ///
    /// # Errors
    /// Where it is not there, not Go, unreadable, or ends meanwhile.
    fn goroutines(&self, options: &goroutines::Options) -> Result<(Picture, Clock), Error>;
}

/// The whole program: parses, runs, reports.
pub fn main(args: impl IntoIterator<Item = OsString>, engine: &impl Engine) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = command::command().try_get_matches_from(&args);
    let cli = match parsed.and_then(|matches| understand(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let variable = |name: &str| std::env::var(name).ok();
            if let Some(error) = refusal::of(&error, &args, variable) {
                return fail(&error);
            }
            let printed = error.print();
            if error.use_stderr() {
                return Exit::Usage.into();
            }
            return end(delivered(printed.and_then(|()| io::stdout().flush())));
        }
    };
    end(dispatch(cli.command, engine))
}

fn end(done: Result<Exit, Error>) -> ExitCode {
    match done {
        Ok(exit) => exit.into(),
        Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ExitCode {
    say(&error.render(screen::stderr(Color::Auto)));
    error.exit().into()
}

/// Writes to stderr.
fn say(text: &str) {
    // A broken stderr leaves nobody to tell.
    let _unheard = io::stderr().write_all(text.as_bytes());
}

/// Warns of variables that only look like settings.
fn warn_of_variables(color: Option<Color>) {
    let set = std::env::vars_os().map(|(name, _)| name);
    let styles = screen::stderr(color.unwrap_or_default());
    for notice in refusal::unknown_variables(&command::command(), set) {
        say(&notice.render(styles));
    }
}

fn understand(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    let given = matches.subcommand().map(|(_, given)| given);
    match (&mut cli.command, given) {
        (Command::Run(run), Some(given)) => run.settings.prefer_flags(given),
        (Command::Goroutines(goroutines), Some(given)) => goroutines.prefer_flags(given),
        _ => {}
    }
    Ok(cli)
}

fn dispatch(command: Command, engine: &impl Engine) -> Result<Exit, Error> {
    match command {
        Command::Run(args) => run::run(*args, engine),
        Command::Ps(args) => ps::run(&args, engine),
        Command::Check(args) => check::run(args, engine),
        Command::Goroutines(args) => goroutines::run(&args, engine),
        Command::Replay(args) => replay::run(*args, engine),
        Command::Correlate(args) => correlate::run(*args, engine),
        Command::Explain(args) => explain::run(&args),
        Command::Schema => schema::run(),
        Command::Completions(args) => generate::completions(&args, &mut command::command()),
        Command::Man(args) => generate::man(&args, command::command()),
    }
}

/// Writes a result to stdout.
fn print(text: &str) -> Result<Exit, Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    delivered(written.and_then(|()| stdout.flush()))
}

/// What became of a result on stdout; a reader that has closed it has read enough.
fn delivered(written: io::Result<()>) -> Result<Exit, Error> {
    match written {
        Ok(()) => Ok(Exit::Fine),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Fine),
        Err(source) => Err(Error::Output {
            what: "stdout".into(),
            path: None,
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
