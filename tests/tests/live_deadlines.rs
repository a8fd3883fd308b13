//! Every planted mistake of `deadlines` is found where its marker is, with both values and the line that set the
//! deadline; every healthy twin is silent.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Expect, Finding, Load, Observer, Role, Run, exactly, findings, marker, on_each_kind, start,
};

/// The slowest route takes 3.6 s; then what a busy machine adds.
const SETTLED: Duration = Duration::from_millis(5000);

const PROGRAM: &str = "deadlines";
/// The line of the middleware that sets most routes' deadlines.
const MIDDLEWARE: &str = "deadlines middleware deadline";
/// Its call goes on after its deadline.
const OUTLIVES: &str = "/dropped/outlives";

/// A planted mistake: `RULE CASE` of its marker, and what has to be said about it.
struct Planted {
    marked: &'static str,
    route: &'static str,
    severity: &'static str,
    /// Marker of the line that set the deadline.
    deadline: Option<&'static str>,
    timer_site: Option<&'static str>,
    timer: &'static str,
    asked_ms: Option<u64>,
    deadline_ms: Option<u64>,
}

const fn planted(marked: &'static str, route: &'static str, severity: &'static str) -> Planted {
    Planted {
        marked,
        route,
        severity,
        deadline: None,
        timer_site: None,
        timer: "",
        asked_ms: None,
        deadline_ms: None,
    }
}

impl Planted {
    const fn under(mut self, deadline: &'static str, ms: u64) -> Self {
        self.deadline = Some(deadline);
        self.deadline_ms = Some(ms);
        self
    }

    const fn timer(mut self, timer: &'static str) -> Self {
        self.timer = timer;
        self
    }

    const fn timer_set_at(mut self, marked: &'static str) -> Self {
        self.timer_site = Some(marked);
        self
    }

    const fn asked_ms(mut self, ms: u64) -> Self {
        self.asked_ms = Some(ms);
        self
    }

    fn id(&self) -> String {
        format!("{}-0", self.route.trim_start_matches('/').replace('/', "-"))
    }

    fn expected(&self) -> Result<Expect> {
        let mut expect =
            Expect::new(self.severity, PROGRAM, self.marked)?.request(self.route, &self.id());
        if let Some(deadline) = self.deadline {
            expect = expect.also(Role::DeadlineSite, PROGRAM, deadline)?;
        }
        if let Some(marked) = self.timer_site {
            expect = expect.also(Role::TimerSite, PROGRAM, marked)?;
        }
        if self.marked.starts_with("premature-cancel") {
            // The handler may be gone before anything can look.
            expect = expect.or_no_site();
        }
        if !self.timer.is_empty() {
            expect = expect.fact("/evidence/timer", self.timer);
        }
        Ok(expect)
    }

    /// The values, which a busy machine sees a little later.
    fn values(&self, run: &Run, pid: u32) -> Result<()> {
        let site = marker(PROGRAM, self.marked)?;
        let rule = self.marked.split(' ').next().unwrap_or_default();
        let found = findings(run, pid);
        let finding = found
            .iter()
            .find(|finding| {
                finding.text("/rule") == rule
                    && finding.text("/request/path") == self.route
                    && finding
                        .last
                        .get("site")
                        .is_some_and(|at| at.is_null() || site.is(at))
            })
            .with_context(|| format!("{} is not there", self.marked))?;
        near(finding, "/evidence/asked_ns", self.asked_ms)?;
        near(finding, "/evidence/deadline_ns", self.deadline_ms)
    }
}

fn near(finding: &Finding, pointer: &str, wanted_ms: Option<u64>) -> Result<()> {
    let Some(wanted_ms) = wanted_ms else {
        return Ok(());
    };
    let got = finding.number(pointer).map(|ns| ns.div_ceil(1_000_000));
    ensure!(
        got.is_some_and(|ms| (wanted_ms - wanted_ms / 10..=wanted_ms + 1).contains(&ms)),
        "{}: {pointer} is {got:?} ms, not {wanted_ms}",
        finding.brief()
    );
    Ok(())
}

const ALL: [Planted; 21] = [
    planted(
        "deadline-dropped past-handler",
        "/dropped/past-handler",
        "warning",
    )
    .under("deadline-dropped past-handler deadline", 2000)
    .timer("context"),
    // One mistake, one finding: it says which deadline is lost.
    planted(
        "detached-context in-handler",
        "/dropped/detached",
        "warning",
    ),
    planted(
        "detached-context under-middleware",
        "/dropped/middleware",
        "warning",
    )
    .under(MIDDLEWARE, 2000),
    planted("detached-context outlives", OUTLIVES, "error").under(MIDDLEWARE, 300),
    planted("detached-context in-grace", "/dropped/in-grace", "warning").under(MIDDLEWARE, 300),
    planted("deadline-inflated clamped", "/inflated/clamped", "info")
        .under(MIDDLEWARE, 1000)
        .timer("context")
        .asked_ms(10_000),
    planted("deadline-inflated parsed", "/inflated/parsed", "info")
        .under(MIDDLEWARE, 1000)
        .timer("context")
        .asked_ms(10_000),
    planted(
        "deadline-inflated detached",
        "/inflated/detached",
        "warning",
    )
    .under(MIDDLEWARE, 1000)
    .asked_ms(5000),
    planted("detached-context inflated", "/inflated/detached", "warning"),
    planted("deadline-inflated overran", "/inflated/overran", "error")
        .under(MIDDLEWARE, 300)
        .asked_ms(5000),
    planted("detached-context overran", "/inflated/overran", "warning"),
    planted("timeout-mismatch client", "/mismatch/client", "warning")
        .under("timeout-mismatch client deadline", 2000)
        .timer("client_timeout")
        .asked_ms(200),
    planted("timeout-mismatch static", "/mismatch/static", "info")
        .under("timeout-mismatch static deadline", 2000)
        .timer("client_timeout")
        .asked_ms(1000),
    planted(
        "timeout-mismatch write-deadline",
        "/mismatch/write-deadline",
        "warning",
    )
    .under("timeout-mismatch write-deadline deadline", 2000)
    .timer("write_deadline"),
    planted("timeout-mismatch large", "/mismatch/large", "warning")
        .under("timeout-mismatch large deadline", 2000)
        .timer("write_deadline"),
    planted(
        "timeout-mismatch write-timeout",
        "/mismatch/write-timeout",
        "warning",
    )
    .under("timeout-mismatch write-timeout deadline", 8000)
    .timer("write_timeout")
    .asked_ms(3000),
    planted(
        "timeout-mismatch left-over",
        "/mismatch/left-over",
        "warning",
    )
    .under("timeout-mismatch left-over deadline", 8000)
    .timer("write_timeout")
    .asked_ms(3000),
    planted(
        "timeout-mismatch controller",
        "/controller/write",
        "warning",
    )
    .under("timeout-mismatch controller deadline", 2000)
    .timer("write_deadline")
    .timer_set_at("timeout-mismatch controller timer")
    .asked_ms(200),
    planted(
        "timeout-mismatch controller-left",
        "/controller/left-over",
        "warning",
    )
    .under("timeout-mismatch controller-left deadline", 2000)
    .timer("write_deadline")
    .timer_set_at("timeout-mismatch controller-left timer")
    .asked_ms(200),
    planted("timeout-mismatch wall", "/controller/wall", "warning")
        .under("timeout-mismatch wall deadline", 2000)
        .timer("write_deadline")
        .timer_set_at("timeout-mismatch wall timer")
        .asked_ms(200),
    planted("premature-cancel controller", "/controller/read", "warning")
        .timer("read_deadline")
        .timer_set_at("premature-cancel controller timer")
        .asked_ms(300),
];

/// Go has `http.ResponseController` from 1.20 on.
fn before_controller(go: &str) -> bool {
    ["1.18.", "1.19."].iter().any(|old| go.starts_with(old))
}

/// Up to Go 1.20 a goroutine does not know who started it, and `compat.WithoutCancel` is a type of the program's own, of
/// which nobody knows whether it hands a cancel on.
fn before_ancestry(go: &str) -> bool {
    ["1.18.", "1.19.", "1.20."]
        .iter()
        .any(|old| go.starts_with(old))
}

/// What cannot be known without.
const NEED_ANCESTRY: [&str; 3] = [
    "detached-context in-handler",
    "deadline-inflated overran",
    "detached-context overran",
];

/// What is worth an info, without a request that could be foretold.
fn infos() -> Result<[Expect; 2]> {
    let short = |case: &str| {
        Expect::new("info", PROGRAM, &format!("deadline-too-short {case}"))?.also(
            Role::DeadlineSite,
            PROGRAM,
            MIDDLEWARE,
        )
    };
    Ok([short("deep")?, short("fires")?])
}

#[test]
fn every_planted_mistake_is_found_and_every_healthy_twin_is_silent() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let routes = program.routes()?;
        let observer = Observer::of(program.pid())?;
        let began = Instant::now();
        let clients = routes
            .iter()
            .map(|route| {
                // Deadlines of 50 ms pass while thirty clients start at once.
                thread::sleep(Duration::from_millis(40));
                Ok((route, Load::route(&program, route).start()?))
            })
            .collect::<Result<Vec<_>>>()?;
        for (route, client) in clients {
            client
                .all(&route.outcome)
                .with_context(|| format!("{}: it says {:?}", route.path, program.said()))?;
        }
        thread::sleep(SETTLED.saturating_sub(began.elapsed()));
        let run = observer.stop()?;
        let known = |planted: &&Planted| {
            !(before_ancestry(go) && NEED_ANCESTRY.contains(&planted.marked)
                || before_controller(go) && planted.route.starts_with("/controller/"))
        };
        let expected = ALL
            .iter()
            .filter(known)
            .map(Planted::expected)
            .chain(infos()?.map(Ok))
            .collect::<Result<Vec<_>>>()?;
        exactly(&run, program.pid(), &expected)?;
        for planted in ALL.iter().filter(known) {
            planted
                .values(&run, program.pid())
                .with_context(|| run.shown())?;
        }
        only_where_told(&run, program.pid(), &expected)
    })
}

/// The rules about deadlines say nothing beyond what is expected, not even as an info.
fn only_where_told(run: &Run, pid: u32, expected: &[Expect]) -> Result<()> {
    let of_deadlines = ["deadline-dropped", "timeout-mismatch", "deadline-too-short"];
    for finding in findings(run, pid) {
        let told = expected.iter().any(|expect| expect.is_at(&finding));
        ensure!(
            told || !of_deadlines.contains(&finding.text("/rule")),
            "unexpected: {}\n{}",
            finding.brief(),
            run.shown()
        );
    }
    Ok(())
}

#[test]
fn a_dropped_deadline_is_told_of_where_no_other_rule_does() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let pid = program.pid().to_string();
        let observer = Observer::attach(&["--pid", &pid, "--rule", "deadline-dropped"], 1)?;
        for path in [OUTLIVES, "/dropped/middleware/ok", "/dropped/sibling/ok"] {
            Load::of(&program, path).ids("alone-").start()?.all("ok")?;
        }
        let run = observer.stop()?;
        let expected = Expect::new("error", PROGRAM, "deadline-dropped outlives")?
            .request(OUTLIVES, "alone-0")
            .also(Role::DeadlineSite, PROGRAM, MIDDLEWARE)?;
        exactly(&run, program.pid(), &[expected])
    })
}

#[test]
fn a_short_deadline_that_fires_too_often_is_a_warning() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::of(program.pid())?;
        for (path, times) in [("/short/fires", 30), ("/short/fires/ok", 30)] {
            let load = Load::of(&program, path).ids("fires-").times(times, 5);
            load.start()?.all("ok")?;
        }
        let run = observer.stop()?;
        let expected = Expect::new("warning", PROGRAM, "deadline-too-short fires")?
            .times(30)
            .also(Role::DeadlineSite, PROGRAM, MIDDLEWARE)?;
        exactly(&run, program.pid(), &[expected])
    })
}
