//! Units and containers: control groups of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    live::{Guarded, Observer, PATIENCE, Tail, exactly, undisturbed},
    target::Flavor,
};

use crate::service::{REQUESTS, Service, end, make_mistake, mistake, seen, waits_for};

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
        let missing = Observer::launch(selector)?.ends()?;
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
        second.wait(PATIENCE)?;
        ensure!(stdout.lines().len() == 1, "{:?}", stdout.lines());
    }
    ensure!(other.process().is_running()?, "it ended");
    Ok(())
}

#[test]
fn a_unit_follows_restarts() -> Result<()> {
    undisturbed(|| in_group("shop-api.service", &["--unit", "shop-api"]))
}

#[test]
fn a_container_follows_restarts() -> Result<()> {
    undisturbed(|| {
        let id = "5e1ec7ab1e00".repeat(6)[..64].to_owned();
        in_group(&format!("docker-{id}.scope"), &["--container", &id[..12]])
    })
}
