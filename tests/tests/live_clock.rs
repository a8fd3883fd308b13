//! The wall clock is stepped while a program is observed: deadlines by either clock are what they were meant to be.
//!
//! Only where all versions are tested: the clock is that of the whole machine.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    go::{CI_VERSIONS, is_full},
    live::{
        Expect, Load, Observer, Program, Role, Run, Running, Stepped, exactly, findings, start,
    },
    target::Flavor,
};

const PROGRAM: &str = "deadlines";
const AHEAD: Duration = Duration::from_secs(90);
/// Observer looks at the clock more often.
const NOTICED: Duration = Duration::from_millis(100);
/// The slowest route takes 1.2 s, and grace passes.
const SETTLED: Duration = Duration::from_secs(2);
/// By how much the clock may be wrong afterwards.
const EXACT: Duration = Duration::from_millis(1);

/// Routes that run when the clock is stepped: both deadlines are monotonic.
const ACROSS: [(&str, &str); 3] = [
    ("/inflated/overran", "ok"),
    ("/inflated/overran/ok", "ok"),
    ("/controller/write", "failed"),
];
/// Routes while it is ahead. `parsed` is a deadline by the wall clock.
const AHEAD_ROUTES: [(&str, &str); 4] = [
    ("/inflated/clamped", "ok"),
    ("/inflated/clamped/ok", "ok"),
    ("/inflated/parsed", "ok"),
    ("/inflated/parsed/ok", "ok"),
];
/// Routes when it is back. The first has a deadline by the wall clock.
const BACK: [(&str, &str); 3] = [
    ("/controller/wall", "failed"),
    ("/inflated/parsed/ok", "ok"),
    ("/inflated/clamped/ok", "ok"),
];

fn begin(
    program: &Program,
    routes: &[(&str, &'static str)],
) -> Result<Vec<(Running, &'static str)>> {
    let begun = routes.iter().map(|(path, outcome)| {
        let ids = format!("{}-", path.trim_matches('/').replace('/', "-"));
        Ok((Load::of(program, path).ids(&ids).start()?, *outcome))
    });
    begun.collect()
}

fn end(begun: Vec<(Running, &'static str)>) -> Result<()> {
    for (client, outcome) in begun {
        client.all(outcome)?;
    }
    Ok(())
}

fn found(severity: &'static str, marked: &str, path: &str) -> Result<Expect> {
    let id = format!("{}-0", path.trim_matches('/').replace('/', "-"));
    Ok(Expect::new(severity, PROGRAM, marked)?.request(path, &id))
}

/// What was asked for, by the finding about a route, ms.
fn asked_ms(run: &Run, pid: u32, rule: &str, path: &str) -> Result<u64> {
    let all = findings(run, pid);
    let mut all = all.iter();
    let finding = all.find(|one| one.text("/rule") == rule && one.text("/request/path") == path);
    let finding = finding.with_context(|| format!("{rule} {path}"))?;
    let asked = finding.number("/evidence/asked_ns");
    Ok(asked.context("nothing was asked for")?.div_ceil(1_000_000))
}

#[test]
fn a_step_of_the_wall_clock_changes_no_deadline() -> Result<()> {
    if !is_full() {
        return Ok(());
    }
    let programs = CI_VERSIONS.map(|go| start(PROGRAM, go, Flavor::Plain, &[]));
    let programs = programs.into_iter().collect::<Result<Vec<_>>>()?;
    let mut observers = Vec::new();
    for program in &programs {
        // Builds the client.
        end(begin(program, &[("/inflated/clamped/ok", "ok")])?)?;
        observers.push(Observer::of(program.pid())?);
    }
    let all = |routes: &[(&str, &'static str)]| -> Result<Vec<_>> {
        let begun = programs.iter().map(|program| begin(program, routes));
        Ok(begun
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    };
    let across = all(&ACROSS)?;
    thread::sleep(NOTICED);
    let stepped = Stepped::by(AHEAD)?;
    thread::sleep(NOTICED);
    let ahead = all(&AHEAD_ROUTES)?;
    end(ahead)?;
    end(across)?;
    let wrong_by = stepped.back()?;
    ensure!(wrong_by < EXACT, "the clock is wrong by {wrong_by:?}");
    thread::sleep(NOTICED);
    end(all(&BACK)?)?;
    thread::sleep(SETTLED);
    for (observer, program) in observers.into_iter().zip(&programs) {
        let run = observer.stop()?;
        check(&run, program.pid()).with_context(|| run.shown())?;
    }
    Ok(())
}

fn check(run: &Run, pid: u32) -> Result<()> {
    let timeout = |case: &str, path: &str| {
        let expect = found("warning", &format!("timeout-mismatch {case}"), path)?;
        let marked = format!("timeout-mismatch {case} timer");
        expect.also(Role::TimerSite, PROGRAM, &marked)
    };
    let expected = [
        found("error", "deadline-inflated overran", "/inflated/overran")?,
        found("warning", "detached-context overran", "/inflated/overran")?,
        timeout("controller", "/controller/write")?,
        found("info", "deadline-inflated clamped", "/inflated/clamped")?,
        found("info", "deadline-inflated parsed", "/inflated/parsed")?,
        timeout("wall", "/controller/wall")?,
    ];
    exactly(run, pid, &expected)?;
    for (rule, path, meant_ms) in [
        ("deadline-inflated", "/inflated/overran", 5_000),
        ("timeout-mismatch", "/controller/write", 200),
        ("deadline-inflated", "/inflated/clamped", 10_000),
        ("deadline-inflated", "/inflated/parsed", 10_000),
        ("timeout-mismatch", "/controller/wall", 200),
    ] {
        let asked = asked_ms(run, pid, rule, path)?;
        let meant = meant_ms - meant_ms / 10..=meant_ms + 1;
        ensure!(meant.contains(&asked), "{path}: {asked} ms, not {meant_ms}");
    }
    Ok(())
}
