//! Go toolchains: the one that is installed, and through it every version that the tests need.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, anyhow, bail, ensure};

/// Every version that observer is tested with, oldest first: the last patch release of each, as far as it is out.
pub const VERSIONS: [&str; 10] = [
    "1.18.10", "1.19.13", "1.20.14", "1.21.13", "1.22.12", "1.23.12", "1.24.11", "1.25.8",
    "1.26.8", "1.27.3",
];

/// The versions that `.ci/run` tests with.
pub const CI_VERSIONS: [&str; 3] = ["1.21.13", "1.24.11", "1.27.3"];

/// Set by `cargo xtask test --full`: live tests then run on all [`VERSIONS`].
pub const FULL_VARIABLE: &str = "OBSERVER_TEST_FULL";

/// Whether everything is tested now: [`FULL_VARIABLE`] is set.
#[must_use]
pub fn is_full() -> bool {
    env::var_os(FULL_VARIABLE).is_some()
}

/// The versions that tests run on now: [`VERSIONS`] where everything is tested, else [`CI_VERSIONS`].
#[must_use]
pub fn versions() -> &'static [&'static str] {
    if is_full() { &VERSIONS } else { &CI_VERSIONS }
}

/// Those of the [`versions`] that are this minor one or newer: what libraries of today can be built with.
pub fn versions_from(minor: u32) -> impl Iterator<Item = &'static str> {
    let since = move |version: &&&str| minor_of(version).is_some_and(|of| of >= minor);
    versions().iter().filter(since).copied()
}

/// `1.26.8` → 26
#[must_use]
pub fn minor_of(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.parse().ok()
}

/// The workspace's root folder.
#[must_use]
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// A Go command that is able to fetch and run other versions of itself.
#[derive(Clone, Debug)]
pub struct Go {
    command: PathBuf,
    version: String,
}

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.version, self.command.display())
    }
}

impl Go {
    /// Looks on `PATH`, where Go's own archive is usually unpacked, and where `cargo xtask setup` puts one.
    ///
    /// # Errors
    /// When there is none that is 1.21 or newer, which is what fetching other versions takes.
    pub fn find() -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let places = ["/usr/local/go/bin", "/usr/lib/go/bin"].map(PathBuf::from);
        let own = workspace_root().join("target/tools/go/bin");
        let mut too_old = String::new();
        for folder in env::split_paths(&path).chain(places).chain([own]) {
            let command = folder.join("go");
            let Ok(version) = version(Command::new(&command).env("GOTOOLCHAIN", "local")) else {
                continue;
            };
            if minor(&version).is_some_and(|minor| minor >= 21) {
                return Ok(Self { command, version });
            }
            too_old = format!(" ({} is {version})", command.display());
        }
        bail!("no Go 1.21 or newer{too_old}\n\nhint: run `cargo xtask setup`")
    }

    /// A command that runs `go` of exactly this version (such as `1.22.12`), fetching it the first time.
    ///
    /// # Errors
    /// When that version cannot be had.
    pub fn at(&self, wanted: &str) -> Result<Command> {
        let command = || {
            let mut command = Command::new(&self.command);
            // The environment may ask for modules, workspaces or flags that the programs here know nothing about.
            command
                .env("GOTOOLCHAIN", format!("go{wanted}"))
                .env("GOWORK", "off")
                .env("GO111MODULE", "on");
            command
        };
        let got = version(&mut command()).map_err(|error| {
            anyhow!("cannot get go{wanted}: {error}\n\nhint: it is fetched from the Go module proxy; check GOPROXY")
        })?;
        ensure!(
            got == format!("go{wanted}"),
            "asked for go{wanted}, got {got}"
        );
        Ok(command())
    }
}

fn version(go: &mut Command) -> Result<String> {
    // Outside any module, whose go.mod could ask for yet another version.
    let output = go.args(["env", "GOVERSION"]).current_dir("/").output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `go1.26.8` → 26. A development version (`devel …`) has none.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions_are_read_from_releases_and_candidates() {
        assert_eq!(minor("go1.26.8"), Some(26));
        assert_eq!(minor("go1.27rc1"), Some(27));
        assert_eq!(minor("devel go1.28-abc"), None);
    }

    #[test]
    fn ci_versions_are_tested_versions() {
        assert!(CI_VERSIONS.iter().all(|version| VERSIONS.contains(version)));
    }
}
