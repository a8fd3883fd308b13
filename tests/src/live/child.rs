//! Child processes that cannot outlive the test that started them.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    thread,
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

/// A running child; dropping it kills it.
#[derive(Debug)]
pub struct Guarded(Child);

impl Guarded {
    /// Starts `command`. The child is killed when the calling *thread* ends, too, so that it also goes away when the
    /// tests themselves are killed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let die_with_parent = || set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
        // SAFETY: between fork and exec there is one system call, which neither allocates nor locks.
        let command = unsafe { command.pre_exec(die_with_parent) };
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self(child))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended and been waited for.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid())?), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.pid()))
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Waits until it ends, or `None` when that takes longer than `timeout`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself; then both say so and there is nothing to do.
        let _already_gone = self.0.kill();
        let _already_waited_for = self.0.wait();
    }
}
