//! Answers of an executable's tables, kept: goroutines by the thousand stand at the same few places.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use crate::go::image::StackStep;
use crate::inspect::{CallSite, StackTable};

/// Places kept; beyond it all are forgotten and asked anew.
const KEPT: usize = 1 << 16;

/// A table that asks another one once for each place.
pub(super) struct Memo<'a> {
    inner: &'a dyn StackTable,
    steps: RefCell<FxHashMap<u64, Option<StackStep>>>,
    leads: RefCell<FxHashMap<(u64, u64), bool>>,
}

impl<'a> Memo<'a> {
    pub(super) fn over(inner: &'a dyn StackTable) -> Self {
        Self {
            inner,
            steps: RefCell::default(),
            leads: RefCell::default(),
        }
    }
}

impl StackTable for Memo<'_> {
    fn stack_step(&self, pc: u64) -> Option<StackStep> {
        let mut steps = self.steps.borrow_mut();
        if let Some(known) = steps.get(&pc) {
            return *known;
        }
        if steps.len() >= KEPT {
            steps.clear();
        }
        let step = self.inner.stack_step(pc);
        steps.insert(pc, step);
        step
    }

    fn entry(&self, pc: u64) -> Option<u64> {
        self.inner.entry(pc)
    }

    fn call_before(&self, pc: u64) -> Option<CallSite> {
        self.inner.call_before(pc)
    }

    fn may_lead(&self, outer: u64, inner: u64) -> bool {
        let mut leads = self.leads.borrow_mut();
        if leads.len() >= KEPT {
            leads.clear();
        }
        let pair = (outer, inner);
        *leads
            .entry(pair)
            .or_insert_with(|| self.inner.may_lead(outer, inner))
    }

    fn is_inner(&self, pc: u64) -> bool {
        self.inner.is_inner(pc)
    }

    fn wait_reason(&self, id: u8) -> Option<&str> {
        self.inner.wait_reason(id)
    }
}
