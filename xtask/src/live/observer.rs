//! The release observer.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::workspace::{cargo, output, root};

/// The executable that `cargo build --release` makes.
pub struct Observer {
    path: PathBuf,
}

impl Observer {
    /// Builds it; cargo's progress goes to stderr.
    pub fn build() -> Result<Self> {
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--package", "observer"]);
        let status = build.status().context("cannot run cargo")?;
        ensure!(status.success(), "cannot build observer");
        Ok(Self {
            path: target_folder()?.join("release/observer"),
        })
    }

    /// `observer run --pid …`, without the caller's own settings, which would change what is shown.
    pub fn run(&self, pids: &[u32]) -> Command {
        let mut command = self.command("run");
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        command
    }

    /// `observer goroutines --pid …`, likewise.
    pub fn goroutines(&self, pid: u32) -> Command {
        let mut command = self.command("goroutines");
        command.args(["--pid", &pid.to_string()]);
        command
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(subcommand);
        let own = std::env::vars_os().map(|(name, _)| name);
        for name in own.filter(|name| name.as_encoded_bytes().starts_with(b"OBSERVER_")) {
            command.env_remove(name);
        }
        command
    }
}

/// Where cargo puts what it builds, wherever the environment says that is.
fn target_folder() -> Result<PathBuf> {
    let text =
        output(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let folder = metadata
        .get("target_directory")
        .and_then(|folder| folder.as_str());
    Ok(folder.map_or_else(|| root().join("target"), PathBuf::from))
}
