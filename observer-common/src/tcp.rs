//! States of a TCP socket that are told apart, and errors that close one.
//!
//! From the kernel's `include/net/tcp_states.h` and `include/uapi/asm-generic/errno.h`: both belong
//! to its stable interface.

/// Both sides may send.
pub const ESTABLISHED: u32 = 1;
/// Over.
pub const CLOSE: u32 = 7;
/// The peer has closed its sending half; we have not.
pub const CLOSE_WAIT: u32 = 8;
/// We have closed ours too.
pub const LAST_ACK: u32 = 9;
/// Waits for connections.
pub const LISTEN: u32 = 10;

/// `EPIPE`: the peer reset a connection whose sending half it had closed before.
pub const EPIPE: u64 = 32;
/// `ECONNRESET`: the peer reset the connection.
pub const ECONNRESET: u64 = 104;
