//! Settings from defaults, file, environment and flags, in rising order.
//!
//! Owns the settings' names, their parsers and the file. Flags and environment are read by clap;
//! what the settings mean is the subcommands' business.

mod settings;
mod values;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args as _;

use crate::error::{Error, UnknownKey};

pub use settings::{AllowEntry, Settings};
pub use values::{
    BadValue, BenchPrograms, BenchSites, FailOn, IdReading, OutputForm, RuleSetting, Size, Span,
    nearest_rule, parse_rule,
};

/// Read where `--config` names no other; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/observer/observer.toml";

/// Keys that only the file has.
const FILE_ONLY: [&str; 2] = ["allow", "own-packages"];

/// Keys of one `[[allow]]`.
const ALLOW_KEYS: [&str; 2] = ["site", "rule"];

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
/// As [`from_file`].
pub fn parse(text: &str, path: &Path) -> Result<Settings, Error> {
    let bad = |error: &toml::de::Error| Error::BadConfig {
        path: path.to_owned(),
        line: error.span().map_or(0, |span| line_at(text, span.start)),
        source: error.message().to_owned().into(),
    };
    let mut unknown = vec![];
    let document = toml::Deserializer::parse(text).map_err(|error| bad(&error))?;
    let settings: Settings = serde_ignored::deserialize(document, |key| {
        unknown.push(UnknownKey {
            // serde_ignored shows the step through an Option as `?`.
            path: key.to_string().replace("?.", ""),
            nearest: None,
        });
    })
    .map_err(|error| bad(&error))?;
    if !unknown.is_empty() {
        for key in &mut unknown {
            key.nearest = nearest_key(&key.path);
        }
        return Err(Error::UnknownKeys {
            path: PathBuf::from(path),
            keys: unknown,
        });
    }
    for entry in settings.allow.iter().flatten() {
        if let Some(name) = &entry.rule
            && let Err(error) = parse_rule(name)
        {
            return Err(Error::BadConfig {
                path: path.to_owned(),
                line: 0,
                source: error.into(),
            });
        }
    }
    Ok(settings)
}

/// Line, from 1, of a byte offset.
fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn nearest_key(path: &str) -> Option<String> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    if parent.starts_with("allow") {
        return nearest(name, ALLOW_KEYS.into_iter()).map(|key| format!("{parent}.{key}"));
    }
    let keys = keys();
    nearest(name, keys.iter().map(String::as_str)).map(str::to_owned)
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
