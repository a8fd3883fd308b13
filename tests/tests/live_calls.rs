//! Calls that take more than one round trip are one call: redirects, retries, HTTP/1 and HTTP/2, and its end.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use observer_tests::live::{
    Expect, Load, Observer, Program, Run, exactly, findings, on_each_kind, on_each_version, start,
};
use serde_json::Value;

const CALLS: &str = "calls";
const X_NET: &str = "modules/http2/calls";
/// What outlives its request takes 1.4 s.
const SETTLED: Duration = Duration::from_millis(2500);
/// Of what outlives its request, ns.
const LONG_NS: u64 = 1_350_000_000;

/// What is told of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told<'a> {
    /// Method and path of what was asked for first.
    target: (&'a str, &'a str),
    attempts: u64,
    outcome: &'a str,
    given_up_by: &'a str,
}

const fn done<'a>(method: &'a str, path: &'a str, attempts: u64) -> Told<'a> {
    Told {
        target: (method, path),
        attempts,
        outcome: "done",
        given_up_by: "",
    }
}

const fn given_up<'a>(by: &'a str, method: &'a str, path: &'a str, attempts: u64) -> Told<'a> {
    Told {
        outcome: "cancelled",
        given_up_by: by,
        ..done(method, path, attempts)
    }
}

/// The calls of one route, in order.
type Route<'a> = (&'a str, Vec<Told<'a>>);

fn routes() -> Vec<Route<'static>> {
    let client = "client";
    let warm = done("GET", "/warm", 1);
    vec![
        ("/read", vec![done("GET", "/body", 1)]),
        ("/close", vec![done("GET", "/body", 1)]),
        ("/chain", vec![done("GET", "/chain", 4)]),
        ("/away", vec![done("GET", "/away", 2)]),
        ("/moved", vec![done("POST", "/moved", 2)]),
        ("/timed", vec![done("GET", "/chain", 4)]),
        ("/loop", vec![done("GET", "/json", 1); 3]),
        (
            "/again",
            vec![done("GET", "/chain", 2), done("GET", "/chain", 1)],
        ),
        ("/late", vec![given_up("deadline", "GET", "/chain", 2)]),
        ("/retry", vec![warm, done("GET", "/retry", 2)]),
        ("/retry-body", vec![warm, done("POST", "/retry-body", 2)]),
        ("/refused", vec![done("GET", "/", 1)]),
        // Ended by the server: nobody has given it up.
        ("/aborted", vec![done("GET", "/aborted", 1)]),
        ("/last", vec![done("GET", "/last", 1)]),
        ("/outlive/read", vec![done("GET", "/slow", 1)]),
        ("/outlive/chain", vec![done("GET", "/chain", 4)]),
        ("/outlive/away", vec![done("GET", "/away", 2)]),
        ("/outlive/moved", vec![done("POST", "/moved", 2)]),
        ("/outlive/retry", vec![warm, done("GET", "/retry", 2)]),
        (
            "/outlive/read/ok",
            vec![given_up(client, "GET", "/slow", 1)],
        ),
        (
            "/outlive/chain/ok",
            vec![given_up(client, "GET", "/chain", 4)],
        ),
        (
            "/outlive/away/ok",
            vec![given_up(client, "GET", "/away", 2)],
        ),
        (
            "/outlive/moved/ok",
            vec![given_up(client, "POST", "/moved", 2)],
        ),
        (
            "/outlive/retry/ok",
            vec![warm, given_up(client, "GET", "/retry", 2)],
        ),
    ]
}

/// What this Go cannot tell: how a round trip ends that fails (up to 1.22), whose an HTTP/2 stream is (up to 1.20). What ends a
/// stream that the server resets, none of them.
fn as_told(go: &str, h2: bool, route: &Route<'static>) -> Result<Vec<Told<'static>>> {
    let minor: u32 = go.split('.').nth(1).context(go.to_owned())?.parse()?;
    let (path, calls) = route;
    let on_streams = !path.contains("retry") && !path.contains("away");
    let untold = (*path == "/refused" && minor <= 22)
        || (h2 && (*path == "/aborted" || (minor <= 20 && on_streams)));
    let told = |call: &Told<'static>| match untold {
        true => Told {
            outcome: "unknown",
            given_up_by: "",
            ..*call
        },
        false => *call,
    };
    Ok(calls.iter().map(told).collect())
}

fn told(line: &Value) -> Option<Told<'_>> {
    let call = &line["call"];
    let (method, url) = call["target"].as_str()?.split_once(' ')?;
    Some(Told {
        target: (method, url.get(url.find('/')?..)?),
        attempts: call["attempts"].as_u64()?,
        outcome: call["outcome"].as_str()?,
        given_up_by: line["given_up_by"].as_str().unwrap_or_default(),
    })
}

/// Every call line of a run is one of these, and every one of these is there.
fn exactly_these(run: &Run, wanted: &[(&str, Vec<Told<'_>>)]) -> Result<()> {
    let mut wrong = Vec::new();
    let mut lines: Vec<&Value> = run.of_type("call").collect();
    lines.sort_by_key(|line| line["number"].as_u64());
    for (path, wanted) in wanted {
        let of_path = |line: &&&Value| line["request"]["path"] == *path;
        let here: Vec<&Value> = lines.iter().filter(of_path).copied().collect();
        let got: Vec<Option<Told<'_>>> = here.iter().map(|line| told(line)).collect();
        if !got.iter().flatten().eq(wanted.iter()) || got.len() != wanted.len() {
            wrong.push(format!("{path}: {got:?}, not {wanted:?}"));
        }
        for line in here {
            let known = line["call"]["duration_ns"].is_u64();
            let plain = line["whole"] == true
                && line["call"]["kind"] == "http"
                && line["site"]["line"].is_u64()
                && known == (line["call"]["outcome"] != "unknown");
            if !plain {
                wrong.push(format!("{path}: {line}"));
            }
        }
    }
    let all: usize = wanted.iter().map(|(_, calls)| calls.len()).sum();
    if lines.len() != all {
        wrong.push(format!("{} calls, not {all}", lines.len()));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}\n{}", wrong.join("\n"), run.shown())
}

fn watch(program: &Program) -> Result<Observer> {
    Observer::attach(&["--pid", &program.pid().to_string(), "--facts"], 1)
}

/// Each route once: those that are left at once, the others one after the other.
fn load(program: &Program) -> Result<()> {
    let mut leaving = Vec::new();
    for route in &program.routes()? {
        let running = Load::route(program, route).start()?;
        if route.patience_ms > 0 {
            leaving.push((running, route.outcome.clone()));
        } else {
            running.all(&route.outcome)?;
        }
    }
    for (client, outcome) in leaving {
        client.all(&outcome)?;
    }
    thread::sleep(SETTLED);
    Ok(())
}

/// What goes on although its client has left: one call, whatever it takes.
fn outlives(case: &str) -> Result<Expect> {
    let expect = Expect::new("error", CALLS, &format!("detached-context {case}"))?;
    let expect = expect.request(&format!("/outlive/{case}"), &format!("outlive-{case}-0"));
    Ok(expect.fact("/evidence/call/outcome", "done|running"))
}

fn is_one_call(run: &Run, program: &Program, wanted: &[Route<'static>]) -> Result<()> {
    for finding in findings(run, program.pid()) {
        let path = finding.text("/request/path");
        let calls = wanted.iter().find(|(wanted, _)| *wanted == path);
        let last = calls
            .and_then(|(_, calls)| calls.last())
            .context("a route")?;
        let (method, asked) = last.target;
        let target = finding.text("/evidence/call/target");
        let attempts = finding.number("/evidence/call/attempts");
        ensure!(
            target.starts_with(method)
                && target.ends_with(asked)
                && attempts == Some(last.attempts),
            "{path}: {target}, {attempts:?}, not {last:?}"
        );
        let mut calls = run.of_type("call");
        let longest = calls.any(|line| {
            line["request"]["path"] == path
                && line["call"]["target"] == target
                && line["call"]["duration_ns"]
                    .as_u64()
                    .is_some_and(|ns| ns > LONG_NS)
        });
        ensure!(longest, "{path}: no call of its length\n{}", run.shown());
    }
    Ok(())
}

fn calls_over(proto: &str) -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(CALLS, go, flavor, &["-proto", proto])?;
        let observer = watch(&program)?;
        load(&program)?;
        let run = observer.stop()?;
        let wanted = routes();
        let as_told = wanted
            .iter()
            .map(|route| Ok((route.0, as_told(go, proto == "h2", route)?)))
            .collect::<Result<Vec<_>>>()?;
        exactly_these(&run, &as_told)?;
        let cases = ["read", "chain", "away", "moved", "retry"];
        let expected = cases
            .iter()
            .map(|case| outlives(case))
            .collect::<Result<Vec<_>>>()?;
        exactly(&run, program.pid(), &expected)?;
        is_one_call(&run, &program, &wanted)
    })
}

#[test]
fn a_call_over_http1_is_one_whatever_it_takes() -> Result<()> {
    calls_over("h1")
}

#[test]
fn a_call_over_http2_is_one_whatever_it_takes() -> Result<()> {
    calls_over("h2")
}

#[test]
fn a_call_over_another_http2_is_told_once() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(X_NET, go, flavor, &[])?;
        let observer = watch(&program)?;
        load(&program)?;
        let run = observer.stop()?;
        let wanted = [
            ("/alone", done("GET", "/body", 1)),
            ("/alone/chain", done("GET", "/chain", 4)),
            ("/alone/late", given_up("deadline", "GET", "/slow", 1)),
            ("/configured", done("GET", "/body", 1)),
            ("/configured/chain", done("GET", "/chain", 4)),
            ("/configured/late", given_up("deadline", "GET", "/slow", 1)),
        ];
        let wanted = wanted
            .into_iter()
            .map(|(path, call)| Ok((path, as_told(go, true, &(path, vec![call]))?)))
            .collect::<Result<Vec<_>>>()?;
        exactly_these(&run, &wanted)?;
        exactly(&run, program.pid(), &[])
    })
}
