//! Live cases that are worth a recording.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    live::{Load, Observer, Program},
    postgres::Postgres,
    target::{Flavor, build_target},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{NEWEST, SETTLED, found_by};

/// A program whose name and whose host's name say nothing of this machine: they stand in the recording.
pub(super) struct Nameless {
    pub(super) program: Program,
    _home: TempDir,
}

pub(super) fn nameless(program: &str, go: &str, args: &[&str]) -> Result<Nameless> {
    let executable = build_target(program, go, Flavor::Trimmed)?;
    let home = tempfile::tempdir()?;
    let copy = home.path().join(program.replace('/', "-"));
    fs::copy(executable, &copy)?;
    let copy = copy.to_str().context("a path in UTF-8")?;
    let renamed = [
        "--uts",
        "sh",
        "-c",
        r#"hostname shop && exec "$0" "$@""#,
        copy,
    ];
    Ok(Nameless {
        program: Program::run(program, "unshare".into(), &[&renamed, args].concat())?,
        _home: home,
    })
}

pub(super) fn attach(programs: &[&Program], recording: &Path, args: &[&str]) -> Result<Observer> {
    let path = recording.to_str().context("a path in UTF-8")?;
    let pids: Vec<String> = programs
        .iter()
        .map(|program| program.pid().to_string())
        .collect();
    let mut all = vec!["--record", path];
    all.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    all.extend(args);
    Observer::attach(&all, programs.len())
}

/// Sends each route its request once, and lets grace pass.
fn drive(program: &Program) -> Result<()> {
    let routes = program.routes()?;
    let clients = routes
        .iter()
        .filter(|route| !route.path.starts_with("/admin"))
        .map(|route| Load::route(program, route).start())
        .collect::<Result<Vec<_>>>()?;
    for client in clients {
        client.finish()?;
    }
    thread::sleep(SETTLED);
    Ok(())
}

/// One program, observed with these arguments.
pub(super) fn every_route(
    program: &str,
    go: &str,
    args: &[&str],
    recording: &Path,
) -> Result<String> {
    let target = nameless(program, go, &[])?;
    let observer = attach(&[&target.program], recording, args)?;
    drive(&target.program)?;
    Ok(found_by(&observer.stop()?))
}

/// A service and the one behind it.
pub(super) fn pair(folder: &str, go: &str, recording: &Path) -> Result<String> {
    let store = nameless(&format!("{folder}/store"), go, &[])?;
    let args = ["-store", &store.program.url("")];
    let front = nameless(&format!("{folder}/front"), go, &args)?;
    let observer = attach(&[&front.program, &store.program], recording, &[])?;
    drive(&front.program)?;
    Ok(found_by(&observer.stop()?))
}

/// Peers that leave without Go's notice.
pub(super) fn undelivered(recording: &Path) -> Result<String> {
    let target = nameless("undelivered", NEWEST, &[])?;
    let observer = attach(&[&target.program], recording, &[])?;
    let leaves = |case: &str, close: &str| {
        let load = Load::of(&target.program, &format!("/{case}"));
        load.mode("postunread")
            .patience_ms(300)
            .flag("-close", &close)
            .ids(&format!("{case}-"))
    };
    let running = [
        leaves("fin", "fin"),
        leaves("reset", "rst"),
        leaves("fin-then-reset", "fin"),
        leaves("expect", "fin").mode("expect100"),
        leaves("pipelined", "fin")
            .mode("pipeline")
            .flag("-method", &"POST"),
    ]
    .map(|load| load.start());
    for client in running {
        client?.all("dropped")?;
    }
    thread::sleep(SETTLED);
    Ok(found_by(&observer.stop()?))
}

/// Queries over pgx, while others hold all connections of a small pool.
pub(super) fn sql(recording: &Path) -> Result<String> {
    const POOL: u64 = 2;
    let postgres = Postgres::start()?;
    let args = ["-driver", "pgx", "-dsn", &postgres.over_unix()];
    let target = nameless("modules/sql", NEWEST, &args)?;
    let observer = attach(&[&target.program], recording, &[])?;
    let holders = Load::of(&target.program, "/hold/ok").times(POOL, POOL);
    let holders = holders.start()?;
    thread::sleep(Duration::from_millis(200));
    drive(&target.program)?;
    holders.all("ok")?;
    Ok(found_by(&observer.stop()?))
}

/// gRPC on both sides: methods that clients leave, and routes that call methods.
pub(super) fn grpc(recording: &Path) -> Result<String> {
    let target = nameless("modules/grpc/server", NEWEST, &[])?;
    let address = target.program.serves_at("listening-grpc ")?;
    let call = |method: &str| {
        Load::grpc(address, &format!("shop.Depot/{method}")).ids(&format!("{method}-"))
    };
    call("Echo").mode("cancel").run()?;
    let observer = attach(&[&target.program], recording, &[])?;
    let left = |load: Load, mode: &str| load.mode(mode).patience_ms(300).start();
    let clients = [
        left(call("Sleep"), "cancel"),
        left(call("Doze"), "close"),
        left(call("SleepOk"), "cancel"),
        left(call("Channel"), "deadline"),
        left(call("ChannelOk"), "deadline"),
        left(call("Detached"), "cancel"),
        left(call("Deaf").flag("-answer", &"stream"), "cancel"),
        call("Uncalled").mode("cancel").start(),
    ];
    drive(&target.program)?;
    for client in clients {
        client?.finish()?;
    }
    Ok(found_by(&observer.stop()?))
}

/// Goroutines that never end, three of each line.
pub(super) fn leaks(recording: &Path) -> Result<String> {
    leaks_seen(recording, &["--goroutines"], "get")
}

/// The same, found by looks: each request has a connection of its own.
pub(super) fn looks(recording: &Path) -> Result<String> {
    leaks_seen(recording, &[], "drop")
}

fn leaks_seen(recording: &Path, more: &[&str], mode: &str) -> Result<String> {
    let target = nameless("leaks", NEWEST, &[])?;
    let args = [&["--leak-after", "2s"], more].concat();
    let observer = attach(&[&target.program], recording, &args)?;
    for route in target.program.routes()? {
        let id = format!("{}-", route.path.trim_start_matches('/').replace('/', "-"));
        let load = Load::of(&target.program, &route.path).ids(&id).mode(mode);
        load.times(3, 1).run()?;
    }
    thread::sleep(2 * SETTLED);
    Ok(found_by(&observer.stop()?))
}

/// Two thousand goroutines at once that stay.
pub(super) fn surge(recording: &Path) -> Result<String> {
    let target = nameless("surge", NEWEST, &[])?;
    let observer = attach(&[&target.program], recording, &["--surge-window", "5s"])?;
    thread::sleep(Duration::from_secs(8));
    Load::of(&target.program, "/burst?n=2000").run()?;
    observer.wait_for(|lines| {
        let seen = |line: &Value| line["rule"] == "goroutine-surge";
        lines.iter().any(seen).then_some(())
    })?;
    Ok(found_by(&observer.stop()?))
}

/// One mistake that is over, and one whose handler is seen at work.
fn make_mistakes(program: &Program, observer: &Observer) -> Result<()> {
    let over = Load::of(program, "/notcalled/cancel").ids("over-");
    over.start()?.all("ok")?;
    let running = Load::of(program, "/ignored/sleep").ids("running-");
    running
        .mode("drop")
        .patience_ms(300)
        .start()?
        .all("dropped")?;
    observer.wait_for(|lines| {
        let seen = |line: &Value| line["rule"] == "cancel-ignored";
        lines.iter().any(seen).then_some(())
    })
}

/// The process is killed in the middle of a finding.
pub(super) fn killed(recording: &Path) -> Result<String> {
    let Nameless { program, _home } = nameless("rules4", NEWEST, &[])?;
    let observer = attach(&[&program], recording, &[])?;
    make_mistakes(&program, &observer)?;
    drop(program);
    let run = observer.ends()?;
    ensure!(run.end()?["why"] == "processes_ended", "{}", run.shown());
    Ok(found_by(&run))
}

/// observer is interrupted in the middle of a finding.
pub(super) fn interrupted(recording: &Path) -> Result<String> {
    let target = nameless("rules4", NEWEST, &[])?;
    let observer = attach(&[&target.program], recording, &[])?;
    make_mistakes(&target.program, &observer)?;
    Ok(found_by(&observer.stop()?))
}

/// Events are lost around a mistake that nobody can know then; the next ones are found.
pub(super) fn loss(recording: &Path) -> Result<String> {
    let target = nameless("rules4", NEWEST, &[])?;
    let program = &target.program;
    let observer = attach(&[program], recording, &["--bench-ring", "65536"])?;
    let patient = Load::of(program, "/ignored/derived").ids("cut-").start()?;
    thread::sleep(Duration::from_millis(100));
    observer.signal(Signal::SIGSTOP)?;
    Load::of(program, "/all").times(200, 1).start()?.all("ok")?;
    Load::of(program, "/notcalled/timeout")
        .ids("unseen-")
        .start()?
        .all("ok")?;
    patient.all("ok")?;
    observer.signal(Signal::SIGCONT)?;
    observer.wait_for(|lines| {
        let lost = |line: &Value| line["type"] == "loss";
        lines.iter().any(lost).then_some(())
    })?;
    make_mistakes(program, &observer)?;
    thread::sleep(SETTLED / 2);
    observer.signal(Signal::SIGINT)?;
    let run = observer.ends()?;
    let lines = found_by(&run);
    ensure!(
        !lines.contains("unseen-") && !lines.contains("cut-"),
        "{lines}"
    );
    Ok(lines)
}
