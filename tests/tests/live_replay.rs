//! What a live run found, a replay of its recording finds again, to the byte.

#[path = "live_replay/cases.rs"]
mod cases;
#[path = "live_replay/facts.rs"]
mod facts;
#[path = "live_replay/make.rs"]
mod make;
#[path = "live_replay/occasions.rs"]
mod occasions;

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use cases::{attach, every_route, nameless};
use observer_tests::{
    live::{Load, Run, observer_binary, undisturbed},
    recordings::found,
};
use serde_json::Value;

/// The slowest handler works for two seconds after its client has left; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(4000);

const NEWEST: &str = "1.27.3";

#[test]
fn a_replay_finds_what_the_run_found() -> Result<()> {
    undisturbed(|| {
        let scratch = tempfile::tempdir()?;
        let recording = scratch.path().join("run.rec");
        let live = every_route("rules4", NEWEST, &[], &recording)?;
        ensure!(live.lines().count() > 20, "too little was found:\n{live}");
        ensure!(replay(&recording)? == live, "the replay differs");
        Ok(())
    })
}

/// Without being asked to tell facts again.
#[test]
fn a_replay_finds_what_a_run_found_that_told_facts() -> Result<()> {
    undisturbed(|| {
        let scratch = tempfile::tempdir()?;
        let recording = scratch.path().join("run.rec");
        let live = found_by(&facts::told(&recording)?);
        ensure!(replay(&recording)? == live, "the replay differs");
        Ok(())
    })
}

/// 15 requests honour the cancel and 5 ignore it, 3 honour their deadline and 1 ignores it.
#[test]
fn health_is_counted_to_the_request_and_replayed() -> Result<()> {
    undisturbed(|| {
        let scratch = tempfile::tempdir()?;
        let recording = scratch.path().join("run.rec");
        let target = nameless("rules4", NEWEST, &[])?;
        let program = &target.program;
        let leaves = |path: &str, count: u64, patience_ms: u64| {
            let load = Load::of(program, path).mode("drop");
            load.patience_ms(patience_ms).times(count, count).start()
        };
        let asks = |path: &str, count: u64| Load::of(program, path).times(count, count).start();
        // In flight when observing begins: it is nobody's.
        let early = leaves("/ignored/sleep", 1, 1500)?;
        let observer = attach(&[program], &recording, &[])?;
        let left = [
            early,
            leaves("/ignored/sleep/ok", 15, 300)?,
            leaves("/ignored/sleep", 5, 300)?,
        ];
        let answered = [
            asks("/ignored/timeout-handler/ok", 3)?,
            asks("/ignored/timeout-handler", 1)?,
        ];
        for client in left {
            client.all("dropped")?;
        }
        for client in answered {
            client.finish()?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let health = run.end()?["health"].clone();
        let count = |key: &str| health[key].as_u64();
        ensure!(count("requests") == Some(24), "{health}");
        ensure!(count("requests_lost") == Some(6), "{health}");
        ensure!(health["context_propagation_loss_ratio"] == 0.25, "{health}");
        ensure!(count("chains_cancelled") == Some(21), "{health}");
        ensure!(count("chains_recovered") == Some(21), "{health}");
        ensure!(health["cancel_latency"]["count"] == 21, "{health}");
        // Each works for 2 s, and its client has 300 ms of patience.
        let wasted = |at: usize| {
            let route = &health["wasted_routes"][at];
            let name = route["route"].as_str().unwrap_or_default().to_owned();
            let tenths = route["wasted_ns"].as_u64().unwrap_or(0) / 100_000_000;
            (name, route["requests"].as_u64(), tenths)
        };
        let (name, requests, tenths) = wasted(0);
        ensure!(
            (name.as_str(), requests) == ("/ignored/sleep", Some(5)),
            "{health}"
        );
        ensure!((80..95).contains(&tenths), "{health}");
        let (name, requests, tenths) = wasted(1);
        ensure!(
            (name.as_str(), requests) == ("/ignored/timeout-handler", Some(1)),
            "{health}"
        );
        ensure!((15..25).contains(&tenths), "{health}");

        // Totals are said every 10 s, and at the end.
        let stats = run.of_type("stats").last().context("a stats line")?;
        ensure!(stats["health"] == health, "{stats}");

        let replayed = replay_in(&recording, "json")?;
        let last: Value = serde_json::from_str(replayed.lines().last().context("a last line")?)?;
        ensure!(last["health"] == health, "{}\n{health}", last["health"]);
        let text = replay_in(&recording, "human")?;
        let said = "  health   6 of 24 requests with a cancel or a deadline lost it (25.0 %)\n";
        ensure!(text.contains(said), "{text}");
        ensure!(
            text.contains("\n  stopped  21 of 21 cancelled, half of them within "),
            "{text}"
        );
        Ok(())
    })
}

/// What a replay must find again.
fn found_by(run: &Run) -> String {
    let lines: Vec<String> = run.lines.iter().map(ToString::to_string).collect();
    found(&lines.join("\n"))
}

fn replay(recording: &Path) -> Result<String> {
    Ok(found(&replay_in(recording, "json")?))
}

fn replay_in(recording: &Path, form: &str) -> Result<String> {
    let output = std::process::Command::new(observer_binary()?)
        .args(["replay", "--output", form])
        .arg(recording)
        .env("LC_ALL", "C.UTF-8")
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
