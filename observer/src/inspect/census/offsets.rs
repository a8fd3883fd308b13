//! Where fields are that only a look at all goroutines needs.

use crate::go::layout::Layout;
use crate::inspect::MapKind;

/// First Go 1.N whose labels are a sorted list; before, they are a map (`runtime/pprof.labelMap`).
const LABEL_LIST_SINCE: u32 = 24;

/// How a goroutine's labels are kept behind `g.labels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelShape {
    /// A pointer to a `map[string]string`.
    Map(MapKind),
    /// A slice of pairs of strings.
    List,
}

/// Fields of what goroutines point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CensusOffsets {
    /// `m.procid`: the thread's number in the target's own pid namespace.
    pub procid: u32,
    /// `hchan.qcount`.
    pub channel_len: u32,
    /// `hchan.dataqsiz`.
    pub channel_cap: u32,
    /// `hchan.closed`, 32 bits.
    pub channel_closed: u32,
    /// How labels are kept.
    pub labels: LabelShape,
}

impl CensusOffsets {
    /// As the layout has them, for Go 1.`minor`; `None` where it lacks one.
    #[must_use]
    pub fn of(layout: &Layout, minor: u32) -> Option<Self> {
        let channel = |name| layout.field("runtime.hchan", name);
        Some(Self {
            procid: layout.field("runtime.m", "procid")?,
            channel_len: channel("qcount")?,
            channel_cap: channel("dataqsiz")?,
            channel_closed: channel("closed")?,
            labels: if minor >= LABEL_LIST_SINCE {
                LabelShape::List
            } else {
                LabelShape::Map(MapKind::Bucket)
            },
        })
    }

    /// Bytes of a channel that hold every field named.
    pub(super) fn channel_block(&self) -> usize {
        let fields = [self.channel_len, self.channel_cap, self.channel_closed];
        let last = fields.into_iter().max().unwrap_or(0);
        usize::try_from(last).unwrap_or(0).saturating_add(8)
    }
}
