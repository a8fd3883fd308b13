//! Where findings go: the terminal, JSON lines, the log.
//!
//! The engine emits [`Output`]; sinks only consume it. Owns filtering (what is shown), queues,
//! rendering and writing. It must not decide anything about a request.

mod folded;
mod human;
mod json;
mod log;
mod output;
mod queue;
#[cfg(test)]
pub mod samples;
mod snapshot;
mod terminal;
pub mod wire;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Exit};
use crate::finding::{Filter, Finding, Fingerprint, Severity, Silenced, render_baseline};
use crate::style::Styles;

pub use folded::folded;
pub use human::{
    Glyphs, Human, Rendered, Terminal, Verbosity, goroutines, short_file, short_function,
};
pub use log::{LogOptions, RotatingLog};
pub use output::{
    Clock, DeliveryTimes, End, EndReason, GoroutineStats, Loss, LossCause, Losses, Output, Start,
    Stats, Stop, StopReason, Tally,
};
pub use queue::{Delivery, Fate, PATIENCE, Parcel, QUEUE_LIMIT, Sink, Writer};
pub use snapshot::{SnapshotFolder, SnapshotOptions};

/// Findings whose severity is remembered for the totals; later ones are shown, and counted each
/// time they are new to the merger.
const REMEMBERED: usize = 65_536;

/// The form on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human(Terminal),
    /// JSON lines.
    Json,
}

/// Everything that decides where output goes and what it looks like.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// On stdout.
    pub format: Format,
    /// Columns of stdout, asked before each output: terminals are resized.
    pub width: Option<fn() -> usize>,
    /// Colours of stderr.
    pub stderr: Styles,
    /// How much is said on stderr.
    pub verbosity: Verbosity,
    /// `--log`.
    pub log: Option<LogOptions>,
    /// What is shown.
    pub filter: Filter,
    /// `--write-baseline`.
    pub write_baseline: Option<PathBuf>,
    /// `--fail-on`.
    pub fail_on: Option<Severity>,
    /// Drop or wait.
    pub delivery: Delivery,
}

/// All outputs of one run.
#[derive(Debug)]
pub struct Sinks {
    options: SinkOptions,
    clock: Clock,
    stdout: Writer,
    log: Option<Writer>,
    tally: Tally,
    worst: Option<Severity>,
    shown: BTreeMap<u64, Severity>,
    baseline: BTreeMap<Fingerprint, String>,
}

impl Sinks {
    /// Opens them on the process's own stdout and stderr.
    ///
    /// # Errors
    /// [`Error::Output`] where the log cannot be opened, the baseline cannot be written, or no
    /// thread can be had.
    pub fn open(options: SinkOptions) -> Result<Self, Error> {
        Self::with(options, io::stdout(), io::stderr, || {
            queue::is_gone(io::stdout())
        })
    }

    /// Opens them on given streams.
    ///
    /// # Errors
    /// As [`Sinks::open`].
    pub fn on<O, E>(options: SinkOptions, stdout: O, stderr: impl Fn() -> E) -> Result<Self, Error>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        Self::with(options, stdout, stderr, || false)
    }

    fn with<O, E>(
        options: SinkOptions,
        stdout: O,
        stderr: impl Fn() -> E,
        is_gone: fn() -> bool,
    ) -> Result<Self, Error>
    where
        O: Write + Send + 'static,
        E: Write + Send + 'static,
    {
        let sink: Box<dyn Sink> = match options.format {
            Format::Human(terminal) => Box::new(terminal::HumanSink {
                stdout,
                stderr: stderr(),
                human: Human::new(terminal, options.verbosity),
                width: options.width,
                styles: options.stderr,
            }),
            Format::Json => Box::new(json::JsonSink {
                stdout,
                stderr: stderr(),
                styles: options.stderr,
            }),
        };
        let log = match &options.log {
            Some(log) => Some(open_log(log, options.stderr, options.delivery, stderr())?),
            None => None,
        };
        let stdout =
            Writer::start(sink, options.delivery, is_gone).map_err(|source| Error::Output {
                what: "stdout".into(),
                path: None,
                source,
            })?;
        if let Some(path) = &options.write_baseline {
            // Said now, not when all the observing is done.
            is_writable(path).map_err(|source| baseline_failed(path, source))?;
        }
        Ok(Self {
            options,
            clock: Clock::default(),
            stdout,
            log,
            tally: Tally::default(),
            worst: None,
            shown: BTreeMap::new(),
            baseline: BTreeMap::new(),
        })
    }

    /// Sets the clock of all times that follow. Call it before the first output.
    pub const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Takes one output. Never waits, unless delivery is lossless or this is the end.
    pub fn emit(&mut self, output: impl Into<Output>) {
        let output = match output.into() {
            Output::Finding(finding) => match self.pass(*finding, true) {
                Some(finding) => Output::Finding(Box::new(finding)),
                None => return,
            },
            Output::Update(finding, reason) => match self.pass(*finding, false) {
                Some(finding) => Output::Update(Box::new(finding), reason),
                None => return,
            },
            other => other,
        };
        let parcel = Arc::new(Parcel {
            output,
            tally: self.tally,
            clock: self.clock,
        });
        self.stdout.send(&parcel);
        if let Some(log) = &self.log {
            log.send(&parcel);
        }
    }

    /// stdout was closed by its reader: the run is to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.stdout.is_closed()
    }

    /// Waits until all is written, writes the baseline, and says how to exit.
    ///
    /// # Errors
    /// [`Error::Output`] where a requested output is incomplete.
    pub fn finish(self) -> Result<Exit, Error> {
        let stdout = self.stdout.finish();
        let log = self.log.map(Writer::finish);
        if let Some(path) = &self.options.write_baseline {
            write_whole(path, &render_baseline(&self.baseline))
                .map_err(|source| baseline_failed(path, source))?;
        }
        let closed = stdout.closed;
        for fate in [Some(stdout), log].into_iter().flatten() {
            if let Some(source) = fate.failure {
                let what = match fate.dropped {
                    0 => fate.name,
                    1 => format!("one line to {}", fate.name),
                    lines => format!("{lines} lines to {}", fate.name),
                };
                return Err(Error::Output {
                    what,
                    path: None,
                    source,
                });
            }
        }
        let fails = match (self.options.fail_on, self.worst) {
            (Some(limit), Some(worst)) => worst >= limit,
            _ => false,
        };
        Ok(if fails && !closed {
            Exit::Findings
        } else {
            Exit::Fine
        })
    }

    /// Filters and counts; `None` where it is not shown.
    fn pass(&mut self, mut finding: Finding, new: bool) -> Option<Finding> {
        let verdict = self.options.filter.judge(&finding);
        let is_known_or_shown = matches!(verdict, Ok(_) | Err(Silenced::Baseline));
        if self.options.write_baseline.is_some() && is_known_or_shown {
            self.remember(&finding);
        }
        let severity = match verdict {
            Ok(severity) => severity,
            // A rule that is off is not looked for: its findings are nobody's loss.
            Err(Silenced::Rule) => return None,
            Err(Silenced::Allowed | Silenced::Baseline) => {
                self.tally.silenced += u64::from(new);
                return None;
            }
        };
        finding.severity = severity;
        self.worst = self.worst.max(Some(severity));
        let before = self.shown.get(&finding.id).copied();
        if before.is_some() || self.shown.len() < REMEMBERED {
            self.shown.insert(finding.id, severity);
        }
        match before {
            Some(before) => {
                *self.count_of(before) -= 1;
                *self.count_of(severity) += 1;
            }
            None if new => *self.count_of(severity) += 1,
            None => {}
        }
        Some(finding)
    }

    const fn count_of(&mut self, severity: Severity) -> &mut u64 {
        match severity {
            Severity::Error => &mut self.tally.errors,
            Severity::Warning => &mut self.tally.warnings,
            Severity::Info => &mut self.tally.infos,
        }
    }

    fn remember(&mut self, finding: &Finding) {
        if self.baseline.len() >= REMEMBERED {
            return;
        }
        let module = &finding.process.module;
        let place = finding
            .site
            .as_ref()
            .map_or_else(String::new, |site| short_file(site, module));
        // A comment must stay on its line.
        let comment = Glyphs::new(true).clean(&format!("{} {place}", finding.rule));
        self.baseline.insert(finding.fingerprint, comment);
    }
}

fn open_log(
    options: &LogOptions,
    styles: Styles,
    delivery: Delivery,
    stderr: impl Write + Send + 'static,
) -> Result<Writer, Error> {
    let name = format!("the log `{}`", options.path.display());
    let failed = |source| Error::Output {
        what: name.clone(),
        path: Some(options.path.clone()),
        source,
    };
    let log = RotatingLog::open(options.clone(), SystemTime::now()).map_err(failed)?;
    let sink = json::LogSink {
        log,
        name: name.clone(),
        stderr,
        styles,
    };
    Writer::start(Box::new(sink), delivery, || false).map_err(failed)
}

fn baseline_failed(path: &Path, source: io::Error) -> Error {
    Error::Output {
        what: format!("the baseline `{}`", path.display()),
        path: Some(path.to_owned()),
        source,
    }
}

/// Whole or not at all: written beside and renamed. Devices and pipes are written as they are.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() && !path.is_file() {
        return std::fs::write(path, text);
    }
    let beside = beside(path);
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

/// Whether [`write_whole`] will find its way; leaves nothing behind.
fn is_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    let beside = beside(path);
    std::fs::File::create(&beside)?;
    std::fs::remove_file(&beside)
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

#[cfg(test)]
mod tests;
