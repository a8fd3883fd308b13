//! The Go programs of `tests/targets/`, running.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::{
    go::CI_VERSIONS,
    target::{Flavor, build_target},
};

use super::Running;

/// The Go version of everything that is shown or measured: the newest.
pub const GO_VERSION: &str = {
    let [.., newest] = CI_VERSIONS;
    newest
};

/// Builds a target with [`GO_VERSION`].
pub fn build(program: &str) -> Result<PathBuf> {
    build_target(program, GO_VERSION, Flavor::Plain)
}

/// A target that listens.
pub struct Target {
    running: Running,
    address: String,
    /// Kept open: a program that prints into a closed pipe dies of it.
    _stdout: BufReader<ChildStdout>,
}

impl Target {
    /// Starts it and waits for its `listening HOST:PORT`. What it logs goes nowhere.
    pub fn start<A: AsRef<OsStr>>(executable: &Path, args: &[A]) -> Result<Self> {
        let mut command = Command::new(executable);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut running = Running::start(command)?;
        let mut stdout = BufReader::new(running.take_stdout()?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening ").map(str::to_owned);
        let address = address.with_context(|| format!("{} did not start", executable.display()))?;
        Ok(Self {
            running,
            address,
            _stdout: stdout,
        })
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// `http://HOST:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends it; an error when it has crashed or hangs.
    pub fn stop(mut self) -> Result<()> {
        let status = self.running.stop(Signal::SIGTERM)?;
        let status = status.context("a target did not stop on SIGTERM")?;
        ensure!(status.success(), "a target ended with {status}");
        Ok(())
    }
}
