//! The runtime's list of all goroutines: found once per executable, read whole.

use crate::target::{Memory, MemoryError};

use crate::target::fields::u64_at;

/// Goroutine structs listed at most (dead ones count): the list is 8 bytes each, the structs 400.
const MAX_LISTED: u64 = 4 << 20;

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
    /// Reads the list. The length first: the runtime stores it last, so the array is never shorter, and the
    /// list only ever grows.
    pub(super) fn list(&self, memory: &impl Memory) -> Result<Listing, MemoryError> {
        let len = memory.read_u64(self.len_addr)?;
        let ptr = memory.read_u64(self.ptr_addr)?;
        let taken = len.min(MAX_LISTED);
        let bytes = usize::try_from(taken.saturating_mul(8)).unwrap_or(0);
        let words = memory.read_bytes(ptr, bytes)?;
        Ok(Listing {
            addrs: words
                .chunks_exact(8)
                .filter_map(|word| u64_at(word, 0))
                .collect(),
            cut: taken < len,
        })
    }
}
