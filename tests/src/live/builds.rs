//! Which builds of a program a case runs on.

use std::env;

use anyhow::{Result, bail};

use crate::{
    go::{FULL_VARIABLE, versions, versions_from},
    target::Flavor,
};

/// Runs a case with every Go version that is tested now, as the compiler makes it; reports all that fail.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_version(case: impl Fn(&'static str, Flavor) -> Result<()>) -> Result<()> {
    on_each(versions().iter().copied(), &[Flavor::Plain], case)
}

/// The same, but for versions before this minor one.
///
/// # Errors
/// Those of the case, each with its version.
pub fn on_each_version_from(
    minor: u32,
    case: impl Fn(&'static str, Flavor) -> Result<()>,
) -> Result<()> {
    on_each(versions_from(minor), &[Flavor::Plain], case)
}

/// Runs a case with every Go version that is tested now, plain and stripped; where all versions are tested, also
/// stripped and position independent.
///
/// # Errors
/// Those of the case, each with its build.
pub fn on_each_build(case: impl Fn(&'static str, Flavor) -> Result<()>) -> Result<()> {
    if env::var_os(FULL_VARIABLE).is_some() {
        on_each(
            versions().iter().copied(),
            &[Flavor::Plain, Flavor::Stripped, Flavor::PieStripped],
            case,
        )
    } else {
        on_each(
            versions().iter().copied(),
            &[Flavor::Plain, Flavor::Stripped],
            case,
        )
    }
}

fn on_each(
    versions: impl Iterator<Item = &'static str>,
    flavors: &[Flavor],
    case: impl Fn(&'static str, Flavor) -> Result<()>,
) -> Result<()> {
    let mut failures = Vec::new();
    for go in versions {
        for &flavor in flavors {
            if let Err(error) = case(go, flavor) {
                failures.push(format!("==== go{go} {flavor:?}: {error:#}"));
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} builds fail\n{}", failures.len(), failures.join("\n\n"))
}
