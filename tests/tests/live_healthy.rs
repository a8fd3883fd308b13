//! Programs that do nothing wrong are not accused, under load, up to and including their shutdown.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::live::{
    Connection, Expect, Load, Observer, PATIENCE, Run, exactly, findings, marker, on_each_version,
    on_each_version_from, start,
};
use observer_tests::target::Flavor;

const LOAD: Duration = Duration::from_secs(20);
/// Go 1.N.
const NEWEST: u32 = 27;

/// Goroutines are followed too.
const FOLLOWS: [&str; 1] = ["--goroutines"];
/// And judged by age within the load: at 15 s, a quarter of what is the default.
const LEAKS: [&str; 2] = ["--leak-after", "7500ms"];
/// A quarter of 40 s: longer than what makes a leak, of which nobody knows before the first one ends.
const JOB: [&str; 2] = ["-job", "10s"];

/// The longest work behind a response, jobs aside, and grace.
const SETTLED: Duration = Duration::from_secs(2);

/// Requests per second on each route.
fn rate(path: &str) -> f64 {
    match path {
        "/" => 200.0,
        // Each of them works for 10 s.
        "/job" | "/report" => 0.5,
        // These take seconds each.
        "/cache-then-db" | "/long-poll" | "/hijack" | "/sse" | "/retries" => 3.0,
        _ => 10.0,
    }
}

#[test]
fn healthy_programs_are_not_accused() -> Result<()> {
    on_each_version(|go, flavor| are_not_accused(go, flavor, &FOLLOWS))
}

/// Looks through all goroutines find the same.
#[test]
fn healthy_programs_are_not_accused_by_looks() -> Result<()> {
    on_each_version_from(NEWEST, |go, flavor| are_not_accused(go, flavor, &[]))
}

fn are_not_accused(go: &str, flavor: Flavor, more: &[&str]) -> Result<()> {
    let mut program = start("healthy", go, flavor, &JOB)?;
    let routes = program.routes()?;
    let pid = program.pid().to_string();
    let observer = Observer::attach(&[&["--pid", &pid], &LEAKS[..], more].concat(), 1)?;
    let mut clients = Vec::new();
    for route in &routes {
        let load = Load::route(&program, route)
            .during(LOAD, 8)
            .flag("-rate", &rate(&route.path));
        clients.push((&route.path, load.start()?));
    }
    let mut sent = 0;
    for (path, client) in clients {
        let report = client.finish()?;
        // Deadlines of 50 ms and 200 ms pass on a busy machine, which is no mistake of the program's: what
        // counts is that each route did its work, and that no answer was lost.
        ensure!(
            report.failed == 0 && report.bad * 2 < report.sent,
            "{path}: {report:?}: {:?}",
            program.said()
        );
        sent += report.sent;
    }
    thread::sleep(SETTLED);

    // Requests are under way when the shutdown begins.
    let late = ["/long-poll", "/job", "/sse"].map(|path| Load::of(&program, path).times(4, 4));
    let late = late.iter().map(Load::start).collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_millis(500));
    program.signal(Signal::SIGTERM)?;
    let ended = program.process().wait(PATIENCE)?;
    ensure!(
        ended.is_some_and(|status| status.success()),
        "{ended:?} after SIGTERM: {:?}",
        program.said()
    );
    drop(late);

    let run = observer.ends()?;
    run.require_clean().with_context(|| run.shown())?;
    ensure!(run.end()?["why"] == "processes_ended", "{}", run.shown());
    // Whether somebody will wake them, nobody can know: it is said that somebody can.
    let sessions = Expect::new("info", "healthy", "goroutine-leak session")?
        .fact("/evidence/waiting_on", "a channel that others can get at")
        .times(None);
    exactly(&run, program.pid(), &[sessions])?;
    deadlines_are_told_where_marked(&run, program.pid())?;
    ensure!(
        run.requests()? >= sent,
        "{} requests seen, {sent} sent\n{}",
        run.requests()?,
        run.shown()
    );
    Ok(())
}

/// What the rules about deadlines have to say as an info, and nothing else, is said at its line.
fn deadlines_are_told_where_marked(run: &Run, pid: u32) -> Result<()> {
    let rules = [
        "deadline-dropped",
        "deadline-inflated",
        "timeout-mismatch",
        "deadline-too-short",
    ];
    let mut wanted = vec![
        (
            "deadline-inflated",
            marker("healthy", "deadline-inflated library")?,
        ),
        (
            "deadline-too-short",
            marker("healthy", "deadline-too-short deep")?,
        ),
    ];
    for finding in findings(run, pid) {
        let rule = finding.text("/rule");
        if !rules.contains(&rule) {
            continue;
        }
        let place = wanted.iter().position(|(of, line)| {
            *of == rule && finding.last.get("site").is_some_and(|at| line.is(at))
        });
        let place =
            place.with_context(|| format!("unexpected: {}\n{}", finding.brief(), run.shown()))?;
        wanted.remove(place);
    }
    ensure!(wanted.is_empty(), "not told: {wanted:?}\n{}", run.shown());
    Ok(())
}

/// A connection's earlier request has started a goroutine for all: what that calls is not the later request's, although its
/// handler waits for goroutines of its own.
#[test]
fn what_a_request_leaves_to_its_process_is_not_the_next_ones() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start("healthy", go, flavor, &[])?;
        let pid = program.pid().to_string();
        for more in [&[][..], &["--goroutines"]] {
            let open = |tenant: &str| -> Result<Connection> {
                let mut connection = Connection::open(program.address)?;
                let path = format!("/tenant?of={tenant}{}", more.len());
                connection.exchange(&path, tenant)?;
                Ok(connection)
            };
            let mut connections = Vec::new();
            // Some were there before observing began.
            for tenant in ["a", "b", "c"] {
                connections.push(open(tenant)?);
            }
            let observer = Observer::attach(&[&["--pid", &pid], more].concat(), 1)?;
            for tenant in ["d", "e", "f"] {
                connections.push(open(tenant)?);
            }
            for connection in &mut connections {
                connection.send("/gather", "gather-0")?;
            }
            for connection in &mut connections {
                connection.receive()?;
                connection.exchange("/gather", "gather-1")?;
            }
            let run = observer.stop()?;
            exactly(&run, program.pid(), &[])?;
            for finding in findings(&run, program.pid()) {
                let path = finding.text("/request/path");
                ensure!(path != "/gather", "{}\n{}", finding.brief(), run.shown());
            }
        }
        Ok(())
    })
}
