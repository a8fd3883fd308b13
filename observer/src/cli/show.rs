//! From settings to what the sinks need: shared by `run` and `replay`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::config::{OutputForm, Settings, parse_rule};
use crate::error::Error;
use crate::finding::{Allowed, Filter, Fingerprint, RuleChoice, parse_baseline};
use crate::sink::{Delivery, Format, LogOptions, SinkOptions, Verbosity};

use super::screen;

const LOG_MAX_SIZE: u64 = 64 << 20;
const LOG_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
const LOG_MAX_TOTAL: u64 = 512 << 20;

/// Rules chosen and adjusted.
pub fn rules(settings: &Settings) -> RuleChoice {
    let mut choice = RuleChoice::default();
    for setting in settings.rule.iter().flatten() {
        match setting.level {
            Some(level) => choice.adjust(setting.rule, level),
            None => choice.choose(setting.rule),
        }
    }
    choice
}

/// Where output goes and what is shown. Reads the baseline and asks what the streams can show.
///
/// # Errors
/// A baseline that cannot be read, log limits that contradict each other.
pub fn sink_options(settings: &Settings, delivery: Delivery) -> Result<SinkOptions, Error> {
    let verbosity = match (settings.verbose, settings.quiet) {
        (_, Some(true)) => Verbosity::Quiet,
        (Some(true), _) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let color = settings.color.unwrap_or_default();
    let format = match settings.output.unwrap_or_default() {
        OutputForm::Human => {
            Format::Human(screen::terminal(color, verbosity == Verbosity::Verbose))
        }
        OutputForm::Json => Format::Json,
    };
    let baseline = match &settings.baseline {
        Some(path) => read_baseline(path)?,
        None => BTreeSet::new(),
    };
    Ok(SinkOptions {
        format,
        width: Some(screen::width),
        stderr: screen::stderr(color),
        verbosity,
        log: log_options(settings)?,
        filter: Filter {
            rules: rules(settings),
            allow: allowed(settings)?,
            baseline,
        },
        write_baseline: settings.write_baseline.clone(),
        fail_on: settings.fail_on.and_then(|fail_on| fail_on.severity()),
        delivery,
    })
}

fn log_options(settings: &Settings) -> Result<Option<LogOptions>, Error> {
    let Some(path) = &settings.log else {
        return Ok(None);
    };
    let max_size = settings.log_max_size.map_or(LOG_MAX_SIZE, |size| size.0);
    let max_total = settings.log_max_total.map_or(LOG_MAX_TOTAL, |size| size.0);
    if max_total < max_size {
        return Err(Error::Usage {
            problem: format!(
                "the log may grow to {max_size} bytes, but all logs together only to {max_total}"
            ),
            remedy: "make --log-max-total at least as large as --log-max-size".into(),
        });
    }
    if settings.log_max_age.is_some_and(|age| age.0.is_zero()) {
        return Err(Error::Usage {
            problem: "with --log-max-age 0 every line would have a log of its own".into(),
            remedy: "leave it out for a day, or name a time: `--log-max-age 1h`".into(),
        });
    }
    Ok(Some(LogOptions {
        path: path.clone(),
        max_size,
        max_age: settings.log_max_age.map_or(LOG_MAX_AGE, |age| age.0),
        max_total,
    }))
}

fn allowed(settings: &Settings) -> Result<Vec<Allowed>, Error> {
    let entries = settings.allow.iter().flatten();
    entries
        .map(|entry| {
            let rule = entry.rule.as_deref().map(parse_rule).transpose();
            let rule = rule.map_err(|error| Error::Usage {
                problem: error.to_string(),
                remedy: "list all rules: `observer explain`".into(),
            })?;
            Ok(Allowed {
                rule,
                site: entry.site.clone(),
            })
        })
        .collect()
}

fn read_baseline(path: &Path) -> Result<BTreeSet<Fingerprint>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
        what: "baseline",
        path: path.to_owned(),
        source,
    })?;
    parse_baseline(&text).map_err(|line| Error::BadBaseline {
        path: path.to_owned(),
        line,
    })
}
