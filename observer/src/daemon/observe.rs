//! `run`: the loop that feeds the core and hands out what it finds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use observer_common::limits::RING_BYTES;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::run::Options;
use crate::config::BenchPrograms;
use crate::correlate;
use crate::detect::Engine;
use crate::error::{Error, Notice};
use crate::go::ImageCache;
use crate::model::Limits;
use crate::probe::{Kernel, Ring};
use crate::record::Recorder;
use crate::sink::{End, EndReason, Losses, Output, Sinks, SnapshotFolder};
use crate::stream::{Event, Order, decode, executed};
use crate::target::{FileId, Host};

use super::arrivals::Arrivals;
use super::attach::{Attacher, Observed};
use super::clock;
use super::code::LiveCode;
use super::cost::Cost;
use super::families::Families;
use super::listings::Listings;
use super::looks::Looks;
use super::rates::Rates;
use super::select::Selection;
use super::sockets::Sockets;
use super::subject::Target;
use super::tallies::Tallies;
use super::{errors, host, select, subject, thresholds};

/// How often the ring is read when nothing wakes us.
const TICK: Duration = Duration::from_millis(20);
/// Records taken between two looks at timers and signals.
const BATCH: usize = 16_384;
/// Batches between two looks at signals.
const BATCHES: usize = 8;
/// Between two `stats` lines, ns.
const STATS_NS: u64 = 10_000_000_000;
/// By how much the wall clock may differ from what the core believes, ns: it is slewed all the time.
const CLOCK_NS: u64 = 5_000_000;

/// Observes until something ends it.
pub(super) fn run(options: &Options, sinks: &mut Sinks) -> Result<(), Error> {
    let clock = clock::wall();
    sinks.set_clock(clock);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Internal {
            what: "starting the runtime".into(),
            source: Some(source.into()),
        })?;
    let stop = {
        let _context = runtime.enter();
        Stop::catch()?
    };
    allow_many_descriptors();
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let host = Host::check();
    if let Some(error) = errors::of_host(&host) {
        return Err(error);
    }
    let targets = Targets::open(options)?;
    let thresholds = thresholds::of(options);
    let snapshots = options.snapshots.clone().map(SnapshotFolder::open);
    let snapshots = snapshots.transpose()?;
    let recorder = options
        .record
        .as_deref()
        .map(|path| {
            let header = host::recording(clock, &thresholds, options.facts);
            Recorder::create(path, &header)
        })
        .transpose()?;
    let ring_bytes = options.bench.ring_bytes.unwrap_or(RING_BYTES);
    let (mut kernel, ring) =
        Kernel::load_with_ring(ring_bytes).map_err(|error| errors::of_probe(&release, error))?;
    let sockets = match options.bench.programs {
        BenchPrograms::Full => Sockets::watch(&mut kernel),
        BenchPrograms::Empty => Sockets::off(),
    };
    let selection = Selection::of(options);
    let attacher = Attacher::new(
        options,
        release,
        &thresholds,
        selection.is_some(),
        targets.per_executable(),
    );
    if selection.is_some()
        && let Err(error) = kernel.watch_starts()
    {
        sinks.emit(Output::Notice(Notice::NoStarts {
            why: errors::chain(&error),
        }));
    }
    let cost = Cost::begin();
    let mut loop_ = Loop {
        families: Families::default(),
        tallies: Tallies::default(),
        listings: Listings::default(),
        looks: Looks::new(snapshots),
        said: Vec::new(),
        code: LiveCode::new(recorder.is_some()),
        engine: Engine::new(
            Limits::default(),
            thresholds,
            clock.realtime_minus_monotonic_ns,
        ),
        kernel,
        sockets,
        ring,
        order: Order::default(),
        attacher,
        arrivals: selection.map(Arrivals::of),
        observed: Vec::new(),
        has_observed: false,
        refusals: HashSet::new(),
        cache: targets.cache,
        own_packages: options.own_packages.clone(),
        recorder,
        begun_ns: cost.begun_ns(),
        cost,
        realtime_ns: clock.realtime_minus_monotonic_ns,
        rates: Rates::begin(clock::now_ns()),
        follows: options.goroutines,
        stats_ns: clock::now_ns(),
        identity_ns: clock::now_ns(),
        malformed: 0,
        reported: Losses::new(),
        unknown: 0,
        ends_with_processes: options.ends_with_processes(),
        duration: options.duration,
        host: Arc::new(host::this()),
    };
    if options.facts {
        loop_.engine.tell_all();
    }
    for target in targets.named {
        loop_.observe(target, sinks)?;
    }
    loop_.begin_with(targets.found, targets.refused, options.wait, sinks)?;
    runtime.block_on(loop_.run(stop, sinks))
}

/// Processes that are there at the start, understood.
struct Targets {
    cache: ImageCache,
    /// Asked for by pid: all of them, or nothing.
    named: Vec<Target>,
    /// Found by other selectors.
    found: Vec<Target>,
    /// Found, and not understood.
    refused: Vec<(u32, Error)>,
}

impl Targets {
    /// All that the selectors name now.
    fn open(options: &Options) -> Result<Self, Error> {
        let chosen = select::pids(options)?;
        let mut targets = Self {
            cache: ImageCache::default(),
            named: Vec::new(),
            found: Vec::new(),
            refused: Vec::new(),
        };
        for pid in chosen.named {
            let target = subject::open(pid, &mut targets.cache, &options.own_packages)?;
            targets.named.push(target);
        }
        for pid in chosen.found {
            match subject::open(pid, &mut targets.cache, &options.own_packages) {
                Ok(target) => targets.found.push(target),
                Err(error) => targets.refused.push((pid, error)),
            }
        }
        let nobody = targets.named.is_empty() && targets.found.is_empty();
        if nobody && !options.wait && !targets.refused.is_empty() {
            return Err(targets.refused.swap_remove(0).1);
        }
        Ok(targets)
    }

    fn per_executable(&self) -> HashMap<FileId, usize> {
        let mut shared: HashMap<FileId, usize> = HashMap::new();
        for target in self.named.iter().chain(&self.found) {
            *shared.entry(target.process.identity.exe).or_default() += 1;
        }
        shared
    }
}

/// What asks us to end. Caught before anything is attached, so that nobody who asks early ends us without a summary.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Needs the runtime's context.
    fn catch() -> Result<Self, Error> {
        let catch = |kind| {
            signal(kind).map_err(|source| Error::Internal {
                what: "catching signals".into(),
                source: Some(source.into()),
            })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }
}

/// Each probe holds a descriptor, and each process some more. Where it is refused, attaching will say so.
fn allow_many_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _refused = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Everything that observing is made of, and its one thread.
pub(super) struct Loop {
    pub(super) kernel: Kernel,
    pub(super) sockets: Sockets,
    ring: Ring,
    pub(super) engine: Engine,
    order: Order,
    pub(super) code: LiveCode,
    pub(super) families: Families,
    pub(super) tallies: Tallies,
    pub(super) listings: Listings,
    pub(super) looks: Looks,
    /// What there is to say of questions.
    pub(super) said: Vec<Notice>,
    pub(super) attacher: Attacher,
    /// Processes to come; `None` where only those of the start are wanted.
    pub(super) arrivals: Option<Arrivals>,
    pub(super) observed: Vec<Observed>,
    /// Something was observed at some time.
    pub(super) has_observed: bool,
    /// What was said of executables that cannot be observed.
    pub(super) refusals: HashSet<(FileId, String)>,
    pub(super) cache: ImageCache,
    pub(super) own_packages: Vec<String>,
    pub(super) recorder: Option<Recorder>,
    pub(super) cost: Cost,
    pub(super) begun_ns: u64,
    /// Realtime minus monotonic clock as the core believes it, ns.
    pub(super) realtime_ns: i64,
    /// Goroutines of requests are followed.
    pub(super) follows: bool,
    pub(super) rates: Rates,
    stats_ns: u64,
    pub(super) identity_ns: u64,
    pub(super) malformed: u64,
    pub(super) reported: Losses,
    pub(super) unknown: u64,
    ends_with_processes: bool,
    duration: Option<Duration>,
    host: Arc<correlate::Host>,
}

impl Loop {
    async fn run(mut self, mut stop: Stop, sinks: &mut Sinks) -> Result<(), Error> {
        let failed = |source: std::io::Error| Error::Internal {
            what: "waiting for events".into(),
            source: Some(source.into()),
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let until = self.duration.map(|span| tokio::time::Instant::now() + span);
        let fd = self.ring.waker().map_err(failed)?;
        // SAFETY: `AsyncFd` owns the descriptor, so it stays open and the same while registered.
        let ready = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
            .map_err(|error| failed(error.into()))?;
        let mut behind = false;
        let why = loop {
            let ended = tokio::select! {
                _ = stop.interrupt.recv() => Some(EndReason::Signal),
                _ = stop.terminate.recv() => Some(EndReason::Signal),
                () = at(until) => Some(EndReason::Duration),
                () = std::future::ready(()), if behind => None,
                _ = tick.tick() => None,
                guard = ready.readable() => {
                    guard.map_err(failed)?.clear_ready();
                    None
                }
            };
            behind = !self.pump(sinks)?;
            behind |= self.housekeeping(sinks)?;
            if let Some(why) = ended {
                break why;
            }
            if sinks.is_closed() {
                break EndReason::OutputClosed;
            }
            if self.observed.is_empty() && self.ends_with_processes {
                break EndReason::ProcessesEnded;
            }
        };
        self.end(why, sinks)
    }

    /// Takes in what waits in the ring and lets time pass once it is empty. False when so much
    /// came meanwhile that it is not: signals must be heard in between.
    pub(super) fn pump(&mut self, sinks: &mut Sinks) -> Result<bool, Error> {
        let mut empty = false;
        self.notice_clock();
        for _ in 0..BATCHES {
            // Read before draining: whatever happened before it is in the ring by then.
            let now_ns = clock::now_ns();
            empty = self.take_batch(sinks)? < BATCH;
            self.answer_questions();
            if empty {
                self.notice_trailing_loss(sinks)?;
                self.engine.tick(now_ns, &self.code);
                if let Some(recorder) = &mut self.recorder {
                    recorder.resolved(self.code.take_noted());
                    recorder.tick(now_ns);
                }
                self.answer_questions();
            }
            self.hand_out(sinks);
            if empty {
                break;
            }
        }
        Ok(empty)
    }

    /// What the core has to say.
    fn hand_out(&mut self, sinks: &mut Sinks) {
        for emission in self.engine.take_emitted() {
            sinks.emit(emission);
        }
        for told in self.engine.take_told() {
            sinks.emit(Output::Told(told, Arc::clone(&self.host)));
        }
    }

    /// The wall clock may have been stepped: deadlines by the wall clock mean the new one.
    fn notice_clock(&mut self) {
        let realtime_ns = clock::wall().realtime_minus_monotonic_ns;
        if realtime_ns.abs_diff(self.realtime_ns) < CLOCK_NS {
            return;
        }
        self.realtime_ns = realtime_ns;
        self.engine.clock(realtime_ns);
        if let Some(recorder) = &mut self.recorder {
            recorder.clock(realtime_ns);
        }
    }

    /// A loss that no record followed: without it, timers would judge what is not whole.
    fn notice_trailing_loss(&mut self, sinks: &mut Sinks) -> Result<(), Error> {
        let mark = self
            .kernel
            .loss_mark()
            .map_err(|error| errors::of_probe("", error))?;
        if self.order.lost_by(mark) {
            self.unknown += self.engine.loss();
            if let Some(recorder) = &mut self.recorder {
                recorder.loss();
            }
            self.say_loss(sinks)?;
        }
        Ok(())
    }

    fn take_batch(&mut self, sinks: &mut Sinks) -> Result<usize, Error> {
        let Self {
            ring,
            sockets,
            engine,
            order,
            code,
            recorder,
            malformed,
            unknown,
            arrivals,
            ..
        } = self;
        let mut lost = false;
        let mut replaced = Vec::new();
        let taken = ring.drain(BATCH, |bytes| {
            if let Some((pid, at_ns)) = executed(bytes) {
                if let Some(arrivals) = arrivals {
                    arrivals.executed(pid);
                }
                if let Some(why) = code.target(pid).and_then(|old| old.outlived_by(at_ns)) {
                    engine.process_ended(pid);
                    code.forget(pid);
                    replaced.push((pid, why));
                    if let Some(recorder) = recorder {
                        recorder.process_ended(pid);
                    }
                }
                return;
            }
            let Some(event) = decode(bytes) else {
                *malformed += 1;
                return;
            };
            if order.lost_before(&event) {
                lost = true;
                *unknown += engine.loss();
                if let Some(recorder) = recorder {
                    recorder.loss();
                }
            }
            let known = match &event {
                Event::SocketChanged(record) => sockets.note(record),
                // Unknown: the last words of a process that is gone, or the first of one that took its pid.
                _ => code.target(event.header().pid).is_some(),
            };
            if !known {
                return;
            }
            let now_ns = order.time_ns(&event);
            engine.event(event, now_ns, &*code);
            if let Some(recorder) = recorder {
                recorder.resolved(code.take_noted());
                recorder.event(now_ns, bytes);
            }
        });
        for (pid, why) in replaced {
            self.part_with(pid, why, sinks)?;
        }
        if lost {
            self.say_loss(sinks)?;
        }
        let nodes = self.code.take_nodes();
        self.attacher
            .note_nodes(&mut self.kernel, &self.observed, nodes)?;
        self.sockets
            .watch_noted(&mut self.kernel)
            .map_err(|error| errors::of_probe("", error))?;
        Ok(taken)
    }

    /// Whatever has to be done now and then. True when there is more to do at once.
    fn housekeeping(&mut self, sinks: &mut Sinks) -> Result<bool, Error> {
        let now_ns = clock::now_ns();
        self.cost.tick(now_ns);
        for what in self.kernel.complaints() {
            sinks.emit(Output::Notice(Notice::Probe { what }));
        }
        self.say_rest(sinks);
        self.part_with_the_dead(sinks)?;
        let more = self.admit(sinks)?;
        if now_ns.saturating_sub(self.stats_ns) >= STATS_NS {
            self.stats_ns = now_ns;
            self.say_loss(sinks)?;
            let stats = self.stats()?;
            sinks.emit(Output::Stats(stats));
        }
        Ok(more)
    }

    /// Prints first: detaching takes the kernel up to 0.1 s a site.
    fn end(mut self, why: EndReason, sinks: &mut Sinks) -> Result<(), Error> {
        self.attacher.silence(&mut self.kernel)?;
        let of_probe = |error| errors::of_probe("", error);
        self.kernel.silence_sockets().map_err(of_probe)?;
        while !self.pump(sinks)? {}
        self.settle();
        self.say_rest(sinks);
        let end_ns = clock::now_ns();
        self.engine.tell_rest(end_ns, &self.code);
        self.engine.finish(end_ns);
        self.hand_out(sinks);
        self.say_loss(sinks)?;
        let stats = self.stats()?;
        sinks.emit(Output::Stats(stats.clone()));
        sinks.emit(Output::End(End { why, stats }));
        let recorder = self.recorder.take();
        let recorded = recorder.map_or(Ok(()), |recorder| recorder.finish(end_ns));
        self.attacher.detach_all();
        recorded
    }
}

async fn at(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
