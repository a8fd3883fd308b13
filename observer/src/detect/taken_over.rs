//! Goroutines of connections that handlers have taken over: they serve these for as long as they are open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::model::GoId;

use super::context::Context;
use super::leak_cases::Case;

/// Goroutines remembered.
const LIMIT: usize = 16_384;

/// A connection: its network namespace and its peer.
pub(super) type Ends = (u64, SocketAddr);

/// Those whose connections are open.
#[derive(Debug, Default)]
pub(super) struct TakenOver {
    cases: BTreeMap<GoId, (Ends, Case)>,
    by_ends: BTreeMap<Ends, BTreeSet<GoId>>,
}

impl TakenOver {
    /// One has outlived its request, and its connection is open.
    pub(super) fn insert(&mut self, id: GoId, ends: Ends, case: Case, cx: &mut Context<'_>) {
        if self.cases.len() >= LIMIT {
            *cx.forgotten += 1;
            return;
        }
        self.cases.insert(id, (ends, case));
        self.by_ends.entry(ends).or_default().insert(id);
    }

    /// One has ended.
    pub(super) fn remove(&mut self, id: GoId) {
        let Some((ends, _)) = self.cases.remove(&id) else {
            return;
        };
        if let Some(all) = self.by_ends.get_mut(&ends) {
            all.remove(&id);
            if all.is_empty() {
                self.by_ends.remove(&ends);
            }
        }
    }

    /// A connection is over: gives those that have nothing left to serve.
    pub(super) fn over(&mut self, ends: Ends) -> Vec<(GoId, Case)> {
        let all = self.by_ends.remove(&ends).into_iter().flatten();
        let cases = all.filter_map(|id| Some((id, self.cases.remove(&id)?.1)));
        cases.collect()
    }

    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        let gone = self
            .cases
            .iter()
            .filter(|(_, (_, case))| whose(case.line.0));
        for id in gone.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove(id);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }
}
