//! By which ID a request is known: which header wins, what a broken, hostile or huge one does, and where the ID came
//! from.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{
    io::Write as _,
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    live::{
        Finding, Observer, Program, findings, observer_binary, on_each_version, start, undisturbed,
    },
    target::Flavor,
};
use serde_json::{Value, json};

const PROGRAM: &str = "rules4";
/// Works on for a while after its client has left, and calls nobody.
const PATH: &str = "/ignored/channel";
/// Its client has left, it works beyond the grace time, and ends.
const LEAVE: Duration = Duration::from_millis(300);
const FOUND: Duration = Duration::from_millis(2700);

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("traceparent: 00-{TRACE_ID}-{PARENT_ID}-01")
}

/// A request with these header lines, whose client does not wait for the answer.
fn ask(program: &Program, lines: &[Vec<u8>]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(program.address)?;
    let mut head = format!("GET {PATH} HTTP/1.1\r\nHost: test\r\n").into_bytes();
    for line in lines {
        head.extend_from_slice(line);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    stream.write_all(&head)?;
    Ok(stream)
}

fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

/// Lines that mean nothing to observer.
fn noise(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| format!("X-Noise-{number}: {number}").into_bytes())
}

/// The only finding about a program.
fn only(observer: &observer_tests::live::Run, program: &Program) -> Result<Finding> {
    match &findings(observer, program.pid())[..] {
        [finding] if finding.text("/rule") == "cancel-ignored" => Ok(finding.clone()),
        other => anyhow::bail!("not one cancel-ignored: {other:?}: {}", observer.shown()),
    }
}

/// What a finding says of its request's IDs.
fn ids(finding: &Finding) -> Value {
    let request = &finding.last["request"];
    let keys = [
        "id",
        "id_header",
        "id_source",
        "id_truncated",
        "trace_id",
        "parent_id",
        "trace_flags",
    ];
    let said = keys.iter().map(|key| (*key).to_owned());
    said.zip(keys.iter().map(|key| request[key].clone()))
        .filter(|(_, value)| !value.is_null())
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn known(id: &str, header: &str) -> Value {
    json!({"id": id, "id_header": header, "id_source": format!("header:{header}")})
}

fn traced(mut known: Value) -> Value {
    known["trace_id"] = TRACE_ID.into();
    known["parent_id"] = PARENT_ID.into();
    known["trace_flags"] = "01".into();
    known
}

fn truncated(mut known: Value) -> Value {
    known["id_truncated"] = true.into();
    known
}

/// What it is called, the lines of a request, and what each observer says of it.
type Case = (&'static str, Vec<Vec<u8>>, Vec<Value>);

/// Lets a request with each case's lines be found, each by a process of its own, by all observers; what is expected of
/// each observer stands in its column.
fn compare(go: &str, observers: &[&[&str]], cases: &[Case]) -> Result<()> {
    let programs = cases
        .iter()
        .map(|_| start(PROGRAM, go, Flavor::Plain, &[]))
        .collect::<Result<Vec<_>>>()?;
    let pids: Vec<String> = programs.iter().map(|it| it.pid().to_string()).collect();
    let pids = pids.join(",");
    let observers = observers
        .iter()
        .map(|args| Observer::attach(&[&["--pid", &pids], *args].concat(), programs.len()))
        .collect::<Result<Vec<_>>>()?;
    let clients = programs
        .iter()
        .zip(cases)
        .map(|(program, (_, lines, _))| ask(program, lines))
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(LEAVE);
    drop(clients);
    thread::sleep(FOUND);
    // Together: the kernel takes its time with every one that detaches.
    for observer in &observers {
        observer.signal(Signal::SIGINT)?;
    }
    for (column, observer) in observers.into_iter().enumerate() {
        let run = observer.ends()?;
        run.require_clean()?;
        for (program, (case, _, expected)) in programs.iter().zip(cases) {
            let finding = only(&run, program).with_context(|| (*case).to_owned())?;
            let wanted = expected.get(column).context("one column per observer")?;
            ensure!(
                ids(&finding) == *wanted,
                "{case}, observer {column}: {} instead of {wanted}",
                ids(&finding)
            );
        }
    }
    Ok(())
}

/// Both kinds of maps, read by the probe and read from memory; small maps, and maps that the probe leaves alone.
#[test]
fn the_first_configured_header_that_is_present_wins() -> Result<()> {
    on_each_version(|go, _| {
        let ordered = [
            "--request-id-header",
            "x-order-key",
            "--request-id-header",
            "traceparent,X-Request-Id",
        ];
        let lazy = [
            &ordered[..],
            &["--request-id-header", "A,B", "--request-ids", "lazy"],
        ]
        .concat();
        let trace = traceparent();
        let both = lines(&["X-Request-Id: request", "X-Order-Key: order", &trace]);
        let many: Vec<_> = noise(300).chain(both.clone()).collect();
        let some: Vec<_> = noise(20).chain(both.clone()).collect();
        let request = || known("request", "X-Request-Id");
        let order = || known("order", "X-Order-Key");
        let by_trace = || traced(known(TRACE_ID, "Traceparent"));
        let ordered_and_lazy = |first: Value, other: Value| vec![first, other.clone(), other];
        let cases = [
            (
                "all",
                both,
                ordered_and_lazy(traced(request()), traced(order())),
            ),
            (
                "all and 20 others",
                some,
                ordered_and_lazy(traced(request()), traced(order())),
            ),
            (
                "all and 300 others",
                many,
                ordered_and_lazy(traced(request()), traced(order())),
            ),
            (
                "no order key",
                lines(&["X-Request-Id: request", &trace]),
                ordered_and_lazy(traced(request()), by_trace()),
            ),
            (
                "a trace alone",
                lines(&[&trace]),
                ordered_and_lazy(traced(json!({})), by_trace()),
            ),
            (
                "an empty order key and a broken trace",
                lines(&[
                    "X-Order-Key:",
                    "X-Request-Id: request",
                    &trace.to_uppercase(),
                ]),
                ordered_and_lazy(request(), request()),
            ),
            ("nothing", lines(&[]), vec![json!({}); 3]),
        ];
        compare(go, &[&[], &ordered, &lazy], &cases)
    })
}

#[test]
fn hostile_and_huge_headers_are_cut_and_change_nothing_else() -> Result<()> {
    on_each_version(|go, _| {
        let huge = "v".repeat(64 << 10);
        let line = |value: &str| format!("X-Request-Id: {value}").into_bytes();
        // All that net/http lets through: controls of the second set, overrides, what is no UTF-8.
        let steering = "a\u{9b}2J\u{202e}b";
        let cut = || truncated(known(&huge[..256], "X-Request-Id"));
        let cases = [
            ("64 KiB", vec![line(&huge)], vec![cut(), cut()]),
            (
                "64 KiB among 300",
                noise(300).chain([line(&huge)]).collect(),
                vec![cut(), cut()],
            ),
            (
                "256 bytes",
                vec![line(&huge[..256])],
                vec![known(&huge[..256], "X-Request-Id"); 2],
            ),
            (
                "steering",
                vec![line(steering)],
                vec![known(steering, "X-Request-Id"); 2],
            ),
            (
                "no UTF-8",
                vec![b"X-Request-Id: a\xff\xfeb".to_vec()],
                vec![known("a\u{fffd}\u{fffd}b", "X-Request-Id"); 2],
            ),
            (
                "700 KiB of headers",
                noise(10)
                    .map(|line| [line, vec![b'n'; 70 << 10]].concat())
                    .chain([line("small")])
                    .collect(),
                vec![known("small", "X-Request-Id"); 2],
            ),
        ];
        compare(go, &[&[], &["--request-ids", "lazy"]], &cases)
    })
}

#[test]
fn broken_traceparents_are_counted_and_never_believed() -> Result<()> {
    on_each_version(|go, flavor| {
        let broken = [
            format!("ff-{TRACE_ID}-{PARENT_ID}-01"),
            format!("00-{TRACE_ID}-{PARENT_ID}-01-more"),
            format!("00-{TRACE_ID}-{PARENT_ID}-0"),
            format!("00-{}-{PARENT_ID}-01", "0".repeat(32)),
            format!("00-{TRACE_ID}-{}-01", "0".repeat(16)),
            format!("00-{TRACE_ID}-{PARENT_ID}-01").to_uppercase(),
            "0".repeat(64 << 10),
        ];
        let sound = [
            format!("00-{TRACE_ID}-{PARENT_ID}-00"),
            format!("cc-{TRACE_ID}-{PARENT_ID}-00-what-comes"),
        ];
        let program = start(PROGRAM, go, flavor, &[])?;
        let pid = program.pid().to_string();
        let always = Observer::attach(&["--pid", &pid], 1)?;
        let lazy = Observer::attach(&["--pid", &pid, "--request-ids", "lazy"], 1)?;
        let mut clients = Vec::new();
        for value in broken.iter().chain(&sound) {
            let line = format!("Traceparent: {value}").into_bytes();
            clients.push(ask(&program, &[line])?);
        }
        thread::sleep(LEAVE);
        drop(clients);
        thread::sleep(FOUND);
        for observer in [always, lazy] {
            let run = observer.stop()?;
            let counted = &run.end()?["traceparents_broken"];
            ensure!(
                counted == broken.len(),
                "{counted} counted: {}",
                run.shown()
            );
        }
        Ok(())
    })
}

/// A terminal is shown what observer makes of it, and nothing else.
#[test]
fn a_terminal_gets_no_control_characters_of_a_target() -> Result<()> {
    undisturbed(|| {
        let [.., newest] = CI_VERSIONS;
        let program = start(PROGRAM, newest, Flavor::Plain, &[])?;
        let pid = program.pid().to_string();
        let mut observers = Vec::new();
        for output in ["human", "json"] {
            let child = Command::new(observer_binary()?)
                .args(["run", "--output", output, "--color", "never"])
                .args(["--pid", &pid, "--duration", "6s"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            observers.push(child);
        }
        thread::sleep(Duration::from_secs(2));
        let id = b"X-Request-Id: a\xc2\x9b2J\xe2\x80\xaeb\t\xc2\x85c".to_vec();
        let client = ask(&program, &[id])?;
        thread::sleep(LEAVE);
        drop(client);
        for (observer, shown) in observers.into_iter().zip([
            r"id a\u{9b}2J\u{202e}b\u{9}\u{85}c (X-Request-Id)",
            r#""id":"a\u009b2J\u202eb\t\u0085c""#,
        ]) {
            let output = observer.wait_with_output()?;
            let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
            ensure!(text.contains(shown), "{text}");
            let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            ensure!(!text.contains(steers), "{text:?}");
        }
        Ok(())
    })
}
