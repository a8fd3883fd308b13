//! What clap refuses of a command line's form, in observer's own words: flags, subcommands and arguments that
//! are not there, or should be.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::nearest;
use crate::error::Error;

use super::command;

/// The error that `error` is; `None` where it is no error but help that was asked for, or stands in for a subcommand.
pub(super) fn of(error: &clap::Error, args: &[OsString]) -> Option<Error> {
    let names = |kind| match error.get(kind) {
        Some(ContextValue::String(name)) => vec![name.clone()],
        Some(ContextValue::Strings(names)) => names.clone(),
        _ => Vec::new(),
    };
    let invalid = names(ContextKind::InvalidArg);
    let given = invalid.join(", ");
    let (problem, first) = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return None,
        ErrorKind::UnknownArgument if given.starts_with('-') => {
            let near = names(ContextKind::SuggestedArg).pop();
            let near = near.or_else(|| elsewhere(&given, args));
            (
                format!("there is no flag `{given}`"),
                near.as_deref().map(did_you_mean),
            )
        }
        ErrorKind::UnknownArgument => (format!("unexpected argument `{given}`"), None),
        ErrorKind::InvalidSubcommand => {
            let given = names(ContextKind::InvalidSubcommand).join(" ");
            let near = nearest_subcommand(&given);
            let problem = format!("there is no subcommand `{given}`");
            return Some(usage(
                problem,
                near.as_deref().map(did_you_mean),
                see_help(&[]),
            ));
        }
        ErrorKind::InvalidValue => (format!("`{given}` needs a value"), None),
        ErrorKind::ArgumentConflict => match &names(ContextKind::PriorArg)[..] {
            [prior] if *prior == given => (format!("`{}` is given twice", bare(&given)), None),
            prior => {
                let prior: Vec<&str> = prior.iter().map(|name| bare(name)).collect();
                let prior = prior.join("`, `");
                let problem = format!("`{}` cannot be used with `{prior}`", bare(&given));
                (problem, None)
            }
        },
        ErrorKind::MissingRequiredArgument => {
            let form = match error.get(ContextKind::Usage) {
                Some(ContextValue::StyledStr(usage)) => usage.to_string(),
                _ => String::new(),
            };
            let form = form.trim_start_matches("Usage:").trim();
            (
                format!("`{given}` is missing"),
                Some(format!("the form is `{form}`;")),
            )
        }
        // Rare enough for clap's own words.
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            (line.trim_start_matches("error: ").to_owned(), None)
        }
    };
    Some(usage(problem, first, see_help(args)))
}

fn usage(problem: String, first: Option<String>, then: String) -> Error {
    let remedy = match first {
        Some(first) => format!("{first} {then}"),
        None => then,
    };
    Error::Usage { problem, remedy }
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean `{near}`?")
}

/// Where help is on what was meant.
pub(super) fn see_help(args: &[OsString]) -> String {
    let command = args.get(1).and_then(|arg| arg.to_str());
    match command.filter(|command| !command.starts_with('-')) {
        Some(command) => format!("see what it takes: `observer {command} --help`"),
        None => "see what it takes: `observer --help`".into(),
    }
}

/// `--verbose[=<BOOL>]` → `--verbose`; arguments without a flag are as they are.
fn bare(name: &str) -> &str {
    if name.starts_with('-') {
        name.split([' ', '=', '[']).next().unwrap_or(name)
    } else {
        name
    }
}

/// The first subcommand that has the flag, where none was named before it.
fn elsewhere(flag: &str, args: &[OsString]) -> Option<String> {
    if !args.get(1)?.to_str()?.starts_with('-') {
        return None;
    }
    let long = flag.strip_prefix("--")?;
    let command = command::command();
    let mut subs = command.get_subcommands();
    let has = |sub: &&clap::Command| sub.get_arguments().any(|arg| arg.get_long() == Some(long));
    let sub = subs.find(has)?;
    Some(format!("observer {} {flag}", sub.get_name()))
}

fn nearest_subcommand(given: &str) -> Option<String> {
    let command = command::command();
    let names = command.get_subcommands().map(clap::Command::get_name);
    nearest(given, names).map(|name| format!("observer {name}"))
}
