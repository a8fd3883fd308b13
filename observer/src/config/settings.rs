//! Every setting once: as a flag, as an environment variable and as a key of the file.
//!
//! Keys of the file are the flags' long names, because both come from the same fields.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use serde::Deserialize;

use crate::style::Color;

use super::values::{
    BenchPrograms, BenchSites, DeadlineHeader, FailOn, IdReading, OutputForm, Percent, RuleSetting,
    Size, Span, pid, port,
};

/// What one source says. `None` leaves it to the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Settings {
    /// Observe this process; repeatable
    #[arg(long, env = "OBSERVER_PID", value_name = "PID", value_delimiter = ',',
          value_parser = pid, allow_hyphen_values = true, help_heading = "What to observe")]
    pub pid: Option<Vec<u32>>,

    /// Observe every Go process whose executable has this name or path; repeatable
    #[arg(
        long,
        env = "OBSERVER_EXE",
        value_name = "NAME|PATH",
        value_delimiter = ',',
        help_heading = "What to observe"
    )]
    pub exe: Option<Vec<String>>,

    /// Observe the Go process that listens on this TCP port; repeatable
    #[arg(long, env = "OBSERVER_PORT", value_name = "PORT", value_delimiter = ',',
          value_parser = port, allow_hyphen_values = true, help_heading = "What to observe")]
    pub port: Option<Vec<u16>>,

    /// Observe every Go process of this unit of systemd; repeatable
    #[arg(
        long,
        env = "OBSERVER_UNIT",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "What to observe"
    )]
    pub unit: Option<Vec<String>>,

    /// Observe every Go process of this container, by at least 12 digits of its ID; repeatable
    #[arg(
        long,
        env = "OBSERVER_CONTAINER",
        value_name = "ID",
        value_delimiter = ',',
        help_heading = "What to observe"
    )]
    pub container: Option<Vec<String>>,

    /// Observe every Go process of this host
    #[arg(long, env = "OBSERVER_ALL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          help_heading = "What to observe")]
    pub all: Option<bool>,

    /// Where nothing fits yet, wait for the first process that does
    #[arg(long, env = "OBSERVER_WAIT", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          help_heading = "What to observe")]
    pub wait: Option<bool>,

    /// End after this time, as SIGINT does
    // A negative number is told so, instead of being taken for a flag.
    #[arg(
        long,
        env = "OBSERVER_DURATION",
        value_name = "TIME",
        allow_hyphen_values = true
    )]
    pub duration: Option<Span>,

    /// Exit with 1 when a finding is at least this severe [default: never]
    #[arg(
        long,
        env = "OBSERVER_FAIL_ON",
        value_name = "SEVERITY",
        help_heading = "Rules"
    )]
    pub fail_on: Option<FailOn>,

    /// Run only the named rules (`observer explain` lists them); with =off|info|warning|error,
    /// adjust one; repeatable
    #[arg(
        long,
        env = "OBSERVER_RULE",
        value_name = "NAME[=LEVEL]",
        value_delimiter = ',',
        help_heading = "Rules"
    )]
    pub rule: Option<Vec<RuleSetting>>,

    /// How long work may go on after a cancel, a close or a request's end [default: 500ms]
    #[arg(
        long,
        env = "OBSERVER_GRACE",
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Rules"
    )]
    pub grace: Option<Span>,

    /// How long a goroutine may outlive its request in one wait, told after twice that [default: 30s; and at
    /// once after 5s where nothing can wake it]
    #[arg(
        long,
        env = "OBSERVER_LEAK_AFTER",
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Rules"
    )]
    pub leak_after: Option<Span>,

    /// Goroutines are too many where they are more than so many times their moving average [default: 3]
    #[arg(
        long,
        env = "OBSERVER_SURGE_FACTOR",
        value_name = "TIMES",
        help_heading = "Rules"
    )]
    pub surge_factor: Option<u32>,

    /// And more than so many [default: 500]
    #[arg(
        long,
        env = "OBSERVER_SURGE_MIN",
        value_name = "GOROUTINES",
        help_heading = "Rules"
    )]
    pub surge_min: Option<u64>,

    /// In so many counts in a row, one a second [default: 2]
    #[arg(
        long,
        env = "OBSERVER_SURGE_TIMES",
        value_name = "COUNTS",
        help_heading = "Rules"
    )]
    pub surge_times: Option<u32>,

    /// Time that the average is taken over; nothing is a surge before [default: 60s]
    #[arg(
        long,
        env = "OBSERVER_SURGE_WINDOW",
        value_name = "TIME",
        help_heading = "Rules"
    )]
    pub surge_window: Option<Span>,

    /// Deadlines that differ by no more than this part of the shorter count as equal [default: 10%]
    #[arg(
        long,
        env = "OBSERVER_DEADLINE_TOLERANCE",
        value_name = "PERCENT",
        help_heading = "Rules"
    )]
    pub deadline_tolerance: Option<Percent>,

    /// Nor do those that differ by no more than this [default: 20ms]
    #[arg(
        long,
        env = "OBSERVER_DEADLINE_TOLERANCE_MIN",
        value_name = "TIME",
        help_heading = "Rules"
    )]
    pub deadline_tolerance_min: Option<Span>,

    /// A deadline below this is short [default: 100ms]
    #[arg(
        long,
        env = "OBSERVER_SHORT_DEADLINE",
        value_name = "TIME",
        help_heading = "Rules"
    )]
    pub short_deadline: Option<Span>,

    /// Short deadlines are reported below more frames than this [default: 5]
    #[arg(
        long,
        env = "OBSERVER_SHORT_DEADLINE_DEPTH",
        value_name = "FRAMES",
        help_heading = "Rules"
    )]
    pub short_deadline_depth: Option<u32>,

    /// Count findings listed in this file, but do not show them
    #[arg(
        long,
        env = "OBSERVER_BASELINE",
        value_name = "FILE",
        help_heading = "Rules"
    )]
    pub baseline: Option<PathBuf>,

    /// At the end, write all findings to this file, for --baseline
    #[arg(
        long,
        env = "OBSERVER_WRITE_BASELINE",
        value_name = "FILE",
        help_heading = "Rules"
    )]
    pub write_baseline: Option<PathBuf>,

    /// Follow the goroutines that requests start, so that goroutine-leak finds all and names each one's request; costs a
    /// trap for the start and the end of every goroutine [default: false]
    #[arg(long, env = "OBSERVER_GOROUTINES", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          help_heading = "Requests")]
    pub goroutines: Option<bool>,

    /// Header that holds the request's ID; repeatable, the first that is present wins; traceparent
    /// stands for its trace ID [default: X-Request-Id]
    #[arg(
        long,
        env = "OBSERVER_REQUEST_ID_HEADER",
        value_name = "HEADER",
        value_delimiter = ',',
        help_heading = "Requests"
    )]
    pub request_id_header: Option<Vec<String>>,

    /// Read IDs of all requests, or only of those that a finding is about [default: always]
    #[arg(
        long,
        env = "OBSERVER_REQUEST_IDS",
        value_name = "WHEN",
        help_heading = "Requests"
    )]
    pub request_ids: Option<IdReading>,

    /// Header in which callers say how long they wait: as grpc-timeout does (1S, 250m), or a number of
    /// milliseconds, with HEADER=s of seconds; repeatable, the first that is present wins
    #[arg(
        long,
        env = "OBSERVER_DEADLINE_HEADER",
        value_name = "HEADER",
        value_delimiter = ',',
        help_heading = "Requests"
    )]
    pub deadline_header: Option<Vec<DeadlineHeader>>,

    /// Show routes only, never the paths of requests
    #[arg(long, env = "OBSERVER_REDACT_PATH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          help_heading = "Requests")]
    pub redact_path: Option<bool>,

    /// Form of the output on stdout [default: human]
    #[arg(
        long,
        short,
        env = "OBSERVER_OUTPUT",
        value_name = "FORM",
        help_heading = "Output"
    )]
    pub output: Option<OutputForm>,

    /// Also append JSON lines to this file (mode 0600)
    #[arg(
        long,
        env = "OBSERVER_LOG",
        value_name = "FILE",
        help_heading = "Output"
    )]
    pub log: Option<PathBuf>,

    /// Rotate the log before it grows larger [default: 64MiB]
    #[arg(
        long,
        env = "OBSERVER_LOG_MAX_SIZE",
        value_name = "SIZE",
        allow_hyphen_values = true,
        help_heading = "Output"
    )]
    pub log_max_size: Option<Size>,

    /// Rotate the log when it is older [default: 24h]
    #[arg(
        long,
        env = "OBSERVER_LOG_MAX_AGE",
        value_name = "TIME",
        allow_hyphen_values = true,
        help_heading = "Output"
    )]
    pub log_max_age: Option<Span>,

    /// Delete the oldest rotated logs beyond this total [default: 512MiB]
    #[arg(
        long,
        env = "OBSERVER_LOG_MAX_TOTAL",
        value_name = "SIZE",
        allow_hyphen_values = true,
        help_heading = "Output"
    )]
    pub log_max_total: Option<Size>,

    /// Record everything that findings depend on, for `observer replay`
    #[arg(
        long,
        env = "OBSERVER_RECORD",
        value_name = "FILE",
        help_heading = "Output"
    )]
    pub record: Option<PathBuf>,

    /// On a goroutine-surge, write what all goroutines do to a file in this folder (mode 0600)
    #[arg(
        long,
        env = "OBSERVER_SNAPSHOT_DIR",
        value_name = "DIR",
        help_heading = "Output"
    )]
    pub snapshot_dir: Option<PathBuf>,

    /// Delete the oldest snapshots beyond this number [default: 10]
    #[arg(
        long,
        env = "OBSERVER_SNAPSHOT_MAX",
        value_name = "FILES",
        help_heading = "Output"
    )]
    pub snapshot_max: Option<u32>,

    /// Add a JSON line for each request and each call, for `observer correlate`
    #[arg(long, env = "OBSERVER_FACTS", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          help_heading = "Output")]
    pub facts: Option<bool>,

    /// When to colour [default: auto]
    #[arg(
        long,
        env = "OBSERVER_COLOR",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub color: Option<Color>,

    /// Show all that is known about each finding
    #[arg(long, short, env = "OBSERVER_VERBOSE", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          conflicts_with = "quiet", help_heading = "Output")]
    pub verbose: Option<bool>,

    /// Show findings, warnings and the last line only
    #[arg(long, short, env = "OBSERVER_QUIET", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
          help_heading = "Output")]
    pub quiet: Option<bool>,

    /// Benchmarks: where probes sit
    #[arg(long, env = "OBSERVER_BENCH_SITES", hide = true)]
    pub bench_sites: Option<BenchSites>,

    /// Benchmarks: what probes do
    #[arg(long, env = "OBSERVER_BENCH_PROGRAMS", hide = true)]
    pub bench_programs: Option<BenchPrograms>,

    /// Tests: size of the ring buffer, so that it can be filled
    #[arg(long, env = "OBSERVER_BENCH_RING", hide = true)]
    pub bench_ring: Option<Size>,

    /// Sites that are as they are on purpose. In the file only.
    #[arg(skip)]
    pub allow: Option<Vec<AllowEntry>>,

    /// Packages that count as the main module's. In the file only.
    #[arg(skip)]
    pub own_packages: Option<Vec<String>>,
}

/// One `[[allow]]` of the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AllowEntry {
    /// Function, package, or a prefix of either that ends at a `.` or `/`.
    pub site: String,
    /// Only for this rule.
    #[serde(default)]
    pub rule: Option<String>,
}

/// Flags that select processes, by clap's names.
const SELECTORS: [&str; 6] = ["pid", "exe", "port", "unit", "container", "all"];

impl Settings {
    /// Drops selectors of the environment where a flag selects: they count as one setting, and flags win.
    pub fn prefer_flags(&mut self, matches: &ArgMatches) {
        let comes_from = |name: &str, source| matches.value_source(name) == Some(source);
        let by_flag = |name: &&str| comes_from(name, ValueSource::CommandLine);
        if !SELECTORS.iter().any(by_flag) {
            return;
        }
        let by_variable = |name| comes_from(name, ValueSource::EnvVariable);
        self.pid.take_if(|_| by_variable("pid"));
        self.exe.take_if(|_| by_variable("exe"));
        self.port.take_if(|_| by_variable("port"));
        self.unit.take_if(|_| by_variable("unit"));
        self.container.take_if(|_| by_variable("container"));
        self.all.take_if(|_| by_variable("all"));
    }

    /// These, and `below` where they say nothing. Selectors count as one setting: naming a pid on
    /// the command line must not observe what the file selects as well.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        let selectors = if self.selects() {
            self.selectors()
        } else {
            below.selectors()
        };
        // -v on the command line beats `quiet` in the file, and the other way round.
        let loudness = self.verbose.is_some() || self.quiet.is_some();
        let (verbose, quiet) = if loudness {
            (self.verbose, self.quiet)
        } else {
            (below.verbose, below.quiet)
        };
        Self {
            wait: self.wait.or(below.wait),
            duration: self.duration.or(below.duration),
            fail_on: self.fail_on.or(below.fail_on),
            rule: self.rule.or(below.rule),
            grace: self.grace.or(below.grace),
            leak_after: self.leak_after.or(below.leak_after),
            goroutines: self.goroutines.or(below.goroutines),
            surge_factor: self.surge_factor.or(below.surge_factor),
            surge_min: self.surge_min.or(below.surge_min),
            surge_times: self.surge_times.or(below.surge_times),
            surge_window: self.surge_window.or(below.surge_window),
            snapshot_dir: self.snapshot_dir.or(below.snapshot_dir),
            snapshot_max: self.snapshot_max.or(below.snapshot_max),
            deadline_tolerance: self.deadline_tolerance.or(below.deadline_tolerance),
            deadline_tolerance_min: self.deadline_tolerance_min.or(below.deadline_tolerance_min),
            short_deadline: self.short_deadline.or(below.short_deadline),
            short_deadline_depth: self.short_deadline_depth.or(below.short_deadline_depth),
            baseline: self.baseline.or(below.baseline),
            write_baseline: self.write_baseline.or(below.write_baseline),
            request_id_header: self.request_id_header.or(below.request_id_header),
            request_ids: self.request_ids.or(below.request_ids),
            deadline_header: self.deadline_header.or(below.deadline_header),
            redact_path: self.redact_path.or(below.redact_path),
            output: self.output.or(below.output),
            log: self.log.or(below.log),
            log_max_size: self.log_max_size.or(below.log_max_size),
            log_max_age: self.log_max_age.or(below.log_max_age),
            log_max_total: self.log_max_total.or(below.log_max_total),
            record: self.record.or(below.record),
            facts: self.facts.or(below.facts),
            color: self.color.or(below.color),
            verbose,
            quiet,
            bench_sites: self.bench_sites.or(below.bench_sites),
            bench_programs: self.bench_programs.or(below.bench_programs),
            bench_ring: self.bench_ring.or(below.bench_ring),
            allow: self.allow.or(below.allow),
            own_packages: self.own_packages.or(below.own_packages),
            ..selectors
        }
    }

    const fn selects(&self) -> bool {
        self.pid.is_some()
            || self.exe.is_some()
            || self.port.is_some()
            || self.unit.is_some()
            || self.container.is_some()
            || self.all.is_some()
    }

    /// These selectors, and nothing else.
    fn selectors(&self) -> Self {
        Self {
            pid: self.pid.clone(),
            exe: self.exe.clone(),
            port: self.port.clone(),
            unit: self.unit.clone(),
            container: self.container.clone(),
            all: self.all,
            ..Self::default()
        }
    }
}
