//! Reading the target's memory, from inside a probe or from a recording.

/// Reads the memory of the process a probe runs in.
pub trait MemRead {
    /// Fills the first `len` bytes of `buf`, at most all of it; false when any byte cannot be read
    /// (then `buf` is unspecified).
    fn read_prefix<const N: usize>(&self, addr: u64, buf: &mut [u8; N], len: u64) -> bool;

    /// Fills words from `addr`; false as for `read_prefix`.
    fn read_words<const N: usize>(&self, addr: u64, words: &mut [u64; N]) -> bool;

    /// One word.
    #[inline(always)]
    fn word(&self, addr: u64) -> Option<u64> {
        let mut word = [0u64; 1];
        if self.read_words(addr, &mut word) {
            Some(word[0])
        } else {
            None
        }
    }

    /// Two words.
    #[inline(always)]
    fn pair(&self, addr: u64) -> Option<[u64; 2]> {
        let mut words = [0u64; 2];
        if self.read_words(addr, &mut words) {
            Some(words)
        } else {
            None
        }
    }
}
