//! Latency where there is room: half the rate at which our own client saturates the server.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    Bench,
    session::Session,
    table::{Table, Verdict, median, thousands},
    window::{FULL, UNOBSERVED},
};
use crate::live::{Running, Target};

/// Most that observing may add to the 99th percentile.
const ADDED: f64 = 0.05;

#[derive(Clone, Copy)]
struct Latency {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Measures hello world unobserved and observed, in turns.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let target = Target::start(&bench.server, &["-mode", "hello"])?;
    let rate = paced(bench, &target, None)?.per_second / 2.0;
    eprintln!(
        "bench: half-load: {} rounds at {rate:.0} requests/s",
        bench.rounds
    );
    let (mut unobserved, mut observed) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        for turn in 0..2 {
            if (round + turn).is_multiple_of(2) {
                unobserved.push(paced(bench, &target, Some(rate))?);
            } else {
                let session = Session::start(&bench.observer, &[target.pid()], &[])?;
                observed.push(paced(bench, &target, Some(rate))?);
                session.end()?;
            }
        }
    }
    target.stop()?;
    let added: Vec<f64> = unobserved
        .iter()
        .zip(&observed)
        .map(|(without, with)| with.p99_ms / without.p99_ms - 1.0)
        .collect();
    let middle = median(added.iter().copied());
    bench.verdicts.push(Verdict {
        promise: "half load: p99 grows by ≤ 5 %".into(),
        measured: format!("{:+.1} %", middle * 100.0),
        kept: middle <= ADDED,
    });
    let row = |name: &str, rounds: &[Latency]| {
        let of = |figure: fn(&Latency) -> f64| median(rounds.iter().map(figure));
        vec![
            name.to_owned(),
            thousands(of(|latency| latency.per_second)),
            format!("{:.3} ms", of(|latency| latency.p50_ms)),
            format!("{:.3} ms", of(|latency| latency.p99_ms)),
        ]
    };
    bench.show(&Table {
        title: "Latency at half load: hello world, 16 connections".into(),
        head: vec!["", "requests/s", "p50", "p99"],
        rows: vec![row(UNOBSERVED.name, &unobserved), row(FULL.name, &observed)],
    });
    Ok(())
}

/// One window of our client, as fast as it goes or at a rate.
fn paced(bench: &Bench, target: &Target, rate: Option<f64>) -> Result<Latency> {
    let seconds = bench.seconds;
    let mut command = Command::new(&bench.client);
    command
        .args(["-url", &target.url("/"), "-n", "0", "-c", "16"])
        .args(["-rate", &rate.unwrap_or(0.0).to_string()])
        .args(["-max-seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let mut stdout = running.take_stdout()?;
    let status = running.wait(Duration::from_secs(seconds + 10))?;
    ensure!(
        status.is_some_and(|status| status.success()),
        "the client failed"
    );
    let mut text = String::new();
    stdout.read_to_string(&mut text)?;
    let report: Value = serde_json::from_str(&text)?;
    let figure = |key: &str| {
        let value = report.get(key).and_then(Value::as_f64);
        value.with_context(|| format!("the client's report has no {key}: {text}"))
    };
    ensure!(figure("failed")? == 0.0, "requests failed: {text}");
    Ok(Latency {
        per_second: figure("per_second")?,
        p50_ms: figure("p50_ms")?,
        p99_ms: figure("p99_ms")?,
    })
}
