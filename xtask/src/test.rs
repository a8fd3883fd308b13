//! `cargo xtask test`: every test of the workspace, live ones one at a time.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use observer_tests::go::FULL_VARIABLE;

use self::digest::Digest;
use crate::{
    build_ebpf, setup, targets,
    workspace::{cargo, is_root, root},
};

mod digest;

/// Whether errors carry the stack where they were made.
const LIBRARY_BACKTRACE: &str = "RUST_LIB_BACKTRACE";

/// Run all tests
#[derive(clap::Args)]
pub struct Args {
    /// On every Go version, and with the long soaks
    #[arg(long)]
    full: bool,
    /// Run only the tests whose name contains this
    filter: Option<String>,
}

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    digest: Digest,
    /// Runs of cargo that failed without any test failing: something did not compile.
    broken: Vec<&'static str>,
}

/// Prepares what the tests need and runs them.
pub fn run(args: &Args) -> Result<()> {
    let (live, other) = end_to_end()?;
    ensure!(
        live.is_empty() || is_root(),
        "live tests load eBPF programs\n\nhint: run as root"
    );
    setup::ensure_bpf()?;
    setup::ensure_servers()?;
    build_ebpf::run(&build_ebpf::Args::default())?;
    targets::run(&targets::Args { full: args.full })?;

    let mut tally = Tally::default();
    let mut units = cargo();
    units.args([
        "test",
        "--locked",
        "--no-fail-fast",
        "--workspace",
        "--exclude",
        "observer-tests",
    ]);
    tally.add("unit and library tests", units, args, false)?;

    let mut end_to_end = end_to_end_command(&other);
    end_to_end.arg("--lib");
    tally.add("end-to-end tests without a kernel", end_to_end, args, false)?;
    if !live.is_empty() {
        tally.add("live tests", end_to_end_command(&live), args, true)?;
    }

    println!();
    let Tally {
        passed,
        failed,
        ignored,
        digest,
        broken,
    } = tally;
    digest.show();
    if ignored > 0 {
        println!("{ignored} ignored (they write into the sources and are run by name)");
    }
    println!("{passed} passed, {failed} failed");
    if !broken.is_empty() {
        bail!("could not run: {}", broken.join(", "));
    }
    ensure!(failed == 0, "tests failed");
    ensure!(passed > 0, "no test ran");
    Ok(())
}

/// The names of the end-to-end test binaries: the live ones, which attach to processes, and the others.
fn end_to_end() -> Result<(Vec<String>, Vec<String>)> {
    let folder = root().join("tests/tests");
    if !folder.is_dir() {
        return Ok((Vec::new(), Vec::new()));
    }
    let mut names = Vec::new();
    for entry in folder
        .read_dir()
        .with_context(|| folder.display().to_string())?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names
        .into_iter()
        .partition(|name| name.starts_with("live_")))
}

fn end_to_end_command(tests: &[String]) -> Command {
    let mut command = cargo();
    command.args([
        "test",
        "--locked",
        "--no-fail-fast",
        "--package",
        "observer-tests",
    ]);
    for test in tests {
        command.args(["--test", test]);
    }
    command
}

impl Tally {
    /// Runs one cargo, shows its output as it comes, and counts the results in it.
    fn add(
        &mut self,
        what: &'static str,
        mut command: Command,
        args: &Args,
        one_at_a_time: bool,
    ) -> Result<()> {
        println!("\n== {what}");
        command.args(&args.filter).arg("--");
        if one_at_a_time {
            command.arg("--test-threads=1");
        }
        if args.full {
            command.env(FULL_VARIABLE, "1");
        }
        // A test says what went wrong by itself; where in the test harness it did is noise.
        if env::var_os(LIBRARY_BACKTRACE).is_none() {
            command.env(LIBRARY_BACKTRACE, "0");
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let failed_before = self.failed;
        for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
            let line = line?;
            println!("{line}");
            self.count(&line);
            self.digest.read(&line);
        }
        if !child.wait()?.success() && self.failed == failed_before {
            self.broken.push(what);
        }
        Ok(())
    }

    /// Adds `test result: ok. 4 passed; 0 failed; 1 ignored; …`.
    fn count(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let result = result.split_once(". ").map_or(result, |(_, counts)| counts);
        for part in result.split("; ") {
            match part
                .split_once(' ')
                .map(|(number, what)| (number.parse::<u64>(), what))
            {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let mut tally = Tally::default();
        tally.count("test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.08s");
        tally.count(
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        tally.count("test something ... ok");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (6, 3, 1));
    }
}
