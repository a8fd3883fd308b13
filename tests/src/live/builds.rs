//! Which builds of a program a case runs on.

use std::{
    env, panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Result, bail, ensure};

use super::stalls::undisturbed;
use crate::{
    go::{CI_VERSIONS, FULL_VARIABLE, versions, versions_from},
    target::Flavor,
};

/// How many builds run at once. Most of a case is waiting, and two cores do what is left of three.
const SIDE_BY_SIDE: usize = 3;

/// Runs a case with every Go version that is tested now, as the compiler makes it; reports all that fail.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_version(case: impl Fn(&'static str, Flavor) -> Result<()> + Sync) -> Result<()> {
    on_each(versions().iter().copied(), &[Flavor::Plain], case)
}

/// The same, but for versions before this minor one.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_version_from(
    minor: u32,
    case: impl Fn(&'static str, Flavor) -> Result<()> + Sync,
) -> Result<()> {
    on_each(versions_from(minor), &[Flavor::Plain], case)
}

/// Runs a case with every Go version that is tested now, plain and stripped; where all versions are tested, also
/// stripped and position independent.
///
/// # Errors
/// Those of the case, each with its build.
pub fn on_each_build(case: impl Fn(&'static str, Flavor) -> Result<()> + Sync) -> Result<()> {
    on_each(versions().iter().copied(), flavors(), case)
}

/// Runs a case without optimisation: with the newest Go version, where all versions are tested with each of `.ci/run`.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_unoptimised(case: impl Fn(&'static str, Flavor) -> Result<()> + Sync) -> Result<()> {
    let skipped = if env::var_os(FULL_VARIABLE).is_some() {
        0
    } else {
        CI_VERSIONS.len() - 1
    };
    let versions = CI_VERSIONS.into_iter().skip(skipped);
    on_each(versions, &[Flavor::Unoptimised], case)
}

/// The same as [`on_each_build`], one after the other: for cases whose times a second one beside them would spoil.
///
/// # Errors
/// Those of the case, each with its build.
pub fn on_each_build_in_turn(
    case: impl Fn(&'static str, Flavor) -> Result<()> + Sync,
) -> Result<()> {
    let mut failures = Vec::new();
    for go in versions() {
        for flavor in flavors() {
            if let Err(error) = on_each([*go].into_iter(), &[*flavor], &case) {
                failures.push(format!("{error:#}"));
            }
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn flavors() -> &'static [Flavor] {
    if env::var_os(FULL_VARIABLE).is_some() {
        &[Flavor::Plain, Flavor::Stripped, Flavor::PieStripped]
    } else {
        &[Flavor::Plain, Flavor::Stripped]
    }
}

fn on_each(
    versions: impl Iterator<Item = &'static str>,
    flavors: &[Flavor],
    case: impl Fn(&'static str, Flavor) -> Result<()> + Sync,
) -> Result<()> {
    let builds: Vec<_> = versions
        .flat_map(|go| flavors.iter().map(move |&flavor| (go, flavor)))
        .collect();
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut failures = Vec::new();
        while let Some(&(go, flavor)) = builds.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = undisturbed(|| case(go, flavor)) {
                failures.push(format!("==== go{go} {flavor:?}: {error:#}"));
            }
        }
        failures
    };
    let failures = thread::scope(|scope| {
        let lanes: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(lane)).collect();
        let ended = lanes.into_iter().map(|lane| lane.join());
        ended
            .flat_map(|failures| failures.unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
            .collect::<Vec<_>>()
    });
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} builds fail\n{}", failures.len(), failures.join("\n\n"))
}
