//! Programs that use well-known libraries as these say are not accused, under load.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::live::{
    Expect, Load, Observer, PATIENCE, Redis, exactly, on_each_version_from, start,
};
use observer_tests::target::Flavor;
use serde_json::Value;

const PROGRAM: &str = "modules/libraries/healthy";
const LOAD: Duration = Duration::from_secs(10);
/// The longest flight that goes on behind a client that has left, and grace.
const SETTLED: Duration = Duration::from_secs(2);
/// Goroutines are followed too.
const FOLLOWS: [&str; 1] = ["--goroutines"];
/// And judged within the load.
const LEAKS: [&str; 2] = ["--leak-after", "4s"];
/// The oldest Go that can build the libraries, and the newest there is: 1.N.
const SINCE: u32 = 21;
const NEWEST: u32 = 27;

#[test]
fn libraries_are_not_accused_for_what_they_do_inside() -> Result<()> {
    on_each_version_from(SINCE, |go, flavor| are_not_accused(go, flavor, &FOLLOWS))
}

/// Looks through all goroutines find the same.
#[test]
fn libraries_are_not_accused_by_looks() -> Result<()> {
    on_each_version_from(NEWEST, |go, flavor| are_not_accused(go, flavor, &[]))
}

/// The line is that which calls the library.
#[test]
fn a_group_without_a_context_leaks_where_it_is_called() -> Result<()> {
    const LEAKY: &str = "modules/libraries/leaks";
    on_each_version_from(SINCE, |go, flavor| {
        let program = start(LEAKY, go, flavor, &[])?;
        let routes = program.routes()?;
        let pid = program.pid().to_string();
        let args = ["--pid", &pid, "--goroutines", "--leak-after", "2s"];
        let observer = Observer::attach(&args, 1)?;
        for route in &routes {
            let load = Load::route(&program, route).ids("r-");
            load.times(3, 1).start()?.all("ok")?;
        }
        let found = |line: &Value| line["rule"] == "goroutine-leak" && line["count"] == 3;
        let _ = observer.wait_for(|lines| lines.iter().any(found).then_some(()));
        let run = observer.stop()?;
        let leak = Expect::new("error", LEAKY, "goroutine-leak errgroup")?
            .fact("/evidence/wait_reason", "chan send")
            .fact("/request/path", "/errgroup")
            .fact("/request/id", "r-0|r-1|r-2")
            .times(3);
        exactly(&run, program.pid(), &[leak])
    })
}

fn are_not_accused(go: &str, flavor: Flavor, more: &[&str]) -> Result<()> {
    let redis = Redis::start()?;
    let socket = redis.socket.to_str().context("a path in UTF-8")?;
    let mut program = start(PROGRAM, go, flavor, &["-redis", socket])?;
    let routes = program.routes()?;
    let pid = program.pid().to_string();
    let observer = Observer::attach(&[&["--pid", &pid], &LEAKS[..], more].concat(), 1)?;
    let mut clients = Vec::new();
    for route in &routes {
        let load = Load::route(&program, route)
            .during(LOAD, 4)
            .flag("-rate", &5);
        clients.push((route, load.start()?));
    }
    let mut sent = 0;
    for (route, client) in clients {
        let report = client.finish()?;
        // Whoever joins a flight that is nearly over has its answer in time.
        let left = route.patience_ms == 0 || report.dropped > report.sent / 2;
        // Deadlines pass on a busy machine, which is no mistake of the program's.
        let worked = report.failed == 0 && report.bad * 4 < report.sent;
        ensure!(
            report.sent > 10 && worked && left,
            "{}: {report:?}: {:?}",
            route.path,
            program.said()
        );
        sent += report.sent;
    }
    thread::sleep(SETTLED);
    program.signal(Signal::SIGTERM)?;
    let ended = program.process().wait(PATIENCE)?;
    ensure!(
        ended.is_some_and(|status| status.success()),
        "{ended:?} after SIGTERM: {:?}",
        program.said()
    );
    let run = observer.ends()?;
    run.require_clean().with_context(|| run.shown())?;
    exactly(&run, program.pid(), &[])?;
    ensure!(run.requests()? >= sent, "{sent} sent\n{}", run.shown());
    Ok(())
}
