//! How soon a finding is on screen once it may be made: its arrival minus the cancel minus the grace time.

use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Bench,
    session::{Line, Session},
    table::{Table, Verdict, median},
};
use crate::live::{Running, Target, stop_wanted};

/// Routes of rules4 whose handlers work on for 2 s after their client has left, each a finding of its own.
const ROUTES: [&str; 4] = [
    "/ignored/sleep",
    "/ignored/channel",
    "/ignored/workers",
    "/ignored/raw-call",
];
const TIMES: usize = 3;
/// Observer's default.
const GRACE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(6);
/// Most after the grace time, ms.
const PROMISED_MS: f64 = 100.0;

/// Measures each route once per session.
pub fn measure(bench: &mut Bench) -> Result<()> {
    eprintln!("bench: latency: {TIMES} × {} findings", ROUTES.len());
    let target = Target::start::<&str>(&bench.rules4, &[])?;
    let mut after_grace_ms = Vec::new();
    for _ in 0..TIMES {
        if stop_wanted() {
            bail!("interrupted");
        }
        let mut session = Session::start(
            &bench.observer,
            &[target.pid()],
            &["--rule", "cancel-ignored"],
        )?;
        let clients = ROUTES
            .iter()
            .map(|route| leave_early(bench, &target.url(route)))
            .collect::<Result<Vec<_>>>()?;
        session.wait_until(PATIENCE, |lines| findings(lines).count() >= ROUTES.len())?;
        drop(clients);
        for line in findings(&session.end()?.lines) {
            after_grace_ms.push(late_ms(line)?);
        }
    }
    target.stop()?;
    let expected = ROUTES.len() * TIMES;
    let found = after_grace_ms.len();
    let middle = median(after_grace_ms.iter().copied());
    let worst = after_grace_ms
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    bench.verdicts.push(Verdict {
        promise: "finding on screen ≤ 100 ms after the grace time".into(),
        measured: format!("{middle:.0} ms, worst {worst:.0} ms ({found} of {expected} findings)"),
        kept: worst <= PROMISED_MS && found == expected,
    });
    bench.show(&Table {
        title: "Finding latency: printed after cancel + grace".into(),
        head: vec!["", "findings", "median", "worst"],
        rows: vec![vec![
            "cancel-ignored".into(),
            format!("{found} of {expected}"),
            format!("{middle:.0} ms"),
            format!("{worst:.0} ms"),
        ]],
    });
    Ok(())
}

fn leave_early(bench: &Bench, url: &str) -> Result<Running> {
    let mut command = Command::new(&bench.client);
    command
        .args([
            "-url",
            url,
            "-n",
            "1",
            "-mode",
            "drop",
            "-patience-ms",
            "300",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Running::start(command)
}

fn findings(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.kind() == "finding")
}

fn late_ms(finding: &Line) -> Result<f64> {
    let cancelled = finding
        .value
        .pointer("/evidence/cancelled_at")
        .and_then(Value::as_str);
    let cancelled = cancelled.context("a finding of cancel-ignored without cancelled_at")?;
    let due = humantime::parse_rfc3339(cancelled)? + GRACE;
    Ok(signed_ms(finding.arrived, due))
}

/// `a` minus `b`.
fn signed_ms(a: SystemTime, b: SystemTime) -> f64 {
    match a.duration_since(b) {
        Ok(after) => after.as_secs_f64() * 1000.0,
        Err(before) => -before.duration().as_secs_f64() * 1000.0,
    }
}
