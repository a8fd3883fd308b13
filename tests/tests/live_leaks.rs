//! Every planted leak of `leaks` is found at its `go` statement, about the request that started it; every healthy twin
//! is silent.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use observer_tests::live::{
    Expect, Load, Observer, Program, Run, exactly, findings, on_each_kind, start,
};
use serde_json::Value;

const PROGRAM: &str = "leaks";
/// What `--leak-after` is set to.
const LEAK_AFTER: Duration = Duration::from_secs(2);
/// Twice that for loops, and what comes before and between looks.
const SETTLED: Duration = Duration::from_millis(7000);
/// How long `worked` does something before it waits.
const WORKED: Duration = Duration::from_millis(1500);
/// Requests of each route; as many as make a leak by age.
const REQUESTS: u64 = 3;

/// A planted leak: its case, which is its route, and Go's reason for its wait.
struct Planted {
    case: &'static str,
    reason: &'static str,
    severity: &'static str,
    says: &'static str,
}

/// A leak by age.
const fn aged(case: &'static str, reason: &'static str) -> Planted {
    Planted {
        case,
        reason,
        severity: "warning",
        says: "after the end of its request",
    }
}

/// A leak that memory proves.
const fn proved(case: &'static str, reason: &'static str, says: &'static str) -> Planted {
    Planted {
        case,
        reason,
        severity: "error",
        says,
    }
}

const ALL: [Planted; 28] = [
    aged("sender", "chan send"),
    aged("receiver", "chan receive"),
    aged("early-return", "chan send"),
    aged("double-receive", "chan receive"),
    aged("range", "chan receive"),
    aged("generator", "select"),
    aged("ticker", "chan receive"),
    aged("after", "select"),
    aged("stopped-timer", "chan receive"),
    aged("semaphore", "chan send"),
    aged("background", "select"),
    aged("grandchild", "chan send"),
    aged("method", "chan send"),
    aged("sleep", "sleep"),
    aged("read", "IO wait"),
    aged("worked", "chan send"),
    // Old versions call every semaphore so.
    aged("lost-done", "semacquire|sync.WaitGroup.Wait"),
    aged("unlock", "semacquire|sync.Mutex.Lock"),
    aged("order", "semacquire|sync.Mutex.Lock"),
    aged("order-too", "semacquire|sync.Mutex.Lock"),
    aged("rlock", "semacquire|sync.RWMutex.RLock"),
    aged("wlock", "semacquire|sync.RWMutex.Lock"),
    aged("cond", "sync.Cond.Wait"),
    aged("wait-group", "chan send"),
    proved("nil-receive", "chan receive (nil chan)", FOR_EVER),
    proved("nil-send", "chan send (nil chan)", FOR_EVER),
    proved("empty-select", "select (no cases)", FOR_EVER),
    proved("dead-context", "chan receive", "after the handler returned"),
];
const FOR_EVER: &str = "after the end of its request";

impl Planted {
    fn route(&self) -> String {
        format!("/{}", self.case.trim_end_matches("-too"))
    }

    fn expected(&self) -> Result<Expect> {
        let route = self.route();
        let id = format!("{}-0", route.trim_start_matches('/'));
        let marked = format!("goroutine-leak {}", self.case);
        Ok(Expect::new(self.severity, PROGRAM, &marked)?
            .request(&route, &id)
            .fact("/evidence/wait_reason", self.reason)
            .fact("/evidence/state", "waiting")
            .says(self.says)
            .times(REQUESTS))
    }
}

/// With the hooks of goroutines, and a short time to wait.
fn observe(program: &Program) -> Result<Observer> {
    let after = format!("{}s", LEAK_AFTER.as_secs());
    let pid = program.pid().to_string();
    Observer::attach(&["--pid", &pid, "--goroutines", "--leak-after", &after], 1)
}

/// So many requests, one after the other.
fn ask(program: &Program, path: &str, requests: u64) -> Result<()> {
    let id = format!("{}-", path.trim_start_matches('/').replace('/', "-"));
    let report = Load::of(program, path).times(requests, 1).ids(&id).run()?;
    ensure!(report.ok == requests, "{path}: {report:?}");
    Ok(())
}

#[test]
fn every_leak_is_found_and_every_twin_is_silent() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let routes = program.routes()?;
        let observer = observe(&program)?;
        let has = |path: &str| routes.iter().any(|route| route.path == path);
        // The first one of a line says that its goroutines end late.
        ask(&program, "/late/ok", 1)?;
        thread::sleep(LEAK_AFTER + Duration::from_millis(1500));
        for route in &routes {
            ask(&program, &route.path, REQUESTS)?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let planted = ALL.iter().filter(|planted| has(&planted.route()));
        let expected = planted.map(Planted::expected).collect::<Result<Vec<_>>>()?;
        let leaks = routes.iter().filter(|route| !route.path.ends_with("/ok"));
        // Two of them lock in two orders.
        ensure!(expected.len() == leaks.count() + 1, "{}", expected.len());
        exactly(&run, program.pid(), &expected)?;
        are_counted(
            &run,
            program.pid(),
            REQUESTS * u64::try_from(expected.len())?,
        )
    })
}

/// The runtime notes of a wait when the collection before it ended, which is as long ago as the work before the wait.
#[test]
fn no_wait_is_said_to_be_longer_than_it_is() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &["-collect"])?;
        let observer = observe(&program)?;
        ask(&program, "/worked", REQUESTS)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let found = findings(&run, program.pid());
        let leak = found.first().context("no finding")?;
        let waited_ns = leak.number("/evidence/wait_ns");
        let waited_ns = waited_ns.with_context(|| format!("for how long? {}", leak.brief()))?;
        let outlived_ns = leak
            .number("/evidence/outlived_ns")
            .context("outlived what?")?;
        ensure!(
            Duration::from_nanos(waited_ns) + WORKED <= Duration::from_nanos(outlived_ns),
            "{waited_ns} of {outlived_ns} ns"
        );
        Ok(())
    })
}

/// Each leak holds stack, and all that is left is counted by what it waits for.
fn are_counted(run: &Run, pid: u32, left: u64) -> Result<()> {
    for finding in findings(run, pid) {
        let held = finding.number("/evidence/stack_bytes");
        ensure!(held >= Some(2048), "{}: {held:?}", finding.brief());
    }
    let end = run.of_type("end").next().context("no end")?;
    let goroutines = &end["goroutines"];
    let total = goroutines["total"].as_u64();
    ensure!(total >= Some(left), "{goroutines}");
    let of_requests = &goroutines["requests"];
    let number = |key: &str| of_requests[key].as_u64().unwrap_or_default();
    let (started, ended) = (number("started"), number("ended"));
    let outliving = number("outliving");
    ensure!((left..=started).contains(&outliving), "{goroutines}");
    ensure!(ended > 0 && started >= ended + outliving, "{goroutines}");
    let waiting = of_requests["outliving_waiting"].as_object();
    let waiting = waiting.context("nothing waits")?;
    let sum: u64 = waiting.values().filter_map(Value::as_u64).sum();
    ensure!((left..=outliving).contains(&sum), "{goroutines}");
    let senders = waiting.get("chan send").and_then(Value::as_u64);
    ensure!(senders > Some(REQUESTS), "{goroutines}");
    let mut stats = run.of_type("stats");
    let began = stats.any(|line| {
        let rate = line.pointer("/goroutines/requests/started_per_s");
        rate.and_then(Value::as_f64) > Some(0.0)
    });
    ensure!(began, "none of the stats lines has a rate");
    Ok(())
}

/// Two goroutines of a line may be anything.
#[test]
fn too_few_to_be_judged_by_age_are_not() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe(&program)?;
        ask(&program, "/sender", REQUESTS - 1)?;
        thread::sleep(LEAK_AFTER * 2);
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])
    })
}

/// They cost a trap for each goroutine, so they are there only where asked for, and that is said.
#[test]
fn the_hooks_are_off_unless_asked_for() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = Observer::attach(
            &["--pid", &program.pid().to_string(), "--leak-after", "1s"],
            1,
        )?;
        ask(&program, "/sender", REQUESTS)?;
        ask(&program, "/nil-send", REQUESTS)?;
        thread::sleep(LEAK_AFTER * 2);
        let run = observer.stop()?;
        exactly(&run, program.pid(), &[])?;
        let begun = run.of_type("start").next().context("no start line")?;
        let gaps = begun["not_covered"].to_string();
        ensure!(gaps.contains("--goroutines"), "{gaps}");
        let hooks = begun["hooks"].as_array().context("no hooks")?;
        for name in ["goroutine-create", "goroutine-end"] {
            let hook = hooks.iter().find(|hook| hook["hook"] == name);
            let hook = hook.with_context(|| format!("no hook {name}"))?;
            ensure!(hook["on"] == false, "{hook}");
            let reason = hook["reason"].as_str().unwrap_or_default();
            ensure!(reason.contains("--goroutines"), "{hook}");
        }
        Ok(())
    })
}
