//! Goroutines that work on for a cancelled request are named, with the line that started them; what may go on is silent. And the
//! time until the last of a request's work has stopped is what the health figures tell.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Expect, Load, Observer, Program, Role, Run, exactly, findings, on_each_kind, on_each_version,
    start,
};
use serde_json::Value;

const PROGRAM: &str = "behind";
/// What is left works for 2 s; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_secs(4);

fn go_minor(go: &str) -> u32 {
    let minor = go.split('.').nth(1);
    minor.and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

/// A request of each route.
fn ask_all(program: &Program) -> Result<()> {
    let clients = program.routes()?.into_iter().map(|route| {
        let id = format!("{}-", route.path.trim_start_matches('/').replace('/', "-"));
        let client = Load::route(program, &route).times(1, 1).ids(&id).start()?;
        Ok((route, client))
    });
    for (route, client) in clients.collect::<Result<Vec<_>>>()? {
        client.all(&route.outcome)?;
    }
    thread::sleep(SETTLED);
    Ok(())
}

/// The finding of a case, at a route.
fn expect(severity: &'static str, marked: &str, route: &str) -> Result<Expect> {
    let id = format!("{}-0", route.trim_start_matches('/').replace('/', "-"));
    Ok(Expect::new(severity, PROGRAM, marked)?.request(route, &id))
}

/// The same, about a goroutine that was started where that is marked.
fn started(severity: &'static str, marked: &str, route: &str) -> Result<Expect> {
    let role = format!("{marked} go");
    expect(severity, marked, route)?.also(Role::StartedAt, PROGRAM, &role)
}

fn observe(program: &Program, more: &[&str]) -> Result<Observer> {
    let pid = program.pid().to_string();
    Observer::attach(&[&["--pid", &pid], more].concat(), 1)
}

/// The message names the `go` statement that the evidence names, and no other does.
fn says_who(run: &Run, program: &Program) -> Result<()> {
    for finding in findings(run, program.pid()) {
        let first = |pointer| finding.first.pointer(pointer);
        let message = first("/message").and_then(Value::as_str);
        let message = message.unwrap_or_default();
        let line = first("/evidence/goroutine/started_at/line").and_then(Value::as_u64);
        let named = message.contains("goroutine started at ");
        let fits = line.map_or(!named, |line| {
            named && message.contains(&format!(":{line}"))
        });
        ensure!(fits, "{message}: {line:?}");
    }
    Ok(())
}

#[test]
fn goroutines_that_are_followed_are_named() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe(&program, &["--goroutines"])?;
        ask_all(&program)?;
        let run = observer.stop()?;
        exactly(
            &run,
            program.pid(),
            &[
                started("error", "cancel-ignored sleep", "/beside/sleep")?
                    .fact("/evidence/goroutine/wait_reason", "sleep"),
                started("error", "cancel-ignored query", "/beside/query")?,
                started("error", "cancel-ignored join", "/beside/join")?
                    .fact("/evidence/goroutine/wait_reason", "chan receive"),
                expect("error", "cancel-ignored helper", "/beside/helper")?
                    .fact("/evidence/goroutine/state", ""),
                started("error", "cancel-ignored behind-query", "/behind/query")?
                    .fact("/evidence/call/kind", "sql")
                    .by("client")
                    .after_cancel_ms(700..6000)
                    .says("after the client left"),
                started("warning", "cancel-ignored scope", "/behind/scope")?
                    .fact("/evidence/wait_reason", "sleep")
                    .after_cancel_ms(700..6000),
                started("warning", "cancel-ignored grandchild", "/behind/grandchild")?,
                started("error", "premature-cancel killed", "/killed")?,
            ],
        )?;
        says_who(&run, &program)
    })
}

/// Where they are not followed, those are known that the handler started itself and that did something for the request.
#[test]
fn goroutines_that_are_not_followed_are_named_where_go_notes_who_started_them() -> Result<()> {
    on_each_kind(|go, flavor| {
        let notes = go_minor(go) >= 21;
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe(&program, &[])?;
        ask_all(&program)?;
        let run = observer.stop()?;
        let mut expected = vec![
            expect("error", "cancel-ignored sleep", "/beside/sleep")?,
            expect("error", "cancel-ignored join", "/beside/join")?,
            expect("error", "cancel-ignored helper", "/beside/helper")?
                .fact("/evidence/goroutine/state", ""),
            expect("error", "premature-cancel killed", "/killed")?,
        ];
        if notes {
            expected.extend([
                started("error", "cancel-ignored query", "/beside/query")?,
                started("error", "cancel-ignored behind-query", "/behind/query")?,
                started("warning", "cancel-ignored scope", "/behind/scope")?,
            ]);
        } else {
            expected.push(expect("error", "cancel-ignored query", "/beside/query")?);
        }
        exactly(&run, program.pid(), &expected)?;
        says_who(&run, &program)
    })
}

/// The job lives for 2 s and nothing accuses it; but only then has the last work of its request stopped.
#[test]
fn a_chain_is_over_when_its_last_goroutine_is() -> Result<()> {
    on_each_version(|go, flavor| {
        for (more, path, latest) in [
            (&["--goroutines"][..], "/behind/job/ok", true),
            (&[], "/behind/job/ok", false),
            (&[], "/behind/query", true),
        ] {
            let program = start(PROGRAM, go, flavor, &[])?;
            let observer = observe(&program, more)?;
            let routes = program.routes()?;
            let route = routes.iter().find(|route| route.path == path);
            let route = route.context("no such route")?;
            Load::route(&program, route).times(1, 1).run()?;
            thread::sleep(SETTLED);
            let run = observer.stop()?;
            let health = &run.end()?["health"];
            ensure!(health["chains_cancelled"] == 1, "{path}: {health}");
            ensure!(health["chains_recovered"] == 1, "{path}: {health}");
            let max_ns = health["cancel_latency"]["max_ns"].as_u64();
            let late = max_ns.context("no latency")? > 1_000_000_000;
            ensure!(late == latest, "{path} {more:?}: {health}");
        }
        Ok(())
    })
}
