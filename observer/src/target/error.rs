//! Why a process cannot be chosen.

use procfs::ProcError;

/// One variant per way in which choosing a process can fail.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Nothing has this pid in observer's own pid namespace.
    #[error("no process has pid {pid}")]
    NoSuchProcess {
        /// The pid asked for.
        pid: i32,
    },
    /// A thread of the kernel.
    #[error("pid {pid} is a thread of the kernel")]
    KernelThread {
        /// The pid asked for.
        pid: i32,
    },
    /// It has ended; its parent has not yet taken note.
    #[error("process {pid} has ended")]
    Ended {
        /// The pid asked for.
        pid: i32,
    },
    /// It is between two executables, or on its way out: what can be seen of it does not fit together.
    #[error("process {pid} is just starting or ending")]
    Unsettled {
        /// The pid asked for.
        pid: i32,
    },
    /// It belongs to somebody else, and observer lacks what it takes to look at it.
    #[error("process {pid} belongs to uid {uid} and this user may not look at it")]
    NotPermitted {
        /// The pid asked for.
        pid: i32,
        /// Whose process it is.
        uid: u32,
    },
    /// Its executable is not a 64-bit little-endian ELF file.
    #[error("the executable of process {pid} is not a 64-bit little-endian ELF file")]
    NotElf {
        /// The pid asked for.
        pid: i32,
    },
    /// Its memory map does not show the executable where its entry point says it is.
    #[error("process {pid} does not map its executable the usual way")]
    NotMapped {
        /// The pid asked for.
        pid: i32,
    },
    /// The path asked for cannot be looked at.
    #[error("cannot look at `{path}`")]
    Path {
        /// The path asked for.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `/proc` itself is missing or closed.
    #[error("cannot read /proc")]
    Proc(#[source] ProcError),
}

impl TargetError {
    /// An error of `/proc/PID`, in terms of the process.
    pub(super) fn of_proc(pid: i32, error: ProcError) -> Self {
        match error {
            ProcError::NotFound(_) => Self::NoSuchProcess { pid },
            ProcError::PermissionDenied(_) => Self::NotPermitted {
                pid,
                uid: owner(pid),
            },
            // A process that ends while one of its files is being read gives ESRCH there.
            ProcError::Io(io, _) => Self::of_io(pid, io),
            other => Self::Proc(other),
        }
    }

    /// The same for an input or output error on a file below `/proc/PID`.
    pub(super) fn of_io(pid: i32, error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ESRCH | libc::ENOENT) => Self::Ended { pid },
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted {
                pid,
                uid: owner(pid),
            },
            _ => Self::Proc(ProcError::Io(error, None)),
        }
    }
}

/// Owner of a process, which everybody may know; that of nobody where it is gone.
fn owner(pid: i32) -> u32 {
    const NOBODY: u32 = 65534;
    procfs::process::Process::new(pid)
        .and_then(|process| process.uid())
        .unwrap_or(NOBODY)
}
