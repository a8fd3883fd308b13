//! Events are lost: that is counted and said, what they belonged to is unknown, and nobody is accused for it.
//!
//! observer is stopped, so that nobody reads a ring of the smallest size, and goes on when everything is over.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use observer::record::{Entry, Reader};
use observer_tests::{
    go::CI_VERSIONS,
    live::{
        Connection, Expect, Load, Observer, Program, Run, exactly, get, on_each_version, start,
        undisturbed,
    },
    target::Flavor,
};

const PROGRAM: &str = "rules4";
/// Full after some seventy requests.
const SMALL_RING: [&str; 2] = ["--bench-ring", "65536"];
/// Far more than fit.
const TOO_MANY: u64 = 200;

/// Where a ring has no room left for the smallest record depends on what lies in it: with so many observers, stopped
/// a connection apart, again and again, the first loss of some is of that kind, and nothing follows it.
const OBSERVERS: usize = 6;
const ROUNDS: usize = 4;

fn observe(program: &Program, args: &[&str]) -> Result<Observer> {
    let pid = program.pid().to_string();
    Observer::attach(&[&["--pid", &pid], args, &SMALL_RING].concat(), 1)
}

fn fill_the_ring(program: &Program) -> Result<()> {
    Load::of(program, "/all")
        .times(TOO_MANY, 1)
        .start()?
        .all("ok")
        .map(drop)
}

/// Waits for the line that says so.
fn loss_is_said(observer: &Observer) -> Result<()> {
    observer.wait_for(|lines| {
        let said = |line: &serde_json::Value| {
            line["type"] == "loss" && line["lost"]["ring_full"].as_u64() > Some(0)
        };
        lines.iter().any(said).then_some(())
    })
}

/// It ended well, said what it lost in every place where it has to, and knows that requests were hit.
fn loss_is_counted(run: &Run, unknown: u64) -> Result<()> {
    let end = run.end()?;
    ensure!(run.status.code() == Some(0), "{}", run.shown());
    let told: u64 = run
        .of_type("loss")
        .filter_map(|line| line["lost"]["ring_full"].as_u64())
        .sum();
    ensure!(
        told > 0 && end["lost"]["ring_full"].as_u64() == Some(told),
        "{told} lost events were told: {}",
        run.shown()
    );
    ensure!(
        end["requests_unknown"].as_u64() >= Some(unknown),
        "{unknown} requests were hit: {}",
        run.shown()
    );
    ensure!(
        run.stderr
            .join("\n")
            .contains("events lost (ring buffer full"),
        "{}",
        run.shown()
    );
    Ok(())
}

fn known() -> Result<Expect> {
    Ok(Expect::new("warning", PROGRAM, "cancel-not-called cancel")?
        .request("/notcalled/cancel", "known-0"))
}

fn make_a_known_mistake(program: &Program) -> Result<()> {
    Load::of(program, "/notcalled/cancel")
        .ids("known-")
        .start()?
        .all("ok")
        .map(drop)
}

/// How many losses were noticed with no event behind them.
fn followed_by_nothing(recording: &Path) -> Result<usize> {
    let mut reader = Reader::open(recording)?;
    let (mut lost, mut count) = (false, 0);
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Loss => lost = true,
            Entry::Event(..) => lost = false,
            Entry::Tick(_) => count += usize::from(std::mem::take(&mut lost)),
            _ => (),
        }
    }
    Ok(count)
}

/// One round: requests are cut by a loss, and when observer looks again, their goroutines are at others.
fn cut(program: &Program, observers: &[Observer], round: usize) -> Result<()> {
    for observer in observers {
        observer.signal(Signal::SIGSTOP)?;
        Load::of(program, "/all").start()?.all("ok")?;
    }
    // Their own deadline passes after 0.3 s, and they end within the grace time: that end will be lost.
    let mut connections = (0..4)
        .map(|number| {
            let mut connection = Connection::open(program.address)?;
            connection.send("/ignored/derived", &format!("cut-{round}-{number}"))?;
            Ok(connection)
        })
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_millis(500));
    fill_the_ring(program)?;
    for connection in &mut connections {
        connection.receive()?;
    }
    thread::sleep(Duration::from_millis(700));
    // The same goroutines in the same place again, for requests of which nothing is known: whoever believes that
    // the first ones never ended sees them work on, long after their deadline.
    for connection in &mut connections {
        connection.send("/ignored/derived", "unseen")?;
    }
    thread::sleep(Duration::from_millis(500));
    for observer in observers {
        observer.signal(Signal::SIGCONT)?;
    }
    thread::sleep(Duration::from_millis(300));
    connections
        .iter_mut()
        .try_for_each(|connection| connection.receive().map(drop))
}

#[test]
fn a_loss_that_nothing_follows_accuses_nobody() -> Result<()> {
    undisturbed(|| {
        let [.., newest] = CI_VERSIONS;
        let program = start(PROGRAM, newest, Flavor::Plain, &[])?;
        let folder = tempfile::tempdir()?;
        let recordings: Vec<PathBuf> = (0..OBSERVERS)
            .map(|number| folder.path().join(number.to_string()))
            .collect();
        let observers = recordings
            .iter()
            .map(|recording| {
                let recording = recording.to_string_lossy();
                observe(&program, &["--grace", "2500ms", "--record", &recording])
            })
            .collect::<Result<Vec<_>>>()?;
        for round in 0..ROUNDS {
            cut(&program, &observers, round)?;
        }
        for observer in &observers {
            loss_is_said(observer)?;
        }
        // What comes later is whole.
        make_a_known_mistake(&program)?;
        thread::sleep(Duration::from_millis(3300));
        for observer in &observers {
            observer.signal(Signal::SIGINT)?;
        }
        let mut trailing = 0;
        for (observer, recording) in observers.into_iter().zip(&recordings) {
            let run = observer.ends()?;
            loss_is_counted(&run, 4)?;
            exactly(&run, program.pid(), &[known()?])?;
            trailing += followed_by_nothing(recording)?;
        }
        println!(
            "{trailing} of {} losses had nothing behind them",
            OBSERVERS * ROUNDS
        );
        ensure!(trailing > 0, "an event followed every loss");
        Ok(())
    })
}

#[test]
fn requests_around_a_loss_are_unknown() -> Result<()> {
    on_each_version(|go, flavor| {
        let program = start(PROGRAM, go, flavor, &[])?;
        let observer = observe(&program, &[])?;
        // Under way when the loss begins: their ends come after it.
        let early = [
            Load::of(&program, "/ignored/sleep/ok").times(4, 4),
            Load::of(&program, "/detached/background/ok").times(4, 4),
            Load::of(&program, "/ignored/derived/ok").times(4, 4),
        ];
        let early: Vec<_> = early.iter().map(Load::start).collect::<Result<_>>()?;
        thread::sleep(Duration::from_millis(100));
        observer.signal(Signal::SIGSTOP)?;
        fill_the_ring(&program)?;
        // Guilty, but nobody can know it.
        let late = [
            ("/notcalled/cancel", "ok"),
            ("/premature/async", "ok"),
            ("/premature/body", "ok"),
        ];
        for (path, outcome) in late {
            Load::of(&program, path).start()?.all(outcome)?;
        }
        for client in early {
            client.all("ok")?;
        }
        observer.signal(Signal::SIGCONT)?;
        // These records carry the mark.
        Load::of(&program, "/all").times(20, 2).start()?.all("ok")?;
        loss_is_said(&observer)?;
        make_a_known_mistake(&program)?;
        thread::sleep(Duration::from_millis(1500));
        observer.signal(Signal::SIGINT)?;
        let run = observer.ends()?;
        loss_is_counted(&run, 1)?;
        exactly(&run, program.pid(), &[known()?])
    })
}

/// A context may begin at the end of one page and have its error on the next, which nobody has written yet: then the
/// kernel has no such page, and a probe cannot read it. So it is up to Go 1.21; later ones write that page first.
#[test]
fn a_context_that_goes_on_where_nothing_was_ever_written_is_no_loss() -> Result<()> {
    undisturbed(|| {
        let [oldest, ..] = CI_VERSIONS;
        let program = start("fresh", oldest, Flavor::Plain, &[])?;
        let observer = Observer::of(program.pid())?;
        let (mut made, mut unwritten) = (0, 0);
        for path in ["/first", "/first", "/again", "/first", "/again", "/first"] {
            let answer: serde_json::Value = serde_json::from_str(&get(program.address, path)?)?;
            made += answer["contexts"].as_u64().unwrap_or_default();
            unwritten += answer["unwritten"].as_u64().unwrap_or_default();
        }
        ensure!(
            unwritten > 10,
            "of {made} contexts hardly any was such a one: {unwritten}"
        );
        thread::sleep(Duration::from_millis(500));
        // Nothing was lost, or it would not be clean.
        let run = observer.stop()?;
        let end = run.end()?;
        ensure!(
            end["events"].as_u64() >= Some(2 * made) && end["requests_unknown"] == 0,
            "{made} contexts were made and cancelled: {end}"
        );
        exactly(&run, program.pid(), &[])
    })
}

#[test]
fn a_reader_that_stands_still_for_a_moment_loses_nothing() -> Result<()> {
    undisturbed(|| {
        let [.., newest] = CI_VERSIONS;
        let program = start(PROGRAM, newest, Flavor::Plain, &[])?;
        let pid = program.pid().to_string();
        let observer = Observer::attach(&["--pid", &pid], 1)?;
        observer.signal(Signal::SIGSTOP)?;
        fill_the_ring(&program)?;
        observer.signal(Signal::SIGCONT)?;
        make_a_known_mistake(&program)?;
        thread::sleep(Duration::from_millis(1200));
        let run = observer.stop()?;
        ensure!(run.requests()? > TOO_MANY, "{}", run.shown());
        exactly(&run, program.pid(), &[known()?])
    })
}
