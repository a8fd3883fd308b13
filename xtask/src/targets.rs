//! `cargo xtask targets`: builds the Go programs of the live tests ahead of time.

use anyhow::Result;
use observer_tests::{
    go::{CI_VERSIONS, VERSIONS, workspace_root},
    target::{Flavor, build_target},
};

use crate::setup;

/// The programs in `tests/targets/` that live tests start.
const PROGRAMS: &[&str] = &[
    "shop/front",
    "shop/store",
    "chain/budget",
    "chain/front",
    "chain/store",
    "chain/tier",
    "rules4",
    "deadlines",
    "dials",
    "leaks",
    "behind",
    "surge",
    "cancelers",
    "healthy",
    "bench",
    "execs",
    "fresh",
    "undelivered",
    "ids",
    "modules/routers",
    "client",
    "modules/sql",
    "modules/grpc/server",
    "modules/grpc/client",
    "calls",
    "modules/http2/calls",
];

/// Build the Go programs that the live tests observe
#[derive(clap::Args)]
pub struct Args {
    /// With every Go version, not only with those of `.ci/run`
    #[arg(long)]
    pub full: bool,
}

/// Builds every program plain and stripped with each version; what is there already costs nothing.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure_go()?;
    let versions: &[&str] = if args.full { &VERSIONS } else { &CI_VERSIONS };
    let sources = workspace_root().join("tests/targets");
    for program in PROGRAMS
        .iter()
        .filter(|program| sources.join(program).is_dir())
    {
        for version in versions {
            for flavor in [Flavor::Plain, Flavor::Stripped] {
                let executable = build_target(program, version, flavor)?;
                println!("targets: {}", executable.display());
            }
        }
    }
    Ok(())
}
