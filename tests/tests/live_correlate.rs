//! Two hosts, each with an observer of its own: what one did to the other comes out of their files, also where their
//! clocks are seconds apart.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Load, Observer, Program, Run, TwoHosts, findings, line_faults, marker, observer_binary,
    on_each_version, start,
};
use serde_json::Value;

const FRONT: &str = "chain/front";
const STORE: &str = "chain/store";
/// The store works for two seconds, of which its caller waits 0.3.
const SETTLED: Duration = Duration::from_secs(3);
/// By how much the store's clock is made to be ahead.
const AHEAD: Duration = Duration::from_micros(3_250_400);
/// What ten quick calls tell of two clocks is surer.
const MOST_ERROR: Duration = Duration::from_millis(100);

/// What an observer said, as if it had said it on another host.
fn file(path: &Path, run: &Run, host: &str, ahead: Duration) -> Result<()> {
    let mut text = String::new();
    for line in &run.lines {
        let mut line = line.clone();
        move_times(&mut line, ahead);
        if let Some(origin) = line.get_mut("origin") {
            origin["host"] = host.into();
            origin["boot_id"] = format!("boot of {host}").into();
        }
        text.push_str(&line.to_string());
        text.push('\n');
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Every time in a line, wherever it stands.
fn move_times(value: &mut Value, ahead: Duration) {
    match value {
        Value::String(text) => {
            if let Ok(time) = humantime::parse_rfc3339(text) {
                *text = humantime::format_rfc3339_nanos(time + ahead).to_string();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| move_times(one, ahead)),
        Value::Object(all) => all.iter_mut().for_each(|(_, one)| move_times(one, ahead)),
        _ => {}
    }
}

/// A recording, as if it had been made on another host.
#[expect(
    clippy::indexing_slicing,
    reason = "a file that is too short for its header is no recording, and the test fails"
)]
fn moved(path: &Path, host: &str, ahead: Duration) -> Result<()> {
    const MAGIC: usize = 8;
    let bytes = fs::read(path)?;
    let length = bytes.get(MAGIC..MAGIC + 4).context("a length")?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into()?))?;
    let (head, rest) = bytes[MAGIC + 4..].split_at(length);
    let mut header: Value = serde_json::from_slice(head)?;
    let clock = header["realtime_minus_monotonic_ns"].as_i64();
    let clock = clock.context("a clock")? + i64::try_from(ahead.as_nanos())?;
    header["realtime_minus_monotonic_ns"] = clock.into();
    header["host"] = host.into();
    header["boot_id"] = format!("boot of {host}").into();
    let header = serde_json::to_vec(&header)?;
    let length = u32::try_from(header.len())?.to_le_bytes();
    fs::write(path, [&bytes[..MAGIC], &length, &header, rest].concat())?;
    Ok(())
}

fn correlate(files: &[&Path], args: &[&str]) -> Result<Output> {
    offline("correlate", files, args)
}

/// A command that reads files.
fn offline(command: &str, files: &[&Path], args: &[&str]) -> Result<Output> {
    let output = Command::new(observer_binary()?)
        .arg(command)
        .args(files)
        .args(args)
        .env_remove("OBSERVER_TEST_FULL")
        .env_remove("OBSERVER_TEST_BINARY")
        .output()?;
    Ok(output)
}

fn lines(output: &Output) -> Result<Vec<Value>> {
    let text = String::from_utf8(output.stdout.clone())?;
    text.lines()
        .map(|line| {
            let line = serde_json::from_str(line)?;
            let faults = line_faults(&line)?;
            ensure!(faults.is_empty(), "{faults:?}: {line}");
            Ok(line)
        })
        .collect()
}

/// The same observer tells facts and records.
fn observed(program: &Program, recording: &Path, more: &[&str]) -> Result<Observer> {
    let pid = program.pid().to_string();
    let recording = recording.to_str().context("a path in UTF-8")?;
    let args = ["--pid", &pid, "--facts", "--record", recording];
    Observer::attach(&[&args, more].concat(), 1)
}

/// Findings of a rule, those of the files themselves left out.
fn of_rule<'a>(told: &'a [Value], rule: &'a str) -> Vec<&'a Value> {
    let first = told.iter().filter(|line| line["type"] == "finding");
    first.filter(|line| line["rule"] == rule).collect()
}

#[test]
fn files_of_two_hosts_tell_what_one_did_to_the_other() -> Result<()> {
    on_each_version(|go, flavor| {
        let hosts = TwoHosts::new()?;
        let store = hosts.start(1, STORE, (go, flavor), &[])?;
        let front = hosts.start(0, FRONT, (go, flavor), &["-store", &store.url("")])?;
        let folder = tempfile::tempdir()?;
        let [rec_front, rec_store] =
            ["front.rec", "store.rec"].map(|name| folder.path().join(name));
        let at_front = observed(&front, &rec_front, &[])?;
        let at_store = observed(&store, &rec_store, &[])?;
        for (path, times) in [
            ("/quick", 10),
            ("/deadline", 1),
            ("/honours/ok", 3),
            ("/retry/ok", 3),
        ] {
            let ids = format!("{}-", path.trim_matches('/').replace('/', "-"));
            let load = Load::of(&front, path).ids(&ids).times(times, 1);
            load.through(&hosts.on(0)).run()?;
        }
        thread::sleep(SETTLED);
        let (at_front, at_store) = (at_front.stop()?, at_store.stop()?);
        ensure!(
            findings(&at_front, front.pid()).is_empty(),
            "one side alone knows nothing: {}",
            at_front.shown()
        );
        let ignored = findings(&at_store, store.pid());
        ensure!(ignored.len() == 1, "{}", at_store.shown());

        let [edge, below] = ["edge.jsonl", "below.jsonl"].map(|name| folder.path().join(name));
        file(&edge, &at_front, "edge", Duration::ZERO)?;
        file(&below, &at_store, "below", AHEAD)?;
        let output = correlate(
            &[&edge, &below],
            &["--output", "json", "--fail-on", "error"],
        )?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = lines(&output)?;
        let shown = format!("{said}\n{}", String::from_utf8_lossy(&output.stdout));
        ensure!(output.status.code() == Some(1), "{shown}");
        let [finding, end] = &told[..] else {
            anyhow::bail!("not one finding: {shown}");
        };
        check(finding, ignored[0].text("/id")).with_context(|| shown.clone())?;
        ensure!(end["type"] == "end" && end["why"] == "files_ended", "{end}");
        said_ahead(&said)?;

        // Their recordings say the same.
        moved(&rec_front, "edge", Duration::ZERO)?;
        moved(&rec_store, "below", AHEAD)?;
        let output = offline("replay", &[&rec_front, &rec_store], &["--output", "json"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = lines(&output)?;
        let shown = format!("{said}\n{}", String::from_utf8_lossy(&output.stdout));
        let [finding] = of_rule(&told, "orphaned-downstream")[..] else {
            anyhow::bail!("not one finding: {shown}");
        };
        check(finding, ignored[0].text("/id")).with_context(|| shown.clone())?;
        ensure!(of_rule(&told, "cancel-ignored").len() == 1, "{shown}");
        said_ahead(&said)?;

        // What is cut or none of observer's is counted; the rest counts as before.
        let mut text = fs::read_to_string(&edge)?;
        text.push_str("{\"schema\":1,\"type\":\"call\",\"time\":\nhello\n");
        fs::write(&edge, text)?;
        let output = correlate(&[&below, &edge], &["--output", "json"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(0), "{said}");
        ensure!(
            said.contains("2 lines of") && said.contains("edge.jsonl"),
            "{said}"
        );
        ensure!(
            lines(&output)?.len() == 2,
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        // One side alone.
        let output = correlate(&[&edge], &["--output", "json"])?;
        ensure!(
            lines(&output)?.len() == 1,
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        Ok(())
    })
}

/// The text says by how much, to more than whole seconds.
fn said_ahead(said: &str) -> Result<()> {
    let words = said.split("the clock of below is ").nth(1);
    let ahead = words.and_then(|words| words.split(" s ahead of that of edge").next());
    let ahead: f64 = ahead.context("the clock")?.parse()?;
    let error = (ahead - AHEAD.as_secs_f64()).abs();
    ensure!(error < MOST_ERROR.as_secs_f64(), "{ahead}: {said}");
    Ok(())
}

fn check(finding: &Value, ignored: &str) -> Result<()> {
    let at = |pointer: &str| finding.pointer(pointer).cloned().unwrap_or_default();
    ensure!(finding["rule"] == "orphaned-downstream", "{finding}");
    ensure!(finding["severity"] == "error", "{finding}");
    ensure!(
        marker(FRONT, "orphaned-downstream deadline")?.is(&finding["site"]),
        "site"
    );
    let below = marker(STORE, "cancel-ignored deadline")?;
    ensure!(below.is(&at("/evidence/downstream/site")), "the line below");
    ensure!(at("/related") == serde_json::json!([ignored]), "related");
    ensure!(at("/evidence/downstream/host") == "below", "host");
    ensure!(at("/evidence/downstream/request/id") == "deadline-0", "id");
    ensure!(at("/evidence/cancelled_by") == "deadline", "by whom");
    let number = |pointer: &str| at(pointer).as_i64().with_context(|| pointer.to_owned());
    let offset = number("/evidence/downstream/clock_offset_ns")?;
    let error = number("/evidence/downstream/clock_uncertainty_ns")?;
    let ahead = i64::try_from(AHEAD.as_nanos())?;
    ensure!((offset + ahead).abs() <= error, "{offset} ± {error}");
    let most = i64::try_from(MOST_ERROR.as_nanos())?;
    ensure!(error < most, "sure to {error} only");
    let wasted = number("/evidence/after_cancel_ns")? / 1_000_000;
    ensure!((1_400..2_000).contains(&wasted), "{wasted} ms wasted");
    Ok(())
}

/// Two observers on one host, each of its own process, and no ID goes from one to the other.
#[test]
fn files_of_one_host_are_joined_by_the_connection_where_no_id_tells() -> Result<()> {
    on_each_version(|go, flavor| {
        let store = start(STORE, go, flavor, &[])?;
        let front = start(FRONT, go, flavor, &["-store", &store.url("")])?;
        let [at_front, at_store] = [&front, &store].map(|program| {
            let pid = program.pid().to_string();
            Observer::attach(&["--pid", &pid, "--facts"], 1)
        });
        let (at_front, at_store) = (at_front?, at_store?);
        let client = Load::of(&front, "/anonymous").ids("anonymous-").start()?;
        let healthy = Load::of(&front, "/anonymous/ok").times(5, 5).start()?;
        client.all("ok")?;
        healthy.all("ok")?;
        thread::sleep(SETTLED);
        let (at_front, at_store) = (at_front.stop()?, at_store.stop()?);
        let folder = tempfile::tempdir()?;
        let [edge, below] = ["edge.jsonl", "below.jsonl"].map(|name| folder.path().join(name));
        file(&edge, &at_front, "one", Duration::ZERO)?;
        file(&below, &at_store, "one", Duration::ZERO)?;
        let output = correlate(&[&edge, &below], &["--output", "json"])?;
        let told = lines(&output)?;
        let shown = format!(
            "{}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            at_front.shown(),
            at_store.shown()
        );
        let [orphan] = of_rule(&told, "orphaned-downstream")[..] else {
            anyhow::bail!("not one finding: {shown}");
        };
        ensure!(told.len() == 2, "{shown}");
        let site = marker(FRONT, "orphaned-downstream anonymous")?;
        ensure!(site.is(&orphan["site"]), "{shown}");
        let below = &orphan["evidence"]["downstream"];
        ensure!(below["joined_by"] == "sockets", "{shown}");
        ensure!(below["request"]["path"] == "/anonymous", "{shown}");
        ensure!(below.get("host").is_none(), "{shown}");
        ensure!(orphan["request"]["id"] == "anonymous-0", "{shown}");
        Ok(())
    })
}

const BUDGET: &str = "chain/budget";
const HEADER: [&str; 2] = ["--deadline-header", "X-Timeout-Ms"];

#[test]
fn files_of_two_hosts_tell_which_did_not_hand_its_deadline_on() -> Result<()> {
    on_each_version(|go, flavor| {
        let hosts = TwoHosts::new()?;
        let last = hosts.start(1, BUDGET, (go, flavor), &[])?;
        let args = ["-faulty", "-next", &last.url("")];
        let front = hosts.start(0, BUDGET, (go, flavor), &args)?;
        let folder = tempfile::tempdir()?;
        let [rec_front, rec_last] = ["front.rec", "last.rec"].map(|name| folder.path().join(name));
        let at_front = observed(&front, &rec_front, &HEADER)?;
        let at_last = observed(&last, &rec_last, &HEADER)?;
        for (path, times) in [("/kept/ok", 10), ("/lost", 1), ("/later", 1)] {
            let ids = format!("{}-", path.trim_matches('/').replace('/', "-"));
            let load = Load::of(&front, path).ids(&ids).times(times, 1);
            let load = load.flag("-header", &"X-Timeout-Ms: 1000");
            load.through(&hosts.on(0)).run()?;
        }
        thread::sleep(SETTLED / 3);
        let (at_front, at_last) = (at_front.stop()?, at_last.stop()?);
        for (run, program) in [(&at_front, &front), (&at_last, &last)] {
            ensure!(findings(run, program.pid()).is_empty(), "{}", run.shown());
        }
        let [edge, below] = ["edge.jsonl", "below.jsonl"].map(|name| folder.path().join(name));
        file(&edge, &at_front, "edge", Duration::ZERO)?;
        file(&below, &at_last, "below", AHEAD)?;
        moved(&rec_front, "edge", Duration::ZERO)?;
        moved(&rec_last, "below", AHEAD)?;
        for (command, files) in [
            ("correlate", [&edge, &below]),
            ("replay", [&rec_front, &rec_last]),
        ] {
            let output = offline(command, &files.map(|file| &**file), &["--output", "json"])?;
            let told = lines(&output)?;
            let shown = format!("{command}: {}", String::from_utf8_lossy(&output.stdout));
            let found = of_rule(&told, "deadline-not-forwarded");
            ensure!(found.len() == 2 && told.len() == 3, "{shown}");
            for case in ["lost", "later"] {
                let rule = format!("deadline-not-forwarded {case}");
                let line = marker(BUDGET, &rule)?;
                let here = found.iter().find(|finding| line.is(&finding["site"]));
                let here = here.with_context(|| format!("{case}: {shown}"))?;
                let below = &here["evidence"]["downstream"];
                ensure!(here["severity"] == "warning", "{shown}");
                ensure!(here["confidence"] == "medium", "{shown}");
                ensure!(below["host"] == "below", "{shown}");
                ensure!(below["request"]["id"] == format!("{case}-0"), "{shown}");
                let given = below["deadline_ns"].as_i64();
                let expected = (case == "later").then_some(30_000_000_000);
                ensure!(given == expected, "{given:?}: {shown}");
            }
        }
        Ok(())
    })
}

#[test]
fn what_a_killed_test_left_behind_is_removed() -> Result<()> {
    let mut gone = Command::new("true").spawn()?;
    let name = format!("observer-{}-0a", gone.id());
    gone.wait()?;
    let added = Command::new("ip").args(["netns", "add", &name]).status()?;
    ensure!(added.success(), "no namespace");
    let _hosts = TwoHosts::new()?;
    let listed = Command::new("ip").args(["netns", "list"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(!listed.contains(&name), "{listed}");
    let own = format!("observer-{}-", std::process::id());
    ensure!(listed.contains(&own), "{listed}");
    Ok(())
}
