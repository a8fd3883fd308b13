//! What a live run found, a replay of its recording finds again, to the byte.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    live::{Load, Observer, Program, Run, observer_binary, undisturbed},
    recordings::{folder, found, pack},
    target::{Flavor, build_target},
};
use serde_json::Value;
use tempfile::TempDir;

/// The slowest route takes about two seconds; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(5500);

/// The oldest Go version, both kinds of maps, and the newest.
const VERSIONS: [&str; 4] = ["1.18.10", "1.21.13", "1.24.11", NEWEST];
const NEWEST: &str = "1.27.3";

#[test]
fn a_replay_finds_what_the_run_found() -> Result<()> {
    undisturbed(|| {
        let scratch = tempfile::tempdir()?;
        let recording = scratch.path().join("run.rec");
        let live = every_route("rules4", NEWEST, &recording)?;
        ensure!(live.lines().count() > 20, "too little was found:\n{live}");
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
        let began = Instant::now();
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
        thread::sleep(SETTLED.saturating_sub(began.elapsed()));
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

#[test]
#[ignore = "writes into the source tree; run it to make the recordings anew"]
fn make_recordings() -> Result<()> {
    fs::create_dir_all(folder())?;
    for go in VERSIONS {
        for program in ["rules4", "cancelers", "healthy", "deadlines"] {
            save(&format!("{program}-go{go}"), |recording| {
                every_route(program, go, recording)
            })?;
        }
        save(&format!("shop-go{go}"), |recording| shop(go, recording))?;
    }
    save("killed", killed)?;
    save("interrupted", interrupted)?;
    save("loss", loss)
}

/// Keeps what a case records under a name, with what it found.
fn save(name: &str, case: impl FnOnce(&Path) -> Result<String>) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let recording = scratch.path().join("run.rec");
    let live = case(&recording).with_context(|| name.to_owned())?;
    let packed = folder().join(format!("{name}.rec.gz"));
    pack(&recording, &packed)?;
    fs::write(packed.with_extension("jsonl"), &live)?;
    ensure!(replay(&recording)? == live, "{name}: the replay differs");
    Ok(())
}

/// A program that runs under a name that says nothing of this machine: it stands in the recording.
struct Nameless {
    program: Program,
    _home: TempDir,
}

fn nameless(program: &str, go: &str, args: &[&str]) -> Result<Nameless> {
    let executable = build_target(program, go, Flavor::Trimmed)?;
    let home = tempfile::tempdir()?;
    let copy = home.path().join(program.replace('/', "-"));
    fs::copy(executable, &copy)?;
    Ok(Nameless {
        program: Program::run(program, copy, args)?,
        _home: home,
    })
}

fn attach(programs: &[&Program], recording: &Path, args: &[&str]) -> Result<Observer> {
    let path = recording.to_str().context("a path in UTF-8")?;
    let pids: Vec<String> = programs
        .iter()
        .map(|program| program.pid().to_string())
        .collect();
    let mut all = vec!["--record", path];
    all.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    all.extend(args);
    Observer::attach(&all, programs.len())
}

/// Sends each route its request once, and lets grace pass.
fn drive(program: &Program) -> Result<()> {
    let began = Instant::now();
    let clients = program
        .routes()?
        .iter()
        .filter(|route| !route.path.starts_with("/admin"))
        .map(|route| Load::route(program, route).start())
        .collect::<Result<Vec<_>>>()?;
    for client in clients {
        client.finish()?;
    }
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    Ok(())
}

fn every_route(program: &str, go: &str, recording: &Path) -> Result<String> {
    let target = nameless(program, go, &[])?;
    let observer = attach(&[&target.program], recording, &[])?;
    drive(&target.program)?;
    Ok(found_by(&observer.stop()?))
}

fn shop(go: &str, recording: &Path) -> Result<String> {
    let store = nameless("shop/store", go, &[])?;
    let front = nameless("shop/front", go, &["-store", &store.program.url("")])?;
    let observer = attach(&[&front.program, &store.program], recording, &[])?;
    drive(&front.program)?;
    Ok(found_by(&observer.stop()?))
}

/// One mistake that is over, and one whose handler is seen at work.
fn make_mistakes(program: &Program, observer: &Observer) -> Result<()> {
    let over = Load::of(program, "/notcalled/cancel").ids("over-");
    over.start()?.all("ok")?;
    let running = Load::of(program, "/ignored/sleep").ids("running-");
    running
        .mode("drop")
        .patience_ms(300)
        .start()?
        .all("dropped")?;
    observer.wait_for(|lines| {
        let seen = |line: &Value| line["rule"] == "cancel-ignored";
        lines.iter().any(seen).then_some(())
    })
}

/// The process is killed in the middle of a finding.
fn killed(recording: &Path) -> Result<String> {
    let Nameless { program, _home } = nameless("rules4", NEWEST, &[])?;
    let observer = attach(&[&program], recording, &[])?;
    make_mistakes(&program, &observer)?;
    drop(program);
    let run = observer.ends()?;
    ensure!(run.end()?["why"] == "processes_ended", "{}", run.shown());
    Ok(found_by(&run))
}

/// observer is interrupted in the middle of a finding.
fn interrupted(recording: &Path) -> Result<String> {
    let target = nameless("rules4", NEWEST, &[])?;
    let observer = attach(&[&target.program], recording, &[])?;
    make_mistakes(&target.program, &observer)?;
    Ok(found_by(&observer.stop()?))
}

/// Events are lost around a mistake that nobody can know then; the next ones are found.
fn loss(recording: &Path) -> Result<String> {
    let target = nameless("rules4", NEWEST, &[])?;
    let program = &target.program;
    let observer = attach(&[program], recording, &["--bench-ring", "65536"])?;
    let patient = Load::of(program, "/ignored/derived").ids("cut-").start()?;
    thread::sleep(Duration::from_millis(100));
    observer.signal(Signal::SIGSTOP)?;
    Load::of(program, "/all").times(200, 1).start()?.all("ok")?;
    Load::of(program, "/notcalled/timeout")
        .ids("unseen-")
        .start()?
        .all("ok")?;
    patient.all("ok")?;
    observer.signal(Signal::SIGCONT)?;
    observer.wait_for(|lines| {
        let lost = |line: &Value| line["type"] == "loss";
        lines.iter().any(lost).then_some(())
    })?;
    make_mistakes(program, &observer)?;
    thread::sleep(SETTLED / 2);
    observer.signal(Signal::SIGINT)?;
    let run = observer.ends()?;
    let lines = found_by(&run);
    ensure!(
        !lines.contains("unseen-") && !lines.contains("cut-"),
        "{lines}"
    );
    Ok(lines)
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
