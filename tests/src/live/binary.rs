//! The `observer` that is tested: always the one that the sources say.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::go::workspace_root;

/// Names a ready-made observer to test instead.
const BINARY_VARIABLE: &str = "OBSERVER_TEST_BINARY";

/// Builds observer, once in each test program, in the profile that the tests themselves are built in.
///
/// # Errors
/// When it does not compile.
pub fn observer_binary() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(error) => Err(anyhow!("{error}")),
    }
}

fn build() -> Result<PathBuf> {
    if let Some(given) = env::var_os(BINARY_VARIABLE) {
        return Ok(given.into());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--locked",
            "--quiet",
            "--package",
            "observer",
            "--bin",
            "observer",
        ])
        .current_dir(workspace_root());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cannot build observer:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // This program lies in `target/<profile>/deps/`.
    let own = env::current_exe()?;
    let profile = own
        .ancestors()
        .nth(2)
        .context("a test program lies in target/")?;
    let built = profile.join("observer");
    ensure!(
        built.is_file(),
        "{} is not there after its build",
        built.display()
    );
    Ok(built)
}
