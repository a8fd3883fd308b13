//! Which file an executable is, and where a process has it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use procfs::process::{MMPermissions, MMapPath, MemoryMap};

/// One file, whatever its paths: what is executed keeps it even when deleted or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device, as `stat` numbers it.
    pub device: u64,
    /// Inode on it.
    pub inode: u64,
}

impl FileId {
    /// The identity in what `stat` said.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// One mapped stretch of the executable file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Where `start` lies in the file.
    pub file_offset: u64,
    /// It may be executed.
    pub code: bool,
}

/// How a process maps its executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// What to add to an address of the executable to get the one at run time; 0 unless position independent.
    pub bias: u64,
    /// All stretches of the file, ascending.
    pub segments: Vec<Segment>,
}

impl Mapping {
    /// Puts the mapping together. `exe_path` is what `/proc/PID/exe` says, `entries` the entry point in the file
    /// and at run time. `None` where no executable stretch of the file holds the entry point.
    pub(super) fn of(
        maps: &[MemoryMap],
        exe: FileId,
        exe_path: &std::path::Path,
        (file_entry, live_entry): (u64, u64),
    ) -> Option<Self> {
        let is_exe = |map: &MemoryMap| {
            // Overlay and btrfs show another device here than `stat` does, so the path may stand in for it.
            let same_path = matches!(&map.pathname, MMapPath::Path(path) if path == exe_path);
            map.inode == exe.inode && (same_path || device_of(map.dev) == Some(exe.device))
        };
        let segments: Vec<Segment> = maps
            .iter()
            .filter(|map| is_exe(map))
            .map(|map| Segment {
                start: map.address.0,
                end: map.address.1,
                file_offset: map.offset,
                code: map.perms.contains(MMPermissions::EXECUTE),
            })
            .collect();
        segments
            .iter()
            .any(|segment| segment.code && (segment.start..segment.end).contains(&live_entry))
            .then(|| Self {
                bias: live_entry.wrapping_sub(file_entry),
                segments,
            })
    }

    /// Where a byte of the file's code is at run time; `None` if that byte is not mapped as code.
    #[must_use]
    pub fn code_address(&self, file_offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .filter(|segment| segment.code)
            .find_map(|segment| {
                let into = file_offset.checked_sub(segment.file_offset)?;
                let addr = segment.start.checked_add(into)?;
                (addr < segment.end).then_some(addr)
            })
    }
}

fn device_of((major, minor): (i32, i32)) -> Option<u64> {
    Some(libc::makedev(
        u32::try_from(major).ok()?,
        u32::try_from(minor).ok()?,
    ))
}
