//! Every planted mistake of `rules4` is found where its marker is, about the request that made it; every healthy twin
//! is silent.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Connection, Expect, Load, Observer, Role, exactly, findings, on_each_build,
    on_each_unoptimised, on_each_version, start,
};
use observer_tests::target::Flavor;

/// The slowest route takes 4.8 s; then grace, and what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(6500);

const PROGRAM: &str = "rules4";

/// A planted mistake: `RULE CASE` of its marker, and what has to be said about it.
struct Planted {
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    cancelled_by: Option<&'static str>,
    /// How its message ends.
    says: Option<&'static str>,
    /// From the cancel to the end of the work, ms, on a machine that is not busy.
    wasted_ms: Option<u64>,
    /// Where the marked line `RULE CASE ROLE` appears.
    also: &'static [(Role, &'static str)],
}

const fn planted(marked: &'static str, route: &'static str, severity: &'static str) -> Planted {
    Planted {
        marked,
        route,
        severity,
        cancelled_by: None,
        says: None,
        wasted_ms: None,
        also: &[],
    }
}

impl Planted {
    const fn by(mut self, cancelled_by: &'static str) -> Self {
        self.cancelled_by = Some(cancelled_by);
        self
    }

    const fn says(mut self, says: &'static str) -> Self {
        self.says = Some(says);
        self
    }

    const fn wasted_ms(mut self, wasted_ms: u64) -> Self {
        self.wasted_ms = Some(wasted_ms);
        self
    }

    const fn also(mut self, also: &'static [(Role, &'static str)]) -> Self {
        self.also = also;
        self
    }

    fn expected(&self, go: &str, flavor: Flavor) -> Result<Expect> {
        let mut expect = Expect::new(self.severity, PROGRAM, self.marked)?;
        let id = format!("{}-0", self.route.trim_start_matches('/').replace('/', "-"));
        expect = expect.request(self.route, &id);
        if let Some(cancelled_by) = self.cancelled_by {
            expect = expect.by(cancelled_by);
        }
        if let Some(says) = self.says {
            expect = expect.says(says);
        }
        if let Some(ms) = self.wasted_ms {
            // At least the grace time; the client may be late by any part of the rest.
            expect = expect.after_cancel_ms(500..ms + 900);
        }
        let calls = self.marked.starts_with("detached-context ") && self.severity == "error";
        if calls && self.marked != "detached-context wait" {
            // The work is over, and so is its call; before Go 1.23 nothing tells when.
            expect = expect.fact("/evidence/call/outcome", "done|unknown");
        }
        if self.marked == "premature-cancel read-deadline-wait" {
            // Its wait ends with the cancel.
            expect = expect.or_no_site();
        }
        let late_line = flavor == Flavor::Unoptimised && !before(go, 25);
        for (role, name) in self.also {
            let mut marked = format!("{} {name}", self.marked);
            if late_line && marked == "premature-cancel body cancel" {
                marked = "premature-cancel body unoptimised-cancel".to_owned();
            }
            expect = expect.also(*role, PROGRAM, &marked)?;
        }
        Ok(expect)
    }
}

const CALL: &[(Role, &str)] = &[(Role::Stack, "call")];

/// The one whose stack has more frames than a probe reads.
const DEEP: &str = "detached-context deep";

const ALL: [Planted; 44] = [
    planted("cancel-ignored sleep", "/ignored/sleep", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored channel", "/ignored/channel", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored poll", "/ignored/poll", "warning")
        .by("client")
        .wasted_ms(800),
    planted(
        "cancel-ignored poll-unseen",
        "/ignored/poll-unseen",
        "error",
    )
    .by("client")
    .wasted_ms(1500),
    planted("cancel-ignored workers", "/ignored/workers", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored raw-call", "/ignored/raw-call", "error")
        .by("client")
        .wasted_ms(1700),
    planted("cancel-ignored derived", "/ignored/derived", "warning")
        .by("deadline")
        .wasted_ms(1700)
        .also(&[(Role::Context, "context")]),
    // An error where the call on the dead context is recognised.
    planted(
        "cancel-ignored backoff",
        "/ignored/backoff",
        "error|warning",
    )
    .by("deadline")
    .wasted_ms(1700)
    .also(CALL),
    planted("cancel-ignored busy", "/ignored/busy", "error")
        .by("client")
        .wasted_ms(1700),
    planted(
        "cancel-ignored busy-method",
        "/ignored/busy-method",
        "error",
    )
    .by("client")
    .wasted_ms(1700),
    planted(
        "cancel-ignored busy-inlined",
        "/ignored/busy-inlined",
        "error",
    )
    .by("client")
    .wasted_ms(1700),
    planted(
        "cancel-ignored timeout-handler",
        "/ignored/timeout-handler",
        "error",
    )
    .by("deadline")
    .wasted_ms(1700),
    planted(
        "cancel-ignored timeout-client",
        "/ignored/timeout-client",
        "error",
    )
    .by("client")
    .wasted_ms(1700),
    planted(
        "detached-context background",
        "/detached/background",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(DEEP, "/detached/deep", "error")
        .by("client")
        .wasted_ms(1200),
    planted("detached-context todo", "/detached/todo", "error")
        .by("client")
        .wasted_ms(1200),
    planted(
        "detached-context background-timeout",
        "/detached/background-timeout",
        "error",
    )
    .by("client")
    .wasted_ms(1200)
    .also(CALL),
    planted(
        "detached-context withoutcancel",
        "/detached/withoutcancel",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted("detached-context wrapper", "/detached/wrapper", "error")
        .by("client")
        .wasted_ms(1200),
    planted(
        "detached-context wrapper-timeout",
        "/detached/wrapper-timeout",
        "error",
    )
    .by("client")
    .wasted_ms(1200)
    .also(CALL),
    planted(
        "detached-context shared-background",
        "/detached/shared-background",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-todo",
        "/detached/shared-todo",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-inlined",
        "/detached/shared-inlined",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-request",
        "/detached/shared-request",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-timeout",
        "/detached/shared-timeout",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-without",
        "/detached/shared-without",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-withouts",
        "/detached/shared-withouts",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted(
        "detached-context shared-stored",
        "/detached/shared-stored",
        "error",
    )
    .by("client")
    .wasted_ms(1200),
    planted("detached-context wait", "/detached/wait", "error")
        .by("client")
        .wasted_ms(1700),
    planted("detached-context spawned", "/detached/spawned", "info").also(CALL),
    // Of one connection alone, nobody knows that it is not made ready for all.
    planted(
        "detached-context spawned-waited",
        "/detached/spawned-waited",
        "info",
    ),
    planted(
        "detached-context spawned-orphan",
        "/detached/spawned-orphan",
        "info",
    ),
    planted("cancel-not-called cancel", "/notcalled/cancel", "warning"),
    planted("cancel-not-called timeout", "/notcalled/timeout", "warning"),
    planted("cancel-not-called inlined", "/notcalled/inlined", "warning")
        .also(&[(Role::Stack, "caller")]),
    planted("cancel-not-called timer", "/notcalled/timer", "warning"),
    planted("premature-cancel async", "/premature/async", "error")
        .by("normal_end")
        .says("the handler returned"),
    planted("premature-cancel panic", "/premature/panic", "error")
        .by("normal_end")
        .says("the handler panicked"),
    planted("premature-cancel late", "/premature/late", "error")
        .by("normal_end")
        .says("the handler returned"),
    planted("premature-cancel body", "/premature/body", "error")
        .by("code")
        .also(&[(Role::CancelSite, "cancel")]),
    planted(
        "premature-cancel body-handed",
        "/premature/body-handed",
        "error",
    )
    .by("code")
    .also(&[(Role::CancelSite, "cancel")]),
    planted(
        "premature-cancel read-deadline",
        "/premature/read-deadline",
        "error",
    )
    .by("read_deadline"),
    planted(
        "premature-cancel read-deadline-wait",
        "/premature/read-deadline-wait",
        "warning",
    )
    .by("read_deadline"),
    planted(
        "premature-cancel after-group",
        "/premature/after-group",
        "error",
    )
    .by("code"),
];

/// Up to Go 1.20 a goroutine does not know who started it, so nobody knows whose request it works for.
fn before_ancestry(go: &str) -> bool {
    before(go, 21)
}

/// Whether this version is older than that minor one.
fn before(go: &str, minor: u32) -> bool {
    let of = go.split('.').nth(1).and_then(|of| of.parse::<u32>().ok());
    of.is_some_and(|of| of < minor)
}

/// Where the work is in a goroutine of which nothing else tells whose it is, or where the context is of
/// a type that only Go 1.21 brought.
const NEED_GO_1_21: [&str; 7] = [
    "cancel-ignored timeout-handler",
    "cancel-ignored timeout-client",
    "detached-context spawned",
    "detached-context spawned-waited",
    "detached-context spawned-orphan",
    "detached-context shared-without",
    "detached-context shared-withouts",
];

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
    let began = Instant::now();
    let clients = routes
        .iter()
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
    thread::sleep(SETTLED.saturating_sub(began.elapsed()));
    let run = observer.stop()?;
    let expected = ALL
        .iter()
        .filter(|planted| !(before_ancestry(go) && NEED_GO_1_21.contains(&planted.marked)))
        .map(|planted| planted.expected(go, flavor))
        .collect::<Result<Vec<_>>>()?;
    exactly(&run, program.pid(), &expected)?;
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
        if before_ancestry(go) {
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
        if before_ancestry(go) {
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
