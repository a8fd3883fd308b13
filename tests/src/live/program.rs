//! Running Go programs of `tests/targets/`.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Guarded, PATIENCE, Tail, get};
use crate::target::{Flavor, build_target, build_target_with};

/// A program that is ready to serve.
#[derive(Debug)]
pub struct Program {
    /// Its folder in `tests/targets/`, where its markers are.
    pub name: String,
    /// What runs.
    pub executable: PathBuf,
    /// Where it serves.
    pub address: SocketAddr,
    process: Guarded,
    stdout: Tail,
    stderr: Tail,
}

/// One entry of `/all`: an endpoint, and how a client has to treat it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Path, with a leading `/`.
    pub path: String,
    /// When the client leaves, ms; 0 means that it waits.
    pub patience_ms: u64,
    /// The client's mode.
    pub mode: String,
    /// The right status; 0 means any 2xx.
    pub status: u64,
    /// What the client counts the request as.
    pub outcome: String,
}

/// Builds a program and starts it on a free port.
///
/// # Errors
/// When it cannot be built or does not become ready.
pub fn start(program: &str, go: &str, flavor: Flavor, args: &[&str]) -> Result<Program> {
    Program::run(program, build_target(program, go, flavor)?, args)
}

/// The same with a generation of other people's code, see [`build_target_with`].
///
/// # Errors
/// When it cannot be built or does not become ready.
pub fn start_with(generation: &str, program: &str, go: &str, flavor: Flavor) -> Result<Program> {
    let executable = build_target_with(generation, program, go, flavor)?;
    Program::run(program, executable, &[])
}

impl Program {
    /// Starts an executable that was built from `tests/targets/<name>`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn run(name: &str, executable: PathBuf, args: &[&str]) -> Result<Self> {
        Self::run_with(name, executable, args, &[])
    }

    /// The same, with more in its environment.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn run_with(
        name: &str,
        executable: PathBuf,
        args: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = Command::new(&executable);
        command
            .args(args)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdout = Tail::of(process.child().stdout.take().context("stdout is a pipe")?);
        let stderr = Tail::of(process.child().stderr.take().context("stderr is a pipe")?);
        let address = announced(&stdout, "listening ")
            .with_context(|| format!("{name} does not listen; it says: {:?}", stderr.lines()))?;
        Ok(Self {
            name: name.to_owned(),
            executable,
            address,
            process,
            stdout,
            stderr,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it serves HTTP/2 over TLS.
    ///
    /// # Errors
    /// When it does not.
    pub fn tls_address(&self) -> Result<SocketAddr> {
        self.serves_at("listening-tls ")
    }

    /// Where else it serves, by what it says before the address.
    ///
    /// # Errors
    /// When it does not.
    pub fn serves_at(&self, prefix: &str) -> Result<SocketAddr> {
        announced(&self.stdout, prefix).with_context(|| format!("it says no `{prefix}`"))
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// The process itself.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.process
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// What its own profile of leaked goroutines says, from Go 1.27 on.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn leaks(&self) -> Result<String> {
        get(self.address, "/debug/leaks")
    }

    /// Asks it for its routes.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let answer: Value = serde_json::from_str(&get(self.address, "/all")?)?;
        let routes = answer.as_array().context("/all is a list")?;
        let text = |route: &Value, key: &str| route[key].as_str().unwrap_or_default().to_owned();
        let number = |route: &Value, key: &str| route[key].as_u64().unwrap_or_default();
        Ok(routes
            .iter()
            .map(|route| Route {
                path: text(route, "path"),
                patience_ms: number(route, "patience_ms"),
                mode: text(route, "mode"),
                status: number(route, "status"),
                outcome: text(route, "outcome"),
            })
            .collect())
    }
}

fn announced(stdout: &Tail, prefix: &str) -> Option<SocketAddr> {
    stdout.wait_for(PATIENCE, |lines| {
        lines
            .iter()
            .find_map(|line| line.strip_prefix(prefix)?.parse().ok())
    })
}
