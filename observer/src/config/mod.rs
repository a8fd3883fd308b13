//! Settings from defaults, file, environment and flags, in rising order.
//!
//! Owns the settings' names, their parsers and the file. Flags and environment are read by clap;
//! what the settings mean is the subcommands' business.

mod settings;
mod unknown;
mod values;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args as _;
use serde::Deserialize as _;
use toml::de::DeTable;

use crate::error::{Cause, Error};

pub use settings::{AllowEntry, Settings};
pub use values::{
    BadValue, BenchPrograms, BenchSites, DeadlineHeader, FailOn, IdReading, OutputForm, Percent,
    RuleSetting, Size, Span, nearest_rule, parse_rule, pid,
};

/// Read where `--config` names no other; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/observer/observer.toml";

/// Keys that only the file has.
const FILE_ONLY: [&str; 2] = ["allow", "own-packages"];

/// Names further apart than this share of their length are not near.
const MIN_LIKENESS: f64 = 0.6;

/// Reads the settings of the file: `named`, else [`DEFAULT_FILE`] if it is there.
///
/// # Errors
/// A named file that cannot be read, a file that does not parse, unknown keys.
pub fn from_file(named: Option<&Path>) -> Result<Settings, Error> {
    let path = named.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok(Settings::default())
        }
        Err(source) => Err(Error::Unreadable {
            what: "configuration file",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Parses the text of a file; `path` is for messages only.
///
/// # Errors
/// As [`from_file`]. A value or a line that is wrong does not hide the keys that are unknown.
pub fn parse(text: &str, path: &Path) -> Result<Settings, Error> {
    let (document, faults) = DeTable::parse_recoverable(text);
    let unknown = unknown::keys_in(document.get_ref());
    let bad = |line: usize, source: Cause| Error::BadConfig {
        path: path.to_owned(),
        line,
        source,
        unknown: unknown.clone(),
    };
    let of_toml = |error: &toml::de::Error| {
        let line = error.span().map_or(0, |span| line_at(text, span.start));
        bad(line, error.message().to_owned().into())
    };
    if let Some(fault) = faults.first() {
        return Err(of_toml(fault));
    }
    let settings = Settings::deserialize(toml::Deserializer::from(document))
        .map_err(|error| of_toml(&error))?;
    let mut named = settings.allow.iter().flatten();
    if let Some(error) = named.find_map(|entry| parse_rule(entry.rule.as_deref()?).err()) {
        return Err(bad(0, error.into()));
    }
    if unknown.is_empty() {
        Ok(settings)
    } else {
        Err(Error::UnknownKeys {
            path: PathBuf::from(path),
            keys: unknown,
        })
    }
}

/// Line, from 1, of a byte offset.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// Every key that the file may have: the flags' long names and `FILE_ONLY`.
#[must_use]
pub fn keys() -> Vec<String> {
    let command = Settings::augment_args(clap::Command::new("keys"));
    command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| arg.get_long())
        .chain(FILE_ONLY)
        .map(str::to_owned)
        .collect()
}

/// The name that looks most like `name`, if one looks like it at all.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.replace('_', "-");
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(&name, known), known))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
