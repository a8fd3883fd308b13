//! A finding is about the request that made it: not about its neighbours on the connection, in time or in memory.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use observer_tests::{
    live::{Connection, Expect, Load, Observer, exactly, findings, on_each_version, start},
    target::Flavor,
};

const PROGRAM: &str = "rules4";

/// Handlers of two seconds end, grace passes.
const SETTLED: Duration = Duration::from_millis(3000);

#[test]
fn a_request_that_was_there_before_observer_is_never_reported() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        // They begin before observer does, are cancelled under its eyes and work on: nobody knows their past.
        let routes = [
            "/ignored/sleep",
            "/ignored/channel",
            "/detached/background",
            "/notcalled/timer",
        ];
        let mut early = routes
            .iter()
            .map(|path| {
                let mut connection = Connection::open(program.address)?;
                connection.send(path, "early")?;
                Ok(connection)
            })
            .collect::<Result<Vec<_>>>()?;
        let observer = Observer::attach(
            &["--pid", &program.pid().to_string(), "--grace", "100ms"],
            1,
        )?;
        // The last one waits for its answer, on a connection that serves a second request then.
        let mut patient = early.pop();
        drop(early);
        thread::sleep(SETTLED);
        if let Some(patient) = &mut patient {
            patient.receive()?;
            patient.exchange("/notcalled/cancel", "known")?;
        }
        thread::sleep(Duration::from_millis(800));
        let known = Expect::new("warning", PROGRAM, "cancel-not-called cancel")?
            .request("/notcalled/cancel", "known");
        exactly(&observer.stop()?, program.pid(), &[known])
    })
}

#[test]
fn requests_of_one_connection_do_not_mix() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        let mut connection = Connection::open(program.address)?;
        let healthy = |connection: &mut Connection, times: usize| -> Result<()> {
            for number in 0..times {
                connection.exchange("/notcalled/cancel/ok", &format!("healthy-{number}"))?;
            }
            Ok(())
        };
        healthy(&mut connection, 40)?;
        connection.exchange("/notcalled/cancel", "planted-a")?;
        healthy(&mut connection, 40)?;
        connection.exchange("/premature/body", "planted-b")?;
        healthy(&mut connection, 40)?;
        connection.exchange("/premature/after-group", "planted-c")?;
        healthy(&mut connection, 1)?;
        // The last one is left.
        connection.send("/ignored/sleep", "planted-d")?;
        thread::sleep(Duration::from_millis(300));
        drop(connection);
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected = [
            Expect::new("warning", PROGRAM, "cancel-not-called cancel")?
                .request("/notcalled/cancel", "planted-a"),
            Expect::new("error", PROGRAM, "premature-cancel body")?
                .request("/premature/body", "planted-b"),
            Expect::new("error", PROGRAM, "premature-cancel after-group")?
                .request("/premature/after-group", "planted-c"),
            Expect::new("error", PROGRAM, "cancel-ignored sleep")?
                .request("/ignored/sleep", "planted-d"),
        ];
        exactly(&run, program.pid(), &expected)
    })
}

/// Memory of ended requests is used again at once: whatever is found must belong to a planted request.
fn reuse(go: &str, flavor: Flavor) -> Result<()> {
    let program = start(PROGRAM, go, flavor, &[])?;
    let observer = Observer::of(program.pid())?;
    let healthy = [
        // The lightest route there is, and one that makes a context and a call.
        Load::of(&program, "/all")
            .times(8_000, 8)
            .flag("-rate", &1000)
            .ids("healthy-a-"),
        Load::of(&program, "/notcalled/timeout/ok")
            .times(1_600, 16)
            .flag("-rate", &200)
            .ids("healthy-b-"),
    ];
    let healthy = healthy
        .iter()
        .map(Load::start)
        .collect::<Result<Vec<_>>>()?;
    let planted = [
        (Load::of(&program, "/notcalled/cancel").times(20, 2), "ok"),
        (Load::of(&program, "/premature/async").times(20, 4), "ok"),
        (Load::of(&program, "/premature/body").times(20, 2), "ok"),
        (
            Load::of(&program, "/ignored/sleep")
                .mode("drop")
                .patience_ms(300)
                .times(12, 4),
            "dropped",
        ),
        (
            Load::of(&program, "/detached/background")
                .mode("drop")
                .patience_ms(300)
                .times(12, 4),
            "dropped",
        ),
    ];
    let mut running = Vec::new();
    for (load, outcome) in planted {
        running.push((load.ids("planted-").start()?, outcome));
    }
    for (client, outcome) in running {
        client.all(outcome)?;
    }
    let mut sent = 0;
    for client in healthy {
        sent += client.all("ok")?.sent;
    }
    thread::sleep(SETTLED);
    let run = observer.stop()?;
    let expected = [
        Expect::new("warning", PROGRAM, "cancel-not-called cancel")?.times(20),
        Expect::new("error", PROGRAM, "premature-cancel async")?.times(20),
        Expect::new("error", PROGRAM, "premature-cancel body")?.times(20),
        Expect::new("error", PROGRAM, "cancel-ignored sleep")?.times(12),
        Expect::new("error", PROGRAM, "detached-context background")?.times(12),
    ];
    exactly(&run, program.pid(), &expected)?;
    for line in run
        .lines
        .iter()
        .filter(|line| line["type"] == "finding" || line["type"] == "update")
    {
        let id = line["request"]["id"].as_str().unwrap_or_default();
        ensure!(id.starts_with("planted-"), "about {id:?}: {line}");
    }
    ensure!(
        findings(&run, program.pid()).len() == expected.len(),
        "{}",
        run.shown()
    );
    ensure!(
        run.requests()? >= sent,
        "{} requests seen, {sent} sent",
        run.requests()?
    );
    Ok(())
}

#[test]
fn memory_that_is_used_again_is_not_confused() -> Result<()> {
    on_each_version(reuse)
}
