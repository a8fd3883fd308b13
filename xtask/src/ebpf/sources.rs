//! What the eBPF object is made of, and the hash that names one state of it.
//!
//! Also compiled into the test which proves that the embedded object matches the sources.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Raise this when the way of building changes: the same sources then count as changed.
const RECIPE_VERSION: &str = "2";

/// Files and folders that decide what is in the object, relative to the workspace root; those that do not exist are
/// left out.
pub const SOURCES: [&str; 7] = [
    "observer-ebpf/.cargo",
    "observer-ebpf/Cargo.lock",
    "observer-ebpf/Cargo.toml",
    "observer-ebpf/build.rs",
    "observer-ebpf/src",
    "observer-common/Cargo.toml",
    "observer-common/src",
];

/// The SHA-256, in lower-case hex, of all sources' paths and contents and of the recipe's version.
///
/// # Errors
/// When a source cannot be read.
pub fn hash(root: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    digest.update(RECIPE_VERSION);
    for source in SOURCES {
        let path = root.join(source);
        if path.exists() {
            add(&mut digest, root, &path)?;
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn add(digest: &mut Sha256, root: &Path, path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        entries.sort();
        return entries
            .iter()
            .try_for_each(|entry| add(digest, root, entry));
    }
    let name = path
        .strip_prefix(root)
        .unwrap_or(path)
        .as_os_str()
        .as_encoded_bytes();
    let content = fs::read(path)?;
    // The lengths keep two neighbours from being taken for one.
    for part in [name, &content] {
        digest.update(part.len().to_string());
        digest.update([0]);
        digest.update(part);
    }
    Ok(())
}
