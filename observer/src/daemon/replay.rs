//! `replay`: the core fed from a recording instead of a kernel.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cli::replay::Options;
use crate::correlate::Host;
use crate::detect::hop::Below;
use crate::detect::{Ask, Engine, Thresholds};
use crate::error::{Error, Notice};
use crate::finding::{Emission, Finding};
use crate::go::{Frame, TypeName};
use crate::model::{Code, Handed, Limits, Unit};
use crate::record::{Entry, Reader, Resolved};
use crate::sink::{Clock, DeliveryTimes, End, EndReason, GoroutineStats, Output, Sinks, Stats};
use crate::stream::decode;

use super::across::{Gathered, Known, Measures};

/// Questions that wait for their answer at once.
const OPEN: usize = 1024;

/// Answers as they were recorded.
#[derive(Debug, Default)]
struct RecordedCode {
    frames: FxHashMap<(u32, u64), Arc<[Frame]>>,
    types: FxHashMap<(u32, u64), Option<Arc<TypeName>>>,
    functions: FxHashMap<(u32, u64), Option<Arc<Frame>>>,
    handed: FxHashMap<(u32, u64, u64), Handed>,
    queries: FxHashMap<(u32, u64, u64), Option<Arc<str>>>,
    made: FxHashMap<(u32, u64, u64), Arc<[Frame]>>,
    units: FxHashMap<u32, Arc<Unit>>,
}

impl RecordedCode {
    fn learn(&mut self, resolved: Resolved) {
        match resolved {
            Resolved::Frames { pid, pc, frames } => {
                self.frames.insert((pid, pc), frames);
            }
            Resolved::Type { pid, itab, name } => {
                self.types.insert((pid, itab), name);
            }
            Resolved::Function { pid, pc, at } => {
                self.functions.insert((pid, pc), at);
            }
            Resolved::Handed {
                pid,
                pc,
                address,
                places,
            } => {
                self.handed.insert((pid, pc, address), places);
            }
            Resolved::Query {
                pid,
                address,
                len,
                name,
            } => {
                self.queries.insert((pid, address, len), name);
            }
            Resolved::Made {
                pid,
                pc,
                itab,
                frames,
            } => {
                self.made.insert((pid, pc, itab), frames);
            }
            Resolved::Unit { pid, unit } => {
                self.units.insert(pid, unit);
            }
        }
    }
}

impl RecordedCode {
    /// As the live observer did.
    fn forget(&mut self, pid: u32) {
        self.frames.retain(|(of, _), _| *of != pid);
        self.types.retain(|(of, _), _| *of != pid);
        self.functions.retain(|(of, _), _| *of != pid);
        self.handed.retain(|(of, _, _), _| *of != pid);
        self.queries.retain(|(of, _, _), _| *of != pid);
        self.made.retain(|(of, _, _), _| *of != pid);
        self.units.remove(&pid);
    }
}

impl Code for RecordedCode {
    fn frames(&self, pid: u32, pc: u64) -> Arc<[Frame]> {
        self.frames
            .get(&(pid, pc))
            .map_or_else(|| Arc::from([]), Arc::clone)
    }

    fn type_of(&self, pid: u32, itab: u64) -> Option<Arc<TypeName>> {
        self.types.get(&(pid, itab)).cloned().flatten()
    }

    fn function(&self, pid: u32, pc: u64) -> Option<Arc<Frame>> {
        self.functions.get(&(pid, pc)).cloned().flatten()
    }

    fn handed(&self, pid: u32, pc: u64, address: u64) -> Handed {
        self.handed
            .get(&(pid, pc, address))
            .map_or_else(|| Arc::from([]), Arc::clone)
    }

    fn query(&self, pid: u32, address: u64, len: u64) -> Option<Arc<str>> {
        self.queries.get(&(pid, address, len)).cloned().flatten()
    }

    fn made_for(&self, pid: u32, pc: u64, itab: u64) -> Arc<[Frame]> {
        self.made
            .get(&(pid, pc, itab))
            .map_or_else(|| Arc::from([]), Arc::clone)
    }

    fn unit(&self, pid: u32) -> Option<Arc<Unit>> {
        self.units.get(&pid).map(Arc::clone)
    }
}

/// Replays.
///
/// # Errors
/// A file is no recording, too new, or damaged.
pub(super) fn run(options: &Options, sinks: &mut Sinks) -> Result<(), Error> {
    match &options.files[..] {
        [file] => one(file, sinks),
        files => several(files, sinks),
    }
}

/// One recording: what was shown when it was made.
fn one(path: &Path, sinks: &mut Sinks) -> Result<(), Error> {
    let mut played = Played::open(path)?;
    sinks.set_clock(played.clock);
    while played.step() {
        for emission in played.engine.take_emitted() {
            sinks.emit(emission);
        }
        // A replay shows findings; what else the run told of is not kept.
        drop(played.engine.take_told());
    }
    if played.is_cut() {
        sinks.emit(unfinished(path));
    }
    for emission in played.engine.take_emitted() {
        sinks.emit(emission);
    }
    let stats = played.stats();
    sinks.emit(Output::Stats(stats.clone()));
    sinks.emit(Output::End(End {
        why: EndReason::RecordingEnded,
        stats,
    }));
    played.damage.map_or(Ok(()), Err)
}

/// Recordings of several observers: what each has shown, by time, and then what goes on between them.
fn several(files: &[PathBuf], sinks: &mut Sinks) -> Result<(), Error> {
    let mut gathered = Gathered::of_engines();
    let mut shown: Vec<(i128, Clock, Emission)> = Vec::new();
    let mut measures: Option<Measures> = None;
    let mut totals = Stats::default();
    let mut damage = None;
    for (source, path) in files.iter().enumerate() {
        let mut played = Played::open(path)?;
        let clock = played.clock;
        let thresholds = played.thresholds.clone();
        let measured = measures.get_or_insert_with(|| Measures {
            grace_ns: thresholds.grace_ns,
            deadlines: thresholds.deadlines.clone(),
        });
        measured.grace_ns = measured.grace_ns.max(thresholds.grace_ns);
        played.engine.tell_all();
        loop {
            let goes_on = played.step();
            if !goes_on {
                played.engine.tell_rest(played.now_ns, &played.code);
            }
            for emission in played.engine.take_emitted() {
                let (Emission::Finding(finding) | Emission::Update(finding, _)) = &emission;
                note(&mut gathered, source, finding, clock);
                let at_ns =
                    i128::from(finding.time_ns) + i128::from(clock.realtime_minus_monotonic_ns);
                shown.push((at_ns, clock, emission));
            }
            for mut told in played.engine.take_told() {
                told.shift(clock.realtime_minus_monotonic_ns);
                gathered.take(told, &played.host, source);
            }
            if !goes_on {
                break;
            }
        }
        if played.is_cut() {
            sinks.emit(unfinished(path));
        }
        let stats = played.stats();
        damage = damage.or(played.damage);
        totals.requests += stats.requests;
        totals.requests_unknown += stats.requests_unknown;
        totals.traceparents_broken += stats.traceparents_broken;
        totals.deadlines_broken += stats.deadlines_broken;
        totals.events += stats.events;
    }
    shown.sort_by_key(|(at_ns, ..)| *at_ns);
    for (_, clock, emission) in shown {
        sinks.set_clock(clock);
        sinks.emit(emission);
    }
    let Some(measures) = measures else {
        return damage.map_or(Ok(()), Err);
    };
    sinks.set_clock(Clock::default());
    let found = gathered.judge(&measures, sinks);
    for emission in found.emissions {
        sinks.emit(emission);
    }
    let stats = Stats {
        requests: totals.requests,
        requests_unknown: totals.requests_unknown,
        traceparents_broken: totals.traceparents_broken,
        deadlines_broken: totals.deadlines_broken,
        events: totals.events,
        ..found.stats
    };
    let why = EndReason::FilesEnded;
    sinks.emit(Output::End(End { why, stats }));
    damage.map_or(Ok(()), Err)
}

fn unfinished(path: &Path) -> Output {
    let path = path.to_owned();
    Output::Notice(Notice::RecordingUnfinished { path })
}

/// Where a request stood, as a finding about it says.
fn note(gathered: &mut Gathered, source: usize, finding: &Finding, clock: Clock) {
    let Some(request) = &finding.request else {
        return;
    };
    let start = clock.rfc3339(request.start_ns);
    let below = Below {
        site: finding.site.clone(),
        stack: finding.stack.clone(),
        wait_reason: finding.evidence.wait_reason.clone(),
        wait_ns: finding.evidence.wait_ns,
        state: finding.evidence.state,
    };
    let id = finding.id;
    let whose = (source, finding.process.pid, request.goid, start);
    gathered.note(whose, Known { id, below });
}

/// A recording that is being replayed.
struct Played {
    reader: Reader,
    clock: Clock,
    host: Host,
    thresholds: Thresholds,
    engine: Engine,
    code: RecordedCode,
    open: Vec<Ask>,
    begun_ns: Option<u64>,
    now_ns: u64,
    /// Its end was read.
    whole: bool,
    /// What could not be read of it: nothing from there on.
    damage: Option<Error>,
}

impl Played {
    fn open(path: &Path) -> Result<Self, Error> {
        let reader = Reader::open(path)?;
        let header = reader.header();
        let clock = Clock {
            realtime_minus_monotonic_ns: header.realtime_minus_monotonic_ns,
        };
        let thresholds = header.thresholds.clone();
        let named = |name: &Arc<str>| {
            if name.is_empty() {
                // An older one: a host of its own, as far as can be told.
                Arc::from(path.display().to_string())
            } else {
                Arc::clone(name)
            }
        };
        let host = Host {
            name: named(&header.host),
            boot_id: named(&header.boot_id),
        };
        let mut engine = Engine::new(
            Limits::default(),
            thresholds.clone(),
            header.realtime_minus_monotonic_ns,
        );
        if header.facts {
            engine.tell_all();
        }
        Ok(Self {
            reader,
            clock,
            host,
            thresholds,
            engine,
            code: RecordedCode::default(),
            open: Vec::new(),
            begun_ns: None,
            now_ns: 0,
            whole: false,
            damage: None,
        })
    }

    /// It just stops, with its last entry whole: whoever recorded it was killed.
    const fn is_cut(&self) -> bool {
        !self.whole && self.damage.is_none()
    }

    /// Takes the next entry in; false at the end, and at what cannot be read, when everything before it has been.
    fn step(&mut self) -> bool {
        let entry = self.reader.next_entry().unwrap_or_else(|error| {
            self.damage = Some(error);
            None
        });
        let Some(entry) = entry else {
            if !self.whole {
                self.engine.finish(self.now_ns);
            }
            return false;
        };
        self.take(entry);
        self.begun_ns = self.begun_ns.or((self.now_ns > 0).then_some(self.now_ns));
        self.open.extend(self.engine.take_asks());
        // A question that was not asked while recording has no answer.
        let excess = self.open.len().saturating_sub(OPEN);
        self.open.drain(..excess);
        true
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Event(at_ns, words) => {
                self.now_ns = at_ns.max(self.now_ns);
                if let Some(event) = decode(zerocopy::IntoBytes::as_bytes(words.as_slice())) {
                    self.engine.event(event, at_ns, &self.code);
                }
            }
            Entry::Loss => {
                self.engine.loss();
            }
            Entry::Clock(realtime_minus_monotonic_ns) => {
                self.engine.clock(realtime_minus_monotonic_ns);
            }
            Entry::Tick(at_ns) => {
                self.now_ns = at_ns.max(self.now_ns);
                self.engine.tick(at_ns, &self.code);
            }
            Entry::Answer(at_ns, answered) => {
                let asked = |ask: &Ask| {
                    ask.pid == answered.ask.pid && ask.question == answered.ask.question
                };
                if let Some(place) = self.open.iter().position(asked) {
                    let ask = self.open.remove(place);
                    self.engine
                        .answer(ask.id, &answered.answer, at_ns, &self.code);
                }
            }
            Entry::Resolved(resolved) => {
                if let Resolved::Unit { pid, .. } = &*resolved {
                    self.engine.process_started(*pid);
                }
                self.code.learn(*resolved);
            }
            Entry::ProcessEnded(pid) => {
                self.engine.process_ended(pid);
                self.code.forget(pid);
            }
            Entry::End(at_ns) => {
                self.now_ns = at_ns;
                self.whole = true;
                self.engine.finish(at_ns);
            }
        }
    }

    fn stats(&self) -> Stats {
        let totals = self.engine.totals();
        Stats {
            time_ns: self.now_ns,
            duration_ns: self
                .now_ns
                .saturating_sub(self.begun_ns.unwrap_or(self.now_ns)),
            requests: totals.requests,
            requests_unknown: totals.unknown,
            traceparents_broken: totals.traces_broken,
            deadlines_broken: totals.deadlines_broken,
            events: totals.events,
            delivery: DeliveryTimes::of(self.engine.delivery()),
            health: self.engine.health(),
            joins: self.engine.joins(),
            goroutines: GoroutineStats {
                totals: self.engine.goroutines(),
                ..GoroutineStats::default()
            },
            ..Stats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Played;
    use crate::daemon::host;
    use crate::detect::{Deadlines, LeakTimes, SurgeLimits, Thresholds};
    use crate::model::Code as _;
    use crate::record::{Recorder, Resolved};
    use crate::sink::Clock;
    use crate::testkit::{FakeCode, PID, Record, request};

    /// What is told of asks for more, and findings know more by it.
    #[test]
    fn it_tells_of_calls_and_requests_where_the_run_did() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("run.rec");
        let code = FakeCode::default();
        let unit = code.unit(PID).unwrap();
        let thresholds = Thresholds {
            grace_ns: 500_000_000,
            id_headers: Vec::new(),
            leaks: LeakTimes::default(),
            surges: SurgeLimits::default(),
            deadline_headers: Vec::new(),
            deadlines: Deadlines::default(),
            redact_path: false,
        };
        for facts in [false, true] {
            let header = host::recording(Clock::default(), &thresholds, facts);
            let mut recorder = Recorder::create(&path, &header).unwrap();
            recorder.resolved(vec![Resolved::Unit {
                pid: PID,
                unit: unit.clone(),
            }]);
            let Record::Request(record) = request(&code, 10, 0x1000, "GET /report/7") else {
                panic!("no request");
            };
            recorder.event(11, zerocopy::IntoBytes::as_bytes(&*record));
            drop(recorder);
            let mut played = Played::open(&path).unwrap();
            while played.step() {}
            played.engine.tell_rest(played.now_ns, &played.code);
            let told = played.engine.take_told().len();
            assert_eq!(told, usize::from(facts));
        }
    }
}
