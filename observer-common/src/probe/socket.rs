//! `inet_sock_set_state`: what the kernel knows of a connection.
//!
//! The tracepoint fires for every socket of the host, in whatever context the packet came in, so what
//! is nobody's business leaves after two comparisons and one read.

use crate::event::{Kind, SocketChanged};
use crate::layout::{HAS_V6, SocketLayout};
use crate::mem::MemRead;
use crate::tcp::{CLOSE, CLOSE_WAIT, ESTABLISHED, LAST_ACK, LISTEN};

use super::Skip;

/// `AF_INET` and `AF_INET6`.
const V4: u16 = 2;
const V6: u16 = 10;

/// Whose business a change of state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Nobody's.
    None,
    /// The peer closed, or a connection that it had closed is over: told by local port.
    Peer,
    /// The current process begins to listen: told by process.
    Listener,
}

/// Sorts a change by its states alone.
#[inline(always)]
#[must_use]
pub const fn interest(from: u32, to: u32) -> Interest {
    match to {
        CLOSE_WAIT | LAST_ACK => Interest::Peer,
        CLOSE if from == ESTABLISHED || from == CLOSE_WAIT => Interest::Peer,
        LISTEN => Interest::Listener,
        _ => Interest::None,
    }
}

/// Local port of the `struct sock` at `sk`.
#[inline(always)]
pub fn local_port<M: MemRead>(mem: &M, layout: &SocketLayout, sk: u64) -> Option<u16> {
    half(mem, sk.wrapping_add(u64::from(layout.sport))).map(u16::from_be)
}

/// Fills the record for the `struct sock` at `sk`.
///
/// # Errors
/// [`Skip::Quiet`] for another family, [`Skip::Object`] when the socket cannot be read.
#[inline(always)]
pub fn changed<M: MemRead>(
    mem: &M,
    layout: &SocketLayout,
    (sk, port): (u64, u16),
    (from, to): (u32, u32),
    record: &mut SocketChanged,
) -> Result<(), Skip> {
    record.header.kind = Kind::SocketChanged as u8;
    record.header.goid = 0;
    record.header.parent_goid = 0;
    record.header.g = 0;
    record.from = from;
    record.to = to;
    record.local_port = u32::from(port);
    let at = |offset: u32| sk.wrapping_add(u64::from(offset));
    record.remote_port = u32::from(u16::from_be(
        half(mem, at(layout.dport)).ok_or(Skip::Object)?,
    ));
    let read = match half(mem, at(layout.family)).ok_or(Skip::Object)? {
        V4 => {
            v4(mem, at(layout.local4), &mut record.local)
                & v4(mem, at(layout.remote4), &mut record.remote)
        }
        V6 if layout.has(HAS_V6) => {
            mem.read_prefix(at(layout.local6), &mut record.local, 16)
                & mem.read_prefix(at(layout.remote6), &mut record.remote, 16)
        }
        _ => return Err(Skip::Quiet),
    };
    let net = mem.word(at(layout.net)).ok_or(Skip::Object)?;
    let inum = net.wrapping_add(u64::from(layout.net_inum));
    record.netns = u64::from(whole(mem, inum).ok_or(Skip::Object)?);
    record.error = u64::from(whole(mem, at(layout.error)).ok_or(Skip::Object)?);
    if read { Ok(()) } else { Err(Skip::Object) }
}

/// An IPv4 address as IPv6 has it.
#[inline(always)]
fn v4<M: MemRead>(mem: &M, addr: u64, to: &mut [u8; 16]) -> bool {
    let mut four = [0u8; 4];
    let read = mem.read_prefix(addr, &mut four, 4);
    *to = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, four[0], four[1], four[2], four[3],
    ];
    read
}

#[inline(always)]
fn half<M: MemRead>(mem: &M, addr: u64) -> Option<u16> {
    let mut bytes = [0u8; 2];
    if mem.read_prefix(addr, &mut bytes, 2) {
        Some(u16::from_ne_bytes(bytes))
    } else {
        None
    }
}

#[inline(always)]
fn whole<M: MemRead>(mem: &M, addr: u64) -> Option<u32> {
    let mut bytes = [0u8; 4];
    if mem.read_prefix(addr, &mut bytes, 4) {
        Some(u32::from_ne_bytes(bytes))
    } else {
        None
    }
}
