//! What the linker wrote about the build: version, module, settings.
//!
//! Owns no addresses; the text between the build-info marks is copied out once.

use gobin::formats::BinaryContext;
use gobin::structures::buildinfo;
use rustc_hash::FxHashMap;

use super::bytes;
use super::elf::Elf;
use super::error::ImageError;
use crate::go::version::GoVersion;

/// Oldest Go whose insides observer knows.
const OLDEST_MINOR: u32 = 18;

/// Real build infos are a few kilobytes; a larger section is searched no further than this.
const MAX_BUILD_INFO: u64 = 4 << 20;

/// Build facts of one executable.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) version: GoVersion,
    pub(super) module: String,
    pub(super) main_package: String,
    pub(super) own_modules: Vec<String>,
    settings: FxHashMap<String, String>,
    dependencies: FxHashMap<String, String>,
}

impl Build {
    /// Reads the build info out of its section.
    pub(super) fn read(elf: &Elf, data: &[u8]) -> Result<Self, ImageError> {
        let section = [".go.buildinfo", ".data"]
            .iter()
            .find_map(|name| elf.section(name))
            .ok_or(ImageError::NotGo {
                why: "no build info",
            })?;
        let text = bytes::slice(data, section.offset, section.size.min(MAX_BUILD_INFO))
            .ok_or(ImageError::Truncated { what: "build info" })?;
        // Given only the section, the parser has nothing else to walk through.
        let info = buildinfo::extract(&BinaryContext::new(text)).ok_or(ImageError::NotGo {
            why: "no build info",
        })?;
        let version = info
            .go_version
            .and_then(GoVersion::parse)
            .ok_or(ImageError::NoVersion)?;
        if version.minor < OLDEST_MINOR {
            return Err(ImageError::TooOld {
                version: version.raw,
            });
        }
        let module = info.main_module.unwrap_or_default().to_owned();
        let local = info.deps.iter().filter(|dep| {
            dep.replacement
                .as_ref()
                .is_some_and(|to| is_local_path(to.path))
        });
        // Of a replaced module the version says nothing.
        let dependencies = info
            .deps
            .iter()
            .filter(|dep| dep.replacement.is_none())
            .filter_map(|dep| Some((dep.path.to_owned(), dep.version?.to_owned())))
            .collect();
        Ok(Self {
            version,
            dependencies,
            own_modules: std::iter::once(module.as_str())
                .filter(|name| !name.is_empty())
                .chain(local.map(|dep| dep.path))
                .map(str::to_owned)
                .collect(),
            module,
            main_package: info.main_path.unwrap_or_default().to_owned(),
            settings: info
                .build_settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    pub(super) fn dependency(&self, path: &str) -> Option<&str> {
        self.dependencies.get(path).map(String::as_str)
    }

    /// Whether hot functions may have been inlined that are too long for it: the build followed a profile, or does not
    /// say how it was made.
    pub(super) fn may_inline_hot(&self) -> bool {
        let profile = self.setting("-pgo").unwrap_or("off");
        self.settings.is_empty() || !["", "off"].contains(&profile)
    }

    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }
}

/// A `replace` target that is a folder: the go command requires it to begin so.
fn is_local_path(path: &str) -> bool {
    ["./", "../", "/"]
        .iter()
        .any(|start| path.starts_with(start))
}
