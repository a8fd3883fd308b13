//! `cargo xtask build-ebpf`: the programs that run in the kernel.

use anyhow::{Context, Result};

use crate::{ebpf::build, setup, workspace};

/// Build the eBPF object into `target/bpf`, unless it is there for these very sources
#[derive(clap::Args, Default)]
pub struct Args {
    /// Build even when the object matches the sources
    #[arg(long)]
    force: bool,
}

/// Builds the object, after installing the toolchain where it is missing.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure_bpf()?;
    let object = build::ensure(&workspace::root(), args.force)?;
    let size = std::fs::metadata(&object.path)
        .with_context(|| object.path.display().to_string())?
        .len();
    println!(
        "build-ebpf: {} ({size} bytes, sources {:.12})",
        object.path.display(),
        object.sources_sha256
    );
    Ok(())
}
