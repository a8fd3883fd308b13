//! Recordings that are checked in: where they are, how they are packed, what of a run they must reproduce.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Result;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use crate::go::workspace_root;

/// The folder of recordings and goldens.
#[must_use]
pub fn folder() -> PathBuf {
    workspace_root().join("tests/recordings")
}

/// The `finding` and `update` lines of JSON output: what a replay must give again.
#[must_use]
pub fn found(json: &str) -> String {
    json.lines()
        .filter(|line| {
            line.contains("\"type\":\"finding\"") || line.contains("\"type\":\"update\"")
        })
        .fold(String::new(), |lines, line| lines + line + "\n")
}

/// Packs a recording.
///
/// # Errors
/// When a file cannot be read or written.
pub fn pack(recording: &Path, packed: &Path) -> Result<()> {
    let mut encoder = GzEncoder::new(File::create(packed)?, Compression::best());
    encoder.write_all(&fs::read(recording)?)?;
    encoder.finish()?;
    Ok(())
}

/// Unpacks a recording.
///
/// # Errors
/// When a file cannot be read or written, or is damaged.
pub fn unpack(packed: &Path, recording: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(packed)?).read_to_end(&mut bytes)?;
    fs::write(recording, bytes)?;
    Ok(())
}
