//! Live cases that asking each route once does not bring about, recorded.

use std::{path::Path, thread, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::live::{Connection, Load, Program, routers};

use super::{
    NEWEST, SETTLED,
    cases::{Nameless, attach, nameless},
    found_by,
};

/// Its handlers behind a `TimeoutHandler` have no ancestry that tells whose they are.
pub(super) const WITHOUT_ANCESTRY: &str = "1.20.14";

/// Keep-alive connections whose requests meet what came before them: observer's arrival, a read deadline that has
/// passed, workers that an earlier request left behind, other connections' goroutines, a hundred headers.
pub(super) fn connections(recording: &Path) -> Result<String> {
    let target = nameless("rules4", NEWEST, &[])?;
    let program = &target.program;
    let sent = |path: &str, id: &str| -> Result<Connection> {
        let mut connection = Connection::open(program.address)?;
        connection.send(path, id)?;
        Ok(connection)
    };
    let mut early = sent("/ignored/poll", "early-patient")?;
    let early_leaves = sent("/ignored/poll", "early-leaves")?;
    thread::sleep(Duration::from_millis(200));
    let observer = attach(&[program], recording, &[])?;
    drop(early_leaves);
    early.receive()?;
    early.exchange("/notcalled/cancel", "after-early")?;

    let stillborn = |path: &str, id: &str| -> Result<Connection> {
        let mut connection = Connection::open(program.address)?;
        connection.exchange("/premature/read-deadline", &format!("before-{id}"))?;
        connection.send(path, id)?;
        Ok(connection)
    };
    stillborn("/notcalled/cancel/ok", "calls")?.receive()?;
    let mut patient = stillborn("/ignored/sleep", "patient")?;
    let leaves = stillborn("/ignored/sleep", "leaves")?;
    thread::sleep(Duration::from_millis(300));
    drop(leaves);
    patient.receive()?;

    let mut many = Load::of(program, "/premature/async").ids("many-");
    for n in 0..120 {
        many = many.flag("-header", &format!("X-Filler-{n}: {n}"));
    }
    many.run()?;
    let orphans = Load::of(program, "/detached/spawned-orphan").mode("drop");
    let running = [
        Load::of(program, "/detached/spawned-waited")
            .times(6, 3)
            .ids("waited-")
            .start()?,
        orphans
            .patience_ms(400)
            .times(6, 3)
            .ids("orphan-")
            .start()?,
        Load::of(program, "/ignored/timeout-handler")
            .times(6, 2)
            .flag("status", &503)
            .ids("busy-")
            .start()?,
    ];
    for client in running {
        client.finish()?;
    }
    thread::sleep(SETTLED);
    Ok(found_by(&observer.stop()?))
}

/// A server whose read timeout passes, and servers that are closed, cancelled, shut down with patience and without.
pub(super) fn endings(recording: &Path) -> Result<String> {
    let cancelers = |args: &[&str]| nameless("cancelers", NEWEST, args);
    let timed = cancelers(&["-read-timeout", "400ms"])?;
    let closed = cancelers(&[])?;
    let cancelled = cancelers(&[])?;
    let graceful = cancelers(&[])?;
    let impatient = cancelers(&["-patience", "300ms"])?;
    let all: [&Nameless; 5] = [&timed, &closed, &cancelled, &graceful, &impatient];
    let observer = attach(&all.map(|it| &it.program), recording, &[])?;
    let ask = |program: &Program, path: &str| {
        let id = format!("{}-", path.trim_start_matches('/').replace('/', "-"));
        Load::of(program, path).ids(&id)
    };
    let running = [
        ask(&timed.program, "/read-timeout")
            .mode("postunread")
            .start()?,
        ask(&closed.program, "/stubborn/server-close").start()?,
        ask(&cancelled.program, "/stubborn/shutdown").start()?,
        ask(&graceful.program, "/wait").start()?,
        ask(&impatient.program, "/stubborn/shutdown").start()?,
    ];
    thread::sleep(Duration::from_millis(700));
    closed.program.signal(Signal::SIGUSR1)?;
    cancelled.program.signal(Signal::SIGUSR2)?;
    graceful.program.signal(Signal::SIGHUP)?;
    impatient.program.signal(Signal::SIGUSR2)?;
    // Its handler of signals is done with the first one.
    thread::sleep(Duration::from_millis(50));
    impatient.program.signal(Signal::SIGHUP)?;
    for client in running {
        client.finish()?;
    }
    thread::sleep(SETTLED);
    let found = found_by(&observer.stop()?);
    for canceler in ["server_close", "shutdown", "read_deadline"] {
        let named = format!("\"cancelled_by\":\"{canceler}\"");
        ensure!(found.contains(&named), "nobody is {canceler} in\n{found}");
    }
    Ok(found)
}

/// Whoever works behind a `TimeoutHandler` is nobody's: nothing is said of it, nor held against its request.
pub(super) fn unknown(recording: &Path) -> Result<String> {
    let target = nameless("rules4", WITHOUT_ANCESTRY, &[])?;
    let observer = attach(&[&target.program], recording, &[])?;
    Load::of(&target.program, "/ignored/timeout-handler")
        .flag("-status", &503)
        .run()?;
    // It shows that the recording tells anything.
    Load::of(&target.program, "/notcalled/cancel")
        .ids("known-")
        .run()?;
    thread::sleep(SETTLED);
    let run = observer.stop()?;
    let end = run.end()?;
    ensure!(end["requests_unknown"] == 1, "{}", run.shown());
    Ok(found_by(&run))
}

/// IDs that real middlewares make: in the answer's headers, and in contexts.
pub(super) fn made_ids(recording: &Path) -> Result<String> {
    let target = nameless(routers::PROGRAM, NEWEST, &[])?;
    let observer = attach(&[&target.program], recording, &[])?;
    routers::leave_all(&target.program)?;
    thread::sleep(SETTLED);
    let found = found_by(&observer.stop()?);
    for source in ["context:", "response:"] {
        let from = format!("\"id_source\":\"{source}");
        ensure!(found.contains(&from), "no ID is of {source} in\n{found}");
    }
    Ok(found)
}
