//! A running observer and everything that it said.

use std::{
    ffi::OsString,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{errno::Errno, libc::c_long, sys::signal::Signal};
use serde_json::Value;

use super::{Guarded, PATIENCE, Tail, observer_binary, schema, seccomp::refuse};

/// An observer that writes JSON lines.
#[derive(Debug)]
pub struct Observer {
    args: Vec<String>,
    process: Guarded,
    stdout: Tail,
    stderr: Tail,
}

/// Everything that an observer said, after its end.
#[derive(Debug)]
pub struct Run {
    /// Its arguments.
    pub args: Vec<String>,
    /// stdout, each line valid by the schema.
    pub lines: Vec<Value>,
    /// stderr.
    pub stderr: Vec<String>,
    /// How it ended.
    pub status: ExitStatus,
}

impl Observer {
    /// `observer run --output json ARGS`, and waits until it observes `processes` processes.
    ///
    /// # Errors
    /// When it cannot, with what it said about that.
    pub fn attach(args: &[&str], processes: usize) -> Result<Self> {
        let observer = Self::launch(args)?;
        observer.started(processes)?;
        Ok(observer)
    }

    /// Observes one process with the default settings.
    ///
    /// # Errors
    /// Those of [`attach`](Self::attach).
    pub fn of(pid: u32) -> Result<Self> {
        Self::attach(&["--pid", &pid.to_string()], 1)
    }

    /// `observer run --output json ARGS`, without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn launch(args: &[&str]) -> Result<Self> {
        Self::launch_through(&[], args)
    }

    /// The same, started by another command (such as `setpriv --bounding-set=-bpf`).
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn launch_through(wrapper: &[&str], args: &[&str]) -> Result<Self> {
        let mut words: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        words.push(observer_binary()?.into());
        let (program, rest) = words.split_first().context("at least observer itself")?;
        let mut command = Command::new(program);
        command.args(rest);
        Self::start(command, args)
    }

    /// The same, with a system call that the kernel answers with this error.
    ///
    /// # Errors
    /// When it cannot be built or started.
    pub fn launch_without(call: c_long, error: Errno, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(observer_binary()?);
        refuse(&mut command, call, error)?;
        Self::start(command, args)
    }

    fn start(mut command: Command, args: &[&str]) -> Result<Self> {
        command
            .args(["run", "--output", "json"])
            .args(args)
            // Meant for the tests; observer would warn that they mean nothing to it.
            .env_remove("OBSERVER_TEST_FULL")
            .env_remove("OBSERVER_TEST_BINARY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdout = Tail::of(process.child().stdout.take().context("stdout is a pipe")?);
        let stderr = Tail::of(process.child().stderr.take().context("stderr is a pipe")?);
        let args = args.iter().map(ToString::to_string).collect();
        Ok(Self {
            args,
            process,
            stdout,
            stderr,
        })
    }

    /// Waits for the `start` lines of so many processes.
    ///
    /// # Errors
    /// When they do not come.
    pub fn started(&self, processes: usize) -> Result<()> {
        self.wait_for(|lines| {
            let starts = lines.iter().filter(|line| line["type"] == "start").count();
            (starts >= processes).then_some(())
        })
        .context("observer does not start to observe")
    }

    /// The first value that `look` makes of the lines so far.
    ///
    /// # Errors
    /// When there is none.
    pub fn wait_for<T>(&self, mut look: impl FnMut(&[Value]) -> Option<T>) -> Result<T> {
        let found = self.stdout.wait_for(PATIENCE, |lines| {
            let parsed: Vec<Value> = lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            look(&parsed)
        });
        found.with_context(|| {
            format!(
                "observer run {}: not within {PATIENCE:?}\nstdout:\n{}\nstderr:\n{}",
                self.args.join(" "),
                self.stdout.lines().join("\n"),
                self.stderr.lines().join("\n")
            )
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        self.stderr.lines()
    }

    /// What it wrote to stdout so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// Ends it by SIGINT, and requires what every observer promises then: exit code 0, the summary, nothing lost. How long
    /// that takes is for the bench to tell.
    ///
    /// # Errors
    /// Whatever of that is not so.
    pub fn stop(self) -> Result<Run> {
        self.process.signal(Signal::SIGINT)?;
        let run = self.ends()?;
        run.require_clean().with_context(|| run.shown())?;
        Ok(run)
    }

    /// Waits until it ends by itself, and requires nothing but valid lines.
    ///
    /// # Errors
    /// When it goes on, or a line is not valid.
    pub fn ends(mut self) -> Result<Run> {
        let ended = self.process.wait(PATIENCE)?;
        let closed = self.stdout.wait_closed(PATIENCE) && self.stderr.wait_closed(PATIENCE);
        let stdout = self.stdout.lines();
        let stderr = self.stderr.lines();
        let Some(status) = ended.filter(|_| closed) else {
            bail!(
                "observer run {} does not end within {PATIENCE:?}\nstdout:\n{}\nstderr:\n{}",
                self.args.join(" "),
                stdout.join("\n"),
                stderr.join("\n")
            );
        };
        let mut lines = Vec::new();
        for text in stdout {
            let line: Value =
                serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
            let faults = schema::faults(&line)?;
            ensure!(
                faults.is_empty(),
                "a line that its schema refuses: {faults:?}\n{text}"
            );
            lines.push(line);
        }
        Ok(Run {
            args: self.args,
            lines,
            stderr,
            status,
        })
    }
}

impl Run {
    /// The `end` line.
    ///
    /// # Errors
    /// When there is none, or it is not the last one.
    pub fn end(&self) -> Result<&Value> {
        let last = self.lines.last().context("no line at all")?;
        ensure!(
            last["type"] == "end",
            "the last line is not the end: {last}"
        );
        Ok(last)
    }

    /// Lines of one type.
    pub fn of_type<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == wanted)
    }

    /// Requests that it saw.
    ///
    /// # Errors
    /// When there is no end line.
    pub fn requests(&self) -> Result<u64> {
        self.end()?["requests"]
            .as_u64()
            .context("the end line has no `requests`")
    }

    /// Exit code 0, an end line, nothing lost or dropped.
    ///
    /// # Errors
    /// Whatever of that is not so.
    pub fn require_clean(&self) -> Result<()> {
        ensure!(
            self.status.code() == Some(0),
            "observer ends with {}",
            self.status
        );
        let end = self.end()?;
        let lost: u64 = end["lost"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, n)| n.as_u64())
            .sum();
        ensure!(
            lost == 0 && self.of_type("loss").next().is_none(),
            "events were lost: {}",
            end["lost"]
        );
        ensure!(
            end["lines_dropped"] == 0,
            "{} lines were dropped",
            end["lines_dropped"]
        );
        Ok(())
    }

    /// Everything, for a failure's message.
    #[must_use]
    pub fn shown(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(ToString::to_string).collect();
        format!(
            "observer run {} ended with {}\nstdout:\n{}\nstderr:\n{}",
            self.args.join(" "),
            self.status,
            lines.join("\n"),
            self.stderr.join("\n")
        )
    }
}
