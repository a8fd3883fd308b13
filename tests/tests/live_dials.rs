//! What a service dials itself: every planted mistake of `dials` where its marker is, call facts with the end that they
//! had, and silence about the healthy twins and about what clients dial for connections that they keep.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{Expect, Load, Observer, Role, Run, exactly, on_each_kind, start};

const PROGRAM: &str = "dials";
/// The slowest route takes 1.5 s; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(4500);

/// A planted mistake: `RULE CASE` of its marker, its route, and how the call ends by its call facts.
struct Planted {
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    outcome: &'static str,
    lasts_ms: std::ops::Range<u64>,
}

const fn planted(
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    outcome: &'static str,
    lasts_ms: std::ops::Range<u64>,
) -> Planted {
    Planted {
        marked,
        route,
        severity,
        outcome,
        lasts_ms,
    }
}

const ALL: [Planted; 6] = [
    // Its own timeout ends it: that of the socket, or the same of its context, whichever fires first.
    planted(
        "detached-context timeout",
        "/detached/timeout",
        "error",
        "done|cancelled",
        1_400..2_500,
    ),
    // Nothing tells of its end but the death of its context, and that it may have been over before.
    planted(
        "detached-context context",
        "/detached/context",
        "error",
        "unknown",
        0..1,
    ),
    // The kernel asks again after a second, and the connection is there.
    planted(
        "detached-context late",
        "/detached/late",
        "error",
        "done",
        900..2_500,
    ),
    planted(
        "detached-context quick",
        "/detached/quick",
        "warning",
        "done",
        0..500,
    ),
    planted(
        "detached-context dropped",
        "/dropped/dial",
        "warning",
        "done",
        0..500,
    ),
    planted(
        "premature-cancel dial",
        "/premature/dial",
        "error",
        "cancelled",
        50..700,
    ),
];

impl Planted {
    fn id(&self) -> String {
        format!("{}-0", self.route.trim_start_matches('/').replace('/', "-"))
    }

    fn expected(&self) -> Result<Expect> {
        let expect = Expect::new(self.severity, PROGRAM, self.marked)?
            .request(self.route, &self.id())
            .fact("/evidence/call/kind", "dial");
        if self.route == "/dropped/dial" {
            return expect.also(Role::DeadlineSite, PROGRAM, "dials middleware deadline");
        }
        Ok(expect)
    }

    /// The call fact of its request.
    fn is_told(&self, run: &Run) -> Result<()> {
        let (route, id) = (self.route, self.id());
        let of_route = run.of_type("call").filter(|fact| {
            fact.pointer("/request/path")
                .is_some_and(|path| path == route)
        });
        let all: Vec<_> = of_route.collect();
        let [fact] = all[..] else {
            anyhow::bail!("{route}: {all:?}");
        };
        let text = |pointer: &str| fact.pointer(pointer).and_then(serde_json::Value::as_str);
        ensure!(text("/call/kind") == Some("dial"), "{fact}");
        let target = text("/call/target").unwrap_or_default();
        ensure!(target.starts_with("tcp 127.0.0.1:"), "{fact}");
        ensure!(text("/request/id") == Some(id.as_str()), "{fact}");
        let outcome = text("/call/outcome").unwrap_or_default();
        ensure!(self.outcome.split('|').any(|one| one == outcome), "{fact}");
        let lasted = fact
            .pointer("/call/duration_ns")
            .and_then(serde_json::Value::as_u64)
            .map_or(0, |ns| ns / 1_000_000);
        ensure!(self.lasts_ms.contains(&lasted), "{lasted} ms: {fact}");
        Ok(())
    }
}

#[test]
fn planted_dials_are_found_at_their_lines_with_their_ends() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::attach(&["--pid", &program.pid().to_string(), "--facts"], 1)?;
        let clients = program
            .routes()?
            .iter()
            .map(|route| {
                Ok((
                    route.path.clone(),
                    Load::route(&program, route).start()?,
                    route.outcome.clone(),
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        for (path, client, outcome) in clients {
            client.all(&outcome).with_context(|| path)?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let expected: Result<Vec<_>> = ALL.iter().map(Planted::expected).collect();
        exactly(&run, program.pid(), &expected?)?;
        for planted in &ALL {
            planted.is_told(&run).with_context(|| run.shown())?;
        }
        // What others dial for connections that they keep is no call of the service.
        let held = |fact: &&serde_json::Value| {
            let path = fact.pointer("/request/path").and_then(|path| path.as_str());
            path.is_some_and(|path| path.starts_with("/held/") && path != "/held/deadline/ok")
                && fact
                    .pointer("/call/kind")
                    .is_some_and(|kind| kind == "dial")
        };
        let held: Vec<_> = run.of_type("call").filter(held).collect();
        ensure!(held.is_empty(), "{held:?}");
        Ok(())
    })
}
