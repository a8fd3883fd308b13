//! Requests with an ID that came with no request that is known: a caller has made it itself, or has it where no probe reads
//! it. The calls that may have led to such a request are asked what they have sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::correlate::{Join, RequestSide};
use crate::model::{CallId, ReqId};

use super::context::Context;
use super::ids;
use super::joins::{Joins, side};

/// A request, and the calls that may have sent its ID.
#[derive(Debug)]
pub(super) struct Hope {
    calls: BTreeSet<u64>,
    /// Those of which it is not known yet.
    unread: BTreeSet<u64>,
}

impl Hope {
    pub(super) fn waits_for(&self, call: CallId) -> bool {
        self.unread.contains(&call.0)
    }
}

/// By the request.
pub(super) type Hopes = BTreeMap<ReqId, Hope>;

impl Joins {
    /// Which of these calls has sent the ID of a request that still runs? Gives its call, where that is known already.
    pub(super) fn hope(
        &mut self,
        id: ReqId,
        side: &RequestSide,
        calls: impl Iterator<Item = u64>,
        cx: &mut Context<'_>,
    ) -> Option<Join> {
        side.ids.request.as_ref()?;
        let calls: BTreeSet<u64> = calls.collect();
        // One that is over by now may have sent it.
        let over = calls.iter().any(|call| !self.joiner.runs(*call));
        if calls.is_empty() || over {
            return None;
        }
        let is_unread = |call: &&u64| {
            let call = cx.model.call(CallId(**call));
            call.is_some_and(|call| call.sent().is_none())
        };
        let unread: BTreeSet<u64> = calls.iter().filter(is_unread).copied().collect();
        if unread.is_empty() {
            return self.decide(id, &calls, cx);
        }
        if self.may_read(unread.len(), cx.now_ns) {
            for call in &unread {
                ids::ask_sent(CallId(*call), cx);
            }
            cx.remember(&mut self.hopes, id, Hope { calls, unread });
        }
        None
    }

    /// It was read what a call has sent, or that cannot be read. Gives the joins that follow.
    pub(super) fn made_ids(&mut self, call: CallId, cx: &Context<'_>) -> Vec<Join> {
        let sent = cx.model.call(call).and_then(|call| call.sent());
        let id = sent.and_then(|sent| sent.id.clone());
        if let Some((header, value)) = id {
            self.joiner.call_sent_id(call.0, (header.into(), value));
        }
        let is_known = sent.is_some();
        let mut decided = Vec::new();
        self.hopes.retain(|request, hope| {
            if !hope.unread.remove(&call.0) {
                return true;
            }
            if is_known && hope.unread.is_empty() {
                decided.push((*request, std::mem::take(&mut hope.calls)));
            }
            is_known && !hope.unread.is_empty()
        });
        let joins = decided.into_iter();
        joins
            .filter_map(|(id, calls)| self.decide(id, &calls, cx))
            .collect()
    }

    /// It is known of all calls that may be a request's own what they have sent.
    fn decide(&mut self, id: ReqId, calls: &BTreeSet<u64>, cx: &Context<'_>) -> Option<Join> {
        let request = cx.model.request(id)?;
        let has_one = calls.iter().any(|call| {
            let join = self.joiner.joined(*call);
            join.is_some_and(|join| join.request == id.0)
        });
        if has_one || request.ended.is_some() {
            return None;
        }
        let side = side(request, cx.thresholds);
        let may = |call: u64| calls.contains(&call);
        self.joiner.request_started_among(id.0, &side, may)
    }
}
