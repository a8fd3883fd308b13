//! One chosen process: who it is, what it executes, and where that lies in its memory.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::identity::AT_ENTRY;
use super::{Identity, Mapping, Memory, MemoryError, ProcessMemory, Still, TargetError, elf};

/// The one-byte instruction a uprobe puts in place of the first byte of its site (amd64).
const BREAKPOINT: u8 = 0xcc;

/// A process that can be observed.
#[derive(Debug)]
pub struct Process {
    /// Which life of which pid.
    pub identity: Identity,
    /// Its name (`comm`), at most 15 bytes.
    pub name: String,
    /// Path of its executable as its own mount namespace has it; ends in ` (deleted)` when unlinked.
    pub exe_path: PathBuf,
    /// The executable itself, also after its path was deleted or overwritten.
    pub exe: File,
    /// Where it is mapped.
    pub mapping: Mapping,
    /// Its memory.
    pub memory: ProcessMemory,
}

/// What stands in memory where a probe is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeCheck {
    /// What the file says.
    Same,
    /// What the file says, but for a breakpoint in front: somebody has a probe there already.
    Probed,
    /// Something else: no probe may go there.
    Different,
}

/// How often a process in the middle of an exec is looked at again, and how long between.
const ATTEMPTS: u32 = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(2);

impl Process {
    /// Looks at the process that has `pid` now, and makes sure that all that was seen belongs to one life of it.
    /// Waits up to 40 ms for one that is just being executed.
    ///
    /// # Errors
    /// See [`TargetError`]; never for a process that could be observed.
    pub fn open(pid: i32) -> Result<Self, TargetError> {
        for _ in 1..ATTEMPTS {
            match Self::look(pid) {
                Err(TargetError::Unsettled { .. }) => std::thread::sleep(BETWEEN_ATTEMPTS),
                settled => return settled,
            }
        }
        Self::look(pid)
    }

    fn look(pid: i32) -> Result<Self, TargetError> {
        let of_proc = |error| TargetError::of_proc(pid, error);
        let of_io = |error| TargetError::of_io(pid, error);
        let process = procfs::process::Process::new(pid).map_err(of_proc)?;
        let identity = Identity::of_process(&process)?;
        let exe = File::open(format!("/proc/{pid}/exe")).map_err(of_io)?;
        let exe_path = process.exe().map_err(of_proc)?;
        let name = process.stat().map_err(of_proc)?.comm;
        let file_entry = elf::entry(&exe)
            .map_err(of_io)?
            .ok_or(TargetError::NotElf { pid })?;
        let live_entry = process
            .auxv()
            .map_err(of_proc)?
            .get(&AT_ENTRY)
            .copied()
            .ok_or(TargetError::Unsettled { pid })?;
        let maps = process.maps().map_err(of_proc)?.0;
        let mapping = Mapping::of(&maps, identity.exe, &exe_path, (file_entry, live_entry));
        // An exec in the middle of this gives parts of two lives.
        match identity.check() {
            Still::Same => {}
            Still::Replaced => return Err(TargetError::Unsettled { pid }),
            Still::Ended => return Err(TargetError::Ended { pid }),
        }
        Ok(Self {
            identity,
            name,
            exe_path,
            exe,
            mapping: mapping.ok_or(TargetError::NotMapped { pid })?,
            memory: ProcessMemory::new(pid),
        })
    }

    /// Compares the code at `vaddr`, an address as the executable has it, with the bytes that were planned on.
    ///
    /// # Errors
    /// The memory cannot be read.
    pub fn check_code(&self, vaddr: u64, expected: &[u8]) -> Result<CodeCheck, MemoryError> {
        let addr = vaddr.wrapping_add(self.mapping.bias);
        let live = self.memory.read_bytes(addr, expected.len())?;
        if live == expected {
            return Ok(CodeCheck::Same);
        }
        let same_tail = live.get(1..) == expected.get(1..);
        Ok(if live.first() == Some(&BREAKPOINT) && same_tail {
            CodeCheck::Probed
        } else {
            CodeCheck::Different
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::FileExt as _;
    use std::process::Command;

    use super::{CodeCheck, Process};
    use crate::target::TargetError;

    #[test]
    fn own_code_is_where_the_file_says() {
        let own = Process::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let code = own.mapping.segments.iter().find(|s| s.code).unwrap();
        let mut bytes = [0; 64];
        own.exe.read_exact_at(&mut bytes, code.file_offset).unwrap();
        assert_eq!(own.mapping.code_address(code.file_offset), Some(code.start));
        let vaddr = code.start.wrapping_sub(own.mapping.bias);
        assert_eq!(own.check_code(vaddr, &bytes), Ok(CodeCheck::Same));
        bytes[9] ^= 1;
        assert_eq!(own.check_code(vaddr, &bytes), Ok(CodeCheck::Different));
        assert_eq!(own.mapping.code_address(u64::MAX), None);
    }

    #[test]
    fn a_deleted_executable_is_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sleeper");
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut child = Command::new(&path).arg("60").spawn().unwrap();
        std::fs::remove_file(&path).unwrap();
        let process = Process::open(i32::try_from(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let mut process = process.unwrap();
        assert!(process.exe_path.to_string_lossy().ends_with("(deleted)"));
        let mut magic = [0; 4];
        process.exe.read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"\x7fELF");
    }

    #[test]
    fn what_cannot_be_chosen_says_why() {
        assert!(matches!(
            Process::open(i32::MAX),
            Err(TargetError::NoSuchProcess { pid: i32::MAX })
        ));
        // kthreadd, wherever this is the initial pid namespace.
        if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
            assert!(matches!(
                Process::open(2),
                Err(TargetError::KernelThread { pid: 2 })
            ));
        }
    }
}
