//! A service gives its calls up, and the one that it calls works on: found in the caller, with the line in both.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

#[path = "live_chain/grpc.rs"]
mod grpc;
#[path = "live_chain/hops.rs"]
mod hops;

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Expect, Finding, Load, Observer, Role, Run, exactly, findings, on_each_kind, on_each_version,
    start,
};

/// The store works for two seconds, of which its caller waits 0.3.
const SETTLED: Duration = Duration::from_secs(3);
const FRONT: &str = "chain/front";
const STORE: &str = "chain/store";
const TRACEPARENT: &str = "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What went on in the store after the front's call of the request `<case>-0`.
fn orphan(case: &str, by: &str, joined: &str, below: &str) -> Result<Expect> {
    let expect = Expect::new("error", FRONT, &format!("orphaned-downstream {case}"))?;
    expect
        .request(&format!("/{case}"), &format!("{case}-0"))
        .by(by)
        .after_cancel_ms(700..6000)
        .fact("/evidence/state", "ended")
        .fact("/evidence/downstream/joined_by", joined)
        .fact("/evidence/downstream/request/path", &format!("/{case}"))
        .also(Role::Below, STORE, &format!("{below} {case}"))
}

fn in_front() -> Result<[Expect; 8]> {
    let ignored = "cancel-ignored";
    Ok([
        orphan("deadline", "deadline", "request_id", ignored)?
            .fact("/confidence", "high")
            .also(
                Role::DeadlineSite,
                FRONT,
                "orphaned-downstream deadline deadline",
            )?,
        orphan("client", "client", "request_id", ignored)?.fact("/confidence", "high"),
        orphan("code", "code", "request_id", ignored)?.fact("/confidence", "high"),
        orphan("unread", "deadline", "request_id", "cancel-undelivered")?
            .fact("/confidence", "medium"),
        orphan("traced", "deadline", "parent_id", ignored)?
            .fact("/confidence", "high")
            .fact(
                "/evidence/downstream/request/trace_id",
                "4bf92f3577b34da6a3ce929d0e0e4736",
            ),
        orphan("spans", "deadline", "parent_id", ignored)?
            .fact("/confidence", "high")
            .times(2),
        // Where one of the two is there before the other has come, its ID tells whose it is.
        orphan("twins", "deadline", "sockets|request_id", ignored)?
            .fact("/confidence", "high")
            .times(2),
        orphan("anonymous", "deadline", "sockets", ignored)?.fact("/confidence", "high"),
    ])
}

fn in_store() -> Result<Vec<Expect>> {
    let ignored = |case: &str| {
        let expect = Expect::new("error", STORE, &format!("cancel-ignored {case}"))?;
        Ok(expect
            .by("client")
            .times(if ["twins", "spans"].contains(&case) {
                2
            } else {
                1
            }))
    };
    let cases = [
        "deadline",
        "client",
        "code",
        "traced",
        "twins",
        "spans",
        "anonymous",
    ];
    let mut all = cases
        .iter()
        .map(|case| ignored(case))
        .collect::<Result<Vec<_>>>()?;
    let unread = Expect::new("error|warning", STORE, "cancel-undelivered unread")?;
    all.push(unread.request("/unread", "unread-0").post());
    let queued = Expect::new("error|warning", STORE, "cancel-undelivered queued")?;
    all.push(queued.fact("/evidence/undelivered", "pipelined"));
    Ok(all)
}

/// The two findings about one case name each other.
fn related(run: &Run, front: &Finding, store: u32) -> Result<()> {
    let path = front.text("/evidence/downstream/request/path");
    let there = findings(run, store);
    let there = there
        .iter()
        .find(|finding| finding.text("/request/path") == path)
        .with_context(|| format!("nothing was found in the store on {path}"))?;
    for (one, other) in [(front, there), (there, front)] {
        let names = one.last["related"].as_array();
        let named = names.is_some_and(|ids| ids.iter().any(|id| *id == other.last["id"]));
        ensure!(
            named,
            "{path}: {} does not name {}",
            one.last,
            other.last["id"]
        );
    }
    Ok(())
}

#[test]
fn work_for_a_caller_that_has_given_up_is_found_in_the_caller() -> Result<()> {
    on_each_kind(|go, flavor| {
        let store = start(STORE, go, flavor, &[])?;
        let front = start(FRONT, go, flavor, &["-store", &store.url("")])?;
        let pids = [front.pid(), store.pid()].map(|pid| pid.to_string());
        let observer = Observer::attach(&["--pid", &pids[0], "--pid", &pids[1]], 2)?;
        let mut clients = Vec::new();
        for route in &front.routes()? {
            let load = Load::route(&front, route);
            let load = match route.path.as_str() {
                "/traced" => load.flag("-header", &TRACEPARENT),
                path if path.ends_with("/ok") => load.times(5, 5),
                _ => load,
            };
            clients.push((load.start()?, route.outcome.clone()));
        }
        for (client, outcome) in clients {
            client.all(&outcome)?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        exactly(&run, front.pid(), &in_front()?)?;
        exactly(&run, store.pid(), &in_store()?)?;
        for finding in findings(&run, front.pid()) {
            related(&run, &finding, store.pid())?;
        }
        Ok(())
    })
}

/// Edge, a service behind it, and a worker: the client leaves the edge, everybody in front hands that on, and the worker works on. What
/// it does then is told once, where it was called from.
#[test]
fn of_three_processes_the_one_that_called_the_worker_is_told() -> Result<()> {
    on_each_version(|go, flavor| {
        let worker = start(STORE, go, flavor, &[])?;
        let middle = start(FRONT, go, flavor, &["-store", &worker.url("")])?;
        let edge = start(FRONT, go, flavor, &["-store", &middle.url("")])?;
        let pids = [&edge, &middle, &worker].map(|one| one.pid().to_string());
        let args: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid]).collect();
        let observer = Observer::attach(&args, 3)?;
        let routes = edge.routes()?;
        let route = routes.iter().find(|route| route.path == "/client");
        let route = route.context("no route /client")?;
        Load::route(&edge, route).start()?.all(&route.outcome)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        exactly(&run, edge.pid(), &[])?;
        let orphan = orphan("client", "client", "request_id", "cancel-ignored")?;
        exactly(&run, middle.pid(), &[orphan.fact("/confidence", "high")])?;
        let below = Expect::new("error", STORE, "cancel-ignored client")?;
        exactly(&run, worker.pid(), &[below.by("client")])?;
        for finding in findings(&run, middle.pid()) {
            related(&run, &finding, worker.pid())?;
        }
        Ok(())
    })
}

/// Under TLS it is the same connection: with no ID, memory says who waits on the other end of the socket.
#[test]
fn calls_over_tls_are_joined_by_their_connection() -> Result<()> {
    on_each_kind(|go, flavor| {
        let store = start(STORE, go, flavor, &["-tls"])?;
        let url = format!("https://{}", store.serves_at("listening-tls ")?);
        let front = start(FRONT, go, flavor, &["-store", &url])?;
        let pids = [front.pid(), store.pid()].map(|pid| pid.to_string());
        let observer = Observer::attach(&["--pid", &pids[0], "--pid", &pids[1]], 2)?;
        let of = |path: &str| Load::of(&front, path);
        let client = of("/anonymous").ids("anonymous-").start()?;
        let healthy = of("/anonymous/ok").times(5, 5).start()?;
        client.all("ok")?;
        healthy.all("ok")?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let orphan = orphan("anonymous", "deadline", "sockets", "cancel-ignored")?;
        exactly(&run, front.pid(), &[orphan.fact("/confidence", "high")])?;
        let below = Expect::new("error", STORE, "cancel-ignored anonymous")?;
        exactly(&run, store.pid(), &[below.by("client")])
    })
}
