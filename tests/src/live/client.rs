//! Load from `tests/targets/client`, which behaves as clients do, and from its twin that speaks gRPC.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Guarded, PATIENCE, Program, Route, Tail};
use crate::{
    go::CI_VERSIONS,
    target::{Flavor, build_target},
};

/// The client that speaks HTTP.
const HTTP: &str = "client";
/// The one that speaks gRPC.
const GRPC: &str = "modules/grpc/client";

/// A client's command line.
#[derive(Clone, Debug)]
pub struct Load {
    client: &'static str,
    wrapper: Vec<String>,
    args: Vec<String>,
    limit: Duration,
}

/// A client at work.
#[derive(Debug)]
pub struct Running {
    what: String,
    process: Guarded,
    stdout: Tail,
    stderr: Tail,
    limit: Duration,
}

/// What became of a client's requests: `sent` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests.
    pub sent: u64,
    /// Right answers.
    pub ok: u64,
    /// The client left before the answer was complete.
    pub dropped: u64,
    /// Wrong answers.
    pub bad: u64,
    /// No answer although the client stayed.
    pub failed: u64,
}

impl Load {
    /// One request to `url`, waiting for its answer for at most a minute.
    #[must_use]
    pub fn to(url: &str) -> Self {
        let args = vec!["-url".to_owned(), url.to_owned()];
        Self {
            client: HTTP,
            wrapper: Vec::new(),
            args,
            limit: Duration::from_secs(60),
        }
    }

    /// One call of a gRPC method (`shop.Depot/Echo`) of the service at an address.
    #[must_use]
    pub fn grpc(address: SocketAddr, method: &str) -> Self {
        let load = Self::to(&format!("{address}/{method}"));
        Self {
            client: GRPC,
            ..load
        }
    }

    /// One request to `path` of a program.
    #[must_use]
    pub fn of(program: &Program, path: &str) -> Self {
        Self::to(&program.url(path))
    }

    /// One request as the route wants to be treated, with the ID `<id_prefix(path)>0`.
    #[must_use]
    pub fn route(program: &Program, route: &Route) -> Self {
        let mut load = Self::of(program, &route.path).ids(&id_prefix(&route.path));
        if !route.mode.is_empty() {
            load = load.mode(&route.mode);
        }
        if route.patience_ms > 0 {
            load = load.patience_ms(route.patience_ms);
        }
        if route.status > 0 {
            load = load.flag("-status", &route.status);
        }
        load
    }

    /// Any other flag of the client.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &impl ToString) -> Self {
        self.args.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// Started by another command (such as `ip netns exec NAME`).
    #[must_use]
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// How it sends and leaves.
    #[must_use]
    pub fn mode(self, mode: &str) -> Self {
        self.flag("-mode", &mode)
    }

    /// When it leaves, ms.
    #[must_use]
    pub fn patience_ms(self, patience_ms: u64) -> Self {
        self.flag("-patience-ms", &patience_ms)
    }

    /// So many requests, `at_once` of them at a time.
    #[must_use]
    pub fn times(self, count: u64, at_once: u64) -> Self {
        self.flag("-n", &count).flag("-c", &at_once)
    }

    /// Requests, `at_once` at a time, until `limit` (whole seconds) is over.
    #[must_use]
    pub fn during(mut self, limit: Duration, at_once: u64) -> Self {
        self.limit = limit;
        self.flag("-n", &0)
            .flag("-c", &at_once)
            .flag("-max-seconds", &limit.as_secs())
    }

    /// The request with number n (from 0) has the ID `<prefix>n`.
    #[must_use]
    pub fn ids(self, prefix: &str) -> Self {
        self.flag("-id-prefix", &prefix)
    }

    /// Starts the client.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn start(&self) -> Result<Running> {
        let mut words: Vec<OsString> = self.wrapper.iter().map(OsString::from).collect();
        words.push(client(self.client)?.into());
        let (program, rest) = words.split_first().context("at least the client itself")?;
        let mut command = Command::new(program);
        command
            .args(rest)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdout = Tail::of(process.child().stdout.take().context("stdout is a pipe")?);
        let stderr = Tail::of(process.child().stderr.take().context("stderr is a pipe")?);
        let what = self.args.join(" ");
        Ok(Running {
            what,
            process,
            stdout,
            stderr,
            limit: self.limit,
        })
    }

    /// Runs the client to its end.
    ///
    /// # Errors
    /// Those of [`start`](Self::start) and [`finish`](Running::finish).
    pub fn run(&self) -> Result<Report> {
        self.start()?.finish()
    }
}

impl Running {
    /// Waits for the client's end.
    ///
    /// # Errors
    /// When it takes longer than its own limit allows, or fails.
    pub fn finish(mut self) -> Result<Report> {
        let ended = self.process.wait(self.limit + Duration::from_secs(10))?;
        let status = ended.with_context(|| format!("client {} does not end", self.what))?;
        ensure!(
            status.success() && self.stdout.wait_closed(PATIENCE),
            "client {}: {status}: {:?}",
            self.what,
            self.stderr.lines()
        );
        let line = self.stdout.lines().pop().unwrap_or_default();
        let said: Value = serde_json::from_str(&line)
            .with_context(|| format!("client {}: {line:?}", self.what))?;
        let number = |key: &str| {
            said[key]
                .as_u64()
                .with_context(|| format!("`{key}` in {line}"))
        };
        Ok(Report {
            sent: number("sent")?,
            ok: number("ok")?,
            dropped: number("dropped")?,
            bad: number("bad")?,
            failed: number("failed")?,
        })
    }

    /// Has it send no more, and waits for its end.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish).
    pub fn interrupt(self) -> Result<Report> {
        self.process.signal(Signal::SIGINT)?;
        self.finish()
    }

    /// Waits for the client's end and requires that every request ended in this way (`ok`, `dropped`, `failed`).
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish), and when one ended in another way.
    pub fn all(self, outcome: &str) -> Result<Report> {
        let (what, stderr) = (self.what.clone(), self.stderr.clone());
        let report = self.finish()?;
        let right = match outcome {
            "ok" => report.ok,
            "dropped" => report.dropped,
            _ => report.failed,
        };
        ensure!(
            report.sent > 0 && right == report.sent,
            "client {what}: {report:?}, not all {outcome}: {:?}",
            stderr.lines()
        );
        Ok(report)
    }
}

/// `/ignored/sleep` → `ignored-sleep-`, what the client numbers its request IDs with.
fn id_prefix(path: &str) -> String {
    format!("{}-", path.trim_start_matches('/').replace('/', "-"))
}

fn client(program: &str) -> Result<PathBuf> {
    let [.., newest] = CI_VERSIONS;
    build_target(program, newest, Flavor::Plain)
}
