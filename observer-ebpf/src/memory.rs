//! The two memories that a program can read: that of the process it runs in, and the kernel's.

use aya_ebpf::helpers::generated;
use observer_common::mem::MemRead;

/// A memory, by the helper of the kernel that reads it.
#[derive(Clone, Copy)]
pub struct Memory<const OF_KERNEL: bool>;

/// Memory of the current process.
pub const USER: Memory<false> = Memory;
/// Memory of the kernel.
pub const KERNEL: Memory<true> = Memory;

impl<const OF_KERNEL: bool> Memory<OF_KERNEL> {
    #[inline(always)]
    fn copy(self, to: *mut u8, len: u32, from: u64) -> bool {
        let (to, from) = (to.cast(), from as *const _);
        let failed = if OF_KERNEL {
            // SAFETY: callers pass a buffer of at least `len` bytes; the verifier checks it again.
            unsafe { generated::bpf_probe_read_kernel(to, len, from) }
        } else {
            // SAFETY: as above.
            unsafe { generated::bpf_probe_read_user(to, len, from) }
        };
        failed == 0
    }
}

impl<const OF_KERNEL: bool> MemRead for Memory<OF_KERNEL> {
    #[inline(always)]
    fn read_prefix<const N: usize>(&self, addr: u64, buf: &mut [u8; N], len: u64) -> bool {
        let len = if len > N as u64 { N as u64 } else { len };
        self.copy(buf.as_mut_ptr(), len as u32, addr)
    }
    #[inline(always)]
    fn read_words<const N: usize>(&self, addr: u64, words: &mut [u64; N]) -> bool {
        self.copy(words.as_mut_ptr().cast(), (N * 8) as u32, addr)
    }
}
