//! Many at once: fifty processes, thousands of connections, minutes of healthy load.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::{CI_VERSIONS, is_full},
    live::{Connection, Load, Observer, PATIENCE, Program, exactly, get, start, undisturbed},
    target::{Flavor, build_target},
};
use tempfile::TempDir;

/// Executables, and processes of each.
const EXECUTABLES: usize = 5;
const PROCESSES: usize = 10;
/// Own memory for each process of an executable that is known, KiB: an address space of maps, no tables of the
/// executable's.
const KIB_EACH: u64 = 512;

fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

/// Copies of one program: each is an executable of its own.
fn executables(folder: &TempDir) -> Result<Vec<PathBuf>> {
    let built = build_target("execs", newest(), Flavor::Stripped)?;
    (0..EXECUTABLES)
        .map(|number| {
            let path = folder.path().join(format!("many-{number}"));
            fs::copy(&built, &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            Ok(path)
        })
        .collect()
}

/// Anonymous memory of a process, KiB.
fn anonymous_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = value.and_then(|value| value.split_whitespace().next());
    Ok(kib.context("no RssAnon")?.parse()?)
}

#[test]
fn fifty_processes_of_five_executables_are_observed_at_once() -> Result<()> {
    undisturbed(|| {
        let folder = tempfile::tempdir()?;
        let executables = executables(&folder)?;
        let paths: Vec<&str> = executables
            .iter()
            .filter_map(|path| path.to_str())
            .collect();
        let run = |path: &PathBuf| Program::run("execs", path.clone(), &[]);
        let mut programs = executables.iter().map(run).collect::<Result<Vec<_>>>()?;
        let selectors: Vec<&str> = paths.iter().flat_map(|path| ["--exe", path]).collect();
        let observer = Observer::attach(&selectors, EXECUTABLES)?;
        let few_kib = anonymous_kib(observer.pid())?;
        for path in &executables {
            for _ in 1..PROCESSES {
                programs.push(run(path)?);
            }
        }
        let all = programs.len();
        ensure!(all == EXECUTABLES * PROCESSES, "{all}");
        observer
            .wait_for(|lines| {
                let starts = lines.iter().filter(|line| line["type"] == "start");
                (starts.count() == all).then_some(())
            })
            .with_context(|| format!("{:?}", observer.lines().len()))?;
        let many_kib = anonymous_kib(observer.pid())?;
        for program in &programs {
            get(program.address, "/")?;
        }

        // One service ends and comes again.
        let mut gone = programs.pop().context("a program")?;
        gone.signal(Signal::SIGTERM)?;
        gone.process().wait(PATIENCE)?;
        let ended = gone.pid();
        observer
            .wait_for(|lines| {
                let stops = |line: &&serde_json::Value| {
                    line["type"] == "stop" && line["process"]["pid"] == ended
                };
                lines.iter().find(stops).map(|_| ())
            })
            .context("no stop line")?;
        let again = run(&gone.executable)?;
        observer
            .wait_for(|lines| {
                let starts = lines.iter().filter(|line| line["type"] == "start");
                (starts.count() == all + 1).then_some(())
            })
            .context("no start line of the one that came again")?;
        get(again.address, "/")?;

        let run = observer.stop()?;
        run.require_clean().with_context(|| run.shown())?;
        ensure!(
            run.requests()? == u64::try_from(all + 1)?,
            "{}",
            run.shown()
        );
        // The first process of an executable gets its probes; the others share them.
        let mut probes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in run.of_type("start") {
            let exe = line["process"]["exe"].as_str().unwrap_or_default();
            let count = line["probes"].as_u64().context("probes")?;
            probes.entry(exe.to_owned()).or_default().push(count);
        }
        ensure!(probes.len() == EXECUTABLES, "{probes:?}");
        for (exe, counts) in &probes {
            let [first, others @ ..] = &counts[..] else {
                continue;
            };
            ensure!(
                *first > 0 && others.iter().all(|count| count == first || *count == 0),
                "{exe}: {counts:?}"
            );
        }
        let grown_kib = many_kib.saturating_sub(few_kib);
        let most_kib = KIB_EACH * u64::try_from(all - EXECUTABLES)?;
        ensure!(
            grown_kib <= most_kib,
            "{grown_kib} KiB more for {} more processes",
            all - EXECUTABLES
        );
        Ok(())
    })
}

/// Opens a connection and closes it at once, or in the middle of a request's head.
fn drop_one(address: SocketAddr, begun: bool) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    if begun {
        stream.write_all(b"GET /get/ok HTTP/1.1\r\nHost:")?;
    }
    Ok(())
}

#[test]
fn thousands_of_connections_a_second_leave_nothing_behind() -> Result<()> {
    undisturbed(|| {
        // What is kept for connections is full before half of them have come.
        const EACH: usize = 10_000;
        const WORKERS: usize = 4;
        let program = start("undelivered", newest(), Flavor::Plain, &[])?;
        let observer = Observer::of(program.pid())?;
        // Everything that is built once is there.
        let mut kept = Connection::open(program.address)?;
        kept.exchange("/get/ok", "before-0")?;
        let before_kib = anonymous_kib(observer.pid())?;
        thread::scope(|scope| {
            let worker = || {
                (0..EACH).try_for_each(|number| {
                    drop_one(program.address, number.is_multiple_of(2))
                        .with_context(|| format!("connection {number}"))
                })
            };
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().ok().context("it panicked")?)
        })?;
        kept.exchange("/get/ok", "after-0")?;
        // What comes among them is seen as ever.
        Load::of(&program, "/fin")
            .mode("postunread")
            .patience_ms(300)
            .ids("fin-")
            .start()?
            .all("dropped")?;
        thread::sleep(Duration::from_millis(3000));
        let after_kib = anonymous_kib(observer.pid())?;
        observer.signal(Signal::SIGINT)?;
        let run = observer.ends()?;
        ensure!(
            after_kib < before_kib + (24 << 10),
            "{before_kib} KiB before, {after_kib} KiB after {} connections",
            EACH * WORKERS
        );
        for end in run.of_type("end") {
            ensure!(end["lost"]["table_full"].is_null(), "{}", run.shown());
        }
        // Either all of it was seen, or the counters say what was not.
        let whole = run.require_clean().is_ok();
        ensure!(run.requests()? == 3 || !whole, "{}", run.shown());
        let found = run
            .of_type("finding")
            .filter(|line| line["rule"] == "cancel-undelivered")
            .count();
        ensure!(found == 1 || !whole, "{}", run.shown());
        Ok(())
    })
}

/// How long the healthy chain is under load.
fn soak() -> Duration {
    Duration::from_secs(if is_full() { 60 } else { 15 })
}

#[test]
fn a_healthy_chain_with_impatient_clients_is_silent() -> Result<()> {
    undisturbed(|| {
        let store = start("shop/store", newest(), Flavor::Plain, &[])?;
        let front = start(
            "shop/front",
            newest(),
            Flavor::Plain,
            &["-store", &store.url("")],
        )?;
        let pids = [front.pid(), store.pid()].map(|pid| pid.to_string());
        let [first, second] = &pids;
        let observer = Observer::attach(&["--pid", first, "--pid", second], 2)?;
        let clients = [
            ("/", "get", 0, 100),
            ("/search?q=lamp", "get", 0, 30),
            ("/search?q=lamp", "drop", 15, 20),
            ("/product?id=1", "get", 0, 30),
            ("/product?id=1", "rst", 10, 20),
            ("/product?id=1", "drop", 30, 20),
            ("/summary", "drop", 300, 10),
            ("/summary", "rst", 100, 10),
        ];
        let running = clients
            .map(|(path, mode, patience_ms, rate)| {
                let mut load = Load::of(&front, path).mode(mode);
                if patience_ms > 0 {
                    load = load.patience_ms(patience_ms);
                }
                (path, load.during(soak(), 16).flag("-rate", &rate).start())
            })
            .map(|(path, client)| anyhow::Ok((path, client?)));
        let mut dropped = 0;
        let mut sent = 0;
        for client in running {
            let (path, client) = client?;
            let report = client.finish()?;
            ensure!(report.failed == 0, "{path}: {report:?}: {:?}", front.said());
            dropped += report.dropped;
            sent += report.sent;
        }
        ensure!(dropped > 100, "only {dropped} of {sent} left");
        thread::sleep(Duration::from_secs(2));
        let run = observer.stop()?;
        run.require_clean().with_context(|| run.shown())?;
        exactly(&run, front.pid(), &[])?;
        exactly(&run, store.pid(), &[])?;
        ensure!(run.requests()? >= sent, "{sent} sent\n{}", run.shown());
        Ok(())
    })
}
