//! Every planted mistake of `rules4` is found where its marker is, about the request that made it; every healthy twin
//! is silent.

#[path = "live_rules/planted.rs"]
mod planted;

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Connection, Expect, Load, Observer, exactly, findings, on_each_build, on_each_unoptimised,
    on_each_version, start, undisturbed,
};
use observer_tests::target::Flavor;

/// Once the last client has its answer or has left: two seconds of work, then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(3500);

const PROGRAM: &str = "rules4";

#[test]
fn every_planted_mistake_is_found_and_every_healthy_twin_is_silent() -> Result<()> {
    on_each_build(all_and_nothing_else)
}

/// Nothing is inlined: functions lie between that are no frames otherwise.
#[test]
fn without_optimisation_the_same_is_found_and_silent() -> Result<()> {
    on_each_unoptimised(all_and_nothing_else)
}

fn all_and_nothing_else(go: &str, flavor: Flavor) -> Result<()> {
    let program = start(PROGRAM, go, flavor, &[])?;
    let routes = program.routes()?;
    let observer = Observer::of(program.pid())?;
    // Those that compute come afterwards, one by one: beside them nobody else would be on time.
    let (computing, others): (Vec<_>, Vec<_>) = routes
        .iter()
        .partition(|route| route.path.starts_with("/ignored/busy"));
    let clients = others
        .into_iter()
        .map(|route| {
            // Sixty clients that start at once come too late to leave in time.
            thread::sleep(Duration::from_millis(20));
            Ok((route, Load::route(&program, route).start()?))
        })
        .collect::<Result<Vec<_>>>()?;
    for (route, client) in clients {
        client
            .all(&route.outcome)
            .with_context(|| format!("it says {:?}", program.said()))?;
    }
    for route in computing {
        Load::route(&program, route).start()?.all(&route.outcome)?;
        if !route.path.ends_with("/ok") {
            thread::sleep(Duration::from_secs(2));
        }
    }
    thread::sleep(SETTLED);
    let run = observer.stop()?;
    exactly(&run, program.pid(), &planted::expected(go, flavor)?)?;
    for finding in findings(&run, program.pid()) {
        let is_deep = finding.text("/request/path") == "/detached/deep";
        let is_cut = finding
            .last
            .get("stack_cut")
            .and_then(serde_json::Value::as_bool)
            == Some(true);
        // Where nothing is inlined, more stacks are deep.
        let is_right = is_cut == is_deep || flavor == Flavor::Unoptimised && is_cut;
        ensure!(is_right, "{}", finding.last);
    }
    Ok(())
}

/// Nothing says which goroutine works inside the TimeoutHandler: that is said, and the request is neither guilty nor clean.
#[test]
fn up_to_go_1_20_a_timed_out_request_is_unknown() -> Result<()> {
    undisturbed(|| {
        const OLD: &str = "1.20.14";
        let program = start(PROGRAM, OLD, Flavor::Stripped, &[])?;
        let observer = Observer::of(program.pid())?;
        Load::of(&program, "/ignored/timeout-handler")
            .flag("-status", &503)
            .run()?;
        thread::sleep(Duration::from_secs(2));
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        ensure!(run.end()?["requests_unknown"] == 1, "{}", run.shown());
        let begun = run.of_type("start").next().context("no start line")?;
        let gaps = begun["not_covered"].to_string();
        ensure!(gaps.contains("http.TimeoutHandler"), "{gaps}");
        Ok(())
    })
}

/// What ran before observer came is known when it ends, whether its client waits or leaves; connections are no requests.
#[test]
fn requests_in_flight_at_attach_are_unknown() -> Result<()> {
    const ROUTE: &str = "/ignored/poll";
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let mut idle = Connection::open(program.address)?;
        idle.exchange("/notcalled/cancel/ok", "idle")?;
        let mut patient = Connection::open(program.address)?;
        patient.send(ROUTE, "patient")?;
        let mut leaves = Connection::open(program.address)?;
        leaves.send(ROUTE, "leaves")?;
        thread::sleep(Duration::from_millis(200));
        let observer = Observer::of(program.pid())?;
        drop(idle);
        drop(leaves);
        patient.receive()?;
        patient.exchange("/notcalled/cancel/ok", "next")?;
        drop(patient);
        thread::sleep(Duration::from_secs(1));
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        let end = run.end()?;
        ensure!(end["requests_unknown"] == 2, "{}", run.shown());
        // The next one, and what it calls.
        ensure!(end["requests"] == 2, "{}", run.shown());
        Ok(())
    })
}

/// On several connections it is the requests' own work; the one that its request left behind is harm.
#[test]
fn detached_goroutines_of_several_connections_are_their_requests() -> Result<()> {
    on_each_version(|go, flavor| {
        if planted::before_ancestry(go) {
            return Ok(());
        }
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        let waited = Load::of(&program, "/detached/spawned-waited").times(6, 3);
        let orphan = Load::of(&program, "/detached/spawned-orphan")
            .mode("drop")
            .patience_ms(400)
            .times(6, 3);
        let running = [
            waited.ids("waited-").start()?,
            orphan.ids("orphan-").start()?,
        ];
        let [waited, orphan] = running;
        waited.all("ok")?;
        orphan.all("dropped")?;
        thread::sleep(Duration::from_secs(2));
        let run = observer.stop()?;
        let found = |severity, case: &str| -> Result<Expect> {
            let found = Expect::new(severity, PROGRAM, &format!("detached-context {case}"))?;
            Ok(found.times(None))
        };
        let expected = [
            found("warning", "spawned-waited")?,
            found("error", "spawned-orphan")?.by("client"),
        ];
        exactly(&run, program.pid(), &expected)
    })
}

/// Of so many headers the probe looks through a part; the call dies when the request has ended.
#[test]
fn headers_that_the_probe_leaves_are_read_while_the_request_runs() -> Result<()> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        let mut load = Load::of(&program, "/premature/async").ids("many-");
        for n in 0..120 {
            load = load.flag("-header", &format!("X-Filler-{n}: {n}"));
        }
        let trace = format!("Traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
        load.flag("-header", &trace).run()?;
        thread::sleep(Duration::from_secs(1));
        let run = observer.stop()?;
        let killed = Expect::new("error", PROGRAM, "premature-cancel async")?
            .by("normal_end")
            .request("/premature/async", "many-0")
            .fact("/request/trace_id", TRACE);
        exactly(&run, program.pid(), &[killed])
    })
}

/// Alone it is on a thread at every look, several at once put each other off it.
#[test]
fn a_handler_that_computes_is_one_finding_however_often_it_is_hit() -> Result<()> {
    const ROUTE: &str = "/ignored/busy";
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        let busy = || {
            Load::of(&program, ROUTE)
                .mode("drop")
                .patience_ms(300)
                .ids("ignored-busy-")
        };
        for at_once in [1, 1, 3] {
            busy().times(at_once, at_once).run()?;
            // Two seconds of work each, on however many processors there are.
            thread::sleep(Duration::from_millis(2500 * at_once.max(1)));
        }
        let run = observer.stop()?;
        let one = Expect::new("error", PROGRAM, "cancel-ignored busy")?
            .by("client")
            .times(None)
            .fact("/routes/0/route", ROUTE);
        exactly(&run, program.pid(), &[one])
    })
}

/// The next request of each connection has begun before anything can be asked about the one before, and the workers of
/// several are at work at once.
#[test]
fn workers_left_behind_on_a_busy_connection_are_found() -> Result<()> {
    const ROUTE: &str = "/ignored/timeout-handler";
    on_each_version(|go, flavor| {
        if planted::before_ancestry(go) {
            return Ok(());
        }
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        Load::of(&program, ROUTE)
            .times(20, 2)
            .flag("status", &503)
            .ids("busy-")
            .run()?;
        thread::sleep(Duration::from_millis(3500));
        let run = observer.stop()?;
        let all = Expect::new("error", PROGRAM, "cancel-ignored timeout-handler")?
            .by("deadline")
            .times(None)
            .fact("/routes/0/route", ROUTE);
        exactly(&run, program.pid(), &[all])
    })
}

/// A read deadline that has passed leaves the connection with a dead context: later requests of it are dead from their
/// beginning, and what they call cannot succeed; what they do besides is no fault of theirs until their client leaves.
#[test]
fn what_a_read_deadline_has_left_behind_is_told_of_later_requests() -> Result<()> {
    on_each_version(|go, flavor| {
        const LEFT: &str = "/premature/read-deadline";
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        let late = |path: &str, id: &str| -> Result<Connection> {
            let mut connection = Connection::open(program.address)?;
            connection.exchange(LEFT, &format!("before-{id}"))?;
            connection.send(path, id)?;
            Ok(connection)
        };
        let mut calls = late("/notcalled/cancel/ok", "calls")?;
        calls.receive()?;
        let mut patient = late("/ignored/sleep", "patient")?;
        let leaves = late("/ignored/sleep", "leaves")?;
        thread::sleep(Duration::from_millis(300));
        drop(leaves);
        patient.receive()?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let left = Expect::new("error", PROGRAM, "premature-cancel read-deadline")?;
        let expected = [
            left.request(LEFT, "before-calls")
                .by("read_deadline")
                .times(3),
            Expect::new("error", PROGRAM, "premature-cancel stillborn")?
                .request("/notcalled/cancel/ok", "calls")
                .by("read_deadline")
                .says("since a read deadline has passed on the connection"),
            Expect::new("error", PROGRAM, "cancel-ignored sleep")?
                .request("/ignored/sleep", "leaves")
                .by("client")
                .after_cancel_ms(1500..6000),
        ];
        exactly(&run, program.pid(), &expected)
    })
}
