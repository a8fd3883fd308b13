//! A chain of three processes, each of which is told how long its caller waits: which of them loses that is found, and
//! those that hand it on are silent.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer_tests::live::{
    Expect, Load, Observer, Program, Role, Run, exactly, findings, on_each_kind, on_each_version,
    start,
};
use observer_tests::target::Flavor;

const BUDGET: &str = "chain/budget";
const HEADER: &str = "X-Timeout-Ms";
/// What the client waits for.
const WAITS: &str = "X-Timeout-Ms: 1000";
/// Findings are there long before.
const SETTLED: Duration = Duration::from_millis(600);

/// Edge, the one in the middle, which is faulty, and the last.
struct Chain([Program; 3]);

impl Chain {
    fn start(go: &str, flavor: Flavor) -> Result<Self> {
        let last = start(BUDGET, go, flavor, &[])?;
        let middle = start(BUDGET, go, flavor, &["-faulty", "-next", &last.url("")])?;
        let edge = start(BUDGET, go, flavor, &["-next", &middle.url("")])?;
        Ok(Self([edge, middle, last]))
    }

    fn observed(&self, more: &[&str]) -> Result<Observer> {
        let pids = self.0.each_ref().map(|one| one.pid().to_string());
        let mut args: Vec<&str> = pids.iter().flat_map(|pid| ["--pid", pid]).collect();
        args.extend(more);
        Observer::attach(&args, 3)
    }

    /// One request to each path, with what the client waits for.
    fn ask(&self, paths: &[(&str, &str)]) -> Result<()> {
        for (path, waits) in paths {
            let ids = format!("{}-", path.trim_matches('/').replace('/', "-"));
            self.load(path, waits).ids(&ids).run()?;
        }
        Ok(())
    }

    fn load(&self, path: &str, waits: &str) -> Load {
        let [edge, ..] = &self.0;
        Load::of(edge, path).flag("-header", &waits)
    }
}

fn not_forwarded(case: &str) -> Result<Expect> {
    let expect = lost(case, "request_id")?;
    Ok(expect.request(&format!("/{case}"), &format!("{case}-0")))
}

fn lost(case: &str, joined_by: &str) -> Result<Expect> {
    let rule = "deadline-not-forwarded";
    let expect = Expect::new("warning", BUDGET, &format!("{rule} {case}"))?;
    expect
        .fact("/confidence", "medium")
        .fact("/evidence/timer", "context")
        .fact("/evidence/downstream/joined_by", joined_by)
        .fact("/evidence/downstream/request/path", &format!("/{case}"))
        .also(Role::Below, BUDGET, &format!("{rule} {case} below"))?
        .also(
            Role::DeadlineSite,
            BUDGET,
            &format!("{rule} {case} deadline"),
        )
}

const ALL: [(&str, &str); 6] = [
    ("/kept/ok", WAITS),
    ("/lost", WAITS),
    ("/later", WAITS),
    ("/dropped", WAITS),
    ("/inflated", WAITS),
    ("/broken/ok", "X-Timeout-Ms: soon"),
];

fn silent(run: &Run, program: &Program) -> Result<()> {
    let found = findings(run, program.pid());
    ensure!(found.is_empty(), "{}", run.shown());
    Ok(())
}

#[test]
fn the_process_that_loses_its_callers_deadline_is_found() -> Result<()> {
    on_each_kind(|go, flavor| {
        let chain = Chain::start(go, flavor)?;
        let observer = chain.observed(&["--deadline-header", HEADER])?;
        chain.ask(&ALL)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let [edge, middle, last] = &chain.0;
        let from_header = |rule: &str, timer: &str| -> Result<Expect> {
            let expect = Expect::new("warning", BUDGET, &format!("{rule} header"))?;
            Ok(expect
                .fact("/evidence/timer", timer)
                .fact("/evidence/deadline_header", HEADER))
        };
        let expected = [
            not_forwarded("lost")?,
            not_forwarded("later")?,
            from_header("deadline-dropped", "caller")?,
            from_header("deadline-inflated", "context")?,
        ];
        exactly(&run, middle.pid(), &expected)?;
        silent(&run, edge)?;
        silent(&run, last)?;
        for finding in findings(&run, middle.pid()) {
            if finding.text("/rule") != "deadline-not-forwarded" {
                continue;
            }
            // What is left gets less with each hop.
            let left = finding.number("/evidence/remaining_ns").unwrap_or(0);
            let below = finding.number("/evidence/downstream/remaining_ns");
            let below = below.unwrap_or(u64::MAX);
            ensure!(below < left && left < 1_000_000_000, "{below} {left}");
            ensure!(left > 800_000_000, "{left}");
            let told = finding.number("/evidence/downstream/deadline_ns");
            let later = finding.text("/request/path") == "/later";
            ensure!(told == later.then_some(30_000_000_000), "{told:?}");
        }
        // The client of the edge said it, and the edge handed nothing on.
        let broken = &run.end()?["deadlines_broken"];
        ensure!(*broken == 1, "{broken} broken");
        Ok(())
    })
}

#[test]
fn where_no_id_tells_the_connection_does() -> Result<()> {
    on_each_version(|go, flavor| {
        let chain = Chain::start(go, flavor)?;
        let observer = chain.observed(&["--deadline-header", HEADER])?;
        for path in ["/kept/ok", "/lost", "/later"] {
            chain.load(path, WAITS).run()?;
        }
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let [edge, middle, last] = &chain.0;
        let expected = [lost("lost", "sockets")?, lost("later", "sockets")?];
        exactly(&run, middle.pid(), &expected)?;
        silent(&run, edge)?;
        silent(&run, last)
    })
}

#[test]
fn without_a_header_to_look_for_plain_http_has_no_deadline() -> Result<()> {
    on_each_version(|go, flavor| {
        let chain = Chain::start(go, flavor)?;
        let observer = chain.observed(&[])?;
        chain.ask(&ALL)?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        for program in &chain.0 {
            silent(&run, program)?;
        }
        ensure!(
            run.end()?.get("deadlines_broken").is_none(),
            "{:?}",
            run.end()
        );
        Ok(())
    })
}

#[test]
fn ids_need_not_be_read_for_it() -> Result<()> {
    on_each_version(|go, flavor| {
        let chain = Chain::start(go, flavor)?;
        let flags = ["--deadline-header", HEADER, "--request-ids", "lazy"];
        let observer = chain.observed(&flags)?;
        chain.ask(&[("/dropped", WAITS), ("/kept/ok", WAITS)])?;
        thread::sleep(SETTLED);
        let run = observer.stop()?;
        let [edge, middle, last] = &chain.0;
        let expect = Expect::new("warning", BUDGET, "deadline-dropped header")?;
        exactly(
            &run,
            middle.pid(),
            &[expect.fact("/evidence/deadline_header", HEADER)],
        )?;
        silent(&run, edge)?;
        silent(&run, last)
    })
}
