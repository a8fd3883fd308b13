//! A service of its own, its mistake, and what a run said of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    live::{Expect, Load, Observer, PATIENCE, Program, Run},
    target::{Flavor, build_target},
};
use serde_json::Value;
use tempfile::TempDir;

/// A mistake that is found a moment after its request.
pub(crate) const MISTAKE: &str = "/notcalled/cancel";

/// Requests that it is: it asks its own process for something.
pub(crate) const REQUESTS: u64 = 2;

/// Beyond grace.
pub(crate) const FOUND: Duration = Duration::from_millis(1200);

pub(crate) fn newest() -> &'static str {
    let [.., newest] = CI_VERSIONS;
    newest
}

/// A service of its own: an executable that nobody else runs.
pub(crate) struct Service {
    pub(crate) executable: PathBuf,
    _folder: TempDir,
}

impl Service {
    pub(crate) fn of(name: &str, flavor: Flavor) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let executable = folder.path().join(name);
        install(&executable, newest(), flavor)?;
        Ok(Self {
            executable,
            _folder: folder,
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.executable.to_str().unwrap_or_default()
    }

    pub(crate) fn start(&self) -> Result<Program> {
        Program::run("rules4", self.executable.clone(), &[])
    }
}

/// Puts a build in place, over what is there.
pub(crate) fn install(executable: &Path, go: &str, flavor: Flavor) -> Result<()> {
    fs::copy(build_target("rules4", go, flavor)?, executable)?;
    fs::set_permissions(executable, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

pub(crate) fn end(mut program: Program) -> Result<()> {
    program.signal(Signal::SIGTERM)?;
    let ended = program.process().wait(PATIENCE)?;
    ensure!(ended.is_some_and(|status| status.success()), "{ended:?}");
    ensure!(program.said().is_empty(), "{:?}", program.said());
    Ok(())
}

pub(crate) fn make_mistake(program: &Program, id_prefix: &str) -> Result<()> {
    let load = Load::of(program, MISTAKE).ids(id_prefix).start()?;
    load.all("ok")?;
    thread::sleep(FOUND);
    Ok(())
}

pub(crate) fn mistake(id: &str) -> Result<Expect> {
    Ok(Expect::new("warning", "rules4", "cancel-not-called cancel")?.request(MISTAKE, id))
}

pub(crate) fn is(line: &Value, kind: &str, pid: u32) -> bool {
    line["type"] == kind && line["process"]["pid"] == pid
}

pub(crate) fn waits_for(observer: &Observer, kind: &str, pid: u32) -> Result<Value> {
    observer
        .wait_for(|lines| lines.iter().find(|line| is(line, kind, pid)).cloned())
        .with_context(|| format!("no {kind} of {pid}"))
}

/// `start` lines, and `stop` lines, of one process.
pub(crate) fn seen(run: &Run, pid: u32) -> (usize, usize) {
    let count = |kind| run.lines.iter().filter(|line| is(line, kind, pid)).count();
    (count("start"), count("stop"))
}

/// The kernel told of new processes: they were not merely found by looking.
pub(crate) fn was_told(run: &Run) -> Result<()> {
    let looked_for = |line: &String| line.contains("looked for every second");
    ensure!(!run.stderr.iter().any(looked_for), "{}", run.shown());
    Ok(())
}
