//! The ring buffer's reading end.

use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};

/// Records that wait to be read.
pub struct Ring {
    inner: RingBuf<MapData>,
}

impl Ring {
    pub(super) const fn new(inner: RingBuf<MapData>) -> Self {
        Self { inner }
    }

    /// Hands up to `most` records to `take`, in the order in which they were reserved; gives how
    /// many there were.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < most
            && let Some(item) = self.inner.next()
        {
            take(&item);
            count += 1;
        }
        count
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
