//! Which builds of a program a case runs on.

use std::{
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Result, bail, ensure};

use super::stalls::undisturbed;
use crate::{
    go::{CI_VERSIONS, is_full, minor_of, versions, versions_from},
    target::Flavor,
};

/// A Go version and how the program is built with it.
type Build = (&'static str, Flavor);

/// How many builds run at once. Most of a case is waiting, and two cores do what is left of four.
const SIDE_BY_SIDE: usize = 4;

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

/// Runs a case with every Go version and with every flavour of [`on_each_build`], but not with each pair of them: one flavour a
/// version in turn, and the newest with all. Where all versions are tested, it is the same as [`on_each_build`].
///
/// # Errors
/// Those of the case, each with its build.
pub fn on_each_kind(case: impl Fn(&'static str, Flavor) -> Result<()> + Sync) -> Result<()> {
    on_builds(&kinds(), case)
}

/// The same, one after the other: for cases whose times a second one beside them would spoil.
///
/// # Errors
/// Those of the case, each with its build.
pub fn on_each_kind_in_turn(
    case: impl Fn(&'static str, Flavor) -> Result<()> + Sync,
) -> Result<()> {
    let mut failures = Vec::new();
    for build in kinds() {
        if let Err(error) = on_builds(&[build], &case) {
            failures.push(format!("{error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

fn kinds() -> Vec<Build> {
    let full = is_full();
    let newest = versions().len() - 1;
    let mut kinds = Vec::new();
    for (index, go) in versions().iter().enumerate() {
        let turn = index % flavors().len();
        for (flavor_index, flavor) in flavors().iter().enumerate() {
            if full || index == newest || flavor_index == turn {
                kinds.push((*go, *flavor));
            }
        }
    }
    kinds
}

/// Runs a case with other people's code that is older than the Go version would take: each of these files of a module with every
/// Go version between the two minor ones of it, where all versions are tested; else the first with the newest Go alone.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_older(
    generations: &[(&'static str, u32, u32)],
    case: impl Fn(&'static str, &'static str) -> Result<()> + Sync,
) -> Result<()> {
    let full = is_full();
    let mut failures = Vec::new();
    for (file, from, to) in generations {
        let within = |go: &&str| minor_of(go).is_some_and(|minor| (*from..=*to).contains(&minor));
        let fitting: Vec<_> = versions().iter().copied().filter(within).collect();
        let newest = fitting.len().saturating_sub(1);
        let skipped = if full { 0 } else { newest };
        let case = |go, _| case(file, go);
        if let Err(error) = on_each(fitting.into_iter().skip(skipped), &[Flavor::Plain], case) {
            failures.push(format!("{file}: {error:#}"));
        }
        if !full {
            break;
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

/// Runs a case without optimisation: with the newest Go version, where all versions are tested with each of `.ci/run`.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_unoptimised(case: impl Fn(&'static str, Flavor) -> Result<()> + Sync) -> Result<()> {
    let skipped = if is_full() { 0 } else { CI_VERSIONS.len() - 1 };
    let versions = CI_VERSIONS.into_iter().skip(skipped);
    on_each(versions, &[Flavor::Unoptimised], case)
}

fn flavors() -> &'static [Flavor] {
    if is_full() {
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
    on_builds(&builds, case)
}

fn on_builds(
    builds: &[Build],
    case: impl Fn(&'static str, Flavor) -> Result<()> + Sync,
) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_and_every_flavour_is_among_the_kinds() {
        let kinds = kinds();
        for go in versions() {
            assert!(kinds.iter().any(|(of, _)| of == go), "{go}");
        }
        for flavor in flavors() {
            assert!(kinds.iter().any(|(_, of)| of == flavor), "{flavor:?}");
        }
    }
}
