//! What a live run found, a replay of its recording finds again, to the byte.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    live::{Load, Observer, Program, observer_binary},
    recordings::{folder, found, pack},
    target::{Flavor, build_target},
};

/// The slowest route takes about two seconds; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(5500);

#[test]
fn a_replay_finds_what_the_run_found() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let recording = scratch.path().join("run.rec");
    let live = record("rules4", "1.27.3", &recording)?;
    ensure!(live.lines().count() > 20, "too little was found:\n{live}");
    ensure!(replay(&recording)? == live, "the replay differs");
    Ok(())
}

#[test]
#[ignore = "writes into the source tree; run it to make the recordings anew"]
fn make_recordings() -> Result<()> {
    fs::create_dir_all(folder())?;
    for program in ["rules4", "cancelers", "healthy", "deadlines"] {
        // The oldest, both kinds of maps, and the newest.
        for go in ["1.18.10", "1.21.13", "1.24.11", "1.27.3"] {
            let scratch = tempfile::tempdir()?;
            let recording = scratch.path().join("run.rec");
            let live = record(program, go, &recording)?;
            let name = folder().join(format!("{program}-go{go}.rec.gz"));
            pack(&recording, &name)?;
            fs::write(name.with_extension("jsonl"), &live)?;
            ensure!(
                replay(&recording)? == live,
                "{program} {go}: the replay differs"
            );
        }
    }
    Ok(())
}

/// Drives every route of a program once while observer records; gives what it found.
fn record(program: &str, go: &str, recording: &Path) -> Result<String> {
    // Under a name that says nothing of this machine: it stands in the recording.
    let executable = build_target(program, go, Flavor::Trimmed)?;
    let home = tempfile::tempdir()?;
    let copy = home.path().join(program);
    fs::copy(executable, &copy)?;
    let program = Program::run(program, copy, &[])?;
    let routes = program.routes()?;
    let path = recording.to_str().context("a path in UTF-8")?;
    let pid = program.pid().to_string();
    let observer = Observer::attach(&["--pid", &pid, "--record", path], 1)?;
    let began = Instant::now();
    let clients = routes
        .iter()
        .filter(|route| !route.path.starts_with("/admin"))
        .map(|route| Load::route(&program, route).start())
        .collect::<Result<Vec<_>>>()?;
    for client in clients {
        client.finish()?;
    }
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let run = observer.stop()?;
    let lines: Vec<String> = run.lines.iter().map(ToString::to_string).collect();
    Ok(found(&lines.join("\n")))
}

fn replay(recording: &Path) -> Result<String> {
    let output = std::process::Command::new(observer_binary()?)
        .args(["replay", "--output", "json"])
        .arg(recording)
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(found(&String::from_utf8(output.stdout)?))
}
