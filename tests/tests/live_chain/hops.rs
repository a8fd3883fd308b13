//! A gRPC server that calls another one: what the second does for callers of the first that have given up is found in the
//! first, a deadline that is lost between them too, and where it goes on both are silent.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Expect, Load, Nginx, Observer, Program, Role, Run, exactly, findings, on_each_kind,
    on_each_version, start,
};
use observer_tests::target::Flavor;

use super::related;

const PROGRAM: &str = "modules/grpc/server";
/// A method works for two seconds, of which its caller waits 0.3.
const SETTLED: Duration = Duration::from_millis(3500);

/// The service that clients call, and the one that it calls.
struct Hops {
    near: Program,
    far: Program,
    address: SocketAddr,
}

impl Hops {
    fn start(go: &str, flavor: Flavor) -> Result<Self> {
        let far = start(PROGRAM, go, flavor, &[])?;
        let beyond = far.serves_at("listening-grpc ")?;
        Self::reaching(go, flavor, far, beyond)
    }

    /// The far one is reached at this address.
    fn reaching(go: &str, flavor: Flavor, far: Program, beyond: SocketAddr) -> Result<Self> {
        let beyond = beyond.to_string();
        let near = start(PROGRAM, go, flavor, &["-depot", &beyond])?;
        let address = near.serves_at("listening-grpc ")?;
        let hops = Self { near, far, address };
        // Builds the client.
        hops.call("Echo", "cancel", 0).run()?;
        Ok(hops)
    }

    fn observed(&self, more: &[&str]) -> Result<Observer> {
        let pids = [&self.near, &self.far].map(|one| one.pid().to_string());
        let mut args: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid]).collect();
        args.extend(more);
        Observer::attach(&args, 2)
    }

    /// A client that leaves in this way after so many milliseconds, or not before its answer.
    fn call(&self, method: &str, mode: &str, patience_ms: u64) -> Load {
        let load = Load::grpc(self.address, &format!("shop.Depot/{method}"))
            .ids(&format!("{method}-"))
            .mode(mode);
        if patience_ms > 0 {
            load.patience_ms(patience_ms)
        } else {
            load
        }
    }

    /// One call of each, all at once.
    fn calls(&self, calls: &[(&str, &str, u64, &str)]) -> Result<()> {
        let started = calls.iter().map(|(method, mode, patience_ms, outcome)| {
            let client = self.call(method, mode, *patience_ms).start()?;
            Ok((method, client, outcome))
        });
        let started = started.collect::<Result<Vec<_>>>()?;
        for (method, client, outcome) in started {
            client.all(outcome).with_context(|| (*method).to_owned())?;
        }
        Ok(())
    }
}

/// What went on in `below` after the call of `method` had ended.
fn orphan(case: &str, method: &str, by: &str, below: &str) -> Result<Expect> {
    let expect = Expect::new("error", PROGRAM, &format!("orphaned-downstream {case}"))?;
    Ok(expect
        .request(&format!("/shop.Depot/{method}"), &format!("{method}-0"))
        .post()
        .by(by)
        .after_cancel_ms(700..6000)
        .fact("/request/proto", "grpc")
        .fact("/confidence", "medium|high")
        .fact("/evidence/state", "ended")
        .fact("/evidence/call/kind", "grpc")
        .fact("/evidence/downstream/joined_by", "request_id")
        .fact("/evidence/downstream/request/id", &format!("{method}-0"))
        .fact(
            "/evidence/downstream/request/path",
            &format!("/shop.Depot/{below}"),
        )
        .fact("/evidence/downstream/request/proto", "grpc"))
}

/// The same below, where it is work that goes on for a caller that has left.
fn ignored(case: &str, method: &str, by: &str) -> Result<Expect> {
    let expect = Expect::new("error", PROGRAM, &format!("cancel-ignored {case}"))?;
    Ok(expect
        .fact("/request/path", &format!("/shop.Depot/{method}"))
        .by(by))
}

/// A method that lets its caller's deadline go: the call that it makes has none, and so the one below is told of none.
fn detour(rule: &str) -> Result<Expect> {
    let expect = Expect::new("warning", PROGRAM, &format!("{rule} detour"))?;
    Ok(expect
        .fact("/request/path", "/shop.Depot/Detour")
        .fact("/evidence/call/kind", "grpc")
        .fact("/evidence/timer", "context"))
}

/// No process is told of this rule: a deadline goes on with every call of gRPC that has one.
fn none_of(run: &Run, rule: &str) -> Result<()> {
    let told = run.lines.iter().any(|line| line["rule"] == rule);
    ensure!(!told, "{rule}: {}", run.shown());
    Ok(())
}

#[test]
fn what_one_grpc_server_does_for_another_that_has_given_up_is_found() -> Result<()> {
    on_each_kind(|go, flavor| {
        let hops = Hops::start(go, flavor)?;
        let observer = hops.observed(&[])?;
        hops.calls(&[
            ("Relay", "deadline", 300, "dropped"),
            ("Hand", "cancel", 300, "dropped"),
            ("Bound", "deadline", 5000, "ok"),
            ("Detour", "deadline", 1000, "ok"),
            ("DetourOk", "deadline", 1000, "ok"),
            ("RelayOk", "deadline", 300, "dropped"),
            ("RelayOk", "cancel", 300, "dropped"),
            ("RelayOk", "close", 300, "dropped"),
            ("BoundOk", "deadline", 5000, "ok"),
        ])?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        // The deadline of a caller and its reset come at the same time.
        let by = "deadline|client";
        let expected = [
            orphan("relay", "Relay", by, "Sleep")?.also(
                Role::Below,
                PROGRAM,
                "cancel-ignored sleep",
            )?,
            orphan("hand", "Hand", "client", "Doze")?.also(
                Role::Below,
                PROGRAM,
                "cancel-ignored doze",
            )?,
            orphan("bound", "Bound", "deadline", "Nap")?
                .also(
                    Role::DeadlineSite,
                    PROGRAM,
                    "orphaned-downstream bound deadline",
                )?
                .also(Role::Below, PROGRAM, "cancel-ignored nap")?,
            detour("detached-context")?.fact("/request/id", "Detour-0"),
        ];
        exactly(&run, hops.near.pid(), &expected)?;
        let below = [
            ignored("sleep", "Sleep", by)?,
            ignored("doze", "Doze", "client")?,
            ignored("nap", "Nap", by)?,
        ];
        exactly(&run, hops.far.pid(), &below)?;
        for finding in findings(&run, hops.near.pid()) {
            if finding.text("/rule") == "orphaned-downstream" {
                related(&run, &finding, hops.far.pid())?;
            }
        }
        none_of(&run, "deadline-not-forwarded")
    })
}

#[test]
fn a_deadline_that_ends_between_two_grpc_servers_is_found_at_the_hop() -> Result<()> {
    on_each_version(|go, flavor| {
        let hops = Hops::start(go, flavor)?;
        let rules = [
            "--rule",
            "deadline-dropped",
            "--rule",
            "deadline-not-forwarded",
        ];
        let observer = hops.observed(&rules)?;
        hops.calls(&[
            ("Detour", "deadline", 1000, "ok"),
            ("DetourOk", "deadline", 1000, "ok"),
            ("RelayOk", "deadline", 300, "dropped"),
        ])?;
        thread::sleep(SETTLED / 4);
        let run = observer.stop()?;
        exactly(
            &run,
            hops.near.pid(),
            &[detour("deadline-dropped")?.fact("/request/id", "Detour-0")],
        )?;
        exactly(&run, hops.far.pid(), &[])?;
        none_of(&run, "deadline-not-forwarded")
    })
}

#[test]
fn a_proxy_that_loses_the_deadline_of_a_grpc_call_is_found() -> Result<()> {
    on_each_version(|go, flavor| {
        for hands_on in [false, true] {
            let far = start(PROGRAM, go, flavor, &[])?;
            let nginx = Nginx::before_grpc(far.serves_at("listening-grpc ")?, hands_on)?;
            let hops = Hops::reaching(go, flavor, far, nginx.address)?;
            let observer = hops.observed(&["--rule", "deadline-not-forwarded"])?;
            hops.calls(&[("Bound", "deadline", 5000, "ok")])?;
            thread::sleep(SETTLED);
            let run = observer.stop()?;
            let lost = Expect::new("warning", PROGRAM, "deadline-not-forwarded bound")?
                .request("/shop.Depot/Bound", "Bound-0")
                .post()
                .also(
                    Role::DeadlineSite,
                    PROGRAM,
                    "deadline-not-forwarded bound deadline",
                )?
                .fact("/evidence/call/kind", "grpc")
                .fact("/evidence/downstream/joined_by", "request_id")
                .fact("/evidence/downstream/request/path", "/shop.Depot/Nap")
                .fact("/evidence/downstream/request/id", "Bound-0");
            let expected = if hands_on { vec![] } else { vec![lost] };
            exactly(&run, hops.near.pid(), &expected)?;
            exactly(&run, hops.far.pid(), &[])?;
        }
        Ok(())
    })
}
