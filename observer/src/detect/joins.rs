//! Feeds the joiner with the calls and requests of the processes observed here, whose clock is one.

use crate::correlate::{CallSide, Ids, Join, JoinTotals, Joiner, RequestSide};
use crate::model::{Call, CallId, CallKind, Model, ReqId, Request};

use super::context::{Context, Thresholds};

/// Calls that run, and the requests that they led to.
#[derive(Debug, Default)]
pub(super) struct Joins {
    joiner: Joiner,
}

impl Joins {
    /// A call begins: it is known by the IDs of the request that it is made for.
    pub(super) fn call_started(&mut self, id: CallId, cx: &Context<'_>) {
        let joins = |call: &&Call| call.kind == CallKind::Http || call.kind.is_grpc();
        let Some(call) = cx.model.call(id).filter(joins) else {
            return;
        };
        let Some(request) = call.owner.and_then(|owner| cx.model.request(owner)) else {
            return;
        };
        let ids = ids(request, cx.thresholds);
        if !ids.is_empty() {
            self.joiner
                .call_started(id.0, CallSide::new(ids, call.asks_for()));
        }
    }

    /// A call is over. Gives the request that it led to.
    pub(super) fn call_ended(&mut self, id: CallId) -> Option<Join> {
        self.joiner.call_ended(id.0)
    }

    /// A request begins. Gives the call that led to it.
    pub(super) fn request_started(&mut self, id: ReqId, cx: &Context<'_>) -> Option<Join> {
        if self.joiner.is_empty() {
            return None;
        }
        let request = cx.model.request(id)?;
        let side = RequestSide {
            ids: ids(request, cx.thresholds),
            method: request.method.clone(),
            path: request.path.clone(),
        };
        self.joiner.request_started(id.0, &side)
    }

    /// A request has ended: of calls whose end no event tells, the last that could be known is this.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        for id in &request.calls {
            let endless = cx.model.call(*id).is_none_or(|call| call.inner.is_none());
            if endless {
                self.joiner.call_ended(id.0);
            }
        }
    }

    /// Events were lost: which call is the only one is not known any more.
    pub(super) fn clear(&mut self) {
        self.joiner.forget(|_| true);
    }

    /// Forgets calls that the model has forgotten.
    pub(super) fn forget_gone(&mut self, model: &Model) {
        self.joiner
            .forget(|call| model.call(CallId(call)).is_none());
    }

    pub(super) const fn totals(&self) -> JoinTotals {
        self.joiner.totals()
    }
}

/// The IDs that came with a request, as far as they are known at once.
fn ids(request: &Request, thresholds: &Thresholds) -> Ids {
    let id = super::ids::of(request, thresholds).filter(|id| !id.truncated);
    Ids {
        trace: request.trace.context().map(|trace| trace.trace_id),
        request: id.and_then(|id| Some((id.source.header()?.into(), id.value.into()))),
    }
}
