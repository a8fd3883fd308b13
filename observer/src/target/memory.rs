//! Reading another process' memory.
//!
//! Owns the one way in: `process_vm_readv`, which cannot write. Never opens `/proc/PID/mem`, never attaches
//! with ptrace. Knows nothing of what the bytes mean.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Ranges the kernel takes in one call (`UIO_MAXIOV`, include/uapi/linux/uio.h).
const RANGES_PER_CALL: usize = 1024;

/// Why bytes could not be had. The three causes ask for three different reactions, so they are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// The process has ended, or has let go of its memory on its way out.
    #[error("the process has ended")]
    Gone,
    /// Some byte of the range is not mapped, or was never touched and cannot be brought in.
    #[error("no memory at {addr:#x}")]
    Unmapped {
        /// Start of the range that was asked for.
        addr: u64,
    },
    /// The kernel refuses: another user's process without `CAP_SYS_PTRACE`, or a security module.
    #[error("the kernel does not let this process read the target's memory")]
    NotPermitted,
    /// Anything else the kernel said.
    #[error("reading memory failed: {0}")]
    Other(Errno),
}

impl MemoryError {
    fn from_errno(errno: Errno, addr: u64) -> Self {
        match errno {
            Errno::ESRCH => Self::Gone,
            Errno::EFAULT => Self::Unmapped { addr },
            Errno::EPERM | Errno::EACCES => Self::NotPermitted,
            other => Self::Other(other),
        }
    }

    /// Whether every later read would fail the same way.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Gone | Self::NotPermitted)
    }
}

/// One range of a [`Memory::read_many`].
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// First byte wanted.
    pub addr: u64,
    /// Where the bytes go; its length is how many are wanted.
    pub buf: &'a mut [u8],
    /// What came of it. The content of `buf` means something only after `Ok`.
    pub result: Result<(), MemoryError>,
}

impl<'a> ReadRequest<'a> {
    /// A range nobody has read yet: its result is `Unmapped` until it is.
    #[must_use]
    pub fn new(addr: u64, buf: &'a mut [u8]) -> Self {
        Self {
            addr,
            buf,
            result: Err(MemoryError::Unmapped { addr }),
        }
    }
}

/// Bytes of one process at its virtual addresses: live, or recorded for a test.
pub trait Memory {
    /// Fills all of `buf` from `addr`, or none of it counts.
    ///
    /// # Errors
    /// The cause, see [`MemoryError`]; a range that is only partly there is `Unmapped`.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// Many ranges with few system calls. Each gets its own result; one that fails does not stop the others,
    /// unless the process is gone or closed to us.
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) {
        for request in requests {
            request.result = self.read(request.addr, request.buf);
        }
    }

    /// One little-endian word.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn read_u64(&self, addr: u64) -> Result<u64, MemoryError> {
        let mut word = [0; 8];
        self.read(addr, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// `len` bytes in a buffer of their own. The caller bounds `len`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn read_bytes(&self, addr: u64, len: usize) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes)?;
        Ok(bytes)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        (**self).read(addr, buf)
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_>]) {
        (**self).read_many(requests);
    }
}

/// Memory of a live process, by pid.
///
/// A pid can come to mean another process: whoever draws a conclusion from what was read asks
/// [`Identity::still_same`](super::Identity::still_same) afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessMemory {
    pid: Pid,
}

impl ProcessMemory {
    /// Memory of `pid`, as this process' own pid namespace numbers it. Nothing is opened or checked yet.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self {
            pid: Pid::from_raw(pid),
        }
    }

    /// Reads ranges in order until one fails; how many bytes came in all.
    fn call(&self, requests: &mut [ReadRequest<'_>]) -> Result<usize, Errno> {
        let mut remote = Vec::with_capacity(requests.len());
        let mut local = Vec::with_capacity(requests.len());
        for request in requests {
            let base = usize::try_from(request.addr).map_err(|_| Errno::EFAULT)?;
            remote.push(RemoteIoVec {
                base,
                len: request.buf.len(),
            });
            local.push(IoSliceMut::new(request.buf));
        }
        process_vm_readv(self.pid, &mut local, &remote)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        // A read that crosses into a page which must first be brought in may come back short once.
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = addr.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match self.call(&mut [ReadRequest::new(at, rest)]) {
                Ok(0) => return Err(MemoryError::Unmapped { addr }),
                Ok(more) => done += more,
                Err(errno) => return Err(MemoryError::from_errno(errno, addr)),
            }
        }
        Ok(())
    }

    fn read_many(&self, requests: &mut [ReadRequest<'_>]) {
        let mut first = 0;
        while let Some(rest) = requests.get_mut(first..).filter(|rest| !rest.is_empty()) {
            let batch_len = rest.len().min(RANGES_PER_CALL);
            let (batch, _) = rest.split_at_mut(batch_len);
            let mut bytes = self.call(batch).unwrap_or(0);
            let mut done = 0;
            for request in batch.iter_mut() {
                let Some(left) = bytes.checked_sub(request.buf.len()) else {
                    break;
                };
                bytes = left;
                request.result = Ok(());
                done += 1;
            }
            first += done;
            // The first one that did not come whole is asked for alone: that names its cause, and lets the
            // others go on.
            if let Some(failed) = batch.get_mut(done) {
                failed.result = self.read(failed.addr, failed.buf);
                first += 1;
                if let Err(cause) = failed.result
                    && cause.is_final()
                {
                    for request in requests.iter_mut().skip(first) {
                        request.result = Err(cause);
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Memory, MemoryError, ProcessMemory, ReadRequest};

    fn own() -> ProcessMemory {
        ProcessMemory::new(i32::try_from(std::process::id()).unwrap())
    }

    #[test]
    fn reads_own_memory() {
        let data: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let got = own()
            .read_bytes(data.as_ptr().addr() as u64, data.len())
            .unwrap();
        assert_eq!(got, data);
    }

    #[test]
    fn causes_are_told_apart() {
        assert_eq!(own().read_u64(8), Err(MemoryError::Unmapped { addr: 8 }));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = ProcessMemory::new(i32::try_from(child.id()).unwrap());
        child.wait().unwrap();
        assert_eq!(dead.read_u64(4096), Err(MemoryError::Gone));
        assert_eq!(
            own().read_u64(u64::MAX - 3),
            Err(MemoryError::Unmapped { addr: u64::MAX - 3 })
        );
    }

    #[test]
    fn one_bad_range_does_not_stop_the_others() {
        let words: Vec<u64> = (0..3000).collect();
        let base = words.as_ptr().addr() as u64;
        let mut bufs = vec![[0u8; 8]; 3000];
        let mut requests: Vec<_> = bufs
            .iter_mut()
            .zip(0u64..)
            .map(|(buf, i)| {
                let addr = if i % 1000 == 7 { 16 } else { base + 8 * i };
                ReadRequest::new(addr, buf)
            })
            .collect();
        own().read_many(&mut requests);
        let failed = requests.iter().filter(|r| r.result.is_err()).count();
        assert_eq!(failed, 3);
        for (i, buf) in bufs.iter().enumerate() {
            if i % 1000 != 7 {
                assert_eq!(u64::from_le_bytes(*buf), i as u64);
            }
        }
    }

    #[test]
    fn a_dead_process_fails_all_ranges_at_once() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = ProcessMemory::new(i32::try_from(child.id()).unwrap());
        child.wait().unwrap();
        let (mut a, mut b) = ([0; 8], [0; 8]);
        let mut requests = [ReadRequest::new(1, &mut a), ReadRequest::new(2, &mut b)];
        dead.read_many(&mut requests);
        for request in &requests {
            assert_eq!(request.result, Err(MemoryError::Gone));
        }
    }
}
