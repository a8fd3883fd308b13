//! IDs that the service makes itself, under real middlewares, and IDs that it sends downstream.

use std::{path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    live::{
        Expect, Load, Observer, Program, Run, exactly, findings, get, observer_binary,
        on_each_kind, on_each_version, routers, start,
    },
    recordings::found,
};
use serde_json::Value;

const PROGRAM: &str = "ids";
/// Handlers work for a second and a half after their clients have left; what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(2700);
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn leaves(url: &str) -> Load {
    Load::to(url).mode("drop").patience_ms(300)
}

/// A handler that worked on, known by an ID that it came by in this way.
fn known(program: &str, case: &str, id: &str, source: &str) -> Result<Expect> {
    let expect = Expect::new("error", program, &format!("cancel-ignored {case}"))?;
    Ok(expect
        .fact("/request/id", id)
        .fact("/request/id_source", source))
}

#[test]
fn an_id_that_only_the_answer_has_is_found() -> Result<()> {
    on_each_kind(|go, flavor| {
        let plain = start(PROGRAM, go, flavor, &[])?;
        let secure = start(PROGRAM, go, flavor, &[])?;
        let asked = start(PROGRAM, go, flavor, &[])?;
        let pids = [&plain, &secure, &asked].map(|program| program.pid().to_string());
        let args: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid]).collect();
        let observer = Observer::attach(&args, 3)?;
        let https = format!("https://{}", secure.tls_address()?);
        let clients = [
            leaves(&plain.url("/made")).start()?,
            leaves(&plain.url("/made/many")).start()?,
            leaves(&format!("{https}/made")).mode("h2").start()?,
            leaves(&format!("{https}/made/many")).mode("h2").start()?,
            leaves(&asked.url("/made")).ids("came-").start()?,
        ];
        for client in clients {
            client.all("dropped")?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let answer = "response:X-Request-Id";
        let made = [
            known(PROGRAM, "made", "made-by-service", answer)?,
            known(PROGRAM, "made-many", "made-among-many", answer)?,
        ];
        exactly(&run, plain.pid(), &made)?;
        exactly(&run, secure.pid(), &made)?;
        let came = known(PROGRAM, "made", "came-0", "header:X-Request-Id")?;
        exactly(&run, asked.pid(), &[came])
    })
}

/// A header that changes while it is read gives what it holds at a time, or nothing.
#[test]
fn a_changing_header_never_gives_a_wrong_id() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        for _ in 0..3 {
            leaves(&program.url("/made/changing"))
                .start()?
                .all("dropped")?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let found = findings(&run, program.pid());
        let ids = found
            .iter()
            .flat_map(|finding| [&finding.first, &finding.last]);
        let mut ids = ids.map(|line| line.pointer("/request/id").and_then(Value::as_str));
        ensure!(
            !found.is_empty() && ids.all(|id| id.is_none_or(|id| id == "changing")),
            "{}",
            run.shown()
        );
        Ok(())
    })
}

#[test]
fn what_a_call_carries_is_told() -> Result<()> {
    on_each_version(|go, flavor| {
        let parent = "00000000000000b7";
        // Behind one round tripper of the service's, each is told at the line that calls the client.
        let cases = [
            (
                "/sent",
                "sent",
                ["sent-down", "X-Request-Id", TRACE_ID, parent],
            ),
            (
                "/sent/huge",
                "sent-among-many",
                ["sent-among-many", "X-Request-Id", TRACE_ID, parent],
            ),
            ("/sent/nothing", "sent-nothing", [""; 4]),
        ];
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::attach(&["--pid", &program.pid().to_string()], 1)?;
        let clients = cases
            .iter()
            .map(|(path, ..)| leaves(&program.url(path)).start())
            .collect::<Result<Vec<_>>>()?;
        for client in clients {
            client.all("dropped")?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected = cases
            .iter()
            .map(|(path, case, [id, header, trace, parent])| {
                let marked = format!("detached-context {case}");
                Ok(Expect::new("error", PROGRAM, &marked)?
                    .fact("/request/path", path)
                    .fact("/evidence/call/sent/id", id)
                    .fact("/evidence/call/sent/id_header", header)
                    .fact("/evidence/call/sent/trace_id", trace)
                    .fact("/evidence/call/sent/parent_id", parent))
            })
            .collect::<Result<Vec<_>>>()?;
        exactly(&run, program.pid(), &expected)
    })
}

/// The ID that the middleware of this path made, in the program's own words.
fn made(program: &Program, path: &str) -> Result<String> {
    let all: Value = serde_json::from_str(&get(program.address, "/ids")?)?;
    let id = all.get(path).and_then(Value::as_str);
    let id = id.filter(|id| !id.is_empty()).map(str::to_owned);
    id.with_context(|| format!("{path} has made no ID: {all}"))
}

#[test]
fn ids_of_real_middlewares_are_found_and_replayed() -> Result<()> {
    on_each_version(|go, flavor| {
        let folder = tempfile::tempdir()?;
        let recording = folder.path().join("recording");
        let program = start(routers::PROGRAM, go, flavor, &[])?;
        let pid = program.pid().to_string();
        let path = recording.to_str().context("a path in UTF-8")?;
        let observer = Observer::attach(&["--pid", &pid, "--record", path], 1)?;
        routers::leave_all(&program)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let known = |case: &str, path: &str, source: &str| -> Result<Expect> {
            known(routers::PROGRAM, case, &made(&program, path)?, source)
        };
        let context = "context:github.com/go-chi/chi/v5/middleware";
        let answer = "response:X-Request-Id";
        let expected = [
            known("chi-derived", "/chi/derived", context)?,
            // Its values are told by their keys, and its own by the only line that uses that.
            known("chi-deeper", "/chi/deeper", context)?
                .fact("/context/1/label", "WithValue(main.key)")
                .fact("/context/1/function", "main.chiRouter.func2")
                .fact("/context/2/label", "WithValue(middleware.ctxKeyRequestID)")
                .fact("/context/3/label", "WithValue(*chi.contextKey)"),
            // Nothing leads from the request to the context that has it.
            Expect::new("error", routers::PROGRAM, "cancel-ignored chi-plain")?
                .fact("/request/id", ""),
            known("echo", "/echo/wait", answer)?,
            known("gin", "/gin/wait", answer)?,
        ];
        exactly(&run, program.pid(), &expected)?;
        // What other values of the chain hold is nobody's business.
        ensure!(!run.shown().contains("secret"), "{}", run.shown());
        same_when_replayed(&run, &recording)
    })
}

fn same_when_replayed(run: &Run, recording: &Path) -> Result<()> {
    let output = Command::new(observer_binary()?)
        .args(["replay", "--output", "json"])
        .arg(recording)
        .output()?;
    let lines: Vec<String> = run.lines.iter().map(ToString::to_string).collect();
    let (live, replayed) = (
        found(&lines.join("\n")),
        found(&String::from_utf8(output.stdout)?),
    );
    ensure!(
        !live.is_empty() && live == replayed,
        "{replayed}\ninstead of\n{live}"
    );
    Ok(())
}
