//! The Go programs of `tests/targets/`, running.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
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
    /// What it printed before that.
    said: Vec<String>,
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
        let mut said = Vec::new();
        let address = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line)? == 0 {
                bail!("{} did not start", executable.display());
            }
            if let Some(address) = line.strip_prefix("listening ") {
                break address.trim().to_owned();
            }
            said.push(line);
        };
        Ok(Self {
            running,
            address,
            said,
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

    /// Where it serves something else: it says `NAME HOST:PORT` before it is ready.
    pub fn address_of(&self, name: &str) -> Option<&str> {
        let mut named = self.said.iter().filter_map(|line| line.split_once(' '));
        named.find_map(|(this, address)| (this == name).then(|| address.trim()))
    }

    /// Ends it; an error when it has crashed or hangs.
    pub fn stop(mut self) -> Result<()> {
        let status = self.running.stop(Signal::SIGTERM)?;
        let status = status.context("a target did not stop on SIGTERM")?;
        ensure!(status.success(), "a target ended with {status}");
        Ok(())
    }
}
