//! Who is observed: by every selector, also processes that come later; those that go are let go of, and nothing of
//! them stays.

#![expect(
    clippy::indexing_slicing,
    reason = "what a JSON value does not have is null"
)]

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    live::{Expect, Guarded, Load, Observer, Program, Run, Tail, exactly, observer_binary, start},
    recordings::found,
    target::{Flavor, build_target},
};
use serde_json::Value;
use tempfile::TempDir;

/// What is noticed at once when the kernel tells of it, and within a second or so otherwise.
const NOTICED: Duration = Duration::from_secs(10);
/// A mistake that is found a moment after its request.
const MISTAKE: &str = "/notcalled/cancel";
/// Requests that it is: it asks its own process for something.
const REQUESTS: u64 = 2;
/// Beyond grace.
const FOUND: Duration = Duration::from_millis(1200);

fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

/// A service of its own: an executable that nobody else runs.
struct Service {
    executable: PathBuf,
    _folder: TempDir,
}

impl Service {
    fn of(name: &str, flavor: Flavor) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let executable = folder.path().join(name);
        install(&executable, newest(), flavor)?;
        Ok(Self {
            executable,
            _folder: folder,
        })
    }

    fn path(&self) -> &str {
        self.executable.to_str().unwrap_or_default()
    }

    fn start(&self) -> Result<Program> {
        Program::run("rules4", self.executable.clone(), &[])
    }
}

/// Puts a build in place, over what is there.
fn install(executable: &Path, go: &str, flavor: Flavor) -> Result<()> {
    fs::copy(build_target("rules4", go, flavor)?, executable)?;
    fs::set_permissions(executable, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn end(mut program: Program) -> Result<()> {
    program.signal(Signal::SIGTERM)?;
    let ended = program.process().wait(Duration::from_secs(5))?;
    ensure!(ended.is_some_and(|status| status.success()), "{ended:?}");
    ensure!(program.said().is_empty(), "{:?}", program.said());
    Ok(())
}

fn make_mistake(program: &Program, id_prefix: &str) -> Result<()> {
    let load = Load::of(program, MISTAKE).ids(id_prefix).start()?;
    load.all("ok")?;
    thread::sleep(FOUND);
    Ok(())
}

fn mistake(id: &str) -> Result<Expect> {
    Ok(Expect::new("warning", "rules4", "cancel-not-called cancel")?.request(MISTAKE, id))
}

fn is(line: &Value, kind: &str, pid: u32) -> bool {
    line["type"] == kind && line["process"]["pid"] == pid
}

fn waits_for(observer: &Observer, kind: &str, pid: u32) -> Result<Value> {
    observer
        .wait_for(NOTICED, |lines| {
            lines.iter().find(|line| is(line, kind, pid)).cloned()
        })
        .with_context(|| format!("no {kind} of {pid}"))
}

/// `start` lines, and `stop` lines, of one process.
fn seen(run: &Run, pid: u32) -> (usize, usize) {
    let count = |kind| run.lines.iter().filter(|line| is(line, kind, pid)).count();
    (count("start"), count("stop"))
}

/// The kernel told of new processes: they were not merely found by looking.
fn was_told(run: &Run) -> Result<()> {
    let looked_for = |line: &String| line.contains("looked for every second");
    ensure!(!run.stderr.iter().any(looked_for), "{}", run.shown());
    Ok(())
}

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
    for flavor in [Flavor::Plain, Flavor::PieStripped] {
        let service = Service::of("shop-api", flavor)?;
        restarted(&["--exe", service.path()], service.start()?, || {
            service.start()
        })
        .with_context(|| format!("{flavor:?}"))?;
    }
    Ok(())
}

#[test]
fn a_name_follows_restarts() -> Result<()> {
    let service = Service::of("select-by-name", Flavor::Stripped)?;
    restarted(&["--exe", "select-by-name"], service.start()?, || {
        service.start()
    })
}

#[test]
fn a_port_follows_restarts() -> Result<()> {
    let service = Service::of("shop-api", Flavor::Plain)?;
    let first = service.start()?;
    let address: SocketAddr = first.address;
    let port = address.port().to_string();
    restarted(&["--port", &port], first, || {
        let listen = address.to_string();
        Program::run("rules4", service.executable.clone(), &["-listen", &listen])
    })
}

#[test]
fn waiting_ends_with_the_first_that_fits() -> Result<()> {
    let service = Service::of("shop-api", Flavor::Plain)?;
    let run = Observer::launch(&["--exe", service.path()])?.ends(NOTICED)?;
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
}

/// A control group of the test's own, gone with it.
struct Group {
    path: PathBuf,
    parent: PathBuf,
}

impl Group {
    /// One in each hierarchy in which units and containers are looked for.
    fn in_each(name: &str) -> Result<Vec<Self>> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let hierarchies = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, place, kind, options) = (
                fields.next()?,
                fields.next()?,
                fields.next()?,
                fields.next()?,
            );
            (kind == "cgroup2" || options.contains("name=systemd")).then(|| PathBuf::from(place))
        });
        let mut groups = Vec::new();
        for hierarchy in hierarchies {
            let parent = hierarchy.join(format!("observer-test-{}.slice", std::process::id()));
            let path = parent.join(name);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
            groups.push(Self { path, parent });
        }
        ensure!(
            !groups.is_empty(),
            "no hierarchy of control groups is mounted"
        );
        Ok(groups)
    }

    fn take(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.path.join("cgroup.procs"), pid.to_string())?)
    }

    /// A process of this group from its beginning.
    fn run(&self, executable: &Path) -> Result<(Guarded, Tail)> {
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec \"$0\"",
            self.path.display()
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &enter])
            .arg(executable)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdout = process.child().stdout.take().context("stdout is a pipe")?;
        Ok((process, Tail::of(stdout)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group that still holds a process cannot go; the failure that left it there is the test's.
        let _left = fs::remove_dir(&self.path);
        let _shared = fs::remove_dir(&self.parent);
    }
}

fn in_group(name: &str, selector: &[&str]) -> Result<()> {
    let service = Service::of("shop-api", Flavor::Plain)?;
    let mut other = service.start()?;
    for group in Group::in_each(name)? {
        let missing = Observer::launch(selector)?.ends(NOTICED)?;
        ensure!(missing.status.code() == Some(4), "{}", missing.shown());
        let first = service.start()?;
        group.take(first.pid())?;
        let observer = Observer::attach(selector, 1)?;
        make_mistake(&first, "old-")?;
        let old = first.pid();
        end(first)?;
        waits_for(&observer, "stop", old)?;
        let (mut second, stdout) = group.run(&service.executable)?;
        waits_for(&observer, "start", second.pid())?;
        // One that only later comes under the selector.
        let late = service.start()?;
        thread::sleep(Duration::from_millis(300));
        group.take(late.pid())?;
        waits_for(&observer, "start", late.pid())?;
        make_mistake(&other, "other-")?;
        let run = observer.stop()?;
        exactly(&run, old, &[mistake("old-0")?])?;
        ensure!(seen(&run, other.pid()) == (0, 0), "{}", run.shown());
        ensure!(run.of_type("start").count() == 3, "{}", run.shown());
        ensure!(
            run.requests()? == REQUESTS,
            "another's request: {}",
            run.shown()
        );
        end(late)?;
        second.signal(Signal::SIGTERM)?;
        second.wait(Duration::from_secs(5))?;
        ensure!(stdout.lines().len() == 1, "{:?}", stdout.lines());
    }
    ensure!(other.process().is_running()?, "it ended");
    Ok(())
}

#[test]
fn a_unit_follows_restarts() -> Result<()> {
    in_group("shop-api.service", &["--unit", "shop-api"])
}

#[test]
fn a_container_follows_restarts() -> Result<()> {
    let id = "5e1ec7ab1e00".repeat(6)[..64].to_owned();
    in_group(&format!("docker-{id}.scope"), &["--container", &id[..12]])
}

#[test]
fn all_are_observed_as_they_come_and_go() -> Result<()> {
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
}

#[test]
fn one_that_cannot_be_observed_is_a_warning() -> Result<()> {
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
}

#[test]
fn what_is_executed_next_is_another() -> Result<()> {
    let execs = start("execs", newest(), Flavor::Plain, &[])?;
    let observer = Observer::launch(&["--all"])?;
    waits_for(&observer, "start", execs.pid())?;
    execs.signal(Signal::SIGUSR1)?;
    let stop = waits_for(&observer, "stop", execs.pid())?;
    ensure!(stop["why"] == "replaced", "{stop}");
    let run = observer.stop()?;
    ensure!(seen(&run, execs.pid()) == (1, 1), "{}", run.shown());
    Ok(())
}

/// A deployment that writes over the executable between two lives of the service.
#[test]
fn an_executable_is_overwritten_in_place() -> Result<()> {
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
}

#[test]
fn two_observers_follow_one_service() -> Result<()> {
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
    let mut warned = 0;
    for observer in observers {
        let run = observer.stop()?;
        exactly(&run, second.pid(), &[mistake("a-0")?])?;
        warned += run
            .stderr
            .iter()
            .filter(|line| line.contains(&format!("watches pid {}", second.pid())))
            .count();
    }
    ensure!(warned == 1, "{warned} warnings");
    end(second)
}

#[test]
fn processes_that_come_and_go_are_replayed() -> Result<()> {
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
        after.0 <= before.0 + 100 && after.1 <= before.1 + 100 && after.2 <= before.2 + 8 * 1024,
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
}
