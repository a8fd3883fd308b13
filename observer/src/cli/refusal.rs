//! What clap refuses, in observer's own words; of it values, wherever they were given.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::num::{IntErrorKind, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::{BadValue, nearest};
use crate::error::{Error, Notice};
use crate::finding::RuleName;

use super::form;

/// What all variables begin with that set something.
const PREFIX: &str = "OBSERVER_";

/// The error that `error` is; `None` where it is help. `variable` gives what the environment has.
pub(super) fn of(
    error: &clap::Error,
    args: &[OsString],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Error> {
    of_value(error, args, variable).or_else(|| form::of(error, args))
}

/// The error about a value that `error` is; `None` where it is about something else. clap names
/// the flag also where the value came from the environment: `variable` gives what is there.
fn of_value(
    error: &clap::Error,
    args: &[OsString],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Error> {
    if !matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
    ) {
        return None;
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let value = text(ContextKind::InvalidValue).filter(|value| !value.is_empty())?;
    let arg = text(ContextKind::InvalidArg)?;
    let long = arg.split([' ', '=', '[']).next().unwrap_or_default();
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => plainly(source),
        (None, Some(ContextValue::Strings(valid))) => format!("it is one of {}", valid.join(", ")),
        (None, _) => return None,
    };
    let was_typed = args
        .iter()
        .any(|arg| arg.to_string_lossy().contains(value.as_str()));
    let name = variable_of(long);
    let place = match variable(&name) {
        Some(set) if !was_typed && set.contains(value.as_str()) => name,
        _ => arg.clone(),
    };
    let remedy = match (long, text(ContextKind::SuggestedValue)) {
        ("--rule", _) => format!(
            "the rules are {}; what each finds: `observer explain`",
            RuleName::ALL.map(RuleName::as_str).join(", ")
        ),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        _ => form::see_help(args),
    };
    Some(Error::BadFlag {
        value,
        place,
        source: BadValue(why).into(),
        remedy,
    })
}

/// Why a value is refused. The standard library speaks of digits and of target types.
fn plainly(why: &(dyn std::error::Error + 'static)) -> String {
    let integer = why.downcast_ref::<ParseIntError>().map(ParseIntError::kind);
    match integer {
        Some(IntErrorKind::InvalidDigit | IntErrorKind::Empty) => "not a whole number".to_owned(),
        Some(IntErrorKind::PosOverflow) => "too large".to_owned(),
        _ => why.to_string(),
    }
}

/// `--log-max-size` → `OBSERVER_LOG_MAX_SIZE`.
fn variable_of(long: &str) -> String {
    let name = long.trim_start_matches('-').replace('-', "_");
    format!("{PREFIX}{}", name.to_uppercase())
}

/// Variables that look like settings and are none, in the order of their names. They are not
/// refused: other programs, and Kubernetes for a service of this name, set some of their own.
pub(super) fn unknown_variables(
    command: &clap::Command,
    set: impl Iterator<Item = OsString>,
) -> Vec<Notice> {
    let known: Vec<&str> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_env)
        .filter_map(OsStr::to_str)
        .collect();
    let mut unknown: Vec<String> = set
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()))
        .collect();
    unknown.sort();
    let notice = |name: String| Notice::UnknownVariable {
        nearest: nearest_variable(&name, &known),
        name,
    };
    unknown.into_iter().map(notice).collect()
}

/// By what follows the prefix, which all share.
fn nearest_variable(name: &str, known: &[&str]) -> Option<String> {
    let rest = |name: &str| {
        let rest = name.strip_prefix(PREFIX).unwrap_or(name);
        rest.to_lowercase().replace('_', "-")
    };
    let known: Vec<String> = known.iter().map(|name| rest(name)).collect();
    nearest(&rest(name), known.iter().map(String::as_str)).map(variable_of)
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
