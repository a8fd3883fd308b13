//! The two ends of the TCP connection that carries a call of HTTP/1, as either side's memory has them.
//!
//! The caller's goroutine waits in `(*persistConn).roundTrip` for its connection to be closed, among other things. That
//! channel is the connection's own: what lies on the frame and has it is the connection, and nothing else can be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::go::layout::Layout;
use crate::target::fields::{pair_at, u64_at};
use crate::target::{Memory, MemoryError};

use super::raw_g::RawG;
use super::{Inspector, TypeNames};

/// The function that a caller waits in until the answer begins.
pub const ROUND_TRIP: &str = "net/http.(*persistConn).roundTrip";
/// Frames between the scheduler and that function, at most: there are three.
const MAX_FRAMES: usize = 16;
/// Its frame, with room for other compilers' ideas, in bytes.
const MAX_FRAME: u64 = 4096;
/// Bytes of a word.
const WORD: u64 = 8;

/// Fields on the way from the transport's connection to its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOffsets {
    /// `net/http.persistConn.conn`, an interface.
    pub conn: u32,
    /// `net/http.persistConn.closech`.
    pub closed: u32,
    /// `crypto/tls.Conn.conn`, an interface.
    pub tls: u32,
    /// `net.conn.fd`; `net.TCPConn` is nothing else.
    pub fd: u32,
    /// `net.netFD.laddr`, an interface.
    pub local: u32,
    /// `net.netFD.raddr`, an interface.
    pub remote: u32,
    /// Fields of those addresses.
    pub address: AddressOffsets,
}

/// Fields of `net.TCPAddr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AddressOffsets {
    /// `IP`, a slice of 4 or 16 bytes.
    pub ip: u32,
    /// `Port`.
    pub port: u32,
}

impl SocketOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        Some(Self {
            conn: layout.field("net/http.persistConn", "conn")?,
            closed: layout.field("net/http.persistConn", "closech")?,
            tls: layout.field("crypto/tls.Conn", "conn")?,
            fd: layout.field("net.conn", "fd")?,
            local: layout.field("net.netFD", "laddr")?,
            remote: layout.field("net.netFD", "raddr")?,
            address: AddressOffsets::of(layout)?,
        })
    }
}

impl AddressOffsets {
    /// As the layout has them.
    #[must_use]
    pub fn of(layout: &Layout) -> Option<Self> {
        Some(Self {
            ip: layout.field("net.TCPAddr", "IP")?,
            port: layout.field("net.TCPAddr", "Port")?,
        })
    }
}

/// Both ends of a connection. IPv4 is never written as IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ends {
    /// Who has connected.
    pub client: SocketAddr,
    /// To whom.
    pub server: SocketAddr,
}

impl<M: Memory> Inspector<'_, M> {
    /// The connection over which goroutine `goid`, whose struct is at `g`, waits for the answer to a call of HTTP/1. `None`
    /// where it does not, where the connection is none of package `net` (alone or under TLS), and where
    /// anything moved while it was read. `round_trip` is the first instruction of [`ROUND_TRIP`], load bias taken off.
    #[must_use]
    pub fn call_ends(
        &self,
        at: &SocketOffsets,
        types: &dyn TypeNames,
        round_trip: u64,
        (goid, g): (u64, u64),
    ) -> Option<Ends> {
        let ends = self.read_call_ends(at, types, round_trip, (goid, g));
        ends.ok().flatten()
    }

    fn read_call_ends(
        &self,
        at: &SocketOffsets,
        types: &dyn TypeNames,
        round_trip: u64,
        (goid, g): (u64, u64),
    ) -> Result<Option<Ends>, MemoryError> {
        let before = RawG::read(self.memory, self.runtime.offsets, g)?;
        if before.goid != goid || !before.waits() {
            return Ok(None);
        }
        let Some(waits) = self.waits(g, &before, None)? else {
            return Ok(None);
        };
        let Some(frame) = self.frame_of(round_trip, &before)? else {
            return Ok(None);
        };
        let own = before.stack_lo..before.stack_hi;
        let mut ends = None;
        for word in frame {
            if word == 0 || word % WORD != 0 || own.contains(&word) {
                continue;
            }
            let closed = word.saturating_add(u64::from(at.closed));
            let is_it = |channel| waits.channels.contains(&channel);
            if self.memory.read_u64(closed).is_ok_and(is_it) {
                ends = self.ends(at, types, word)?;
                break;
            }
        }
        let after = RawG::read(self.memory, self.runtime.offsets, g)?;
        Ok(ends.filter(|_| after.agrees_with(&before)))
    }

    /// The words of the frame of the function that begins at `entry`; before them the one in which it keeps its first
    /// argument, if it does (the spill area of Go's ABI, behind the return address).
    fn frame_of(&self, entry: u64, raw: &RawG) -> Result<Option<Vec<u64>>, MemoryError> {
        let Some((pc, mut sp)) = raw.resume_point() else {
            return Ok(None);
        };
        let mut pc = self.unbiased(pc);
        for _ in 0..MAX_FRAMES {
            let step = self.runtime.table.stack_step(pc);
            let Some(step) = step.filter(|step| !step.top && !step.writes_sp) else {
                return Ok(None);
            };
            let Ok(size) = u64::try_from(step.sp_delta) else {
                return Ok(None);
            };
            let slot = sp.saturating_add(size);
            if slot.saturating_add(2 * WORD) > raw.stack_hi {
                return Ok(None);
            }
            if self.runtime.table.entry(pc.wrapping_sub(1)) == Some(entry) {
                let size = size.min(MAX_FRAME);
                let len = usize::try_from(size + 2 * WORD).unwrap_or(0);
                let from = slot.saturating_sub(size);
                let block = self.memory.read_bytes(from, len)?;
                let words = block.chunks_exact(8).filter_map(|word| u64_at(word, 0));
                let mut words: Vec<u64> = words.collect();
                words.rotate_right(1);
                return Ok(Some(words));
            }
            pc = self.unbiased(self.memory.read_u64(slot)?);
            sp = slot.saturating_add(WORD);
        }
        Ok(None)
    }

    /// Those of the `net/http.persistConn` at `conn`.
    fn ends(
        &self,
        at: &SocketOffsets,
        types: &dyn TypeNames,
        conn: u64,
    ) -> Result<Option<Ends>, MemoryError> {
        let is = |itab: u64, package: &str, name: &str| {
            let found = types.of_itab(itab);
            found.is_some_and(|of| &*of.package == package && &*of.name == name)
        };
        let (mut itab, mut data) = interface(self.memory, conn, at.conn)?;
        if is(itab, "crypto/tls", "Conn") {
            (itab, data) = interface(self.memory, data, at.tls)?;
        }
        if !is(itab, "net", "TCPConn") {
            return Ok(None);
        }
        let fd = self.memory.read_u64(data.wrapping_add(u64::from(at.fd)))?;
        let address = |field| {
            let (itab, data) = interface(self.memory, fd, field)?;
            if !is(itab, "net", "TCPAddr") {
                return Ok(None);
            }
            tcp_address(self.memory, at.address, data)
        };
        let (client, server) = (address(at.local)?, address(at.remote)?);
        Ok(client
            .zip(server)
            .map(|(client, server)| Ends { client, server }))
    }
}

fn interface(memory: &impl Memory, base: u64, offset: u32) -> Result<(u64, u64), MemoryError> {
    let addr = base.wrapping_add(u64::from(offset));
    let words = memory.read_bytes(addr, 16)?;
    pair_at(&words, 0).ok_or(MemoryError::Unmapped { addr })
}

/// The `net.TCPAddr` at `addr`; `None` where it is none that a connection can have.
pub(super) fn tcp_address(
    memory: &impl Memory,
    at: AddressOffsets,
    addr: u64,
) -> Result<Option<SocketAddr>, MemoryError> {
    let (bytes, len) = interface(memory, addr, at.ip)?;
    let port = memory.read_u64(addr.wrapping_add(u64::from(at.port)))?;
    let ip = match len {
        4 => {
            let mut octets = [0; 4];
            memory.read(bytes, &mut octets)?;
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        16 => {
            let mut octets = [0; 16];
            memory.read(bytes, &mut octets)?;
            IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return Ok(None),
    };
    Ok(u16::try_from(port)
        .ok()
        .map(|port| SocketAddr::new(ip, port)))
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
