//! One run of observer beside a load, and all that it said.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::live::{Observer, Running, stop_wanted};

/// How long observer may take until it observes.
const START: Duration = Duration::from_secs(20);
/// How long it may take to end: up to 0.15 s a site, of which a whole host has hundreds.
const END: Duration = Duration::from_secs(60);
/// How often we look whether somebody wants us to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A line of observer's output.
pub struct Line {
    /// When we read it.
    pub arrived: SystemTime,
    /// The JSON object.
    pub value: Value,
}

impl Line {
    /// Its `type`.
    pub fn kind(&self) -> &str {
        self.value
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// An observer that observes.
pub struct Session {
    running: Running,
    lines: Receiver<Result<Line>>,
    seen: Vec<Line>,
    /// From starting the process until the last process was observed.
    pub ready_after: Duration,
}

/// What is left of a session.
pub struct Ended {
    /// All lines, in order.
    pub lines: Vec<Line>,
    /// From SIGINT to the `end` line.
    pub flushed_after: Duration,
    /// From SIGINT until the process had ended, and with it every probe.
    pub gone_after: Duration,
}

impl Session {
    /// Starts `observer run` on these processes and waits until it observes all of them.
    pub fn start(observer: &Observer, pids: &[u32], args: &[&str]) -> Result<Self> {
        Self::begin(observer.run(pids), args, pids.len())
    }

    /// The same with selectors; waits until so many processes are observed.
    pub fn select(observer: &Observer, selectors: &[&str], processes: usize) -> Result<Self> {
        Self::begin(observer.run(&[]), selectors, processes)
    }

    /// The same of a command that runs observer.
    pub fn begin(mut command: Command, args: &[&str], processes: usize) -> Result<Self> {
        command
            .args(["--output", "json", "--quiet"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let began = Instant::now();
        let mut running = Running::start(command)?;
        let stdout = BufReader::new(running.take_stdout()?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let arrived = SystemTime::now();
                let line = line.map_err(Into::into).and_then(|text| {
                    let value = serde_json::from_str(&text)
                        .with_context(|| format!("observer printed no JSON: {text}"))?;
                    Ok(Line { arrived, value })
                });
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut session = Self {
            running,
            lines,
            seen: Vec::new(),
            ready_after: Duration::ZERO,
        };
        session.wait_until(START, |lines| starts(lines).count() >= processes)?;
        ensure!(
            starts(&session.seen).count() >= processes,
            "observer does not observe after {START:?}"
        );
        session.ready_after = began.elapsed();
        Ok(session)
    }

    /// Reads lines until `enough` of them are there, at most for `patience`. Fails when observer ends or we shall.
    pub fn wait_until(
        &mut self,
        patience: Duration,
        enough: impl Fn(&[Line]) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + patience;
        while !enough(&self.seen) {
            if stop_wanted() {
                bail!("interrupted");
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(line) => self.seen.push(line?),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("observer ended too early"),
            }
        }
        Ok(())
    }

    /// The process ID of observer.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The first process' `start` line.
    pub fn started(&self) -> Result<&Value> {
        let start = starts(&self.seen).next();
        start.map(|line| &line.value).context("no start line")
    }

    /// Ends it with SIGINT.
    pub fn end(mut self) -> Result<Ended> {
        let asked = Instant::now();
        self.running.signal(Signal::SIGINT);
        let mut flushed_after = None;
        let latest = asked + END;
        loop {
            match self
                .lines
                .recv_timeout(latest.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    let line = line?;
                    if line.kind() == "end" {
                        flushed_after = Some(asked.elapsed());
                    }
                    self.seen.push(line);
                }
                Err(RecvTimeoutError::Timeout) => bail!("observer does not end on SIGINT"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self.running.wait(END)?.context("observer does not end")?;
        let gone_after = asked.elapsed();
        ensure!(status.success(), "observer ended with {status}");
        Ok(Ended {
            lines: self.seen,
            flushed_after: flushed_after.context("observer printed no `end` line")?,
            gone_after,
        })
    }
}

impl Ended {
    /// A number of the `end` line, such as `/events`; all numbers below it where it is an object.
    pub fn total(&self, pointer: &str) -> Result<f64> {
        let end = self.lines.iter().rev().find(|line| line.kind() == "end");
        let value = end.and_then(|line| line.value.pointer(pointer));
        let value = value.with_context(|| format!("the `end` line has no {pointer}"))?;
        Ok(match value {
            // An empty sum of floats is -0.
            Value::Object(fields) => fields.values().filter_map(Value::as_f64).sum::<f64>() + 0.0,
            other => other.as_f64().unwrap_or_default(),
        })
    }
}

/// The `start` lines among `lines`.
pub fn starts(lines: &[Line]) -> impl Iterator<Item = &Line> {
    lines.iter().filter(|line| line.kind() == "start")
}
