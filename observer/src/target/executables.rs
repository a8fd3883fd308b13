//! Which executables are Go: each is looked into once, however many processes come and go with it.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use super::{FileId, elf};

/// Executables remembered; beyond it all are forgotten and looked into anew.
const REMEMBERED: usize = 8_192;

/// A file in one state of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Content {
    file: FileId,
    modified_s: i64,
    modified_ns: i64,
}

/// What was seen of executables.
#[derive(Debug, Default)]
pub struct Executables {
    is_go: HashMap<Content, bool>,
}

impl Executables {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the file of which `stat` said `metadata` is Go, where that is known.
    #[must_use]
    pub fn known(&self, metadata: &Metadata) -> Option<bool> {
        self.is_go.get(&content(metadata)).copied()
    }

    /// Looks into a file, and remembers.
    ///
    /// # Errors
    /// It cannot be read; then nothing is remembered.
    pub fn look_into(&mut self, file: &File) -> io::Result<bool> {
        let is_go = elf::is_go(file)?;
        if self.is_go.len() >= REMEMBERED {
            self.is_go.clear();
        }
        self.is_go.insert(content(&file.metadata()?), is_go);
        Ok(is_go)
    }
}

fn content(metadata: &Metadata) -> Content {
    Content {
        file: FileId::of(metadata),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::Executables;

    #[test]
    fn a_file_is_known_until_its_content_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::copy("/bin/sleep", &path).unwrap();
        let mut executables = Executables::new();
        assert_eq!(executables.known(&fs::metadata(&path).unwrap()), None);
        assert!(!executables.look_into(&File::open(&path).unwrap()).unwrap());
        assert_eq!(
            executables.known(&fs::metadata(&path).unwrap()),
            Some(false)
        );
        let later =
            fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_nanos(1);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(executables.known(&fs::metadata(&path).unwrap()), None);
    }
}
