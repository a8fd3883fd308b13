//! Every planted leak of `leaks` is found at its `go` statement, about the request that started it; every healthy twin
//! is silent.

#[path = "live_leaks/connections.rs"]
mod connections;
#[path = "live_leaks/heap.rs"]
mod heap;

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use observer_tests::go::minor_of;
use observer_tests::live::{
    Expect, Load, Observer, Program, Run, exactly, findings, on_each_kind, start,
};
use serde_json::Value;

const PROGRAM: &str = "leaks";
/// What `--leak-after` is set to.
const LEAK_AFTER: Duration = Duration::from_secs(2);
/// Twice that by age, and what comes before and between looks and searches.
const SETTLED: Duration = Duration::from_millis(11_000);
/// How long `worked` does something before it waits.
const WORKED: Duration = Duration::from_millis(1500);
/// Requests of each route; as many as make a leak by age.
const REQUESTS: u64 = 3;

/// A planted leak: its case, which is its route, and Go's reason for its wait.
struct Planted {
    case: &'static str,
    reason: &'static str,
    proof: Proof,
}

/// Why it is one.
#[derive(Clone, Copy)]
enum Proof {
    /// It is old, and so are two more.
    Age,
    /// It is no leak for sure: others can get at this.
    Reached(&'static str),
    /// Nothing refers to this, or what else stands here behind a bar.
    Lost(&'static str),
    /// The same, where the goroutine names what it waits on: from Go 1.26 on.
    Named(&'static str),
    /// What else is said of it.
    Said(&'static str),
}

/// First Go 1.N in which a goroutine that waits for a `sync.Cond` names it.
const NAMED_SINCE: u32 = 26;
/// First Go 1.N that can tell by itself which goroutines have leaked.
const PROFILED_SINCE: u32 = 27;

const fn aged(case: &'static str, reason: &'static str) -> Planted {
    let proof = Proof::Age;
    Planted {
        case,
        reason,
        proof,
    }
}

const fn lost(case: &'static str, reason: &'static str) -> Planted {
    let proof = Proof::Lost("a channel");
    Planted {
        case,
        reason,
        proof,
    }
}

const fn named(case: &'static str, reason: &'static str, what: &'static str) -> Planted {
    let proof = Proof::Named(what);
    Planted {
        case,
        reason,
        proof,
    }
}

const fn locked(case: &'static str, reason: &'static str) -> Planted {
    let proof = Proof::Lost("a lock|a lock or a WaitGroup");
    Planted {
        case,
        reason,
        proof,
    }
}

const fn said(case: &'static str, reason: &'static str, says: &'static str) -> Planted {
    let proof = Proof::Said(says);
    Planted {
        case,
        reason,
        proof,
    }
}

const ALL: [Planted; 31] = [
    lost("sender", "chan send"),
    lost("receiver", "chan receive"),
    lost("early-return", "chan send"),
    lost("double-receive", "chan receive"),
    lost("range", "chan receive"),
    Planted {
        case: "generator",
        reason: "select",
        proof: Proof::Lost("channels"),
    },
    Planted {
        case: "session",
        reason: "chan receive",
        proof: Proof::Reached("a channel"),
    },
    aged("ticker", "chan receive"),
    aged("after", "select"),
    lost("stopped-timer", "chan receive"),
    lost("semaphore", "chan send"),
    Planted {
        case: "background",
        reason: "select",
        proof: Proof::Lost("channels"),
    },
    lost("grandchild", "chan send"),
    lost("method", "chan send"),
    aged("sleep", "sleep"),
    aged("read", "IO wait"),
    aged("syscall", "syscall"),
    lost("worked", "chan send"),
    // Old versions call every semaphore so.
    Planted {
        case: "lost-done",
        reason: "semacquire|sync.WaitGroup.Wait",
        proof: Proof::Lost("a WaitGroup|a lock or a WaitGroup"),
    },
    locked("unlock", "semacquire|sync.Mutex.Lock"),
    locked("order", "semacquire|sync.Mutex.Lock"),
    locked("order-too", "semacquire|sync.Mutex.Lock"),
    locked("rlock", "semacquire|sync.RWMutex.RLock"),
    locked("wlock", "semacquire|sync.RWMutex.Lock"),
    named("cond", "sync.Cond.Wait", "a Cond"),
    lost("wait-group", "chan send"),
    said("nil-receive", "chan receive (nil chan)", FOR_EVER),
    said("nil-send", "chan send (nil chan)", FOR_EVER),
    said("empty-select", "select (no cases)", FOR_EVER),
    said("nil-select", "select", FOR_EVER),
    said("dead-context", "chan receive", "after the handler returned"),
];
const FOR_EVER: &str = "after the end of its request";

impl Planted {
    fn route(&self) -> String {
        format!("/{}", self.case.trim_end_matches("-too"))
    }

    /// By age it is found where nothing proves more.
    fn is_by_age(&self, minor: u32) -> bool {
        matches!(self.proof, Proof::Age | Proof::Reached(_))
            || matches!(self.proof, Proof::Named(_)) && minor < NAMED_SINCE
    }

    /// The first of its requests is told, or any of them.
    fn expected(&self, minor: u32, any_of_them: bool) -> Result<Expect> {
        let route = self.route();
        let case = route.trim_start_matches('/');
        let marked = format!("goroutine-leak {}", self.case);
        let by_age = self.is_by_age(minor);
        let is_lost = !by_age && !matches!(self.proof, Proof::Said(_));
        let severity = match (by_age, is_lost) {
            _ if matches!(self.proof, Proof::Reached(_)) => "info",
            (true, _) => "warning",
            // Words that were left on stacks may hide all of a line: then age tells. Of how many, `are_proved` bounds.
            (_, true) => "error|warning|info",
            _ => "error",
        };
        let expect = Expect::new(severity, PROGRAM, &marked)?
            .fact("/evidence/wait_reason", self.reason)
            .fact("/evidence/state", "waiting")
            .times(REQUESTS);
        // A word that was left on a stack may hide the first of them from the first search.
        let any = any_of(case);
        Ok(match self.proof {
            Proof::Lost(_) | Proof::Named(_) if !by_age => expect
                .fact("/request/path", &route)
                .fact("/request/id", &any),
            _ if any_of_them => expect
                .fact("/request/path", &route)
                .fact("/request/id", &any),
            _ => expect.request(&route, &format!("{case}-0")),
        })
        .map(|expect| match self.proof {
            Proof::Reached(what) => {
                let waiting_on = format!("{what} that others can get at");
                expect
                    .says(FOR_EVER)
                    .fact("/evidence/waiting_on", &waiting_on)
            }
            _ if by_age => expect.says(FOR_EVER),
            Proof::Lost(what) | Proof::Named(what) => {
                let kinds = what.split('|');
                let waiting_on: String = kinds
                    .map(|kind| format!("{kind} to which no reference was found|"))
                    .collect();
                expect
                    .says(FOR_EVER)
                    .fact("/evidence/waiting_on", &waiting_on)
            }
            Proof::Said(says) => expect.says(says),
            Proof::Age => expect,
        })
    }
}

/// With the hooks of goroutines, and a short time to wait.
fn observe(program: &Program) -> Result<Observer> {
    observe_with(program, &["--goroutines"])
}

/// Without these hooks, likewise.
fn observe_without_hooks(program: &Program) -> Result<Observer> {
    observe_with(program, &[])
}

fn observe_with(program: &Program, more: &[&str]) -> Result<Observer> {
    let after = format!("{}s", LEAK_AFTER.as_secs());
    let pid = program.pid().to_string();
    let args = ["--pid", &pid, "--leak-after", &after];
    Observer::attach(&[&args, more].concat(), 1)
}

/// What the IDs of a route's requests begin with.
fn ids(path: &str) -> String {
    format!("{}-", path.trim_start_matches('/').replace('/', "-"))
}

/// The IDs of a case's requests, any of which may be told.
fn any_of(case: &str) -> String {
    let ids: Vec<String> = (0..REQUESTS).map(|of| format!("{case}-{of}")).collect();
    ids.join("|")
}

/// So many requests, one after the other.
fn ask(program: &Program, path: &str, requests: u64) -> Result<()> {
    let report = Load::of(program, path)
        .times(requests, 1)
        .ids(&ids(path))
        .run()?;
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
        for route in &routes {
            ask(&program, &route.path, REQUESTS)?;
        }
        thread::sleep(SETTLED);
        let minor = minor_of(go).context("no version")?;
        let planted = ALL.iter().filter(|planted| has(&planted.route()));
        let planted = planted.map(|planted| planted.expected(minor, false));
        let expected = planted.collect::<Result<Vec<_>>>()?;
        // On a busy machine a search takes long, and is paid for by rest. What is missing then is told below.
        let found = |line: &&Value| line["type"] == "finding";
        let _ = observer
            .wait_for(|lines| (lines.iter().filter(found).count() >= expected.len()).then_some(()));
        let run = observer.stop()?;
        let leaks = routes.iter().filter(|route| !route.path.ends_with("/ok"));
        // Two of them lock in two orders.
        ensure!(expected.len() == leaks.count() + 1, "{}", expected.len());
        exactly(&run, program.pid(), &expected)?;
        are_proved(&run, program.pid(), minor)?;
        if minor >= PROFILED_SINCE {
            are_what_the_runtime_calls_leaked(&run, &program)?;
        }
        are_counted(
            &run,
            program.pid(),
            REQUESTS * u64::try_from(expected.len())?,
        )
    })
}

/// All but one line at most of those to whose waits nothing refers.
fn are_proved(run: &Run, pid: u32, minor: u32) -> Result<()> {
    let found = findings(run, pid).into_iter();
    let proved = found.filter(|finding| {
        finding
            .text("/evidence/waiting_on")
            .contains("no reference")
    });
    let proved = proved.count();
    let is_lost =
        |planted: &&Planted| !planted.is_by_age(minor) && !matches!(planted.proof, Proof::Said(_));
    let lost = ALL.iter().filter(is_lost);
    // Only from Go 1.25 on there is a `WaitGroup.Go`.
    let lost = lost.filter(|planted| planted.case != "wait-group" || minor >= 25);
    let lost = lost.count();
    ensure!(proved + 1 >= lost, "{proved} of {lost} are proved");
    Ok(())
}

/// What Go's own profile calls leaked was found, and nothing else by proof but what stands here with its reason.
fn are_what_the_runtime_calls_leaked(run: &Run, program: &Program) -> Result<()> {
    const BEYOND: [&str; 6] = [
        // Others can get at its channel: an info.
        "session", // A timer wakes them, and they wait again.
        "ticker", "after", "sleep",
        // The other end of the connection, and of the pipe, is somebody else's.
        "read", "syscall",
    ];
    let dump = program.leaks()?;
    let leaked = leaked_at(&dump);
    ensure!(leaked.len() > 20, "{leaked:?}");
    let mut found = BTreeSet::new();
    for finding in findings(run, program.pid()) {
        let line = finding.number("/site/line").context("no line")?;
        let place = format!("{}:{line}", finding.text("/site/file"));
        let route = finding.text("/request/path").trim_start_matches('/');
        let is_beyond = BEYOND.contains(&route) || route == "wait-group";
        ensure!(
            is_beyond != leaked.contains(&place),
            "{}: {leaked:?}",
            finding.brief()
        );
        found.insert(place);
    }
    let missed: Vec<_> = leaked.difference(&found).collect();
    ensure!(missed.is_empty(), "{missed:?}");
    Ok(())
}

/// The `go` lines of what a dump calls leaked.
fn leaked_at(dump: &str) -> BTreeSet<String> {
    let goroutines = dump.split("\n\n").filter(|one| one.contains("(leaked)"));
    let lines = goroutines.filter_map(|one| {
        let place = one.lines().next_back()?.trim();
        place.split(' ').next().map(str::to_owned)
    });
    // Of sync.WaitGroup.Go, who has called it is named.
    lines.filter(|line| !line.contains("/src/sync/")).collect()
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

/// Two goroutines of a line may be anything; one that nobody can wake is a leak.
#[test]
fn too_few_to_be_judged_by_age_are_not() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe(&program)?;
        ask(&program, "/ticker", REQUESTS - 1)?;
        ask(&program, "/sender", 1)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let sender = ALL.iter().find(|planted| planted.case == "sender");
        let minor = minor_of(go).context("no version")?;
        let sender = sender
            .context("no sender")?
            .expected(minor, false)?
            .times(1);
        exactly(&run, program.pid(), &[sender])
    })
}

/// Of these, only the event of their beginning tells: the line of who calls `sync.WaitGroup.Go`, and who has started the
/// one that started it.
const NEED_THE_HOOKS: [&str; 2] = ["grandchild", "wait-group"];

/// Without the hooks, looks through all goroutines find those that stay, each with its request where its connection has
/// served no other meanwhile.
#[test]
fn without_the_hooks_looks_find_them() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let routes = program.routes()?;
        let observer = observe_without_hooks(&program)?;
        for route in &routes {
            // A connection for each.
            let load = Load::of(&program, &route.path).mode("drop");
            let report = load.times(REQUESTS, 1).ids(&ids(&route.path)).run()?;
            ensure!(report.ok == REQUESTS, "{}: {report:?}", route.path);
        }
        thread::sleep(SETTLED);
        let minor = minor_of(go).context("no version")?;
        let has = |path: &str| routes.iter().any(|route| route.path == path);
        let is_seen =
            |planted: &&Planted| has(&planted.route()) && !NEED_THE_HOOKS.contains(&planted.case);
        let planted = ALL.iter().filter(is_seen);
        let expected = planted.map(|planted| planted.expected(minor, true));
        let expected = expected.collect::<Result<Vec<_>>>()?;
        let found = |line: &&Value| line["type"] == "finding";
        let _ = observer
            .wait_for(|lines| (lines.iter().filter(found).count() >= expected.len()).then_some(()));
        let run = observer.stop()?;
        exactly(&run, program.pid(), &expected)?;
        let end = run.of_type("end").next().context("no end")?;
        let of_requests = &end["goroutines"]["requests"];
        let left = REQUESTS * u64::try_from(expected.len())?;
        ensure!(of_requests["outliving"].as_u64() >= Some(left), "{end}");
        ensure!(of_requests["started"].is_null(), "{end}");
        Ok(())
    })
}

/// Of several requests of one connection, nobody knows which it was.
#[test]
fn without_the_hooks_no_request_is_named_that_may_be_another() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe_without_hooks(&program)?;
        ask(&program, "/nil-send", REQUESTS)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let found = findings(&run, program.pid());
        let [finding] = &found[..] else {
            bail!("{} findings", found.len());
        };
        ensure!(
            finding.number("/count") <= Some(REQUESTS),
            "{}",
            finding.brief()
        );
        ensure!(
            finding.text("/message").contains("waits for ever"),
            "{}",
            finding.brief()
        );
        let request = finding.text("/request/path");
        ensure!(request.is_empty(), "{}", finding.brief());
        ensure!(
            finding.text("/help").contains("--goroutines"),
            "{}",
            finding.brief()
        );
        Ok(())
    })
}

/// They cost a trap for each goroutine, so they are there only where asked for, and that is said.
#[test]
fn the_hooks_are_off_unless_asked_for() -> Result<()> {
    on_each_kind(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let run = observe_without_hooks(&program)?.stop()?;
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
