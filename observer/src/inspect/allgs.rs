//! The runtime's list of all goroutines: found once per executable, read whole.

use crate::target::fields::u64_at;
use crate::target::{Memory, MemoryError, ReadRequest};

/// Goroutine structs listed at most (dead ones count): the list is 8 bytes each, the structs 400.
const MAX_LISTED: usize = 4 << 20;
/// Bytes of the list read in one piece, none of which crosses a page: so one that is not there costs no other.
const PIECE: usize = 4 << 10;
/// Bytes of an entry.
const WORD: usize = 8;

/// Where the runtime keeps `allglen` and `allgptr`, at run time (load bias added).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AllGs {
    /// Address of `runtime.allglen`.
    pub len_addr: u64,
    /// Address of `runtime.allgptr`.
    pub ptr_addr: u64,
}

/// The list as it stood at one moment.
pub(super) struct Listing {
    /// Addresses of the structs.
    pub(super) addrs: Vec<u64>,
    /// There are more than were listed.
    pub(super) cut: bool,
}

impl AllGs {
    /// Reads the list, as far as it is there. The length first: the runtime stores it last, so the array is never
    /// shorter, and the list only ever grows. Its length is not taken on trust all the same.
    pub(super) fn list(&self, memory: &impl Memory) -> Result<Listing, MemoryError> {
        let len = memory.read_u64(self.len_addr)?;
        let ptr = memory.read_u64(self.ptr_addr)?;
        let taken = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_LISTED);
        let mut bytes = vec![0; taken.saturating_mul(WORD)];
        let (head, tail) = bytes.split_at_mut(to_page_end(ptr).min(taken.saturating_mul(WORD)));
        let mut addr = ptr;
        let pieces = std::iter::once(head).chain(tail.chunks_mut(PIECE));
        let mut requests: Vec<_> = pieces
            .map(|piece| {
                let request_at = addr;
                addr = addr.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                ReadRequest::new(request_at, piece)
            })
            .collect();
        memory.read_many(&mut requests);
        let mut there = 0;
        for request in &requests {
            match request.result {
                Ok(()) => there += request.buf.len(),
                // Without its beginning there is no list.
                Err(cause) if there == 0 || cause.is_final() => return Err(cause),
                Err(_) => break,
            }
        }
        bytes.truncate(there);
        let addrs: Vec<u64> = bytes
            .chunks_exact(WORD)
            .filter_map(|word| u64_at(word, 0))
            .collect();
        // No Go program has no goroutine.
        let cut = addrs.is_empty() || u64::try_from(addrs.len()).is_ok_and(|got| got < len);
        Ok(Listing { addrs, cut })
    }
}

/// Bytes from an address to the end of its page, in whole entries.
fn to_page_end(addr: u64) -> usize {
    let page = u64::try_from(PIECE).unwrap_or(1);
    usize::try_from(page - addr % page).unwrap_or(PIECE) / WORD * WORD
}
