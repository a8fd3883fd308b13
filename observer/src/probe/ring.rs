//! The ring buffer's reading end.

use std::os::fd::{AsFd as _, OwnedFd};

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

    /// A descriptor that becomes readable when enough waits in the ring.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn waker(&self) -> std::io::Result<OwnedFd> {
        self.inner.as_fd().try_clone_to_owned()
    }
}
