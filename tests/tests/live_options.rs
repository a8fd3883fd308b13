//! What a user can ask of `observer run`, asked of live programs: selectors, request IDs, rules, exit codes, the
//! baseline; as flags, from the environment and from a file.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    go::CI_VERSIONS,
    live::{Expect, Guarded, Load, Observer, Program, Run, exactly, findings, start},
    target::{Flavor, build_target},
};

const PROGRAM: &str = "rules4";
/// A mistake that is found a moment after its request.
const MISTAKE: &str = "/notcalled/cancel";
/// One whose handler works on for almost two seconds after its client has left.
const LONG: &str = "/ignored/sleep";

fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

fn rules4(args: &[&str]) -> Result<Program> {
    start(PROGRAM, newest(), Flavor::Plain, args)
}

fn mistake(id: &str) -> Result<Expect> {
    Ok(Expect::new("warning", PROGRAM, "cancel-not-called cancel")?.request(MISTAKE, id))
}

fn make_mistake(program: &Program, id_prefix: &str) -> Result<()> {
    let load = Load::of(program, MISTAKE).ids(id_prefix);
    load.start()?.all("ok").map(drop)
}

fn leave_early(program: &Program, path: &str) -> Load {
    Load::of(program, path).mode("drop").patience_ms(300)
}

/// Beyond grace.
fn found() {
    thread::sleep(Duration::from_millis(1200));
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Nothing matches: exit 4, at once, and the selector is named.
fn nothing_matches(args: &[&str]) -> Result<()> {
    let run = Observer::launch(args)?.ends(Duration::from_secs(20))?;
    let stderr = run.stderr.join("\n");
    ensure!(
        run.status.code() == Some(4) && run.lines.is_empty(),
        "{}",
        run.shown()
    );
    let named = format!("no running Go process matches {}", args.join(" "));
    ensure!(
        stderr.contains(&named) && stderr.contains("\n\nhint: "),
        "{}",
        run.shown()
    );
    Ok(())
}

fn observed(run: &Run) -> Vec<u64> {
    let pids = run
        .of_type("start")
        .filter_map(|line| line["process"]["pid"].as_u64());
    pids.collect()
}

#[test]
fn an_executable_selects_all_its_processes_and_no_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("observer-tests-shared");
    fs::copy(build_target(PROGRAM, newest(), Flavor::Plain)?, &path)?;
    let twins = [
        Program::run(PROGRAM, path.clone(), &[])?,
        Program::run(PROGRAM, path.clone(), &[])?,
    ];
    let stranger = rules4(&[])?;
    for selector in [text(&path)?, "observer-tests-shared"] {
        let observer = Observer::attach(&["--exe", selector], 2)?;
        for (program, prefix) in twins.iter().zip(["a-", "b-"]) {
            make_mistake(program, prefix)?;
        }
        make_mistake(&stranger, "c-")?;
        found();
        let run = observer.stop()?;
        ensure!(observed(&run).len() == 2, "{}", run.shown());
        exactly(&run, twins[0].pid(), &[mistake("a-0")?])?;
        exactly(&run, twins[1].pid(), &[mistake("b-0")?])?;
        exactly(&run, stranger.pid(), &[])?;
        // Each calls its own downstream, which is a request too.
        ensure!(run.requests()? == 4, "{}", run.shown());
    }
    nothing_matches(&["--exe", "observer-tests-nobody"])?;
    let nobody = folder.path().join("nobody");
    nothing_matches(&["--exe", text(&nobody)?])?;
    fs::copy(&path, &nobody)?;
    nothing_matches(&["--exe", text(&nobody)?])
}

#[test]
fn ports_of_both_families_and_other_selectors_are_united() -> Result<()> {
    let four = rules4(&[])?;
    let port = four.address.port().to_string();
    let six = rules4(&["-listen", &format!("[::1]:{port}")])?;
    let both = rules4(&["-listen", ":0"])?;
    let named = rules4(&[])?;
    let stranger = rules4(&[])?;
    let dual = both.address.port().to_string();
    let pid = named.pid().to_string();
    // The same process twice is observed once.
    let args = ["--port", &port, "--port", &dual, "--pid", &pid];
    let again = ["--pid", &four.pid().to_string()];
    let observer = Observer::attach(&[&args[..], &again].concat(), 4)?;
    let all = [&four, &six, &both, &named, &stranger];
    for (program, prefix) in all.iter().zip(["a-", "b-", "c-", "d-", "e-"]) {
        make_mistake(program, prefix)?;
    }
    found();
    let run = observer.stop()?;
    ensure!(observed(&run).len() == 4, "{}", run.shown());
    for (program, id) in all.iter().zip(["a-0", "b-0", "c-0", "d-0"]) {
        exactly(&run, program.pid(), &[mistake(id)?])?;
    }
    exactly(&run, stranger.pid(), &[])?;
    let free = stranger.address.port().to_string();
    drop(stranger);
    nothing_matches(&["--port", &free])?;
    // One selector that fits does not excuse another that does not.
    let run = Observer::launch(&["--port", &port, "--exe", "observer-tests-nobody"])?
        .ends(Duration::from_secs(20))?;
    ensure!(run.status.code() == Some(4), "{}", run.shown());
    ensure!(
        run.stderr
            .join("\n")
            .contains("matches --exe observer-tests-nobody"),
        "{}",
        run.shown()
    );
    Ok(())
}

#[test]
fn request_ids_come_from_the_header_that_was_asked_for_first() -> Result<()> {
    let program = rules4(&[])?;
    let pid = program.pid().to_string();
    let base = ["--pid", pid.as_str()];
    let with = |more: &[&str]| Observer::attach(&[&base[..], more].concat(), 1);
    let headers = [
        "--request-id-header",
        "x-order-key",
        "--request-id-header",
        "X-Request-Id",
    ];
    let ordered = with(&headers)?;
    let lazy = with(&[&headers[..], &["--request-ids", "lazy"]].concat())?;
    let default = with(&[])?;
    // Each of these is alive when it becomes suspicious, so that its ID can still be read.
    let both = leave_early(&program, LONG)
        .ids("second-")
        .flag("-header", &"X-Order-Key: first-0")
        .start()?;
    let one = leave_early(&program, "/ignored/channel")
        .ids("second-")
        .start()?;
    let other = leave_early(&program, "/detached/background")
        .ids("first-")
        .flag("-id-header", &"X-Order-Key")
        .start()?;
    for client in [both, one, other] {
        client.all("dropped")?;
    }
    // This one has ended when it is found.
    make_mistake(&program, "gone-")?;
    thread::sleep(Duration::from_millis(3000));

    let expect = |marked: &str, path: &str, id: &str| -> Result<Expect> {
        Ok(Expect::new("error", PROGRAM, marked)?.request(path, id))
    };
    let asked = |gone: &str| -> Result<[Expect; 4]> {
        Ok([
            expect("cancel-ignored sleep", LONG, "first-0")?,
            expect("cancel-ignored channel", "/ignored/channel", "second-0")?,
            expect(
                "detached-context background",
                "/detached/background",
                "first-0",
            )?,
            mistake(gone)?,
        ])
    };
    exactly(&ordered.stop()?, program.pid(), &asked("gone-0")?)?;
    // Nobody reads the IDs of requests about which nothing is suspected while they live.
    exactly(&lazy.stop()?, program.pid(), &asked("")?)?;
    let run = default.stop()?;
    let default = [
        expect("cancel-ignored sleep", LONG, "second-0")?,
        expect("cancel-ignored channel", "/ignored/channel", "second-0")?,
        expect("detached-context background", "/detached/background", "")?,
        mistake("gone-0")?,
    ];
    exactly(&run, program.pid(), &default)
}

#[test]
fn redacted_paths_appear_nowhere() -> Result<()> {
    // From 1.23 on Go's router names the route, unless the module asks for the older one, as ours does.
    let executable = build_target(PROGRAM, newest(), Flavor::Plain)?;
    let program = Program::run_with(PROGRAM, executable, &[], &[("GODEBUG", "httpmuxgo121=0")])?;
    let pid = program.pid().to_string();
    let observer = Observer::attach(&["--pid", &pid, "--redact-path"], 1)?;
    let secret = format!("{MISTAKE}?token=hunter2");
    Load::of(&program, &secret).ids("a-").start()?.all("ok")?;
    leave_early(&program, "/detached/background")
        .ids("b-")
        .start()?
        .all("dropped")?;
    thread::sleep(Duration::from_millis(2500));
    let run = observer.stop()?;
    let found = findings(&run, program.pid());
    ensure!(found.len() >= 2, "{}", run.shown());
    for finding in &found {
        let request = &finding.last["request"];
        ensure!(request["path"].is_null(), "{request}");
        ensure!(request["id"].is_string(), "{request}");
        // It is read while the request lives.
        let route = match finding.text("/rule") {
            "cancel-not-called" => "",
            _ => "/detached/background",
        };
        ensure!(finding.text("/request/route") == route, "{request}");
    }
    // The query, and the path of the outgoing call.
    for hidden in ["hunter2", "/slow"] {
        let shown = run
            .lines
            .iter()
            .any(|line| line.to_string().contains(hidden));
        ensure!(!shown, "{hidden} is shown: {}", run.shown());
    }
    Ok(())
}

/// Counts of errors, warnings and infos, and what was silenced.
fn totals(run: &Run) -> Result<[u64; 4]> {
    let findings = &run.end()?["findings"];
    Ok(["error", "warning", "info", "silenced"].map(|key| findings[key].as_u64().unwrap_or(99)))
}

#[test]
fn rules_are_chosen_and_adjusted_and_the_exit_code_follows() -> Result<()> {
    let program = rules4(&[])?;
    let pid = program.pid().to_string();
    // One warning of cancel-not-called, one error of premature-cancel.
    let cases: [(&[&str], i32, [u64; 4]); 8] = [
        (&[], 0, [1, 1, 0, 0]),
        (&["--fail-on", "error"], 1, [1, 1, 0, 0]),
        (
            &["--rule", "cancel-not-called", "--fail-on", "error"],
            0,
            [0, 1, 0, 0],
        ),
        (
            &["--rule", "cancel-not-called", "--fail-on", "warning"],
            1,
            [0, 1, 0, 0],
        ),
        (
            &["--rule", "premature-cancel=off", "--fail-on", "error"],
            0,
            [0, 1, 0, 0],
        ),
        (
            &[
                "--rule",
                "premature-cancel=info",
                "--rule",
                "cancel-not-called=error",
                "--fail-on",
                "error",
            ],
            1,
            [1, 0, 1, 0],
        ),
        (
            &["--rule", "premature-cancel=info", "--fail-on", "error"],
            0,
            [0, 1, 1, 0],
        ),
        (
            &[
                "--rule",
                "premature-cancel=off",
                "--rule",
                "cancel-not-called=info",
                "--fail-on",
                "info",
            ],
            1,
            [0, 0, 1, 0],
        ),
    ];
    let observers = cases
        .iter()
        .map(|(args, ..)| Observer::attach(&[&["--pid", &pid], *args].concat(), 1))
        .collect::<Result<Vec<_>>>()?;
    make_mistake(&program, "a-")?;
    Load::of(&program, "/premature/async")
        .ids("b-")
        .start()?
        .all("ok")?;
    thread::sleep(Duration::from_millis(2000));
    // Together: the kernel takes its time with every one that detaches.
    for observer in &observers {
        observer.signal(nix::sys::signal::Signal::SIGINT)?;
    }
    for (observer, (args, code, expected)) in observers.into_iter().zip(cases) {
        let run = observer.ends(Duration::from_secs(30))?;
        ensure!(
            run.status.code() == Some(code) && totals(&run)? == expected,
            "{args:?}: {:?}, expected {code} and {expected:?}: {}",
            totals(&run)?,
            run.shown()
        );
    }
    Ok(())
}

#[test]
fn a_baseline_is_counted_and_not_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("known");
    let baseline = text(&file)?;
    {
        let program = rules4(&[])?;
        let pid = program.pid().to_string();
        let observer = Observer::attach(&["--pid", &pid, "--write-baseline", baseline], 1)?;
        make_mistake(&program, "a-")?;
        found();
        exactly(&observer.stop()?, program.pid(), &[mistake("a-0")?])?;
    }
    let written = fs::read_to_string(&file)?;
    ensure!(
        written.contains(" # cancel-not-called ") && written.lines().count() == 2,
        "{written}"
    );

    // Another process of another build of the same sources.
    let program = start(PROGRAM, newest(), Flavor::Stripped, &[])?;
    let pid = program.pid().to_string();
    let renewed = folder.path().join("renewed");
    let args = ["--pid", &pid, "--baseline", baseline, "--fail-on", "info"];
    let known = Observer::attach(&args, 1)?;
    let both = Observer::attach(
        &[
            "--pid",
            &pid,
            "--baseline",
            baseline,
            "--write-baseline",
            text(&renewed)?,
        ],
        1,
    )?;
    make_mistake(&program, "b-")?;
    found();
    let run = known.stop()?;
    ensure!(findings(&run, program.pid()).is_empty(), "{}", run.shown());
    ensure!(totals(&run)? == [0, 0, 0, 1], "{}", run.shown());
    Load::of(&program, "/notcalled/timeout")
        .ids("c-")
        .start()?
        .all("ok")?;
    found();
    let new = Expect::new("warning", PROGRAM, "cancel-not-called timeout")?
        .request("/notcalled/timeout", "c-0");
    let run = both.stop()?;
    exactly(&run, program.pid(), &[new])?;
    ensure!(totals(&run)? == [0, 1, 0, 1], "{}", run.shown());
    // What was known stays known.
    let renewed = fs::read_to_string(renewed)?;
    let first = written.lines().nth(1).context("one fingerprint")?;
    ensure!(
        renewed.contains(first) && renewed.lines().count() == 3,
        "{renewed}"
    );

    fs::write(&file, "no fingerprint\n")?;
    let run = Observer::launch(&args)?.ends(Duration::from_secs(20))?;
    ensure!(
        run.status.code() == Some(2) && run.lines.is_empty(),
        "{}",
        run.shown()
    );
    Ok(())
}

/// Started with these variables, given as `NAME=VALUE`.
fn with_environment(variables: &[String], args: &[&str]) -> Result<Observer> {
    let mut wrapper = vec!["env"];
    wrapper.extend(variables.iter().map(String::as_str));
    Observer::launch_through(&wrapper, args)
}

#[test]
fn environment_and_file_say_what_flags_say() -> Result<()> {
    let program = rules4(&[])?;
    let stranger = Guarded::spawn(std::process::Command::new("/bin/sleep").arg("60"))?;
    let pid = program.pid();
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let variables = [
        format!("OBSERVER_PID={pid}"),
        "OBSERVER_RULE=cancel-not-called=info,premature-cancel".to_owned(),
        "OBSERVER_REQUEST_ID_HEADER=X-Order-Key,X-Request-Id".to_owned(),
        "OBSERVER_REDACT_PATH=true".to_owned(),
        "OBSERVER_FAIL_ON=error".to_owned(),
        "OBSERVER_DURATION=1h".to_owned(),
        format!("OBSERVER_LOG={}", at("environment.jsonl")),
        format!("OBSERVER_WRITE_BASELINE={}", at("environment.known")),
    ];
    let file = at("observer.toml");
    let list = format!(
        "pid = [{pid}]\nrule = [\"cancel-not-called=info\", \"premature-cancel\"]\n\
         request-id-header = [\"X-Order-Key\", \"X-Request-Id\"]\nredact-path = true\n\
         fail-on = \"error\"\nduration = \"1h\"\nlog = \"{}\"\nwrite-baseline = \"{}\"\n",
        at("file.jsonl"),
        at("file.known")
    );
    fs::write(&file, list)?;
    // Flags over environment over file: each source below is wrong about what the one above says. A selector of
    // any kind above replaces all below, else the sleeper would be refused.
    let wrong = at("wrong.toml");
    let list = format!(
        "pid = [{}]\nrule = [\"cancel-ignored\"]\nfail-on = \"never\"\nduration = \"1ms\"\n\
         request-id-header = [\"X-Order-Key\", \"X-Request-Id\"]\nredact-path = true\n\
         log = \"{}\"\nwrite-baseline = \"{}\"\n",
        stranger.pid(),
        at("layers.jsonl"),
        at("layers.known")
    );
    fs::write(&wrong, list)?;
    let layers = [
        format!("OBSERVER_CONFIG={wrong}"),
        format!("OBSERVER_PID={}", stranger.pid()),
        "OBSERVER_RULE=cancel-not-called=info,premature-cancel".to_owned(),
        "OBSERVER_FAIL_ON=warning".to_owned(),
        "OBSERVER_DURATION=1h".to_owned(),
    ];
    let flags = [
        "--port",
        &program.address.port().to_string(),
        "--fail-on",
        "error",
    ];
    let observers = [
        with_environment(&variables, &[])?,
        Observer::launch(&["--config", &file])?,
        with_environment(&layers, &flags)?,
    ];
    for observer in &observers {
        observer.started(1)?;
    }
    make_mistake(&program, "a-")?;
    Load::of(&program, "/premature/async")
        .ids("b-")
        .flag("-header", &"X-Order-Key: c-0")
        .start()?
        .all("ok")?;
    leave_early(&program, LONG).start()?.all("dropped")?;
    thread::sleep(Duration::from_millis(2500));
    for (observer, name) in observers.into_iter().zip(["environment", "file", "layers"]) {
        observer.signal(nix::sys::signal::Signal::SIGINT)?;
        let run = observer.ends(Duration::from_secs(20))?;
        let shown = || format!("{name}: {}", run.shown());
        ensure!(run.status.code() == Some(1), "{}", shown());
        ensure!(run.end()?["why"] == "signal", "{}", shown());
        let expected = [
            Expect::new("info", PROGRAM, "cancel-not-called cancel")?.fact("/request/id", "a-0"),
            Expect::new("error", PROGRAM, "premature-cancel async")?.fact("/request/id", "c-0"),
        ];
        exactly(&run, pid, &expected).with_context(|| name)?;
        let paths = findings(&run, pid);
        ensure!(
            paths
                .iter()
                .all(|found| found.text("/request/path").is_empty()),
            "{}",
            shown()
        );
        let log = fs::read_to_string(at(&format!("{name}.jsonl")))?;
        ensure!(log.lines().count() == run.lines.len(), "{}", shown());
        let known = fs::read_to_string(at(&format!("{name}.known")))?;
        ensure!(known.lines().count() == 3, "{known}\n{}", shown());
    }
    Ok(())
}
