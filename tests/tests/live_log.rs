//! The log file of a run under load: rotated by size and by age, bounded in total, private, and complete.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    go::CI_VERSIONS,
    live::{Load, Observer, Program, Run, line_faults, start, undisturbed},
    target::Flavor,
};
use serde_json::Value;

/// Holds a few lines.
const MAX_SIZE: u64 = 16 << 10;
const MAX_TOTAL: u64 = 48 << 10;
/// The slowest route takes about two seconds; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(5000);

/// Its files, oldest first: rotated names sort by time, the current one comes last.
fn files(log: &Path) -> Result<Vec<PathBuf>> {
    let folder = log.parent().context("a folder")?;
    let name = log.file_name().context("a name")?.to_string_lossy();
    let mut rotated = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let of_log = path.file_name().is_some_and(|file| {
            let file = file.to_string_lossy();
            file.strip_prefix(&*name)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        if of_log {
            rotated.push(path);
        }
    }
    rotated.sort();
    rotated.push(log.to_owned());
    Ok(rotated)
}

/// What all files hold, oldest first. Every line has to be whole, valid and readable by its owner only.
fn lines(log: &Path) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    for path in files(log)? {
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{} has mode {mode:o}", path.display());
        let text = fs::read_to_string(&path)?;
        ensure!(text.ends_with('\n'), "{} ends in a line", path.display());
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)
                .with_context(|| format!("{}: {line}", path.display()))?;
            let faults = line_faults(&line)?;
            ensure!(faults.is_empty(), "{}: {faults:?}", path.display());
            lines.push(line);
        }
    }
    Ok(lines)
}

/// Every route once, beside requests as fast as they go.
fn drive(program: &Program) -> Result<()> {
    let began = Instant::now();
    let saturating = Load::of(program, "/all")
        .during(Duration::from_secs(60), 8)
        .start()?;
    let mut clients = Vec::new();
    for route in program.routes()? {
        clients.push((Load::route(program, &route).start()?, route.outcome));
    }
    for (client, outcome) in clients {
        client.all(&outcome)?;
    }
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let report = saturating.interrupt()?;
    ensure!(report.ok == report.sent, "{report:?}");
    Ok(())
}

/// Findings and updates, in order.
fn found(lines: &[Value]) -> Vec<&Value> {
    let lines = lines
        .iter()
        .filter(|line| line["type"] == "finding" || line["type"] == "update");
    lines.collect()
}

fn same(run: &Run, log: &[Value]) -> Result<()> {
    ensure!(
        log == run.lines,
        "the log's {} lines are not the {} of stdout",
        log.len(),
        run.lines.len()
    );
    ensure!(found(log).len() > 40, "too little was found to rotate");
    Ok(())
}

#[test]
fn logs_rotate_under_load_and_lose_nothing() -> Result<()> {
    undisturbed(|| {
        let [.., newest] = CI_VERSIONS;
        let program = start("rules4", newest, Flavor::Plain, &[])?;
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let (by_size, by_age, bounded) = (at("size.jsonl"), at("age.jsonl"), at("bounded.jsonl"));
        // Somebody else's, and not to be deleted.
        let foreign = at("bounded.jsonl.bak");
        fs::write(&foreign, "kept\n")?;
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600))?;
        let attach = |log: &Path, limits: &[&str]| {
            let pid = program.pid().to_string();
            let log = log.to_string_lossy();
            Observer::attach(&[&["--pid", &pid, "--log", &log], limits].concat(), 1)
        };
        let max_size = MAX_SIZE.to_string();
        let max_total = MAX_TOTAL.to_string();
        let observers = [
            attach(&by_size, &["--log-max-size", &max_size])?,
            attach(&by_age, &["--log-max-age", "1s"])?,
            attach(
                &bounded,
                &["--log-max-size", &max_size, "--log-max-total", &max_total],
            )?,
        ];
        drive(&program)?;
        let [sized, aged, bound] = observers.map(Observer::stop);

        same(&sized?, &lines(&by_size)?)?;
        let mut sizes = BTreeMap::new();
        for path in files(&by_size)? {
            sizes.insert(path.clone(), fs::metadata(path)?.len());
        }
        ensure!(sizes.len() > 4, "not rotated: {sizes:?}");
        ensure!(
            sizes.values().all(|size| *size <= MAX_SIZE),
            "too large: {sizes:?}"
        );

        same(&aged?, &lines(&by_age)?)?;
        ensure!(files(&by_age)?.len() > 2, "not rotated by age");

        let run = bound?;
        ensure!(fs::read_to_string(&foreign)? == "kept\n", "not ours");
        fs::remove_file(&foreign)?;
        let kept = lines(&bounded)?;
        let mut total = 0;
        for path in files(&bounded)? {
            total += fs::metadata(path)?.len();
        }
        ensure!(total <= MAX_TOTAL, "{total} bytes are kept");
        ensure!(
            kept.len() < run.lines.len() && run.lines.ends_with(&kept),
            "the {} lines kept are not the last of {}",
            kept.len(),
            run.lines.len()
        );
        Ok(())
    })
}
