//! `run`: the loop that feeds the core and hands out what it finds.

use std::collections::HashMap;
use std::time::Duration;

use observer_common::hook::Counter;
use observer_common::limits::RING_BYTES;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::run::Options;
use crate::detect::Engine;
use crate::error::{Error, Notice};
use crate::go::ImageCache;
use crate::model::Limits;
use crate::probe::{Counters, Kernel, Ring};
use crate::record::{Answered, Recorder, RecordingHeader};
use crate::sink::{End, EndReason, Loss, LossCause, Losses, Output, Sinks, Stats};
use crate::stream::{Order, decode};
use crate::target::{FileId, Host, Still};

use super::attach::{Attacher, Observed};
use super::clock;
use super::code::LiveCode;
use super::cost::Cost;
use super::{errors, inspector, select, subject, thresholds};

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
/// Between two looks at whether the processes are still the same, ns.
const IDENTITY_NS: u64 = 250_000_000;

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
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let host = Host::check();
    if let Some(error) = errors::of_host(&host) {
        return Err(error);
    }
    let pids = select::pids(options)?;
    let mut cache = ImageCache::default();
    let mut targets = Vec::new();
    for pid in pids {
        targets.push(subject::open(pid, &mut cache, &options.own_packages)?);
    }
    let mut shared: HashMap<FileId, usize> = HashMap::new();
    for target in &targets {
        *shared.entry(target.process.identity.exe).or_default() += 1;
    }
    let thresholds = thresholds::of(options);
    let recorder = options
        .record
        .as_deref()
        .map(|path| Recorder::create(path, &RecordingHeader::new(clock, &thresholds)))
        .transpose()?;
    let ring_bytes = options.bench.ring_bytes.unwrap_or(RING_BYTES);
    let (mut kernel, ring) =
        Kernel::load_with_ring(ring_bytes).map_err(|error| errors::of_probe(&release, error))?;
    let mut code = LiveCode::new(recorder.is_some());
    let mut observed = Vec::new();
    let mut starts = Vec::new();
    let cost = Cost::begin();
    {
        let mut attacher = Attacher::new(
            &mut kernel,
            options,
            &release,
            thresholds.id_headers.clone(),
            shared,
        );
        for target in targets {
            let outcome = attacher.attach(target)?;
            code.add(std::sync::Arc::clone(&outcome.observed.target));
            observed.push(outcome.observed);
            starts.push((outcome.start, outcome.notices));
        }
    }
    for (start, notices) in starts {
        sinks.emit(Output::Start(Box::new(start)));
        for notice in notices {
            sinks.emit(Output::Notice(notice));
        }
    }
    let engine = Engine::new(
        Limits::default(),
        thresholds,
        clock.realtime_minus_monotonic_ns,
    );
    let loop_ = Loop {
        kernel,
        ring,
        engine,
        order: Order::default(),
        code,
        observed,
        recorder,
        begun_ns: cost.begun_ns(),
        cost,
        realtime_ns: clock.realtime_minus_monotonic_ns,
        stats_ns: clock::now_ns(),
        identity_ns: clock::now_ns(),
        malformed: 0,
        reported: Losses::new(),
        unknown: 0,
        ends_with_processes: options.ends_with_processes(),
        duration: options.duration,
    };
    runtime.block_on(loop_.run(stop, sinks))
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

struct Loop {
    kernel: Kernel,
    ring: Ring,
    engine: Engine,
    order: Order,
    code: LiveCode,
    observed: Vec<Observed>,
    recorder: Option<Recorder>,
    cost: Cost,
    begun_ns: u64,
    /// Realtime minus monotonic clock as the core believes it, ns.
    realtime_ns: i64,
    stats_ns: u64,
    identity_ns: u64,
    malformed: u64,
    reported: Losses,
    unknown: u64,
    ends_with_processes: bool,
    duration: Option<Duration>,
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
            self.housekeeping(sinks)?;
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
    fn pump(&mut self, sinks: &mut Sinks) -> Result<bool, Error> {
        let mut empty = false;
        self.notice_clock()?;
        for _ in 0..BATCHES {
            // Read before draining: whatever happened before it is in the ring by then.
            let now_ns = clock::now_ns();
            empty = self.take_batch(sinks)? < BATCH;
            self.answer_questions()?;
            if empty {
                self.notice_trailing_loss(sinks)?;
                self.engine.tick(now_ns, &self.code);
                if let Some(recorder) = &mut self.recorder {
                    recorder.resolved(self.code.take_noted())?;
                    recorder.tick(now_ns)?;
                }
                self.answer_questions()?;
            }
            for emission in self.engine.take_emitted() {
                sinks.emit(emission);
            }
            if empty {
                break;
            }
        }
        Ok(empty)
    }

    /// The wall clock may have been stepped: deadlines by the wall clock mean the new one.
    fn notice_clock(&mut self) -> Result<(), Error> {
        let realtime_ns = clock::wall().realtime_minus_monotonic_ns;
        if realtime_ns.abs_diff(self.realtime_ns) < CLOCK_NS {
            return Ok(());
        }
        self.realtime_ns = realtime_ns;
        self.engine.clock(realtime_ns);
        match &mut self.recorder {
            Some(recorder) => recorder.clock(realtime_ns),
            None => Ok(()),
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
                recorder.loss()?;
            }
            self.say_loss(sinks)?;
        }
        Ok(())
    }

    fn take_batch(&mut self, sinks: &mut Sinks) -> Result<usize, Error> {
        let Self {
            ring,
            engine,
            order,
            code,
            recorder,
            malformed,
            unknown,
            ..
        } = self;
        let mut failure = None;
        let mut lost = false;
        let taken = ring.drain(BATCH, |bytes| {
            let Some(event) = decode(bytes) else {
                *malformed += 1;
                return;
            };
            if order.lost_before(&event) {
                lost = true;
                *unknown += engine.loss();
                if let Some(recorder) = recorder {
                    failure = failure.take().or(recorder.loss().err());
                }
            }
            let now_ns = order.time_ns(&event);
            engine.event(event, now_ns, &*code);
            if let Some(recorder) = recorder {
                let noted = recorder.resolved(code.take_noted());
                let written = noted.and_then(|()| recorder.event(now_ns, bytes));
                failure = failure.take().or(written.err());
            }
        });
        if lost {
            self.say_loss(sinks)?;
        }
        failure.map_or(Ok(taken), Err)
    }

    fn answer_questions(&mut self) -> Result<(), Error> {
        loop {
            let asks = self.engine.take_asks();
            if asks.is_empty() {
                return Ok(());
            }
            for ask in asks {
                let answer = match self.code.target(ask.pid) {
                    Some(target) => inspector::answer(target, &ask),
                    None => crate::detect::Answer::Unknown,
                };
                let now_ns = clock::now_ns();
                self.engine.answer(ask.id, &answer, now_ns, &self.code);
                if let Some(recorder) = &mut self.recorder {
                    recorder.resolved(self.code.take_noted())?;
                    recorder.answer(now_ns, &Answered { ask, answer })?;
                }
            }
        }
    }

    fn housekeeping(&mut self, sinks: &mut Sinks) -> Result<(), Error> {
        let now_ns = clock::now_ns();
        self.cost.tick(now_ns);
        for what in self.kernel.complaints() {
            sinks.emit(Output::Notice(Notice::Probe { what }));
        }
        if now_ns.saturating_sub(self.identity_ns) >= IDENTITY_NS {
            self.identity_ns = now_ns;
            self.part_with_the_dead()?;
        }
        if now_ns.saturating_sub(self.stats_ns) >= STATS_NS {
            self.stats_ns = now_ns;
            self.say_loss(sinks)?;
            let stats = self.stats()?;
            sinks.emit(Output::Stats(stats));
        }
        Ok(())
    }

    /// Processes that have ended or execute something else are observed no more.
    fn part_with_the_dead(&mut self) -> Result<(), Error> {
        let gone = |observed: &Observed| observed.target.process.identity.check() != Still::Same;
        let pids: Vec<u32> = self
            .observed
            .iter()
            .filter(|o| gone(o))
            .map(|o| o.target.pid())
            .collect();
        for pid in pids {
            self.observed
                .retain(|observed| observed.target.pid() != pid);
            self.engine.process_ended(pid);
            if let Some(recorder) = &mut self.recorder {
                recorder.process_ended(pid)?;
            }
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters, Error> {
        self.kernel
            .counters()
            .map_err(|error| errors::of_probe("", error))
    }

    fn losses(&self, counters: &Counters) -> Losses {
        let causes = [
            (LossCause::RingFull, counters.total(Counter::RingFull)),
            (
                LossCause::Unreadable,
                counters.total(Counter::ReadGoroutine) + counters.total(Counter::ReadObject),
            ),
            (LossCause::Malformed, self.malformed),
            (LossCause::TableFull, self.engine.totals().evicted),
        ];
        causes.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Says what was lost since the last time, if anything was.
    fn say_loss(&mut self, sinks: &mut Sinks) -> Result<(), Error> {
        let losses = self.losses(&self.counters()?);
        let fresh: Losses = losses
            .iter()
            .map(|(cause, count)| {
                (
                    *cause,
                    count.saturating_sub(self.reported.get(cause).copied().unwrap_or(0)),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let causes: Vec<String> = fresh
            .iter()
            .map(|(cause, count)| format!("{} {count}", cause.label()))
            .collect();
        sinks.emit(Output::Notice(Notice::EventsLost {
            events: fresh.values().sum(),
            causes: causes.join(", "),
        }));
        let requests = std::mem::take(&mut self.unknown);
        let time_ns = clock::now_ns();
        sinks.emit(Output::Loss(Loss {
            time_ns,
            lost: fresh,
            requests,
        }));
        self.reported = losses;
        Ok(())
    }

    fn stats(&self) -> Result<Stats, Error> {
        let counters = self.counters()?;
        let totals = self.engine.totals();
        let now_ns = clock::now_ns();
        Ok(Stats {
            time_ns: now_ns,
            duration_ns: now_ns.saturating_sub(self.begun_ns),
            requests: totals.requests,
            requests_unknown: totals.unknown,
            events: totals.events,
            lost: self.losses(&counters),
            findings_evicted: self.engine.findings_evicted(),
            own_cpu_ns: Some(self.cost.own_cpu_ns()),
            target_cpu_ns: self.cost.target_cpu_ns(&self.kernel, &counters),
        })
    }

    /// Prints first: detaching takes the kernel up to 0.1 s a site.
    fn end(mut self, why: EndReason, sinks: &mut Sinks) -> Result<(), Error> {
        for observed in &self.observed {
            self.kernel
                .silence(observed.slot, &observed.block)
                .map_err(|error| errors::of_probe("", error))?;
        }
        while !self.pump(sinks)? {}
        self.engine.finish(clock::now_ns());
        for emission in self.engine.take_emitted() {
            sinks.emit(emission);
        }
        self.say_loss(sinks)?;
        let stats = self.stats()?;
        sinks.emit(Output::End(End { why, stats }));
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(clock::now_ns())?;
        }
        for observed in &mut self.observed {
            observed.probes.detach_all();
        }
        Ok(())
    }
}

async fn at(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
