//! Word before an executable is written to.
//!
//! A probe that waits for the next process of an executable would put its breakpoint where an instruction *was*,
//! if the file were overwritten in the meantime (`cp` over it, as many deployments do). A lease makes the kernel
//! hold back whoever opens the file to write until we are out of it. While the file is executed nobody can open
//! it so, and nobody waits.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Holds back writers of a file; dropping it lets them go on.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

impl Lease {
    /// Takes a lease of a file that is open for reading.
    ///
    /// # Errors
    /// Somebody has the file open for writing, its file system knows no leases, or the file is another's and
    /// `CAP_LEASE` is missing.
    pub fn take(file: &File) -> io::Result<Self> {
        ignore_notices();
        let file = file.try_clone()?;
        // SAFETY: fcntl with F_SETLEASE takes an integer and touches no memory of ours.
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
        if taken < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file })
    }

    /// Whether somebody waits to write, or the kernel has let them (after `/proc/sys/fs/lease-break-time`, 45 s).
    #[must_use]
    pub fn is_wanted_back(&self) -> bool {
        // SAFETY: fcntl with F_GETLEASE takes no argument and touches no memory of ours.
        let holds = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_GETLEASE) };
        holds != libc::F_RDLCK
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The descriptor shares its open file with others, so closing it gives nothing back.
        // SAFETY: as in `take`.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
    }
}

/// The kernel tells of a waiting writer by a signal too, which would end us; we ask instead.
fn ignore_notices() {
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Lease;

    #[test]
    fn a_writer_waits_until_the_lease_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, "old").unwrap();
        let lease = Lease::take(&File::open(&path).unwrap()).unwrap();
        assert!(!lease.is_wanted_back());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let (done, is_done) = mpsc::channel();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                std::fs::write(path, "new").unwrap();
                done.send(()).unwrap();
            }
        });
        while !lease.is_wanted_back() {
            std::thread::yield_now();
        }
        assert!(is_done.recv_timeout(Duration::from_millis(100)).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        drop(lease);
        writer.join().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn none_is_given_of_a_file_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let writer = File::create(&path).unwrap();
        assert!(Lease::take(&File::open(&path).unwrap()).is_err());
        drop(writer);
        assert!(Lease::take(&File::open(&path).unwrap()).is_ok());
    }
}
