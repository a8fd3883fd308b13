//! Memory and registers of a process that does not exist, and what its Go objects look like.

use observer_common::event::Link;
use observer_common::layout::{CREATE_IS_METHOD, ENABLED, Layout, Range};
use observer_common::mem::MemRead;
use observer_common::regs::RegisterSet;
use zerocopy::{FromBytes, IntoBytes};

/// Where things are, far enough apart to tell them by their address.
pub const G: u64 = 0x0000_20bf_0000_1000;
pub const STACK: u64 = 0x0000_20bf_0010_0000;
pub const HEAP: u64 = 0x0000_20bf_0020_0000;
pub const CODE: u64 = 0x0048_0000;

pub const GOID: u64 = 77;
pub const PARENT_GOID: u64 = 33;
/// Words from `goid` to `parentGoid`: the most that any version has (Go 1.26).
pub const PARENT_WORDS: u32 = 16;

/// Bytes by address. A read that leaves them fails and spoils the buffer, as the kernel's does.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    ranges: Vec<(u64, Vec<u8>)>,
    holes: Vec<std::ops::Range<u64>>,
}

impl Memory {
    /// With a goroutine descriptor at [`G`].
    pub fn with_goroutine() -> Self {
        let mut memory = Self::default();
        let mut words = [0u64; 40];
        words[19] = GOID;
        words[19 + PARENT_WORDS as usize] = PARENT_GOID;
        memory.words(G, &words);
        memory
    }

    pub fn bytes(&mut self, addr: u64, bytes: &[u8]) -> u64 {
        self.ranges.push((addr, bytes.to_vec()));
        addr
    }

    pub fn words(&mut self, addr: u64, words: &[u64]) -> u64 {
        self.bytes(addr, words.as_bytes())
    }

    /// Takes 4096 bytes from `addr` on away, as if that memory had never been touched.
    pub fn cut(&mut self, addr: u64) {
        self.holes.push(addr..addr + 4096);
    }

    fn copy(&self, addr: u64, to: &mut [u8]) -> bool {
        for (at, byte) in (addr..).zip(to.iter_mut()) {
            let found = self.ranges.iter().rev().find_map(|(start, bytes)| {
                let index = usize::try_from(at.checked_sub(*start)?).ok()?;
                bytes.get(index)
            });
            let hole = self.holes.iter().any(|hole| hole.contains(&at));
            match found.filter(|_| !hole) {
                Some(found) => *byte = *found,
                None => {
                    to.fill(0xee);
                    return false;
                }
            }
        }
        true
    }
}

impl MemRead for Memory {
    fn read_prefix<const N: usize>(&self, addr: u64, buf: &mut [u8; N], len: u64) -> bool {
        let len = usize::try_from(len).unwrap_or(N).min(N);
        self.copy(addr, &mut buf[..len])
    }

    fn read_words<const N: usize>(&self, addr: u64, words: &mut [u64; N]) -> bool {
        self.copy(addr, words.as_mut_bytes())
    }
}

/// A record as the ring hands it out: full of what was there before.
pub fn record<T: FromBytes>() -> T {
    T::read_from_bytes(&vec![0xaa; size_of::<T>()]).unwrap()
}

/// Offsets of Go 1.27 on amd64.
pub fn layout() -> Layout {
    Layout {
        flags: ENABLED | CREATE_IS_METHOD,
        g_goid: 152,
        g_parent_words: PARENT_WORDS,
        ctx_err: 80,
        ctx_deadline: 88,
        req_ctx: 248,
        req_uri: 216,
        req_header: 56,
        url_host: 40,
        reader_conn: 24,
        conn_cur_req: 112,
        op_error_err: 56,
        syscall_error_err: 16,
        conn_remote: 72,
        response_conn: 0,
        conn_canceled: 248,
        dialer_timeout: 0,
        ..Layout::EMPTY
    }
}

/// Code of a function, by number: 256 bytes each.
pub fn function(number: u64) -> Range {
    let start = CODE + number * 256;
    Range {
        start,
        end: start + 256,
    }
}

/// A return address inside that function.
pub fn inside(number: u64) -> u64 {
    function(number).start + 40
}

pub fn link(itab: u64, data: u64) -> Link {
    Link { itab, data }
}

/// Puts a stack of frames into memory: return addresses, innermost first, as seen at a site
/// whose frame is not set up yet. The outermost frame pointer is nil.
pub fn stack(memory: &mut Memory, pcs: &[u64]) -> RegisterSet {
    let mut regs = RegisterSet {
        g: G,
        sp: STACK,
        ..RegisterSet::default()
    };
    memory.words(STACK, &pcs[..1]);
    let frame = |number: usize| STACK + 64 * number as u64;
    for (number, pc) in pcs.iter().enumerate().skip(1) {
        let next = if number + 1 < pcs.len() {
            frame(number + 1)
        } else {
            0
        };
        memory.words(frame(number), &[next, *pc]);
    }
    regs.bp = if pcs.len() > 1 { frame(1) } else { 0 };
    regs
}
