//! Own memory for many processes at once, and what it costs to pass over those that are not Go.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    Bench,
    session::{Session, starts},
    table::{Table, Verdict},
    usage,
};
use crate::live::Target;

/// Go processes at once.
const PROCESSES: usize = 50;
/// Starts of something that is not Go.
const OTHERS: u32 = 1000;
/// How long observer may take until it observes all.
const NOTICED: Duration = Duration::from_secs(30);
/// Most for a process that is not Go, ms of observer's CPU.
const PROMISED_MS: f64 = 1.0;

/// Measures one executable with one process and with fifty, and then starts a thousand times what is not Go.
pub fn measure(bench: &mut Bench) -> Result<()> {
    eprintln!("bench: many: {PROCESSES} processes at once");
    let start = || Target::start::<&str>(&bench.server, &[]);
    let mut targets = vec![start()?];
    let first: Vec<u32> = targets.iter().map(Target::pid).collect();
    let exe = bench.server.to_str().context("a path in UTF-8")?;
    // The first is chosen by its pid, so that the others are those of its executable that come later.
    let alone = Session::start(&bench.observer, &first, &[])?;
    let one = usage::anonymous_mib(alone.pid())?;
    alone.end()?;
    let mut session = Session::select(&bench.observer, &["--exe", exe], 1)?;
    for _ in 1..PROCESSES {
        targets.push(start()?);
    }
    session.wait_until(NOTICED, |lines| starts(lines).count() >= PROCESSES)?;
    let many = usage::anonymous_mib(session.pid())?;
    let ended = session.end()?;
    let observed = starts(&ended.lines).count();
    ensure!(
        observed == PROCESSES,
        "{observed} of {PROCESSES} were observed"
    );
    let each_kib = (many - one) * 1024.0 / (PROCESSES as f64 - 1.0);

    let session = Session::select(&bench.observer, &["--all"], PROCESSES)?;
    let quiet = spent(&session, 0)?;
    let busy = spent(&session, OTHERS)?;
    session.end()?;
    let each_ms = (busy - quiet).max(0.0) * 1000.0 / f64::from(OTHERS);
    for target in targets {
        target.stop()?;
    }
    bench.verdicts.push(Verdict {
        promise: format!("--all: ≤ {PROMISED_MS} ms of own CPU for a process that is not Go"),
        measured: format!("{each_ms:.2} ms"),
        kept: each_ms <= PROMISED_MS,
    });
    bench.show(&Table {
        title: "Many processes of one executable, and others that come and go".into(),
        head: vec![
            "own memory, 1 process",
            "own memory, 50",
            "each more",
            "own CPU for one that is not Go",
        ],
        rows: vec![vec![
            format!("{one:.1} MiB"),
            format!("{many:.1} MiB"),
            format!("{each_kib:.0} KiB"),
            format!("{each_ms:.2} ms"),
        ]],
    });
    Ok(())
}

/// Own CPU, seconds, in the time that so many starts take and a second more.
fn spent(session: &Session, starts: u32) -> Result<f64> {
    let before = usage::cpu_seconds(session.pid())?;
    for _ in 0..starts {
        let status = Command::new("/bin/true").stdin(Stdio::null()).status()?;
        ensure!(status.success(), "/bin/true: {status}");
    }
    std::thread::sleep(Duration::from_secs(1));
    Ok(usage::cpu_seconds(session.pid())? - before)
}
