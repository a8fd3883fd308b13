//! A child process that never outlives us.

use std::{
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

/// How often we look whether a child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a child may take to end after it was asked to, before it is killed. Observer needs about 0.1 s a site.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running child. Ended by SIGTERM when dropped, and by the kernel if we are killed.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts `command` in a process group of its own, so that a Ctrl-C at the terminal reaches only us.
    ///
    /// Call it on the main thread: the kernel ends the child when the thread that started it ends.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.process_group(0);
        // SAFETY: prctl is a plain system call; it allocates nothing and takes no lock between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?));
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name })
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, where it is piped.
    pub fn take_stdout(&mut self) -> Result<ChildStdout> {
        self.child
            .stdout
            .take()
            .with_context(|| format!("{} has no piped output", self.name))
    }

    /// Sends a signal; one that comes too late is no error.
    pub fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // The pid is ours until we have waited for it, so nobody else can be hit.
            let _gone = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until it ends, at most for `patience`.
    pub fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + patience;
        loop {
            let status = self.ended()?;
            if status.is_some() || Instant::now() >= end {
                return Ok(status);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Asks it to end, waits, and kills it if it does not. `None` when it had to be killed.
    pub fn stop(&mut self, signal: Signal) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        self.signal(signal);
        let status = self.wait(PATIENCE)?;
        if status.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop(Signal::SIGTERM) {
            eprintln!("warning: {} may still run: {error:#}", self.name);
        }
    }
}
