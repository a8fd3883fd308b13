//! Who is observed: by every selector, also processes that come later; those that go are let go of, and nothing of
//! them stays.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

#[path = "live_select/groups.rs"]
mod groups;
#[path = "live_select/lives.rs"]
mod lives;
#[path = "live_select/service.rs"]
mod service;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use observer_tests::{
    live::{Guarded, Observer, Program, exactly, start, undisturbed},
    target::{Flavor, build_target},
};

use service::{Service, end, make_mistake, mistake, newest, seen, waits_for, was_told};

/// Two lives of a service, the first of them under way when observer starts.
fn restarted(
    selector: &[&str],
    first: Program,
    again: impl FnOnce() -> Result<Program>,
) -> Result<()> {
    let observer = Observer::attach(selector, 1)?;
    let old = first.pid();
    make_mistake(&first, "old-")?;
    end(first)?;
    waits_for(&observer, "stop", old)?;
    let second = again()?;
    let new = second.pid();
    waits_for(&observer, "start", new)?;
    make_mistake(&second, "new-")?;
    let run = observer.stop()?;
    ensure!(seen(&run, old) == (1, 1), "{}", run.shown());
    ensure!(seen(&run, new) == (1, 0), "{}", run.shown());
    was_told(&run)?;
    exactly(&run, old, &[mistake("old-0")?])?;
    exactly(&run, new, &[mistake("new-0")?])?;
    ensure!(run.requests()? >= 2, "{}", run.shown());
    Ok(())
}

#[test]
fn a_path_follows_restarts() -> Result<()> {
    undisturbed(|| {
        for flavor in [Flavor::Plain, Flavor::PieStripped] {
            let service = Service::of("shop-api", flavor)?;
            restarted(&["--exe", service.path()], service.start()?, || {
                service.start()
            })
            .with_context(|| format!("{flavor:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_name_follows_restarts() -> Result<()> {
    undisturbed(|| {
        let service = Service::of("select-by-name", Flavor::Stripped)?;
        restarted(&["--exe", "select-by-name"], service.start()?, || {
            service.start()
        })
    })
}

#[test]
fn a_port_follows_restarts() -> Result<()> {
    undisturbed(|| {
        let service = Service::of("shop-api", Flavor::Plain)?;
        let first = service.start()?;
        let address: SocketAddr = first.address;
        let port = address.port().to_string();
        restarted(&["--port", &port], first, || {
            let listen = address.to_string();
            Program::run("rules4", service.executable.clone(), &["-listen", &listen])
        })
    })
}

#[test]
fn waiting_ends_with_the_first_that_fits() -> Result<()> {
    undisturbed(|| {
        let service = Service::of("shop-api", Flavor::Plain)?;
        let run = Observer::launch(&["--exe", service.path()])?.ends()?;
        ensure!(run.status.code() == Some(4), "{}", run.shown());
        let stderr = run.stderr.join("\n");
        ensure!(
            stderr.contains("no running Go process matches") && stderr.contains("`--wait`"),
            "{stderr}"
        );
        let observer = Observer::launch(&["--exe", service.path(), "--wait"])?;
        thread::sleep(Duration::from_secs(2));
        ensure!(observer.lines().is_empty(), "{:?}", observer.lines());
        let program = service.start()?;
        waits_for(&observer, "start", program.pid())?;
        make_mistake(&program, "a-")?;
        exactly(&observer.stop()?, program.pid(), &[mistake("a-0")?])
    })
}

#[test]
fn all_are_observed_as_they_come_and_go() -> Result<()> {
    undisturbed(|| {
        let there = Service::of("shop-api", Flavor::Plain)?;
        let early = there.start()?;
        let observer = Observer::launch(&["--all"])?;
        waits_for(&observer, "start", early.pid())?;
        // Nothing to say of what is not Go, or not yet.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "read go; exec \"$0\" -listen 127.0.0.1:0"])
            .arg(&there.executable)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = Guarded::spawn(&mut shell)?;
        let same = there.start()?;
        let new = start("healthy", newest(), Flavor::PieStripped, &[])?;
        waits_for(&observer, "start", same.pid())?;
        waits_for(&observer, "start", new.pid())?;
        make_mistake(&early, "early-")?;
        make_mistake(&same, "same-")?;
        let (gone, stays) = (early.pid(), same.pid());
        end(early)?;
        let stop = waits_for(&observer, "stop", gone)?;
        ensure!(stop["why"] == "ended", "{stop}");
        drop(shell.child().stdin.take());
        waits_for(&observer, "start", shell.pid())?;
        let run = observer.stop()?;
        was_told(&run)?;
        ensure!(seen(&run, gone) == (1, 1), "{}", run.shown());
        for pid in [stays, new.pid(), shell.pid()] {
            ensure!(seen(&run, pid) == (1, 0), "{pid}: {}", run.shown());
        }
        exactly(&run, gone, &[mistake("early-0")?])?;
        exactly(&run, stays, &[mistake("same-0")?])?;
        exactly(&run, new.pid(), &[])
    })
}

#[test]
fn one_that_cannot_be_observed_is_a_warning() -> Result<()> {
    undisturbed(|| {
        let folder = tempfile::tempdir()?;
        let strange = folder.path().join("from-the-future");
        let mut bytes = fs::read(build_target("healthy", newest(), Flavor::Plain)?)?;
        let version = format!("go{}", newest());
        let places: Vec<usize> = bytes
            .windows(version.len())
            .enumerate()
            .filter(|(_, found)| *found == version.as_bytes())
            .map(|(at, _)| at)
            .collect();
        let future = format!("go1.99{}", &version[6..]);
        for at in places {
            bytes[at..at + version.len()].copy_from_slice(future.as_bytes());
        }
        fs::write(&strange, bytes)?;
        fs::set_permissions(&strange, fs::Permissions::from_mode(0o755))?;
        let observer = Observer::launch(&["--all"])?;
        let strange = Program::run("healthy", strange, &[])?;
        let service = Service::of("shop-api", Flavor::Plain)?;
        let known = service.start()?;
        waits_for(&observer, "start", known.pid())?;
        thread::sleep(Duration::from_millis(2500));
        let run = observer.stop()?;
        ensure!(seen(&run, strange.pid()) == (0, 0), "{}", run.shown());
        let about = format!(
            "pid {} (`{}`) is not observed: ",
            strange.pid(),
            strange.executable.display()
        );
        let said: Vec<&String> = run
            .stderr
            .iter()
            .filter(|line| line.contains(&about))
            .collect();
        let [said] = said.as_slice() else {
            anyhow::bail!("not said once: {}", run.shown());
        };
        ensure!(said.contains("go1.99"), "no reason: {said}");
        Ok(())
    })
}
