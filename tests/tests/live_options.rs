//! What a user can ask of `observer run`, asked of live programs: selectors, request IDs, rules, exit codes, the
//! baseline; as flags, from the environment and from a file.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

#[path = "live_options/shown.rs"]
mod shown;
#[path = "live_options/sources.rs"]
mod sources;

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    live::{Expect, Load, Observer, Program, Run, exactly, start, undisturbed},
    target::{Flavor, build_target},
};

const PROGRAM: &str = "rules4";

/// A mistake that is found a moment after its request.
const MISTAKE: &str = "/notcalled/cancel";

/// One whose handler works on for almost two seconds after its client has left.
const LONG: &str = "/ignored/sleep";

fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

fn rules4(args: &[&str]) -> Result<Program> {
    start(PROGRAM, newest(), Flavor::Plain, args)
}

fn mistake(id: &str) -> Result<Expect> {
    Ok(Expect::new("warning", PROGRAM, "cancel-not-called cancel")?.request(MISTAKE, id))
}

fn make_mistake(program: &Program, id_prefix: &str) -> Result<()> {
    let load = Load::of(program, MISTAKE).ids(id_prefix);
    load.start()?.all("ok").map(drop)
}

fn leave_early(program: &Program, path: &str) -> Load {
    Load::of(program, path).mode("drop").patience_ms(300)
}

/// Beyond grace.
fn found() {
    thread::sleep(Duration::from_millis(1200));
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Ends them together, because the kernel takes its time with every one that detaches.
fn interrupted(observers: impl IntoIterator<Item = Observer>) -> Result<Vec<Run>> {
    let observers: Vec<Observer> = observers.into_iter().collect();
    for observer in &observers {
        observer.signal(Signal::SIGINT)?;
    }
    let ends = |observer: Observer| observer.ends();
    observers.into_iter().map(ends).collect()
}

/// Nothing matches: exit 4, at once, and the selector is named.
fn nothing_matches(args: &[&str]) -> Result<()> {
    let run = Observer::launch(args)?.ends()?;
    let stderr = run.stderr.join("\n");
    ensure!(
        run.status.code() == Some(4) && run.lines.is_empty(),
        "{}",
        run.shown()
    );
    let named = format!("no running Go process matches {}", args.join(" "));
    ensure!(
        stderr.contains(&named) && stderr.contains("\n\nhint: "),
        "{}",
        run.shown()
    );
    Ok(())
}

fn observed(run: &Run) -> Vec<u64> {
    let pids = run
        .of_type("start")
        .filter_map(|line| line["process"]["pid"].as_u64());
    pids.collect()
}

#[test]
fn an_executable_selects_all_its_processes_and_no_other() -> Result<()> {
    undisturbed(|| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("observer-tests-shared");
        fs::copy(build_target(PROGRAM, newest(), Flavor::Plain)?, &path)?;
        let twins = [
            Program::run(PROGRAM, path.clone(), &[])?,
            Program::run(PROGRAM, path.clone(), &[])?,
        ];
        let stranger = rules4(&[])?;
        for selector in [text(&path)?, "observer-tests-shared"] {
            let observer = Observer::attach(&["--exe", selector], 2)?;
            for (program, prefix) in twins.iter().zip(["a-", "b-"]) {
                make_mistake(program, prefix)?;
            }
            make_mistake(&stranger, "c-")?;
            found();
            let run = observer.stop()?;
            ensure!(observed(&run).len() == 2, "{}", run.shown());
            exactly(&run, twins[0].pid(), &[mistake("a-0")?])?;
            exactly(&run, twins[1].pid(), &[mistake("b-0")?])?;
            exactly(&run, stranger.pid(), &[])?;
            // Each calls its own downstream, which is a request too.
            ensure!(run.requests()? == 4, "{}", run.shown());
        }
        nothing_matches(&["--exe", "observer-tests-nobody"])?;
        let nobody = folder.path().join("nobody");
        nothing_matches(&["--exe", text(&nobody)?])?;
        fs::copy(&path, &nobody)?;
        nothing_matches(&["--exe", text(&nobody)?])
    })
}

#[test]
fn ports_of_both_families_and_other_selectors_are_united() -> Result<()> {
    undisturbed(|| {
        let four = rules4(&[])?;
        let port = four.address.port().to_string();
        let six = rules4(&["-listen", &format!("[::1]:{port}")])?;
        let both = rules4(&["-listen", ":0"])?;
        let named = rules4(&[])?;
        let stranger = rules4(&[])?;
        let dual = both.address.port().to_string();
        let pid = named.pid().to_string();
        // The same process twice is observed once.
        let args = ["--port", &port, "--port", &dual, "--pid", &pid];
        let again = ["--pid", &four.pid().to_string()];
        let observer = Observer::attach(&[&args[..], &again].concat(), 4)?;
        let all = [&four, &six, &both, &named, &stranger];
        for (program, prefix) in all.iter().zip(["a-", "b-", "c-", "d-", "e-"]) {
            make_mistake(program, prefix)?;
        }
        found();
        let run = observer.stop()?;
        ensure!(observed(&run).len() == 4, "{}", run.shown());
        for (program, id) in all.iter().zip(["a-0", "b-0", "c-0", "d-0"]) {
            exactly(&run, program.pid(), &[mistake(id)?])?;
        }
        exactly(&run, stranger.pid(), &[])?;
        let free = stranger.address.port().to_string();
        drop(stranger);
        nothing_matches(&["--port", &free])?;
        // One selector that fits does not excuse another that does not.
        let run = Observer::launch(&["--port", &port, "--exe", "observer-tests-nobody"])?.ends()?;
        ensure!(run.status.code() == Some(4), "{}", run.shown());
        ensure!(
            run.stderr
                .join("\n")
                .contains("matches --exe observer-tests-nobody"),
            "{}",
            run.shown()
        );
        Ok(())
    })
}

#[test]
fn request_ids_come_from_the_header_that_was_asked_for_first() -> Result<()> {
    undisturbed(|| {
        let program = rules4(&[])?;
        let pid = program.pid().to_string();
        let base = ["--pid", pid.as_str()];
        let with = |more: &[&str]| Observer::attach(&[&base[..], more].concat(), 1);
        let headers = [
            "--request-id-header",
            "x-order-key",
            "--request-id-header",
            "X-Request-Id",
        ];
        let ordered = with(&headers)?;
        let lazy = with(&[&headers[..], &["--request-ids", "lazy"]].concat())?;
        let default = with(&[])?;
        // Each of these is alive when it becomes suspicious, so that its ID can still be read.
        let both = leave_early(&program, LONG)
            .ids("second-")
            .flag("-header", &"X-Order-Key: first-0")
            .start()?;
        let one = leave_early(&program, "/ignored/channel")
            .ids("second-")
            .start()?;
        let other = leave_early(&program, "/detached/background")
            .ids("first-")
            .flag("-id-header", &"X-Order-Key")
            .start()?;
        for client in [both, one, other] {
            client.all("dropped")?;
        }
        // This one has ended when it is found.
        make_mistake(&program, "gone-")?;
        thread::sleep(Duration::from_millis(3000));

        let expect = |marked: &str, path: &str, id: &str| -> Result<Expect> {
            Ok(Expect::new("error", PROGRAM, marked)?.request(path, id))
        };
        let asked = |gone: &str| -> Result<[Expect; 4]> {
            Ok([
                expect("cancel-ignored sleep", LONG, "first-0")?,
                expect("cancel-ignored channel", "/ignored/channel", "second-0")?,
                expect(
                    "detached-context background",
                    "/detached/background",
                    "first-0",
                )?,
                mistake(gone)?,
            ])
        };
        exactly(&ordered.stop()?, program.pid(), &asked("gone-0")?)?;
        // Nobody reads the IDs of requests about which nothing is suspected while they live.
        exactly(&lazy.stop()?, program.pid(), &asked("")?)?;
        let run = default.stop()?;
        let default = [
            expect("cancel-ignored sleep", LONG, "second-0")?,
            expect("cancel-ignored channel", "/ignored/channel", "second-0")?,
            expect("detached-context background", "/detached/background", "")?,
            mistake("gone-0")?,
        ];
        exactly(&run, program.pid(), &default)
    })
}
