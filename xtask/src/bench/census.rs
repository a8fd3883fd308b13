//! `observer goroutines`: how long a picture of a process takes, how much memory, and what its requests notice of it.

use std::{
    io::Read,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    Bench,
    client::{Answered, Client},
    table::{Table, Verdict, median, thousands},
    usage,
};
use crate::live::{Running, Target, stop_wanted};

/// Goroutines of the process that is looked at, besides the handful that any server has.
const CROWDS: [u32; 3] = [1_000, 10_000, 100_000];
/// Requests a second while pictures are taken: the server is far from busy.
const RATE: f64 = 1_000.0;
/// How long a picture may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Most for a picture of 100 000 goroutines.
const PROMISED_S: f64 = 1.0;
const PROMISED_MIB: f64 = 200.0;

/// One picture.
struct Picture {
    took_s: f64,
    /// Own CPU time when we last looked.
    cpu_s: f64,
    /// Most anonymous memory that we saw.
    mib: f64,
    seen: u64,
}

/// Measures a server of each size: pictures by themselves, then requests with and without pictures.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let (mut sizes, mut latencies) = (Vec::new(), Vec::new());
    for crowd in CROWDS {
        eprintln!("bench: census: {crowd} goroutines, {} rounds", bench.rounds);
        let target = Target::start(&bench.server, &["-crowd", &crowd.to_string()])?;
        let mut pictures = Vec::new();
        for _ in 0..bench.rounds {
            pictures.push(picture(bench, target.pid())?);
        }
        let latency = Latency::measure(bench, &target)?;
        target.stop()?;

        let seen = pictures.iter().map(|picture| picture.seen).min();
        let seen = seen.context("no picture")?;
        ensure!(
            seen >= u64::from(crowd),
            "only {seen} of {crowd} goroutines were seen"
        );
        let took_s = median(pictures.iter().map(|picture| picture.took_s));
        let mib = pictures
            .iter()
            .map(|picture| picture.mib)
            .fold(0.0, f64::max);
        let size = thousands(f64::from(crowd));
        if CROWDS.last() == Some(&crowd) {
            bench.verdicts.push(Verdict {
                promise: format!("picture of {size} goroutines ≤ {PROMISED_S} s"),
                measured: format!("{took_s:.2} s"),
                kept: took_s <= PROMISED_S,
            });
            bench.verdicts.push(Verdict {
                promise: format!("picture of {size} goroutines ≤ {PROMISED_MIB} MiB"),
                measured: format!("{mib:.1} MiB"),
                kept: mib <= PROMISED_MIB,
            });
        }
        sizes.push(vec![
            size.clone(),
            format!("{:.0} ms", took_s * 1000.0),
            format!(
                "{:.0} ms",
                median(pictures.iter().map(|picture| picture.cpu_s)) * 1000.0
            ),
            format!("{mib:.1} MiB"),
        ]);
        latencies.push(row(format!("{size}, left alone"), &latency.without, None));
        let name = format!("{size}, one picture after the other");
        let taken = median(latency.pictures);
        latencies.push(row(name, &latency.with, Some(taken)));
    }
    bench.show(&Table {
        title: "A picture of all goroutines of a process".into(),
        head: vec!["goroutines", "time", "own CPU", "own memory, most"],
        rows: sizes,
    });
    bench.show(&Table {
        title: format!("Latency of that process at {} requests/s", thousands(RATE)),
        head: vec!["goroutines", "p50", "p99", "longest", "pictures/window"],
        rows: latencies,
    });
    Ok(())
}

fn row(name: String, windows: &[Answered], pictures: Option<f64>) -> Vec<String> {
    let of = |figure: fn(&Answered) -> f64| format!("{:.2} ms", median(windows.iter().map(figure)));
    vec![
        name,
        of(|answered| answered.p50_ms),
        of(|answered| answered.p99_ms),
        of(|answered| answered.max_ms),
        pictures.map_or_else(|| "–".to_owned(), thousands),
    ]
}

/// `observer goroutines`, from its start to its end.
fn picture(bench: &Bench, pid: u32) -> Result<Picture> {
    if stop_wanted() {
        bail!("interrupted");
    }
    let mut command = bench.observer.goroutines(pid);
    command
        .args(["--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let began = Instant::now();
    let mut running = Running::start(command)?;
    let mut stdout = running.take_stdout()?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout
            .read_to_string(&mut text)
            .map(|_| (text, Instant::now()))
    });
    let (mut mib, mut cpu_s): (f64, f64) = (0.0, 0.0);
    while !reader.is_finished() && began.elapsed() < PATIENCE {
        // Without a figure it is gone, and the reader about to notice.
        mib = mib.max(usage::anonymous_mib(running.pid()).unwrap_or_default());
        cpu_s = cpu_s.max(usage::cpu_seconds(running.pid()).unwrap_or_default());
        thread::sleep(LOOK_EVERY);
    }
    let status = running.wait(PATIENCE.saturating_sub(began.elapsed()))?;
    let status = status.context("`observer goroutines` does not end")?;
    ensure!(
        status.success(),
        "`observer goroutines` ended with {status}"
    );
    let read = reader.join().ok().context("reading a picture failed")?;
    let (text, ended) = read?;
    let first: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
    let seen = first.get("seen").and_then(Value::as_u64);
    Ok(Picture {
        took_s: ended.duration_since(began).as_secs_f64(),
        cpu_s,
        mib,
        seen: seen.context("a picture that does not say how many it has seen")?,
    })
}

/// One window of load with one picture after the other, and how many.
fn pictured(bench: &Bench, client: &Client, pid: u32) -> Result<(Answered, f64)> {
    let mut busy = client.begin(bench.seconds)?;
    let mut pictures = 0.0;
    while !busy.is_done()? {
        picture(bench, pid)?;
        pictures += 1.0;
    }
    Ok((busy.finish()?, pictures))
}

/// What the requests of a server noticed, window by window.
struct Latency {
    without: Vec<Answered>,
    with: Vec<Answered>,
    /// Pictures taken in each window.
    pictures: Vec<f64>,
}

impl Latency {
    fn measure(bench: &Bench, target: &Target) -> Result<Self> {
        let client = Client {
            program: bench.client.clone(),
            url: target.url("/"),
            rate: Some(RATE),
        };
        let mut latency = Self {
            without: Vec::new(),
            with: Vec::new(),
            pictures: Vec::new(),
        };
        client.run(1)?;
        for round in 0..bench.rounds {
            for turn in 0..2 {
                if (round + turn).is_multiple_of(2) {
                    latency.without.push(client.run(bench.seconds)?);
                } else {
                    let (answered, pictures) = pictured(bench, &client, target.pid())?;
                    latency.with.push(answered);
                    latency.pictures.push(pictures);
                }
            }
        }
        Ok(latency)
    }
}
