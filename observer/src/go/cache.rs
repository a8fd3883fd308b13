//! Opened executables, shared by the processes that run them.
//!
//! Holds what it was asked for until told otherwise; decides nothing about when to open.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::image::{Image, ImageError};

/// Most executables kept at once; past it, those that nobody uses are dropped.
const MAX_IMAGES: usize = 64;

/// Images by the identity of their file.
///
/// The build id alone would join two builds that were given the same one by hand, so a file is
/// the same only while device, inode, size and modification time are, or when a copy (another
/// container's layer) agrees in build id and size.
#[derive(Debug, Default)]
pub struct ImageCache {
    images: Mutex<FxHashMap<FileId, Arc<Image>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl ImageCache {
    /// The image of an open file, understood only the first time.
    ///
    /// # Errors
    /// See [`ImageError`]. Failures are not kept: a file may be complete the next time.
    pub fn get(&self, file: &File) -> Result<Arc<Image>, ImageError> {
        let metadata = file.metadata()?;
        let id = FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        };
        if let Some(known) = self.lock().get(&id) {
            return Ok(Arc::clone(known));
        }
        // Opened without the lock: one large executable must not hold up the others.
        let opened = Arc::new(Image::open(file)?);
        let mut images = self.lock();
        if images.len() >= MAX_IMAGES {
            images.retain(|_, image| Arc::strong_count(image) > 1);
        }
        let same = images
            .values()
            .find(|known| is_copy(known, &opened))
            .cloned()
            .unwrap_or(opened);
        Ok(Arc::clone(images.entry(id).or_insert(same)))
    }

    /// Lets go of the files that nobody uses.
    pub fn forget_unused(&self) {
        self.lock().retain(|_, image| Arc::strong_count(image) > 1);
    }

    /// Number of distinct files known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no file is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FxHashMap<FileId, Arc<Image>>> {
        // The map is whole between any two of its operations.
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Go's build id covers the contents of the binary; a hand-made one may be empty.
fn is_copy(a: &Image, b: &Image) -> bool {
    !a.build_id().is_empty() && a.build_id() == b.build_id() && a.file_size() == b.file_size()
}
