//! `observer run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{self, BenchPrograms, BenchSites, DeadlineHeader, IdReading, Settings};
use crate::error::{Error, Exit};
use crate::finding::RuleChoice;
use crate::sink::{Delivery, Sinks, SnapshotOptions};
use crate::target::cgroup::{is_hex, unit_name};

use super::deadlines::{self, Deadlines};
use super::surges::{self, Surges};
use super::{Engine, deadline_headers, id_headers, show};

const GRACE: Duration = Duration::from_millis(500);
const LEAKS: Leaks = Leaks {
    after: Duration::from_secs(30),
    proved_after: Duration::from_secs(5),
};

const AFTER_HELP: &str = "\
Examples:
  sudo observer run --pid 4121
  sudo observer run --port 8080 --duration 30s --fail-on warning
  sudo observer run --exe shop-api --output json | jq '.message // empty'
  sudo observer run --pid 4121 --rule cancel-ignored --rule detached-context=info
  sudo observer run --exe shop-api --log /var/log/observer.jsonl --quiet
  sudo observer run --unit shop-api --wait
  sudo observer run --all
  sudo observer run --all --facts --output json > host-a.jsonl
  sudo observer run --unit shop-api --snapshot-dir /var/lib/observer

Selectors are united: a process is observed if any of them fits. Processes that start later are
observed too. With --pid alone there are none to come: observer ends when its processes have
ended. Findings and the last line go to stdout, all else to stderr.

In the file only:
  own-packages = [\"example.com/platform\"]    these count as the service's own code
  [[allow]]                                  sites that are as they are on purpose
  site = \"example.com/shop/audit\"            a package, a function, or a prefix of either
  rule = \"detached-context\"                  without it, all rules";

/// Flags of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArgs {
    /// Read settings from this file instead of /etc/observer/observer.toml
    #[arg(long, env = "OBSERVER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Everything that the file can say too.
    #[command(flatten)]
    pub settings: Settings,
}

/// What a process must be to be observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// By pid, in observer's own namespace.
    Pid(u32),
    /// By name or path of the executable; a path where it holds a `/`.
    Exe(String),
    /// By TCP port that it listens on.
    Port(u16),
    /// By unit of systemd, with its kind.
    Unit(String),
    /// By the first digits of its container's ID.
    Container(String),
    /// Every Go process.
    All,
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "--pid {pid}"),
            Self::Exe(exe) => write!(f, "--exe {exe}"),
            Self::Port(port) => write!(f, "--port {port}"),
            Self::Unit(unit) => write!(f, "--unit {unit}"),
            Self::Container(id) => write!(f, "--container {id}"),
            Self::All => write!(f, "--all"),
        }
    }
}

/// How request IDs are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestIds {
    /// Names of headers; the first that is present wins.
    pub headers: Vec<String>,
    /// When they are read.
    pub reading: IdReading,
}

/// Switches for benchmarks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bench {
    /// Where probes sit.
    pub sites: BenchSites,
    /// What they do.
    pub programs: BenchPrograms,
    /// Size of the ring buffer, bytes; `None` for the usual one.
    pub ring_bytes: Option<u32>,
}

/// When a goroutine that has outlived its request is a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaks {
    /// By its age alone.
    pub after: Duration,
    /// Where memory proves that nothing can wake it.
    pub proved_after: Duration,
}

/// Everything that observing depends on, besides where output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// United; at least one.
    pub selectors: Vec<Selector>,
    /// Begin also where nothing fits yet.
    pub wait: bool,
    /// End after this time.
    pub duration: Option<Duration>,
    /// Which rules run.
    pub rules: RuleChoice,
    /// How long work may go on after a cancel, a close or a request's end.
    pub grace: Duration,
    /// How long a goroutine may outlive its request in one wait.
    pub leaks: Leaks,
    /// When goroutines have become too many.
    pub surges: Surges,
    /// Where what they do is written then.
    pub snapshots: Option<SnapshotOptions>,
    /// What deadlines are measured by.
    pub deadlines: Deadlines,
    /// Follow the goroutines that requests start.
    pub goroutines: bool,
    /// How request IDs are found.
    pub request_ids: RequestIds,
    /// Headers in which callers say how long they wait; the first that is present wins.
    pub deadline_headers: Vec<DeadlineHeader>,
    /// Never let a request's path out of the model; routes only.
    pub redact_path: bool,
    /// Import path prefixes that count as the main module.
    pub own_packages: Vec<String>,
    /// Write raw events here.
    pub record: Option<PathBuf>,
    /// Tell of every request and every call.
    pub facts: bool,
    /// For benchmarks.
    pub bench: Bench,
}

impl Options {
    /// Observing ends when the processes have: nothing but pids was asked for.
    #[must_use]
    pub fn ends_with_processes(&self) -> bool {
        let is_pid = |selector: &Selector| matches!(selector, Selector::Pid(_));
        self.selectors.iter().all(is_pid)
    }

    /// What `settings` mean, defaults filled in.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing is selected or a value makes no sense.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let pids = settings.pid.iter().flatten().copied().map(Selector::Pid);
        let exes = settings.exe.iter().flatten().cloned().map(Selector::Exe);
        let ports = settings.port.iter().flatten().copied().map(Selector::Port);
        let units = settings.unit.iter().flatten();
        let units = units.map(|unit| Selector::Unit(unit_name(unit)));
        let all = settings.all.unwrap_or(false).then_some(Selector::All);
        let mut selectors: Vec<Selector> = pids
            .chain(exes)
            .chain(ports)
            .chain(units)
            .chain(all)
            .collect();
        for id in settings.container.iter().flatten() {
            selectors.push(Selector::Container(container_id(id)?));
        }
        if selectors.is_empty() {
            return Err(Error::Usage {
                problem: "nothing is selected".into(),
                remedy: "name a process: `observer run --pid PID`; list them: `observer ps`".into(),
            });
        }
        if settings.duration.is_some_and(|span| span.0.is_zero()) {
            return Err(Error::Usage {
                problem: "with --duration 0 it would end before it has seen anything".into(),
                remedy: "leave it out to observe until Ctrl-C, or name a time: `--duration 30s`"
                    .into(),
            });
        }
        let request_ids = RequestIds {
            headers: id_headers::of(settings)?,
            reading: settings.request_ids.unwrap_or_default(),
        };
        Ok(Self {
            selectors,
            wait: settings.wait.unwrap_or(false),
            duration: settings.duration.map(|span| span.0),
            rules: show::rules(settings),
            grace: settings.grace.map_or(GRACE, |span| span.0),
            leaks: settings.leak_after.map_or(LEAKS, |span| Leaks {
                after: span.0,
                proved_after: span.0,
            }),
            surges: surges::of(settings)?,
            snapshots: surges::snapshots(settings)?,
            deadlines: deadlines::of(settings),
            goroutines: settings.goroutines.unwrap_or(false),
            deadline_headers: deadline_headers::of(settings, &request_ids.headers)?,
            request_ids,
            redact_path: settings.redact_path.unwrap_or(false),
            own_packages: settings.own_packages.clone().unwrap_or_default(),
            record: settings.record.clone(),
            facts: settings.facts.unwrap_or(false),
            bench: Bench {
                sites: settings.bench_sites.unwrap_or_default(),
                programs: settings.bench_programs.unwrap_or_default(),
                ring_bytes: settings.bench_ring.and_then(|size| size.0.try_into().ok()),
            },
        })
    }
}

/// The digits that runtimes show of a container's ID are enough, and fewer are not.
fn container_id(given: &str) -> Result<String, Error> {
    const SHOWN: usize = 12;
    let id = given.to_ascii_lowercase();
    if is_hex(&id) && id.len() >= SHOWN {
        return Ok(id);
    }
    Err(Error::Usage {
        problem: format!(
            "`{given}` is not the ID of a container, which is all that the kernel knows of it"
        ),
        remedy: format!(
            "give at least {SHOWN} digits of it: \
             `observer run --container \"$(docker inspect --format '{{{{.Id}}}}' {given})\"`, or see `crictl ps`"
        ),
    })
}

/// Runs it.
pub(super) fn run(args: RunArgs, engine: &impl Engine) -> Result<Exit, Error> {
    let file = config::from_file(args.config.as_deref())?;
    let settings = args.settings.over(file);
    super::warn_of_variables(settings.color);
    let options = Options::new(&settings)?;
    let sinks = show::sink_options(&settings, Delivery::Bounded)?;
    let mut sinks = Sinks::open(sinks)?;
    let ran = engine.run(&options, &mut sinks);
    // What was found before a failure is written all the same.
    let delivered = sinks.finish();
    ran.and(delivered)
}
