//! Latency where there is room: half the rate at which our own client saturates the server.

use anyhow::Result;

use super::{
    Bench,
    client::{Answered, Client},
    session::Session,
    table::{Table, Verdict, median, thousands},
    window::{FULL, UNOBSERVED},
};
use crate::live::Target;

/// Most that observing may add to the 99th percentile.
const ADDED: f64 = 0.05;

/// Measures hello world unobserved and observed, in turns.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let target = Target::start(&bench.server, &["-mode", "hello"])?;
    let mut client = Client {
        program: bench.client.clone(),
        url: target.url("/"),
        rate: None,
    };
    let rate = client.run(bench.seconds)?.per_second / 2.0;
    client.rate = Some(rate);
    eprintln!(
        "bench: half-load: {} rounds at {rate:.0} requests/s",
        bench.rounds
    );
    let (mut unobserved, mut observed) = (Vec::new(), Vec::new());
    for round in 0..bench.rounds {
        for turn in 0..2 {
            if (round + turn).is_multiple_of(2) {
                unobserved.push(client.run(bench.seconds)?);
            } else {
                let session = Session::start(&bench.observer, &[target.pid()], &[])?;
                observed.push(client.run(bench.seconds)?);
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
    let row = |name: &str, rounds: &[Answered]| {
        let of = |figure: fn(&Answered) -> f64| median(rounds.iter().map(figure));
        vec![
            name.to_owned(),
            thousands(of(|answered| answered.per_second)),
            format!("{:.3} ms", of(|answered| answered.p50_ms)),
            format!("{:.3} ms", of(|answered| answered.p99_ms)),
        ]
    };
    bench.show(&Table {
        title: "Latency at half load: hello world, 16 connections".into(),
        head: vec!["", "requests/s", "p50", "p99"],
        rows: vec![row(UNOBSERVED.name, &unobserved), row(FULL.name, &observed)],
    });
    Ok(())
}
