//! Contexts of no request that have grown old: nothing will say that they are done with.
//!
//! A server makes one for each connection, a poller for each turn, and most are gone soon. So they are searched for from
//! time to time among those that are left: a timer for each would take the place of what has to be looked at.

use crate::model::{Ctx, CtxId};

use super::context::Context;
use super::timers::Topic;

/// Between two searches, in grace times.
const SEARCH_IN_GRACES: u64 = 10;

/// The searches.
#[derive(Debug, Default)]
pub(super) struct OldContexts {
    /// When the next one is to come, monotonic ns.
    next_ns: u64,
    /// Contexts made before then have been found, monotonic ns.
    found_ns: u64,
}

impl OldContexts {
    /// There is a context that may grow old.
    pub(super) fn expect(&mut self, cx: &mut Context<'_>) {
        if cx.now_ns >= self.next_ns {
            let wait_ns = cx.thresholds.grace_ns.saturating_mul(SEARCH_IN_GRACES);
            self.next_ns = cx.now_ns.saturating_add(wait_ns);
            cx.later(wait_ns, Topic::OldContexts);
        }
    }

    /// Those that have reached an age in ns since the last search. The next one comes while there are younger ones.
    pub(super) fn search(
        &mut self,
        age_ns: u64,
        is_wanted: impl Fn(&Ctx) -> bool,
        cx: &mut Context<'_>,
    ) -> Vec<CtxId> {
        let until_ns = (cx.now_ns + 1).saturating_sub(age_ns);
        let since_ns = std::mem::replace(&mut self.found_ns, until_ns);
        let old = cx.model.contexts();
        let old = old.take_while(|ctx| ctx.created_ns < until_ns);
        let fresh = old.filter(|ctx| ctx.created_ns >= since_ns && is_wanted(ctx));
        let found = fresh.map(|ctx| ctx.id).collect();
        let young = cx.model.contexts().rev();
        let is_more = young
            .take_while(|ctx| ctx.created_ns >= until_ns)
            .any(is_wanted);
        if is_more {
            self.expect(cx);
        }
        found
    }
}
