//! Whether the machine stood still: on a shared host a processor may be taken away for longer than whole cases last.
//!
//! Such a run says nothing of observer, whose grace times are those of a clock on the wall: what it should have found may
//! be over before anybody could look. So a case that misses something is run again if, and only if, a processor was
//! measured to stand still meanwhile. What observer says against a program is wrong on every machine: that is never run
//! again.

use std::{
    fmt,
    io::Write,
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// How often each processor is asked to do nothing.
const BEAT: Duration = Duration::from_millis(10);
/// By how much a beat is late when the processor stood still. Two busy programs beside the suite, on two processors,
/// stay below a fifth of it; half of a case's time to act (300 ms of patience, 500 ms of grace) is twice as long.
const STILL: Duration = Duration::from_millis(100);
/// How often a case is run at most.
const RUNS: usize = 4;

/// A finding about a program that does nothing wrong.
#[derive(Debug)]
pub(super) struct FalseAlarm(pub(super) String);

impl fmt::Display for FalseAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FalseAlarm {}

/// Runs a case, and again when it missed something while a processor stood still; a few times at most.
///
/// # Errors
/// Those of the case's last run.
pub fn undisturbed(case: impl FnMut() -> Result<()>) -> Result<()> {
    // Not through `eprintln`, which the test harness would keep to itself.
    undisturbed_to(&mut std::io::stderr(), case)
}

/// The same, which says so to `log`.
fn undisturbed_to(log: &mut impl Write, mut case: impl FnMut() -> Result<()>) -> Result<()> {
    watch();
    for _ in 1..RUNS {
        let began = Instant::now();
        let Err(error) = case() else {
            return Ok(());
        };
        let still = longest_since(began);
        if still < STILL || error.is::<FalseAlarm>() {
            return Err(error);
        }
        let failed = format!("{error:#}");
        writeln!(
            log,
            "\nagain: a processor stood still for {still:?}: {}",
            failed.lines().take(4).collect::<Vec<_>>().join(" ")
        )?;
    }
    case()
}

/// When beats came late, and by how much.
type Late = Mutex<Vec<(Instant, Duration)>>;

/// The longest time that any processor stood still since then, in beats of this process.
fn longest_since(began: Instant) -> Duration {
    let late = watch().lock().unwrap_or_else(|broken| broken.into_inner());
    let since = late.iter().filter(|(at, _)| *at >= began);
    since.map(|(_, by)| *by).max().unwrap_or_default()
}

/// Starts to watch, once for the whole process.
fn watch() -> &'static Late {
    static LATE: OnceLock<Late> = OnceLock::new();
    static STARTED: OnceLock<()> = OnceLock::new();
    let late = LATE.get_or_init(Late::default);
    STARTED.get_or_init(|| {
        let ours = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        for cpu in (0..CpuSet::count()).filter(|cpu| ours.is_set(*cpu).unwrap_or(false)) {
            thread::spawn(move || beat_on(cpu, late));
        }
    });
    late
}

fn beat_on(cpu: usize, late: &Late) {
    let mut only = CpuSet::new();
    if only.set(cpu).is_err() || sched_setaffinity(Pid::from_raw(0), &only).is_err() {
        return;
    }
    loop {
        let asleep = Instant::now();
        thread::sleep(BEAT);
        let by = asleep.elapsed().saturating_sub(BEAT);
        if by >= STILL / 4 {
            let mut late = late.lock().unwrap_or_else(|broken| broken.into_inner());
            late.push((Instant::now(), by));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::bail;

    use super::*;

    #[test]
    fn only_what_the_machine_may_have_spoilt_is_run_again() -> Result<()> {
        let runs = Cell::new(0);
        let failing = |stalls: bool, alarm: bool| {
            runs.set(0);
            undisturbed_to(&mut Vec::new(), || {
                runs.set(runs.get() + 1);
                if stalls {
                    let mut late = watch().lock().unwrap_or_else(|broken| broken.into_inner());
                    late.push((Instant::now(), STILL));
                }
                if alarm {
                    return Err(FalseAlarm("accused".to_owned()).into());
                }
                bail!("missing")
            })
        };
        failing(true, false).unwrap_err();
        assert_eq!(runs.get(), RUNS);
        failing(true, true).unwrap_err();
        assert_eq!(runs.get(), 1);
        undisturbed(|| Ok(()))
    }

    #[test]
    fn a_processor_that_is_taken_away_is_noticed() {
        let began = Instant::now();
        watch();
        let mut late = watch().lock().unwrap_or_else(|broken| broken.into_inner());
        late.push((began + BEAT, STILL));
        late.push((began.checked_sub(BEAT).unwrap_or(began), 2 * STILL));
        drop(late);
        assert!(longest_since(began) >= STILL);
    }
}
