//! `cargo xtask generate`: everything that is checked in but made by a program.

use anyhow::{Context, Result};

use crate::offsets;

/// A generator: its name and what it does.
type Generator = (&'static str, fn() -> Result<()>);

/// All generators, in the order in which they run. Those that need the observer binary run it with `cargo run`, so that
/// xtask itself never needs observer to compile.
const GENERATORS: [Generator; 1] = [("offsets", offsets::all)];

/// Make again everything that is checked in but generated
#[derive(clap::Args)]
pub struct Args {
    /// Run only the generators whose name contains this
    filter: Option<String>,
}

/// Runs all generators, or those asked for.
pub fn run(args: &Args) -> Result<()> {
    let wanted = |name: &str| {
        args.filter
            .as_deref()
            .is_none_or(|filter| name.contains(filter))
    };
    for (name, generator) in GENERATORS.into_iter().filter(|(name, _)| wanted(name)) {
        println!("generate: {name}");
        generator().with_context(|| format!("generator `{name}`"))?;
    }
    Ok(())
}
