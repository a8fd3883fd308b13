//! Executables that change under a name, processes that become others, and lives so short and so many that
//! something could stay of them.

use std::{fs, os::unix::fs::MetadataExt, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    live::{Observer, exactly, observer_binary, start, undisturbed},
    recordings::found,
    target::{Flavor, build_target},
};
use serde_json::Value;

use crate::service::{
    REQUESTS, Service, end, install, is, make_mistake, mistake, newest, seen, waits_for,
};

#[test]
fn what_is_executed_next_is_another() -> Result<()> {
    undisturbed(|| {
        let execs = start("execs", newest(), Flavor::Plain, &[])?;
        let observer = Observer::launch(&["--all"])?;
        waits_for(&observer, "start", execs.pid())?;
        execs.signal(Signal::SIGUSR1)?;
        let stop = waits_for(&observer, "stop", execs.pid())?;
        ensure!(stop["why"] == "replaced", "{stop}");
        let run = observer.stop()?;
        ensure!(seen(&run, execs.pid()) == (1, 1), "{}", run.shown());
        Ok(())
    })
}

/// A deployment that writes over the executable between two lives of the service.
#[test]
fn an_executable_is_overwritten_in_place() -> Result<()> {
    undisturbed(|| {
        let [oldest, .., newest] = CI_VERSIONS;
        let service = Service::of("shop-api", Flavor::Plain)?;
        install(&service.executable, oldest, Flavor::Stripped)?;
        let inode = fs::metadata(&service.executable)?.ino();
        let first = service.start()?;
        let observer = Observer::attach(&["--exe", service.path()], 1)?;
        end(first)?;
        install(&service.executable, newest, Flavor::Plain)?;
        ensure!(
            fs::metadata(&service.executable)?.ino() == inode,
            "another file"
        );
        let second = service.start()?;
        waits_for(&observer, "start", second.pid())?;
        make_mistake(&second, "new-")?;
        let new = second.pid();
        let run = observer.stop()?;
        exactly(&run, new, &[mistake("new-0")?])?;
        let started = run.lines.iter().find(|line| is(line, "start", new));
        ensure!(
            started.is_some_and(|line| line["process"]["go"] == format!("go{newest}")),
            "{}",
            run.shown()
        );
        // A breakpoint of the old build in the new code would have ended it long since.
        end(second)
    })
}

#[test]
fn two_observers_follow_one_service() -> Result<()> {
    undisturbed(|| {
        let service = Service::of("shop-api", Flavor::Plain)?;
        let first = service.start()?;
        let observers = [
            Observer::attach(&["--exe", service.path()], 1)?,
            Observer::attach(&["--exe", service.path()], 1)?,
        ];
        let old = first.pid();
        end(first)?;
        let second = service.start()?;
        for observer in &observers {
            waits_for(observer, "stop", old)?;
            waits_for(observer, "start", second.pid())?;
        }
        make_mistake(&second, "a-")?;
        let warning = format!("watches pid {}", second.pid());
        for observer in observers {
            let run = observer.stop()?;
            exactly(&run, second.pid(), &[mistake("a-0")?])?;
            let warned = run.stderr.iter().filter(|line| line.contains(&warning));
            ensure!(warned.count() == 1, "{}", run.shown());
        }
        end(second)
    })
}

#[test]
fn processes_that_come_and_go_are_replayed() -> Result<()> {
    undisturbed(|| {
        let service = Service::of("shop-api", Flavor::Plain)?;
        let scratch = tempfile::tempdir()?;
        let recording = scratch.path().join("run.rec");
        let path = recording.to_str().context("a path in UTF-8")?;
        let observer = Observer::launch(&["--exe", service.path(), "--wait", "--record", path])?;
        let mut lives = Vec::new();
        let staying = service.start()?;
        waits_for(&observer, "start", staying.pid())?;
        for round in 0..3 {
            let program = service.start()?;
            waits_for(&observer, "start", program.pid())?;
            make_mistake(&program, &format!("life-{round}-"))?;
            make_mistake(&staying, &format!("staying-{round}-"))?;
            lives.push(program.pid());
            end(program)?;
        }
        let run = observer.stop()?;
        for (round, pid) in lives.iter().enumerate() {
            exactly(&run, *pid, &[mistake(&format!("life-{round}-0"))?])?;
        }
        let lines: Vec<String> = run.lines.iter().map(ToString::to_string).collect();
        let live = found(&lines.join("\n"));
        let replayed = Command::new(observer_binary()?)
            .args(["replay", "--output", "json", path])
            .output()?;
        let replayed = found(&String::from_utf8(replayed.stdout)?);
        ensure!(replayed == live, "live:\n{live}\nreplayed:\n{replayed}");
        ensure!(run.requests()? == 6 * REQUESTS, "{}", run.shown());
        Ok(())
    })
}

/// What observer holds: all descriptors, those of programs and links among them, and its memory in KiB.
fn held(pid: u32) -> Result<(usize, usize, u64)> {
    let mut all = 0;
    let mut kernel = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        all += 1;
        kernel += usize::from(target.to_string_lossy().contains("bpf"));
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    Ok((all, kernel, memory.context("no VmRSS")?))
}

#[test]
fn a_storm_of_short_lives_leaves_nothing() -> Result<()> {
    undisturbed(|| {
        let served = Service::of("shop-api", Flavor::Plain)?;
        let server = served.start()?;
        let folder = tempfile::tempdir()?;
        let client = build_target("client", newest(), Flavor::Plain)?;
        let clients = (0..8)
            .map(|number| {
                let copy = folder.path().join(format!("client-{number}"));
                fs::copy(&client, &copy)?;
                Ok(copy)
            })
            .collect::<Result<Vec<_>>>()?;
        let observer = Observer::launch(&["--all"])?;
        waits_for(&observer, "start", server.pid())?;
        let storm = |rounds: usize| -> Result<()> {
            for number in 0..rounds {
                let executable = &clients[number % clients.len()];
                let output = Command::new(executable)
                    .args(["-n", "1", "-url", &server.url("/notcalled/cancel/ok")])
                    .output()?;
                let report: Value = serde_json::from_slice(&output.stdout)?;
                ensure!(output.status.success() && report["ok"] == 1, "{output:?}");
            }
            Ok(())
        };
        // All programs are loaded, all tables have their first size.
        storm(16)?;
        thread::sleep(Duration::from_secs(13));
        let before = held(observer.pid())?;
        storm(200)?;
        thread::sleep(Duration::from_secs(13));
        let after = held(observer.pid())?;
        // Other Go programs of this host may come meanwhile; what stayed of each of ours would be two hundred.
        ensure!(
            after.0 <= before.0 + 100
                && after.1 <= before.1 + 100
                && after.2 <= before.2 + 8 * 1024,
            "descriptors, those of the kernel's programs, KiB: before {before:?}, after {after:?}"
        );
        make_mistake(&server, "a-")?;
        let pid = server.pid();
        end(server)?;
        waits_for(&observer, "stop", pid)?;
        let run = observer.stop()?;
        exactly(&run, pid, &[mistake("a-0")?])?;
        // Every process that was observed is one that ended, but for what else runs on this host.
        let of_clients = |kind: &'static str| {
            run.of_type(kind)
                .filter(|line| {
                    let exe = line["process"]["exe"].as_str().unwrap_or_default();
                    exe.starts_with(folder.path().to_str().unwrap_or("?"))
                })
                .count()
        };
        let (starts, stops) = (of_clients("start"), of_clients("stop"));
        ensure!(
            starts == stops && starts > 0,
            "{starts} started, {stops} stopped"
        );
        Ok(())
    })
}
