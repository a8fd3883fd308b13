//! Tables of an executable of which a test needs a part.

use crate::go::image::StackStep;
use crate::inspect::{CallSite, StackTable};

/// What a test's code answers; whatever it leaves out has no answer.
pub(crate) trait PartTable {
    /// The frame at an address.
    fn step(&self, _: u64) -> Option<StackStep> {
        None
    }

    /// The function's first instruction.
    fn begins(&self, _: u64) -> Option<u64> {
        None
    }

    /// Whether a call leads to a frame.
    fn leads(&self, _outer: u64, _inner: u64) -> bool {
        true
    }

    /// The runtime's words for a reason to wait.
    fn reason(&self, _: u8) -> Option<&str> {
        None
    }
}

impl<T: PartTable> StackTable for T {
    fn stack_step(&self, pc: u64) -> Option<StackStep> {
        self.step(pc)
    }

    fn entry(&self, pc: u64) -> Option<u64> {
        self.begins(pc)
    }

    fn call_before(&self, _: u64) -> Option<CallSite> {
        None
    }

    fn may_lead(&self, outer: u64, inner: u64) -> bool {
        self.leads(outer, inner)
    }

    fn is_inner(&self, _: u64) -> bool {
        false
    }

    fn wait_reason(&self, id: u8) -> Option<&str> {
        self.reason(id)
    }
}
