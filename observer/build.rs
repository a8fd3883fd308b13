//! Embeds the eBPF object, for `src/probe/object.rs`.
//!
//! With a BPF toolchain the object always matches the sources. Without one, a release fails; anything else gets an
//! empty stub, which refuses to run.

use std::{env, error::Error, fs, path::Path};

#[path = "../xtask/src/ebpf/mod.rs"]
mod ebpf;

const HINT: &str = "hint: run `cargo xtask setup`, which installs what building for BPF needs";

fn main() -> Result<(), Box<dyn Error>> {
    let here = env::var("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&here)
        .parent()
        .ok_or("observer/ has no parent folder")?;
    let embedded = Path::new(&env::var("OUT_DIR")?).join("observer-ebpf.o");

    let existing = ebpf::sources::SOURCES
        .into_iter()
        .filter(|source| root.join(source).exists());
    for source in existing.chain(["xtask/src/ebpf"]) {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }

    let sources_sha256 = match ebpf::build::ensure(root, false) {
        Ok(object) => {
            fs::copy(object.path, &embedded)?;
            object.sources_sha256
        }
        Err(error @ ebpf::build::Error::NoToolchain(_)) => {
            // Profiles that inherit from release, bench included, say "release" here.
            if env::var("PROFILE")? == "release" {
                println!("cargo::error={error}");
                println!("cargo::error={HINT}");
                return Ok(());
            }
            println!("cargo::warning={error}; this build cannot attach to anything ({HINT})");
            fs::write(&embedded, "")?;
            // Setting up or building the object later changes this file, so cargo runs this script again.
            let hash_file = ebpf::build::hash_file(root);
            fs::write(&hash_file, ebpf::build::STUB)?;
            println!("cargo::rerun-if-changed={}", hash_file.display());
            String::new()
        }
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            return Ok(());
        }
    };
    println!("cargo::rustc-env=OBSERVER_EBPF_SOURCES_SHA256={sources_sha256}");
    Ok(())
}
