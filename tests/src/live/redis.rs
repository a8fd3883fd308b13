//! A redis-server of the test's own.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{Guarded, PATIENCE};

/// A running redis-server that keeps nothing; dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    /// The Unix socket that it listens on.
    pub socket: PathBuf,
    _process: Guarded,
    _folder: TempDir,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When it is not installed, or does not begin to listen.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .arg("--unixsocket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Guarded::spawn(&mut command).context("run `cargo xtask setup`")?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && process.is_running()? {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(Self {
                    socket,
                    _process: process,
                    _folder: folder,
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("redis-server does not listen")
    }
}
