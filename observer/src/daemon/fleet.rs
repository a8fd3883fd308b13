//! Processes that come and go while observing goes on.

use std::sync::Arc;

use crate::error::{Error, Exit, Notice};
use crate::sink::{Output, Sinks, Stop, StopReason};
use crate::target::{Still, exe_of};

use super::arrivals::Arrival;
use super::observe::Loop;
use super::subject::Target;
use super::{clock, errors, inspector, select, subject, tallies};

/// Between two looks at whether the processes are still the same, ns.
const IDENTITY_NS: u64 = 250_000_000;
/// Complaints remembered; beyond it all are forgotten, and said again.
const REFUSALS: usize = 1_024;
/// Time spent in one turn on processes whose probes are there already, ns.
const TURN_NS: u64 = 20_000_000;

impl Loop {
    /// Takes in processes that have come: many whose executable is known, or one that is new. True when more wait.
    pub(super) fn admit(&mut self, sinks: &mut Sinks) -> Result<bool, Error> {
        let Some(mut arrivals) = self.arrivals.take() else {
            return Ok(false);
        };
        let begun_ns = clock::now_ns();
        arrivals.tick(begun_ns, self.starts_mark()?);
        let mut outcome = Ok(());
        while let Some(arrival) = arrivals.next(|pid| self.code.target(pid).is_some()) {
            let knew = self.attacher.knows(arrival.exe);
            let admitted = self.take_in(arrival, sinks);
            if let Err(error) = admitted {
                arrivals.refuse(arrival);
                outcome = self.say_refused(arrival, error, arrivals.is_all(), sinks);
            }
            let late = clock::now_ns().saturating_sub(begun_ns) > TURN_NS;
            if !knew || late || outcome.is_err() {
                break;
            }
        }
        let busy = arrivals.is_busy();
        self.arrivals = Some(arrivals);
        outcome.map(|()| busy)
    }

    /// Observes what other selectors than pids have found at the start: as much of it as can be.
    pub(super) fn begin_with(
        &mut self,
        found: Vec<Target>,
        refused: Vec<(u32, Error)>,
        wait: bool,
        sinks: &mut Sinks,
    ) -> Result<(), Error> {
        let mut failures = refused;
        for target in found {
            let pid = target.pid();
            if let Err(error) = self.observe(target, sinks) {
                failures.push((pid, error));
            }
        }
        for (pid, error) in failures {
            if !self.has_observed && !wait {
                return Err(error);
            }
            let found = i32::try_from(pid).ok().and_then(exe_of);
            let Some((exe, _)) = found else { continue };
            let arrival = Arrival { pid, exe };
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.refuse(arrival);
            }
            self.say_refused(arrival, Refusal::NotAttached(error), false, sinks)?;
        }
        Ok(())
    }

    fn starts_mark(&self) -> Result<u64, Error> {
        self.kernel
            .starts_mark()
            .map_err(|error| errors::of_probe("", error))
    }

    fn take_in(&mut self, arrival: Arrival, sinks: &mut Sinks) -> Result<(), Refusal> {
        let target = subject::open(arrival.pid, &mut self.cache, &self.own_packages)
            .map_err(Refusal::NotUnderstood)?;
        self.observe(target, sinks).map_err(Refusal::NotAttached)
    }

    /// Attaches to a process and says so.
    pub(super) fn observe(&mut self, target: Target, sinks: &mut Sinks) -> Result<(), Error> {
        let pid = target.pid();
        let (in_kernel, unseen) = self
            .sockets
            .add((pid, target.unit.netns), &mut self.kernel)
            .map_err(|error| errors::of_probe("", error))?;
        let uncounted = tallies::gap(&target);
        let unsearched = inspector::search_gap(&target);
        let mut outcome = match self.attacher.attach(&mut self.kernel, target) {
            Ok(outcome) => outcome,
            Err(error) => {
                self.leave_sockets(pid)?;
                return Err(error);
            }
        };
        outcome.start.hooks.push(in_kernel);
        outcome.start.not_covered.extend(unseen);
        outcome.start.not_covered.extend(uncounted);
        outcome.start.not_covered.extend(unsearched);
        self.code.add(Arc::clone(&outcome.observed.target));
        if let Some(recorder) = &mut self.recorder {
            recorder.resolved(self.code.take_noted());
        }
        self.observed.push(outcome.observed);
        self.engine.process_started(pid);
        self.has_observed = true;
        sinks.emit(Output::Start(Box::new(outcome.start)));
        for notice in outcome.notices {
            sinks.emit(Output::Notice(notice));
        }
        Ok(())
    }

    /// A process that cannot be observed is no reason to end, unless nothing ever could be. One that came and went
    /// meanwhile is not worth a word, nor is what `--all` was not meant for.
    fn say_refused(
        &mut self,
        arrival: Arrival,
        refusal: Refusal,
        all: bool,
        sinks: &mut Sinks,
    ) -> Result<(), Error> {
        let (error, understood) = match refusal {
            Refusal::NotUnderstood(error) => (error, false),
            Refusal::NotAttached(error) => (error, true),
        };
        let silent = match &error {
            Error::NoSuchProcess { .. }
            | Error::ProcessExited { .. }
            | Error::ProcessReplaced { .. } => true,
            Error::NotGo { .. } | Error::GoTooOld { .. } => all && !understood,
            Error::Output { .. } => return Err(error),
            other if other.exit() == Exit::Host && !self.has_observed => return Err(error),
            _ => false,
        };
        let why = errors::chain(&error);
        if self.refusals.len() >= REFUSALS {
            self.refusals.clear();
        }
        if !silent
            && self
                .refusals
                .insert((arrival.exe, reason(&why, arrival.pid)))
        {
            let exe = i32::try_from(arrival.pid).ok().and_then(select::link_of);
            sinks.emit(Output::Notice(Notice::NotObserved {
                pid: arrival.pid,
                exe: exe.unwrap_or_default(),
                why,
            }));
        }
        Ok(())
    }

    /// Processes that have ended or execute something else are observed no more.
    pub(super) fn part_with_the_dead(&mut self, sinks: &mut Sinks) -> Result<(), Error> {
        let now_ns = clock::now_ns();
        let is_due = now_ns.saturating_sub(self.identity_ns) >= IDENTITY_NS;
        if is_due || self.attacher.is_hindering() {
            self.identity_ns = now_ns;
            self.find_the_dead(sinks)?;
            self.say_who_came(sinks);
            if self.attacher.tick(&mut self.kernel, now_ns)? {
                self.cache.forget_unused();
            }
        }
        Ok(())
    }

    /// Another observer has come: each says so once.
    fn say_who_came(&mut self, sinks: &mut Sinks) {
        for observed in self.observed.iter_mut().filter(|of| !of.is_shared) {
            if observed.claim.was_knocked_at() {
                observed.is_shared = true;
                let pid = observed.target.pid();
                sinks.emit(Output::Notice(Notice::SecondObserver { pid }));
            }
        }
    }

    fn find_the_dead(&mut self, sinks: &mut Sinks) -> Result<(), Error> {
        let gone: Vec<(u32, StopReason)> = self
            .observed
            .iter()
            .filter_map(|observed| {
                let why = match observed.target.process.identity.check() {
                    Still::Same => return None,
                    Still::Replaced => StopReason::Replaced,
                    Still::Ended => StopReason::Ended,
                };
                Some((observed.target.pid(), why))
            })
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        // What they did last may still be in the ring.
        self.pump(sinks)?;
        self.settle();
        for (pid, why) in gone {
            self.engine.process_ended(pid);
            if let Some(recorder) = &mut self.recorder {
                recorder.process_ended(pid);
            }
            self.code.forget(pid);
            self.families.forget(pid);
            self.tallies.forget(pid);
            self.listings.forget(pid);
            self.part_with(pid, why, sinks)?;
        }
        Ok(())
    }

    fn leave_sockets(&mut self, pid: u32) -> Result<(), Error> {
        self.sockets
            .forget(pid, &mut self.kernel)
            .map_err(|error| errors::of_probe("", error))
    }

    /// Takes the probes away from a process of which the core knows nothing any more.
    pub(super) fn part_with(
        &mut self,
        pid: u32,
        why: StopReason,
        sinks: &mut Sinks,
    ) -> Result<(), Error> {
        let Some(index) = self.observed.iter().position(|o| o.target.pid() == pid) else {
            return Ok(());
        };
        let observed = self.observed.swap_remove(index);
        self.attacher.part(&mut self.kernel, &observed)?;
        self.leave_sockets(pid)?;
        sinks.emit(Output::Stop(Stop {
            time_ns: clock::now_ns(),
            process: Arc::clone(&observed.target.unit.process),
            why,
        }));
        Ok(())
    }
}

/// Why a process that fits is not observed.
enum Refusal {
    /// Already looking at it fails.
    NotUnderstood(Error),
    /// It could have been.
    NotAttached(Error),
}

/// The reason without the pid: each executable is complained of once for each.
fn reason(why: &str, pid: u32) -> String {
    why.replace(&pid.to_string(), "")
}
