//! Go modules of `tests/targets/`: which one a program belongs to, and which of its `go.mod` files a Go version takes.
//!
//! A module that needs other people's code has a file for each generation of it: `go.mod` is for the oldest Go that
//! can build the programs at all, `go1.25.mod` (with `go1.25.sum`) for Go 1.25 and newer.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// The module of one program, as one Go version sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Where its `go.mod` is.
    pub(crate) root: PathBuf,
    /// The file that counts in place of `go.mod`.
    generation: Option<String>,
}

impl Module {
    /// The module of a package below `sources`, which is a module itself.
    pub(crate) fn of(sources: &Path, package: &Path, go_version: &str) -> Result<Self> {
        let root = package
            .ancestors()
            .take_while(|folder| folder.starts_with(sources))
            .find(|folder| Self::begins_at(folder))
            .with_context(|| format!("no go.mod above {}", package.display()))?;
        let minor = minor(go_version).with_context(|| format!("no Go version: {go_version}"))?;
        let mut generations = Vec::new();
        for entry in fs::read_dir(root).with_context(|| root.display().to_string())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            generations.extend(first_minor(&name).map(|first| (first, name)));
        }
        let newest = generations
            .into_iter()
            .filter(|(first, _)| *first <= minor)
            .max();
        Ok(Self {
            root: root.to_owned(),
            generation: newest.map(|(_, name)| name),
        })
    }

    /// The same with another of its files: `go.mod`, or one such as `go1.25.mod`.
    pub(crate) fn taking(self, file: &str) -> Result<Self> {
        let path = self.root.join(file);
        ensure!(path.is_file(), "{} is no file", path.display());
        let generation = (file != "go.mod").then(|| file.to_owned());
        Ok(Self { generation, ..self })
    }

    /// Whether a folder is the root of a module.
    pub(crate) fn begins_at(folder: &Path) -> bool {
        folder.join("go.mod").is_file()
    }

    /// The folders that its programs are made of: its own, and `sources`, whose packages every module may use.
    pub(crate) fn sources<'a>(&'a self, sources: &'a Path) -> impl Iterator<Item = &'a Path> {
        let own = Some(self.root.as_path()).filter(|root| *root != sources);
        [sources].into_iter().chain(own)
    }

    /// What tells Go which file to take.
    pub(crate) fn flag(&self) -> Option<String> {
        let file = self.generation.as_ref()?;
        Some(format!("-modfile={file}"))
    }

    /// A package of the module as an argument to Go.
    pub(crate) fn package(&self, folder: &Path) -> Result<OsString> {
        Ok(Path::new(".").join(folder.strip_prefix(&self.root)?).into())
    }
}

/// `1.24.11` → 24
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.split('.').next()?.parse().ok()
}

/// `go1.25.mod` → 25
fn first_minor(file: &str) -> Option<u32> {
    minor(file.strip_prefix("go")?.strip_suffix(".mod")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_takes_the_newest_generation_that_it_reaches() {
        let folder = tempfile::tempdir().unwrap();
        let (sources, own) = (folder.path(), folder.path().join("modules/two"));
        fs::create_dir_all(own.join("cmd")).unwrap();
        for file in ["go.mod", "go.sum", "go1.9.mod", "go1.25.mod", "go1.26.mod"] {
            fs::write(own.join(file), "").unwrap();
        }
        fs::write(sources.join("go.mod"), "").unwrap();
        fs::create_dir(sources.join("plain")).unwrap();
        let flag = |version| {
            let module = Module::of(sources, &own.join("cmd"), version).unwrap();
            assert_eq!(module.root, own);
            assert_eq!(module.package(&own.join("cmd")).unwrap(), "./cmd");
            assert!(module.sources(sources).eq([sources, &own]));
            module.flag().unwrap()
        };
        assert_eq!(flag("1.24.11"), "-modfile=go1.9.mod");
        assert_eq!(flag("1.25.8"), "-modfile=go1.25.mod");
        assert_eq!(flag("1.30.0"), "-modfile=go1.26.mod");
        let taking = |file| {
            let module = Module::of(sources, &own.join("cmd"), "1.30.0").unwrap();
            module.taking(file).map(|module| module.flag())
        };
        assert_eq!(taking("go.mod").unwrap(), None);
        let flag = taking("go1.9.mod").unwrap();
        assert_eq!(flag.as_deref(), Some("-modfile=go1.9.mod"));
        assert!(taking("go1.10.mod").is_err());
        let plain = Module::of(sources, &sources.join("plain"), "1.27.3").unwrap();
        assert_eq!((plain.flag(), &*plain.root), (None, sources));
        assert!(plain.sources(sources).eq([sources]));
        assert!(Module::of(&own.join("cmd"), &own.join("cmd"), "1.27.3").is_err());
    }
}
