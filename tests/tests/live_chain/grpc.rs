//! A service gives calls of gRPC up, and the gRPC server that it calls, which serves nothing else, works on: found in the
//! caller, by the IDs in the metadata.

use std::{thread, time::Duration};

use anyhow::Result;
use observer_tests::live::{Expect, Load, Observer, Role, exactly, on_each_kind, start};

const PROGRAM: &str = "modules/grpc/server";
/// A method works for two seconds, of which its caller waits 0.3.
const SETTLED: Duration = Duration::from_millis(3500);

/// What went on below after the call of `/orphan/<case>`.
fn orphan(case: &str, by: &str, joined: &str, method: &str) -> Result<Expect> {
    let expect = Expect::new("error", PROGRAM, &format!("orphaned-downstream {case}"))?;
    Ok(expect
        .request(&format!("/orphan/{case}"), &format!("{case}-0"))
        .by(by)
        .after_cancel_ms(700..6000)
        .fact("/evidence/state", "ended")
        .fact("/evidence/call/kind", "grpc")
        .fact("/evidence/downstream/joined_by", joined)
        .fact(
            "/evidence/downstream/request/path",
            &format!("/shop.Depot/{method}"),
        )
        .fact("/evidence/downstream/request/proto", "grpc"))
}

#[test]
fn what_a_bare_grpc_server_does_for_callers_that_have_given_up_is_found() -> Result<()> {
    on_each_kind(|go, flavor| {
        let below = start(PROGRAM, go, flavor, &[])?;
        let address = below.serves_at("listening-grpc ")?.to_string();
        let front = start(PROGRAM, go, flavor, &["-depot", &address])?;
        let pids = [front.pid(), below.pid()].map(|pid| pid.to_string());
        let observer = Observer::attach(&["--pid", &pids[0], "--pid", &pids[1]], 2)?;
        let routes = front.routes()?;
        let mut clients = Vec::new();
        for case in ["deadline", "detached", "span", "ok"] {
            let path = format!("/orphan/{case}");
            let Some(route) = routes.iter().find(|route| route.path == path) else {
                anyhow::bail!("no {path}");
            };
            let load = Load::route(&front, route).ids(&format!("{case}-"));
            clients.push((load.start()?, route.outcome.clone()));
        }
        for (client, outcome) in clients {
            client.all(&outcome)?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected = [
            orphan("deadline", "deadline", "request_id", "Sleep")?.also(
                Role::Below,
                PROGRAM,
                "cancel-ignored sleep",
            )?,
            orphan("detached", "client", "request_id", "Detached")?,
            orphan("span", "client", "parent_id", "Doze")?
                .fact("/confidence", "high")
                .also(Role::Below, PROGRAM, "cancel-ignored doze")?,
        ];
        exactly(&run, front.pid(), &expected)?;
        let in_service = [
            Expect::new("error", PROGRAM, "cancel-ignored sleep")?,
            Expect::new("error", PROGRAM, "detached-context wait")?,
            Expect::new("error", PROGRAM, "cancel-ignored doze")?,
        ];
        let path = |expect: Expect, method: &str| {
            expect
                .fact("/request/path", &format!("/shop.Depot/{method}"))
                .fact("/request/method", "POST")
        };
        let [sleep, wait, doze] = in_service;
        let in_service = [
            // The caller's reset and the deadline that it has sent come at the same time.
            path(sleep, "Sleep").by("client|deadline"),
            path(wait, "Detached").by("client"),
            path(doze, "Doze").by("client"),
        ];
        exactly(&run, below.pid(), &in_service)
    })
}
