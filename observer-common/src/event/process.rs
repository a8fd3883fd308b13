//! What happens around requests: processes, sockets, goroutines.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::limits::MAX_SPAWN_FRAMES;

/// A process has begun to execute a file: what was known of its pid is over. Of every process of the host; says
/// nothing of a goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ProcessExecuted {
    /// Common part.
    pub header: Header,
}

/// A TCP socket with an observed local port changes its state, or an observed process begins to
/// listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SocketChanged {
    /// Common part. The process is named only where it listens: what a peer does is told while any
    /// process, or none, is on the CPU.
    pub header: Header,
    /// Number of the network namespace, as the inode of `/proc/PID/ns/net` has it.
    pub netns: u64,
    /// Local address; IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// The peer's address, likewise; zeros where the socket listens.
    pub remote: [u8; 16],
    /// Local port.
    pub local_port: u32,
    /// The peer's port.
    pub remote_port: u32,
    /// State before, one of [`tcp`](crate::tcp).
    pub from: u32,
    /// State after.
    pub to: u32,
    /// The socket's error: why the kernel closed it; 0 where nobody but its owner did.
    pub error: u64,
}

/// A goroutine that works for a request has started another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GoroutineCreated {
    /// Common part: the new goroutine, and who started it, in every version of Go.
    pub header: Header,
    /// Return address of the `go` statement.
    pub gopc: u64,
    /// First instruction of its function.
    pub startpc: u64,
    /// Return addresses in `pcs`.
    pub frames: u64,
    /// Return addresses of the `go` statement's stack, innermost first, beginning inside the runtime.
    pub pcs: [u64; MAX_SPAWN_FRAMES],
}

/// Such a goroutine has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct GoroutineEnded {
    /// Common part: that goroutine; its creator is not told again.
    pub header: Header,
}
