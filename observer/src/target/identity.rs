//! Is this still the process that was meant?
//!
//! A pid is reused after exit, and survives an exec that replaces everything else. Owns the marks by which
//! both are noticed, and the notice of exit.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{FileId, TargetError};

/// `AT_ENTRY` (include/uapi/linux/auxvec.h): entry point of the executable.
pub(super) const AT_ENTRY: u64 = 9;
/// Addresses that an exec lays out anew: `AT_PHDR`, `AT_BASE`, `AT_ENTRY`, `AT_RANDOM`, `AT_EXECFN`,
/// `AT_SYSINFO_EHDR` (the same header).
const LAID_OUT_BY_EXEC: [u64; 6] = [3, 7, AT_ENTRY, 25, 31, 33];

/// One life of one process.
///
/// Of an exec of the very same file under switched-off address randomisation nothing can be seen here: there
/// every mark is the same again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its pid, in observer's own pid namespace.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The file it executes.
    pub exe: FileId,
    /// Where the kernel put things when it was executed.
    layout: [u64; LAID_OUT_BY_EXEC.len()],
}

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Still {
    /// It is the same.
    Same,
    /// It executes something else now, or the same anew, or is about to: nothing known of its memory holds.
    Replaced,
    /// It has ended; its pid may already be another's.
    Ended,
}

impl Identity {
    /// Identity of the process that has `pid` now.
    ///
    /// # Errors
    /// There is none, it is a kernel thread or has ended, it may not be looked at, or it is in the middle of an
    /// exec.
    pub fn of(pid: i32) -> Result<Self, TargetError> {
        let process =
            procfs::process::Process::new(pid).map_err(|error| TargetError::of_proc(pid, error))?;
        Self::of_process(&process)
    }

    pub(super) fn of_process(process: &procfs::process::Process) -> Result<Self, TargetError> {
        let pid = process.pid();
        let of_proc = |error| TargetError::of_proc(pid, error);
        let stat = process.stat().map_err(of_proc)?;
        if matches!(stat.state, 'Z' | 'X' | 'x') {
            return Err(TargetError::Ended { pid });
        }
        if stat.flags & libc_pf::KTHREAD != 0 {
            return Err(TargetError::KernelThread { pid });
        }
        let metadata = std::fs::metadata(format!("/proc/{pid}/exe"))
            .map_err(|error| TargetError::of_io(pid, error))?;
        let auxv = process.auxv().map_err(of_proc)?;
        if auxv.is_empty() {
            // The kernel shows none until an exec has laid the new memory out, and none once the process has
            // let go of it.
            return Err(TargetError::Unsettled { pid });
        }
        Ok(Self {
            pid,
            start_ticks: stat.starttime,
            exe: FileId::of(&metadata),
            layout: LAID_OUT_BY_EXEC.map(|key| auxv.get(&key).copied().unwrap_or(0)),
        })
    }

    /// What became of the process since.
    #[must_use]
    pub fn check(&self) -> Still {
        match Self::of(self.pid) {
            Ok(now) if now == *self => Still::Same,
            Ok(now) if now.start_ticks == self.start_ticks => Still::Replaced,
            Err(TargetError::Unsettled { .. }) => Still::Replaced,
            _ => Still::Ended,
        }
    }

    /// Whether memory read a moment ago was this process'.
    #[must_use]
    pub fn still_same(&self) -> bool {
        self.check() == Still::Same
    }
}

/// Kernel flags of a task that libc does not name.
mod libc_pf {
    /// `PF_KTHREAD` (include/linux/sched.h).
    pub(super) const KTHREAD: u32 = 0x0020_0000;
}

/// Becomes readable when the process ends: made for `tokio`'s `AsyncFd`.
#[derive(Debug)]
pub struct ExitNotice {
    fd: OwnedFd,
}

impl ExitNotice {
    /// Asks for notice of the end of the process that `identity` names.
    ///
    /// # Errors
    /// It has ended already, or the kernel gives no pidfd.
    pub fn of(identity: &Identity) -> Result<Self, TargetError> {
        let pid = identity.pid;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let raw = RawFd::try_from(raw).unwrap_or(-1);
        if raw < 0 {
            return Err(TargetError::of_io(pid, std::io::Error::last_os_error()));
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        // The pid may have changed hands just before: then the notice would be about a stranger.
        if identity.check() == Still::Ended {
            return Err(TargetError::Ended { pid });
        }
        Ok(Self { fd })
    }

    /// Whether it has ended. Never waits.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for ExitNotice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ExitNotice {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<ExitNotice> for OwnedFd {
    fn from(notice: ExitNotice) -> Self {
        notice.fd
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{ExitNotice, Identity, Still};
    use crate::target::TargetError;

    fn pid_of(child: &std::process::Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    /// Identity of a child that may still be in its exec.
    fn settled(pid: i32) -> Identity {
        loop {
            match Identity::of(pid) {
                Err(TargetError::Unsettled { .. }) => std::thread::yield_now(),
                settled => return settled.unwrap(),
            }
        }
    }

    #[test]
    fn own_process_stays_the_same() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.still_same());
        assert!(!ExitNotice::of(&own).unwrap().has_ended());
    }

    #[test]
    fn an_end_is_noticed_also_before_the_parent_does() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = settled(pid_of(&child));
        let notice = ExitNotice::of(&identity).unwrap();
        child.kill().unwrap();
        while !notice.has_ended() {
            std::thread::yield_now();
        }
        assert_eq!(identity.check(), Still::Ended);
        assert!(matches!(
            Identity::of(identity.pid),
            Err(TargetError::Ended { .. })
        ));
        child.wait().unwrap();
        assert_eq!(identity.check(), Still::Ended);
        assert!(ExitNotice::of(&identity).is_err());
        assert!(matches!(
            Identity::of(identity.pid),
            Err(TargetError::NoSuchProcess { .. })
        ));
    }

    #[test]
    fn an_exec_of_the_same_file_is_noticed() {
        let mut child = Command::new("sh")
            .args(["-c", "read a; exec sh -c 'read b; exit'"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = pid_of(&child);
        let identity = settled(pid);
        assert_eq!(identity.check(), Still::Same);
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"go\n").unwrap();
        while identity.check() == Still::Same {
            std::thread::yield_now();
        }
        assert_eq!(identity.check(), Still::Replaced);
        assert_eq!(settled(pid).start_ticks, identity.start_ticks);
        drop(stdin);
        child.wait().unwrap();
    }
}
