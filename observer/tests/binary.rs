//! The binary itself: streams, exit codes, closed pipes.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn observer(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_observer"));
    command.args(args).env_clear();
    command
}

#[expect(
    clippy::unwrap_used,
    reason = "only tests call it, and they may stop at the first thing that is wrong"
)]
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = observer(args).output().unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[test]
fn data_goes_to_stdout() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["schema"],
        &["explain"],
        &["explain", "cancel-ignored"],
        &["completions", "bash"],
        &["man"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(!out.is_empty(), "{args:?}");
        assert_eq!(err, "", "{args:?}");
    }
}

#[test]
fn one_form_of_goroutines_is_printed() {
    // No process has this pid: what is refused before is a matter of form.
    let said = |args: &[&str], variable: Option<(&str, &str)>| {
        let mut command = observer(&["goroutines", "--pid", "4194305"]);
        command.args(args).envs(variable);
        let Output { status, stderr, .. } = command.output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let (code, err) = said(&["--folded", "--output", "json"], None);
    assert_eq!(code, Some(2), "{err}");
    insta::assert_snapshot!(err, @r"
    error: `--folded` cannot be used with `--output json`

    hint: leave one of them out: `--folded` for flame graph tools, `--output json` for all that is known
    ");
    // A flag beats a variable.
    let json = Some(("OBSERVER_OUTPUT", "json"));
    let folded = Some(("OBSERVER_FOLDED", "true"));
    for (args, variable) in [
        (&["--folded"][..], json),
        (&["--output", "json"], folded),
        (&["--folded", "--output", "human"], None),
        (&["--folded=false", "--output", "json"], None),
    ] {
        let (code, err) = said(args, variable);
        assert_eq!(code, Some(4), "{args:?} {variable:?}: {err}");
        assert!(err.contains("no process has pid"), "{err}");
    }
}

#[test]
fn faults_go_to_stderr() {
    let (code, out, err) = run(&["explain", "cancel-ignord"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    insta::assert_snapshot!(err, @r"
    error: there is no rule `cancel-ignord`

    hint: did you mean `cancel-ignored`? what each rule finds: `observer explain`
    ");
    let (code, out, err) = run(&["run"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("hint: name a process"), "{err}");
    let (code, out, err) = run(&["run", "--grac", "1s"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    insta::assert_snapshot!(err, @r"
    error: there is no flag `--grac`

    hint: did you mean `--grace`? see what it takes: `observer run --help`
    ");
    let (code, _, err) = run(&["run", "--pid", "1", "--config", "/nowhere.toml"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("caused by: No such file"), "{err}");
}

#[test]
fn the_environment_counts_less_than_flags() {
    let output = observer(&["run"])
        .env("OBSERVER_PID", "zero")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.contains("invalid value `zero` for `OBSERVER_PID`"),
        "{err}"
    );
}

#[test]
fn a_misspelt_variable_is_named_wherever_variables_count() {
    let warnings = |args: &[&str]| {
        let mut command = observer(args);
        let output = command.env("OBSERVER_COLOUR", "never").output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        err.matches("warning: `OBSERVER_COLOUR` in the environment means nothing")
            .count()
    };
    for args in [
        &["run", "--pid", "1", "--duration", "0"][..],
        &["ps"],
        &["check", "/nowhere"],
        &["check"],
        &["replay", "/nowhere"],
        &["replay", "/nowhere", "-q"],
        &["explain"],
    ] {
        assert_eq!(warnings(args), 1, "{args:?}");
    }
    for args in [&["schema"][..], &["completions", "bash"], &["man"]] {
        assert_eq!(warnings(args), 0, "{args:?}");
    }
}

#[test]
fn a_closed_pipe_is_success() {
    for args in [
        &["schema"][..],
        &["explain", "cancel-ignored"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ] {
        let mut child = observer(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
        assert_eq!(err, "", "{args:?}");
    }
}

#[test]
fn a_full_disk_is_not() {
    for args in [
        &["schema"][..],
        &["--help"],
        &["-h"],
        &["help", "run"],
        &["run", "--help"],
        &["--version"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let output = observer(args).stdout(full.unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{args:?}");
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(
            err.starts_with("error: cannot write stdout\n"),
            "{args:?}: {err}"
        );
    }
}

#[test]
fn manual_pages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    let (code, _, err) = run(&["man", dir.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert!(dir.join("observer-run.1").exists());
}

/// What `correlate` does with files of these contents.
fn correlated(contents: &[&str]) -> (Option<i32>, String, String) {
    correlated_with(contents, &[], None)
}

/// The same with further arguments and a variable.
#[expect(
    clippy::unwrap_used,
    reason = "only tests call it, and they may stop at the first thing that is wrong"
)]
fn correlated_with(
    contents: &[&str],
    more: &[&str],
    variable: Option<(&str, &str)>,
) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["correlate".to_owned(), "--output".into(), "json".into()];
    args.extend(more.iter().map(|&one| one.to_owned()));
    for (number, content) in contents.iter().enumerate() {
        let path = folder.path().join(format!("{number}.jsonl"));
        std::fs::write(&path, content).unwrap();
        args.push(path.to_str().unwrap().to_owned());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Output {
        status,
        stdout,
        stderr,
    } = observer(&args).envs(variable).output().unwrap();
    let place = format!("{}/", folder.path().display());
    let err = String::from_utf8(stderr).unwrap().replace(&place, "");
    (status.code(), String::from_utf8(stdout).unwrap(), err)
}

/// The last line of a run that has seen so many requests.
fn end(requests: u32) -> String {
    let findings = json!({"error": 0, "warning": 0, "info": 0, "silenced": 0, "evicted": 0});
    let health = json!({
        "requests": 0, "requests_lost": 0, "context_propagation_loss_ratio": null,
        "chains_cancelled": 0, "chains_recovered": 0, "wasted_ns": 0,
    });
    let line = json!({
        "schema": 1, "type": "end", "why": "signal", "time": "2026-01-02T03:04:05.000000000Z",
        "duration_ns": 1, "findings": findings, "requests": requests, "requests_unknown": 0,
        "traceparents_broken": 0, "events": 0, "lost": {}, "lines_dropped": 0, "own_cpu_ns": 0,
        "target_cpu_ns": null, "health": health, "goroutines": {"total": 1},
    });
    format!("{line}\n")
}

/// A process, the origin of its lines, and a request of it.
fn side(
    name: &str,
    pid: u32,
    (path, start_ms): (&str, u32),
    duration_ns: u64,
) -> (Value, Value, Value) {
    let origin = json!({"host": "one", "boot_id": "boot of one", "start_ticks": pid});
    let process = json!({
        "pid": pid, "name": name, "exe": format!("/srv/{name}"), "go": "go1.27.3",
        "module": format!("example.com/{name}"), "package": format!("example.com/{name}"), "build_id": "a",
    });
    let request = json!({
        "method": "GET", "path": path, "route": path, "proto": "HTTP/1.1", "id": "r-1",
        "id_header": "X-Request-Id", "id_source": "header:X-Request-Id", "trace_id": null, "peer": null,
        "goid": 7, "start": format!("2026-01-02T03:04:05.{start_ms:03}000000Z"), "duration_ns": duration_ns,
    });
    (origin, process, request)
}

/// A call that was given up after 0.3 s, and the request below that went on for 2 s.
fn orphan() -> String {
    let (origin, process, request) = side("front", 11, ("/", 0), 310_000_000);
    let call = json!({
        "schema": 1, "type": "call", "time": "2026-01-02T03:04:05.400000000Z", "origin": origin,
        "process": process, "number": 1, "request_number": 1, "request": request,
        "call": {
            "kind": "http", "target": "GET store:8080/report", "attempts": 1, "outcome": "cancelled",
            "start": "2026-01-02T03:04:05.001000000Z", "duration_ns": 300_000_000,
        },
        "given_up_by": "deadline", "deadline": {"set_ns": 300_000_000, "left_ns": 300_000_000, "site": null},
        "site": {"function": "main.ask", "file": "/src/front/main.go", "line": 9}, "whole": true,
    });
    let (origin, process, request) = side("store", 12, ("/report", 2), 2_000_000_000);
    let served = json!({
        "schema": 1, "type": "request", "time": "2026-01-02T03:04:07.002000000Z", "origin": origin,
        "process": process, "number": 2, "request": request, "whole": true,
    });
    format!("{call}\n{served}\n")
}

#[test]
fn the_same_file_twice_says_what_it_says_once() {
    let once = correlated(&[&orphan()]);
    assert!(once.1.contains("orphaned-downstream"), "{once:?}");
    assert!(once.1.contains(r#""caller_host":"one""#), "{once:?}");
    assert_eq!((once.0, once.2.as_str()), (Some(0), ""));
    let twice = correlated(&[&orphan(), &orphan()]);
    assert_eq!((twice.0, twice.1), (once.0, once.1));
    insta::assert_snapshot!(twice.2, @"warning: 2 requests and calls are told of again: each counts once");
}

/// A call that has 300 ms, and the request below that was given 360 ms.
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "only tests call it, and they may stop at the first thing that is wrong"
)]
fn later() -> String {
    let lines = orphan();
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["type"] == "call" {
            line["call"]["outcome"] = "done".into();
        } else {
            let sent = json!({"header": "X-Timeout-Ms", "ns": 360_000_000, "broken": false});
            line["sent_deadline"] = sent;
            line["request"]["duration_ns"] = 100_000_000.into();
        }
        format!("{line}\n")
    });
    lines.collect()
}

/// As `run` is told: by a flag, a variable or the file.
#[test]
fn what_deadlines_may_differ_by_is_set_for_files_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("observer.toml");
    std::fs::write(&config, "deadline-tolerance = \"25%\"\n").unwrap();
    let config = config.to_str().unwrap();
    let found = |more: &[&str], variable| {
        let (code, out, err) = correlated_with(&[&later()], more, variable);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{more:?}");
        out.contains("deadline-not-forwarded")
    };
    assert!(found(&[], None));
    assert!(!found(&["--deadline-tolerance", "25%"], None));
    assert!(!found(&["--deadline-tolerance-min", "70ms"], None));
    assert!(!found(&["--config", config], None));
    assert!(!found(&[], Some(("OBSERVER_DEADLINE_TOLERANCE", "25%"))));
    let least = Some(("OBSERVER_DEADLINE_TOLERANCE_MIN", "70ms"));
    assert!(!found(&[], least));
    // The flag beats both.
    assert!(found(
        &["--config", config, "--deadline-tolerance", "5%"],
        None
    ));
    assert!(found(&["--deadline-tolerance-min", "1ms"], least));
}

#[test]
fn files_without_facts_are_no_files_to_join() {
    let (code, out, err) = correlated(&[""]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    insta::assert_snapshot!(err, @r"
    error: `0.jsonl`: no request and no call to join

    hint: make them with requests and calls: `observer run --all --facts --output json > FILE`
    ");
    let (code, out, err) = correlated(&[&end(7), "hello\n"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    insta::assert_snapshot!(err, @r"
    warning: 1 line of `1.jsonl` is none of observer's, or cut: it is left out
    error: `0.jsonl`, `1.jsonl`: no request and no call to join

    hint: make them with requests and calls: `observer run --all --facts --output json > FILE`
    ");
}

#[test]
fn files_of_hosts_that_nobody_asked_for_anything_have_nothing_to_join() {
    let (code, out, err) = correlated(&[&end(0), &end(0)]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("files_ended"), "{out}");
}
