//! Many processes at once: how soon they are observed, own memory for each, own CPU while nothing happens, and what it
//! costs to pass over those that are not Go.

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    Bench,
    session::{Line, Session, starts},
    table::{Table, Verdict, median, percent},
    usage,
};
use crate::live::{Target, stop_wanted};

/// Go processes at once.
const PROCESSES: usize = 50;
/// Starts of something that is not Go.
const OTHERS: u32 = 1000;
const AT_ONCE: u32 = 50;
/// How long observer may take until it observes all.
const NOTICED: Duration = Duration::from_secs(30);
/// How long nothing happens: the kernel tells CPU time in steps of 10 ms.
const IDLE: Duration = Duration::from_secs(10);
/// Observer may do something about what has happened for so long.
const LATE: Duration = Duration::from_secs(2);
/// Most from the start of a process until it is observed, where its executable is known, ms.
const SEEN_MS: f64 = 100.0;
/// Most for a process that is not Go, ms of observer's CPU.
const PROMISED_MS: f64 = 1.0;
/// No less can be told: a step of the kernel's, for each of the others.
const STEP_MS: f64 = 10.0 / OTHERS as f64;

/// Measures one executable with one process and with fifty, and then starts a thousand times what is not Go.
pub fn measure(bench: &mut Bench) -> Result<()> {
    eprintln!("bench: many: {PROCESSES} processes at once");
    let exe = bench.server.to_str().context("a path in UTF-8")?;
    let mut targets = vec![Target::start::<&str>(&bench.server, &[])?];
    let one_mib = alone(bench, &targets)?;
    let come = come(bench, exe, &mut targets)?;
    let there = there(bench, exe)?;
    let each_ms = passed_over(bench)?;
    for target in targets {
        target.stop()?;
    }

    let each_other = if each_ms < STEP_MS {
        format!("< {STEP_MS} ms")
    } else {
        format!("{each_ms:.2} ms")
    };
    let seen_ms = median(come.seen_ms.iter().copied());
    let worst_ms = come.seen_ms.iter().copied().fold(0.0, f64::max);
    bench.verdicts.push(Verdict {
        promise: format!("{PROCESSES} processes: observed ≤ {SEEN_MS} ms after their start"),
        measured: format!("{seen_ms:.0} ms, worst {worst_ms:.0} ms"),
        kept: worst_ms <= SEEN_MS,
    });
    bench.verdicts.push(Verdict {
        promise: format!("--all: ≤ {PROMISED_MS} ms of own CPU for a process that is not Go"),
        measured: each_other.clone(),
        kept: each_ms <= PROMISED_MS,
    });
    let each_kib = (come.mib - one_mib) * 1024.0 / (PROCESSES as f64 - 1.0);
    let rows = [
        (
            "start of one that comes to observed",
            format!("{seen_ms:.0} ms"),
        ),
        ("the slowest of them", format!("{worst_ms:.0} ms")),
        (
            "all there: start to all observed",
            format!("{:.0} ms", there.ready_ms),
        ),
        (
            "attaching to the first",
            format!("{:.0} ms", there.first_ms),
        ),
        ("to each more", format!("{:.1} ms", there.more_ms)),
        ("own memory, 1 process", format!("{one_mib:.1} MiB")),
        ("own memory, all", format!("{:.1} MiB", come.mib)),
        ("each more", format!("{:.0} KiB", each_kib.max(0.0))),
        (
            "own CPU while nothing happens",
            format!("{} of one core", percent(there.idle)),
        ),
        ("own CPU for one that is not Go", each_other),
    ];
    let rows = rows.map(|(what, figure)| vec![what.to_owned(), figure]);
    bench.show(&Table {
        title: format!("{PROCESSES} processes of one executable, and others that come and go"),
        head: vec!["", "measured"],
        rows: rows.into(),
    });
    Ok(())
}

/// Own memory with the first process only, MiB. Chosen by its pid: the others are those of its executable that come later.
fn alone(bench: &Bench, targets: &[Target]) -> Result<f64> {
    let pids: Vec<u32> = targets.iter().map(Target::pid).collect();
    let session = Session::start(&bench.observer, &pids, &[])?;
    let mib = usage::anonymous_mib(session.pid())?;
    session.end()?;
    Ok(mib)
}

/// Processes that started while their executable was observed.
struct Come {
    /// From the start of each until it was observed, ms.
    seen_ms: Vec<f64>,
    /// Own memory with all, MiB.
    mib: f64,
}

/// Starts them, one after the other.
fn come(bench: &Bench, exe: &str, targets: &mut Vec<Target>) -> Result<Come> {
    let mut session = Session::select(&bench.observer, &["--exe", exe], targets.len())?;
    let mut started = BTreeMap::new();
    while targets.len() < PROCESSES {
        if stop_wanted() {
            bail!("interrupted");
        }
        let now = SystemTime::now();
        let target = Target::start::<&str>(&bench.server, &[])?;
        started.insert(u64::from(target.pid()), now);
        targets.push(target);
    }
    session.wait_until(NOTICED, |lines| starts(lines).count() >= PROCESSES)?;
    let mib = usage::anonymous_mib(session.pid())?;
    let ended = session.end()?;
    let seen_ms: Vec<f64> = starts(&ended.lines)
        .filter_map(|line| {
            Some(ms(line
                .arrived
                .duration_since(*started.get(&pid(line)?)?)
                .ok()?))
        })
        .collect();
    ensure!(
        seen_ms.len() == started.len(),
        "{} of {} that came were observed",
        seen_ms.len(),
        started.len()
    );
    Ok(Come { seen_ms, mib })
}

/// Processes that all run when observer starts.
struct There {
    ready_ms: f64,
    first_ms: f64,
    more_ms: f64,
    /// Own share of one core while nothing happens.
    idle: f64,
}

fn there(bench: &Bench, exe: &str) -> Result<There> {
    let session = Session::select(&bench.observer, &["--exe", exe], PROCESSES)?;
    let ready_ms = ms(session.ready_after);
    let idle = idle(session.pid())?;
    let ended = session.end()?;
    let attached_ms: Vec<f64> = starts(&ended.lines)
        .map(|line| Some(line.value.get("attach_ns")?.as_f64()? / 1e6))
        .collect::<Option<_>>()
        .context("a start line without attach_ns")?;
    let (first_ms, more_ms) = attached_ms.split_first().context("nothing observed")?;
    Ok(There {
        ready_ms,
        first_ms: *first_ms,
        more_ms: median(more_ms.iter().copied()),
        idle,
    })
}

/// Own CPU for one start of something that is not Go, ms, beyond what passes while nothing happens.
fn passed_over(bench: &Bench) -> Result<f64> {
    eprintln!("bench: many: {OTHERS} others that come and go");
    let session = Session::select(&bench.observer, &["--all"], PROCESSES)?;
    let quiet = idle(session.pid())?;
    let (began, before) = (Instant::now(), usage::cpu_seconds(session.pid())?);
    for _ in 0..OTHERS / AT_ONCE {
        let children: Vec<Child> = (0..AT_ONCE).map(|_| other()).collect::<Result<_>>()?;
        for mut child in children {
            let status = child.wait()?;
            ensure!(status.success(), "sleep: {status}");
        }
    }
    thread::sleep(LATE);
    let spent = usage::cpu_seconds(session.pid())? - before;
    let beyond = spent - quiet * began.elapsed().as_secs_f64();
    session.end()?;
    Ok(beyond.max(0.0) * 1000.0 / f64::from(OTHERS))
}

/// It lives long enough to be looked at.
fn other() -> Result<Child> {
    let mut command = Command::new("sleep");
    Ok(command.arg("0.2").stdin(Stdio::null()).spawn()?)
}

/// Own CPU while nothing happens, as a share of one core.
fn idle(pid: u32) -> Result<f64> {
    thread::sleep(LATE);
    let (began, before) = (Instant::now(), usage::cpu_seconds(pid)?);
    while began.elapsed() < IDLE {
        if stop_wanted() {
            bail!("interrupted");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok((usage::cpu_seconds(pid)? - before) / began.elapsed().as_secs_f64())
}

fn pid(line: &Line) -> Option<u64> {
    line.value.pointer("/process/pid").and_then(Value::as_u64)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
