//! Values that flags, environment and file share, each with one parser.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use crate::finding::{Level, RuleName, Severity};

use super::nearest;

/// Longer spans would not fit nanoseconds in 64 bits together with a time: 100 years.
const MAX_SPAN: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A value that does not parse, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub String);

/// A duration as humans write it: `500ms`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let span = humantime::parse_duration(text).map_err(|_| {
            let what = match text.trim() {
                text if text.starts_with('-') => "a time cannot be negative",
                text if text.parse::<f64>().is_ok() => "the unit is missing",
                _ => "not a time",
            };
            BadValue(format!("{what}; write it like `500ms` or `1h 30m`"))
        })?;
        if span > MAX_SPAN {
            return Err(BadValue("longer than 100 years".into()));
        }
        Ok(Self(span))
    }
}

/// A size in bytes as humans write it: `64MiB`, `10MB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// Names of units, lower case, and their bytes. A bare letter is binary, as `ls -h` has it.
const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("t", 1 << 40),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bad = || BadValue("not a size; write it like `64MiB`, `10MB` or `4096`".into());
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or_else(bad)?;
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = unit.trim().to_ascii_lowercase();
        let (_, bytes) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(bad)?;
        let size = number.checked_mul(*bytes).ok_or_else(bad)?;
        if size == 0 {
            return Err(BadValue("must be more than nothing".into()));
        }
        Ok(Self(size))
    }
}

/// A part of a whole: `10%`, at most `100%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u32);

impl FromStr for Percent {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.trim()
            .strip_suffix('%')
            .and_then(|number| number.parse().ok())
            .filter(|percent| *percent <= 100)
            .map(Self)
            .ok_or_else(|| BadValue("not a part of a whole; write it like `10%`".into()))
    }
}

/// A pid of the command line.
///
/// # Errors
/// Anything but a number from 1 on.
pub fn pid(text: &str) -> Result<u32, BadValue> {
    let pid = text.parse().ok().filter(|pid| *pid > 0);
    pid.ok_or_else(|| {
        BadValue("not a pid; it is a number from 1 on, as `observer ps` lists".into())
    })
}

/// A port of the command line.
pub(super) fn port(text: &str) -> Result<u16, BadValue> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| BadValue("not a port; it is a number from 1 to 65535".into()))
}

/// `NAME` or `NAME=LEVEL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleSetting {
    /// Which.
    pub rule: RuleName,
    /// Absent: only the rules that are named run.
    pub level: Option<Level>,
}

impl FromStr for RuleSetting {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (name, level) = match text.split_once('=') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let rule = parse_rule(name)?;
        let level = level.map(parse_level).transpose()?;
        Ok(Self { rule, level })
    }
}

/// `NAME` or `NAME=UNIT`: a header in which callers say how long they wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineHeader {
    /// As it was given.
    pub name: String,
    /// A number without a unit means seconds, not milliseconds.
    pub in_seconds: bool,
}

impl FromStr for DeadlineHeader {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (name, unit) = text.split_once('=').unwrap_or((text, "ms"));
        let in_seconds = match unit {
            "ms" => false,
            "s" => true,
            other => {
                return Err(BadValue(format!(
                    "there is no unit `{other}` for numbers without one; it is ms or s"
                )));
            }
        };
        let name = name.to_owned();
        Ok(Self { name, in_seconds })
    }
}

/// A rule by its name.
///
/// # Errors
/// With the nearest name, if one is near.
pub fn parse_rule(name: &str) -> Result<RuleName, BadValue> {
    RuleName::ALL
        .into_iter()
        .find(|rule| rule.as_str() == name)
        .ok_or_else(|| {
            let near = nearest_rule(name).map_or_else(
                || {
                    format!(
                        "; there are {}",
                        RuleName::ALL.map(RuleName::as_str).join(", ")
                    )
                },
                |near| format!("; did you mean `{near}`?"),
            );
            BadValue(format!("there is no rule `{name}`{near}"))
        })
}

/// The rule whose name looks most like `name`.
#[must_use]
pub fn nearest_rule(name: &str) -> Option<&'static str> {
    nearest(name, RuleName::ALL.iter().map(|rule| rule.as_str()))
}

fn parse_level(level: &str) -> Result<Level, BadValue> {
    match level {
        "off" => Ok(Level::Off),
        "info" => Ok(Level::Always(Severity::Info)),
        "warning" => Ok(Level::Always(Severity::Warning)),
        "error" => Ok(Level::Always(Severity::Error)),
        other => Err(BadValue(format!(
            "there is no level `{other}`; it is one of off, info, warning, error"
        ))),
    }
}

/// serde reads these from strings with the parser that the flags use.
macro_rules! from_string {
    ($($kind:ty: $expected:literal),*) => {$(
        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text { expected: $expected, kind: PhantomData })
            }
        }
    )*};
}

from_string!(
    Span: "a time in quotes, like \"500ms\"",
    Size: "a size in quotes, like \"64MiB\"",
    Percent: "a part in quotes, like \"10%\"",
    RuleSetting: "rules in quotes, like \"cancel-ignored\"",
    DeadlineHeader: "headers in quotes, like \"X-Timeout\" or \"X-Timeout=s\""
);

/// Takes a string, and says what is expected where there is none.
struct Text<T> {
    expected: &'static str,
    kind: PhantomData<T>,
}

impl<T: FromStr<Err = BadValue>> serde::de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// From which severity on findings make the run fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailOn {
    /// Findings do not change the exit code.
    Never,
    /// Any finding.
    Info,
    /// Warnings and errors.
    Warning,
    /// Errors only.
    Error,
}

impl FailOn {
    /// As a limit.
    #[must_use]
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::Never => None,
            Self::Info => Some(Severity::Info),
            Self::Warning => Some(Severity::Warning),
            Self::Error => Some(Severity::Error),
        }
    }
}

/// The form on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputForm {
    /// For people.
    #[default]
    Human,
    /// JSON lines, see `observer schema`.
    Json,
}

/// When request IDs are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdReading {
    /// Of every request, at its start.
    #[default]
    Always,
    /// Of requests that a finding is about, when it is made.
    Lazy,
}

/// Benchmarks only: where probes sit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchSites {
    /// At function entry, which the kernel single-steps.
    Entry,
    /// Where the kernel can emulate.
    #[default]
    Cheap,
}

/// Benchmarks only: what probes do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BenchPrograms {
    /// Nothing: the floor of what a trap costs.
    Empty,
    /// Their work.
    #[default]
    Full,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DeadlineHeader, Percent, RuleSetting, Size, Span};
    use crate::finding::{Level, RuleName, Severity};

    #[test]
    fn sizes() {
        let size = |text: &str| text.parse::<Size>().map(|size| size.0).ok();
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("10 MB"), Some(10_000_000));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("1g"), Some(1 << 30));
        for bad in [
            "",
            "MiB",
            "1.5G",
            "-1",
            "0",
            "5 parsec",
            "99999999999T",
            "١k",
        ] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans() {
        let span = |text: &str| text.parse::<Span>().map(|span| span.0).ok();
        assert_eq!(span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(span("1h 30m"), Some(Duration::from_secs(5400)));
        for bad in ["", "5", "-1s", "1000000years"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        let why = |text: &str| text.parse::<Span>().unwrap_err();
        insta::assert_snapshot!(why("5"), @"the unit is missing; write it like `500ms` or `1h 30m`");
        insta::assert_snapshot!(why("-1s"), @"a time cannot be negative; write it like `500ms` or `1h 30m`");
        insta::assert_snapshot!(why("soon"), @"not a time; write it like `500ms` or `1h 30m`");
    }

    #[test]
    fn percents() {
        let percent = |text: &str| text.parse::<Percent>().map(|percent| percent.0).ok();
        assert_eq!(percent("10%"), Some(10));
        assert_eq!(percent("0%"), Some(0));
        for bad in ["", "10", "%", "-1%", "101%", "1.5%"] {
            assert_eq!(percent(bad), None, "{bad}");
        }
    }

    #[test]
    fn deadline_headers() {
        let header = |text: &str| text.parse::<DeadlineHeader>();
        for (text, name, in_seconds) in [
            ("X-Timeout", "X-Timeout", false),
            ("x-timeout=ms", "x-timeout", false),
            ("X-Timeout=s", "X-Timeout", true),
        ] {
            let name = name.to_owned();
            assert_eq!(header(text), Ok(DeadlineHeader { name, in_seconds }));
        }
        insta::assert_snapshot!(header("X-Timeout=h").unwrap_err(), @"there is no unit `h` for numbers without one; it is ms or s");
    }

    #[test]
    fn rules_and_levels() {
        let rule = |text: &str| text.parse::<RuleSetting>();
        let named = rule("cancel-ignored").unwrap();
        assert_eq!((named.rule, named.level), (RuleName::CancelIgnored, None));
        let level = rule("detached-context=info").unwrap().level;
        assert_eq!(level, Some(Level::Always(Severity::Info)));
        insta::assert_snapshot!(rule("cancel-ignord").unwrap_err(), @"there is no rule `cancel-ignord`; did you mean `cancel-ignored`?");
        let unlike = rule("xyz").unwrap_err().to_string();
        assert!(
            unlike.starts_with("there is no rule `xyz`; there are cancel-ignored, "),
            "{unlike}"
        );
        insta::assert_snapshot!(rule("cancel-ignored=loud").unwrap_err(), @"there is no level `loud`; it is one of off, info, warning, error");
    }
}
