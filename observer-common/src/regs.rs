//! Go's register ABI, as the probes see it.

/// Registers at a site. Integer arguments are numbered from 0 in Go's order.
pub trait Registers {
    /// Argument `N` (amd64: AX BX CX DI SI R8 R9 R10 R11).
    fn arg<const N: usize>(&self) -> u64;
    /// Current goroutine (amd64: R14).
    fn g(&self) -> u64;
    /// Stack pointer; at every site of ours it points to the return address.
    fn sp(&self) -> u64;
    /// Frame pointer: still the caller's at every site of ours.
    fn bp(&self) -> u64;
    /// Whether the conditional jump of a stack check at the site will be taken.
    fn jump_taken(&self) -> bool;
}

/// Registers by value, for tests and recorded hits.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegisterSet {
    /// Integer arguments in Go's order.
    pub args: [u64; 9],
    /// Current goroutine.
    pub g: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub bp: u64,
    /// x86 flags.
    pub flags: u64,
}

/// Carry or zero: `jbe` is taken when one of them is set.
pub const JBE_FLAGS: u64 = 0x41;

impl Registers for RegisterSet {
    #[inline(always)]
    fn arg<const N: usize>(&self) -> u64 {
        self.args.get(N).copied().unwrap_or(0)
    }
    fn g(&self) -> u64 {
        self.g
    }
    fn sp(&self) -> u64 {
        self.sp
    }
    fn bp(&self) -> u64 {
        self.bp
    }
    fn jump_taken(&self) -> bool {
        self.flags & JBE_FLAGS != 0
    }
}
