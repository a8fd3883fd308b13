//! How long attaching takes, by size of the executable, and detaching.

use std::time::Duration;

use anyhow::{Context, Result};
use observer_tests::target::{Flavor, build_target};
use serde_json::Value;

use super::{
    Bench, large,
    session::{Session, starts},
    table::{Table, Verdict, median},
};
use crate::live::{GO_VERSION, Target};

/// How often each is measured.
const TIMES: usize = 5;
/// Most for an executable of 100 MB, and for one that is known already, ms.
const FIRST_MS: f64 = 250.0;
const KNOWN_MS: f64 = 100.0;
const FLUSHED_MS: f64 = 1000.0;
const GONE_MS_A_SITE: f64 = 150.0;

struct Attach {
    first_ms: Vec<f64>,
    known_ms: Vec<f64>,
    ready_ms: Vec<f64>,
    flushed_ms: Vec<f64>,
    gone_ms: Vec<f64>,
    probes: f64,
}

/// Measures two processes of each executable: the first is new to observer, the second's executable is known.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let mut executables = vec![
        ("bench", bench.server.clone()),
        (
            "bench, stripped",
            build_target("bench", GO_VERSION, Flavor::Stripped)?,
        ),
    ];
    if bench.large {
        executables.push(("large", large::build()?));
    }
    let mut rows = Vec::new();
    for (name, executable) in executables {
        eprintln!("bench: attach: {name}");
        let size = std::fs::metadata(&executable)?.len();
        let mb = size as f64 / 1e6;
        let one = Target::start::<&str>(&executable, &[])?;
        let two = Target::start::<&str>(&executable, &[])?;
        let attach = repeat(bench, &[one.pid(), two.pid()])?;
        one.stop()?;
        two.stop()?;
        let first = median(attach.first_ms);
        let known = median(attach.known_ms);
        let flushed = median(attach.flushed_ms);
        let gone = median(attach.gone_ms);
        rows.push(vec![
            name.to_owned(),
            format!("{mb:.1} MB"),
            format!("{first:.0} ms"),
            format!("{:.1} ms", first / mb),
            format!("{known:.1} ms"),
            format!("{:.0} ms", median(attach.ready_ms)),
            format!("{flushed:.0} ms"),
            format!("{gone:.0} ms"),
        ]);
        let sites = attach.probes;
        bench.verdicts.extend([
            Verdict {
                promise: format!("{name}: attach ≤ 250 ms"),
                measured: format!("{first:.0} ms"),
                kept: first <= FIRST_MS,
            },
            Verdict {
                promise: format!("{name}: attach ≤ 100 ms where the executable is known"),
                measured: format!("{known:.1} ms"),
                kept: known <= KNOWN_MS,
            },
            Verdict {
                promise: format!("{name}: findings flushed ≤ 1 s after SIGINT"),
                measured: format!("{flushed:.0} ms"),
                kept: flushed <= FLUSHED_MS,
            },
            Verdict {
                promise: format!("{name}: probes gone ≤ 0.15 s × sites"),
                measured: format!("{gone:.0} ms for {sites} sites"),
                kept: gone <= GONE_MS_A_SITE * sites,
            },
        ]);
    }
    bench.show(&Table {
        title: "Attaching and detaching (medians; two idle processes of each executable)".into(),
        head: vec![
            "executable",
            "size",
            "attach",
            "per MB",
            "2nd process",
            "start to ready",
            "SIGINT to end line",
            "to process gone",
        ],
        rows,
    });
    Ok(())
}

fn repeat(bench: &Bench, pids: &[u32]) -> Result<Attach> {
    let mut attach = Attach {
        first_ms: Vec::new(),
        known_ms: Vec::new(),
        ready_ms: Vec::new(),
        flushed_ms: Vec::new(),
        gone_ms: Vec::new(),
        probes: 0.0,
    };
    for _ in 0..TIMES {
        let session = Session::start(&bench.observer, pids, &[])?;
        attach.ready_ms.push(ms(session.ready_after));
        let ended = session.end()?;
        let figure = |line: &Value, key: &str| line.get(key).and_then(Value::as_f64);
        let took: Vec<f64> = starts(&ended.lines)
            .map(|line| figure(&line.value, "attach_ns").map(|ns| ns / 1e6))
            .collect::<Option<_>>()
            .context("a start line without attach_ns")?;
        attach.probes = starts(&ended.lines)
            .filter_map(|line| figure(&line.value, "probes"))
            .sum();
        attach.first_ms.extend(took.first());
        attach.known_ms.extend(took.get(1));
        attach.flushed_ms.push(ms(ended.flushed_after));
        attach.gone_ms.push(ms(ended.gone_after));
    }
    Ok(attach)
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
