//! `replay`: the core fed from a recording instead of a kernel.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cli::replay::Options;
use crate::detect::{Ask, Engine};
use crate::error::{Error, Notice};
use crate::go::{Frame, TypeName};
use crate::model::{Code, Handed, Limits, Unit};
use crate::record::{Entry, Reader, Resolved};
use crate::sink::{Clock, DeliveryTimes, End, EndReason, Output, Sinks, Stats};
use crate::stream::decode;

/// Questions that wait for their answer at once.
const OPEN: usize = 1024;

/// Answers as they were recorded.
#[derive(Debug, Default)]
struct RecordedCode {
    frames: FxHashMap<(u32, u64), Arc<[Frame]>>,
    types: FxHashMap<(u32, u64), Option<Arc<TypeName>>>,
    functions: FxHashMap<(u32, u64), Option<Arc<Frame>>>,
    handed: FxHashMap<(u32, u64, u64), Handed>,
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

    fn unit(&self, pid: u32) -> Option<Arc<Unit>> {
        self.units.get(&pid).map(Arc::clone)
    }
}

/// Replays.
///
/// # Errors
/// The file is no recording, too new, or damaged.
pub(super) fn run(options: &Options, sinks: &mut Sinks) -> Result<(), Error> {
    let mut reader = Reader::open(&options.file)?;
    let header = reader.header();
    let clock = Clock {
        realtime_minus_monotonic_ns: header.realtime_minus_monotonic_ns,
    };
    sinks.set_clock(clock);
    let mut engine = Engine::new(
        Limits::default(),
        header.thresholds.clone(),
        header.realtime_minus_monotonic_ns,
    );
    let mut code = RecordedCode::default();
    let mut open: Vec<Ask> = Vec::new();
    let (mut begun_ns, mut now_ns, mut whole) = (None, 0, false);
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Event(at_ns, words) => {
                now_ns = at_ns.max(now_ns);
                if let Some(event) = decode(zerocopy::IntoBytes::as_bytes(words.as_slice())) {
                    engine.event(event, at_ns, &code);
                }
            }
            Entry::Loss => {
                engine.loss();
            }
            Entry::Clock(realtime_minus_monotonic_ns) => {
                engine.clock(realtime_minus_monotonic_ns);
            }
            Entry::Tick(at_ns) => {
                now_ns = at_ns.max(now_ns);
                engine.tick(at_ns, &code);
            }
            Entry::Answer(at_ns, answered) => {
                let asked = |ask: &Ask| {
                    ask.pid == answered.ask.pid && ask.question == answered.ask.question
                };
                if let Some(place) = open.iter().position(asked) {
                    let ask = open.remove(place);
                    engine.answer(ask.id, &answered.answer, at_ns, &code);
                }
            }
            Entry::Resolved(resolved) => code.learn(*resolved),
            Entry::ProcessEnded(pid) => {
                engine.process_ended(pid);
                code.forget(pid);
            }
            Entry::End(at_ns) => {
                now_ns = at_ns;
                whole = true;
                engine.finish(at_ns);
            }
        }
        begun_ns = begun_ns.or((now_ns > 0).then_some(now_ns));
        open.extend(engine.take_asks());
        // A question that was not asked while recording has no answer.
        let excess = open.len().saturating_sub(OPEN);
        open.drain(..excess);
        for emission in engine.take_emitted() {
            sinks.emit(emission);
        }
    }
    if !whole {
        sinks.emit(Output::Notice(Notice::RecordingUnfinished {
            path: options.file.clone(),
        }));
        engine.finish(now_ns);
        for emission in engine.take_emitted() {
            sinks.emit(emission);
        }
    }
    let totals = engine.totals();
    let stats = Stats {
        time_ns: now_ns,
        duration_ns: now_ns.saturating_sub(begun_ns.unwrap_or(now_ns)),
        requests: totals.requests,
        requests_unknown: totals.unknown,
        traceparents_broken: totals.traces_broken,
        deadlines_broken: totals.deadlines_broken,
        events: totals.events,
        delivery: DeliveryTimes::of(engine.delivery()),
        health: engine.health(),
        joins: engine.joins(),
        ..Stats::default()
    };
    sinks.emit(Output::Stats(stats.clone()));
    sinks.emit(Output::End(End {
        why: EndReason::RecordingEnded,
        stats,
    }));
    Ok(())
}
