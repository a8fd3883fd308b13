//! Feeds the joiner with the calls and requests of the processes observed here, whose clock is one.

use crate::correlate::{CallSide, Ids, Join, JoinTotals, Joiner, RequestSide};
use crate::model::{Call, CallId, CallKind, Model, ReqId, Request};

use super::context::{Context, Thresholds};
use super::late_ids::AllUnread;
use super::made_ids::Hopes;
use super::same_connection::Cases;

/// Calls that run, and the requests that they led to.
#[derive(Debug, Default)]
pub(super) struct Joins {
    pub(super) joiner: Joiner,
    /// Requests of which no ID says whose they are.
    pub(super) cases: Cases,
    /// Requests whose IDs have to be read.
    pub(super) unread: AllUnread,
    /// Requests of which a call may have sent the ID.
    pub(super) hopes: Hopes,
    /// The first process that was seen.
    first: Option<u32>,
    /// There is another.
    several: bool,
    /// Somebody else may know the other side.
    tells: bool,
    since_ns: u64,
    read: usize,
}

/// After so long a request that no ID joins is looked at, ns: most are answered by then, and cost nothing.
pub(super) const SOON_NS: u64 = 5_000_000;
/// After so long once more, ns: a caller may have been writing still, and a handler that has not got far says nothing yet.
pub(super) const AGAIN_NS: u64 = 50_000_000;
/// Looks at such a request.
pub(super) const LOOKS: u32 = 2;
/// Calls of which it is read what they have sent, in one second at most: each costs a few reads of memory. The
/// others are joined by what is known without.
const A_SECOND: usize = 100;
const SECOND_NS: u64 = 1_000_000_000;

impl Joins {
    /// A call begins: it is known by the IDs of the request that it is made for.
    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        let joins = |call: &&Call| call.kind == CallKind::Http || call.kind.is_grpc();
        let Some(call) = cx.model.call(id).filter(joins) else {
            return;
        };
        let request = call.owner.and_then(|owner| cx.model.request(owner));
        let ids = request.map(|request| ids(request, cx.thresholds));
        let ids = ids.unwrap_or_default();
        let pid = call.pid;
        if self.several || !ids.is_empty() {
            self.joiner
                .call_started(id.0, CallSide::new(ids, call.asks_for()));
        }
        self.sees(pid);
        if self.tells && self.may_read(1, cx.now_ns) {
            super::ids::ask_sent(id, cx);
        }
    }

    /// What is told of calls has to say what they have sent.
    pub(super) const fn tell(&mut self) {
        self.tells = true;
    }

    /// A process is observed: calls of another may lead to its requests.
    pub(super) fn sees(&mut self, pid: u32) {
        if *self.first.get_or_insert(pid) != pid && !self.several {
            self.several = true;
            self.joiner.keep_lines();
        }
    }

    pub(super) fn may_read(&mut self, calls: usize, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.since_ns) >= SECOND_NS {
            (self.since_ns, self.read) = (now_ns, 0);
        }
        self.read = self.read.saturating_add(calls);
        self.read <= A_SECOND
    }

    /// It was read what a call has sent. Gives the joins that follow.
    pub(super) fn sent(&mut self, id: CallId, cx: &Context<'_>) -> Vec<Join> {
        let mut joins = Vec::new();
        if let Some(sent) = cx.model.call(id).and_then(Call::sent) {
            let span = sent.trace.context();
            let span = span.map(|span| (span.trace_id, span.parent_id));
            joins = self.joiner.call_sent(id.0, span);
        }
        joins.extend(self.made_ids(id, cx));
        joins
    }

    /// The request of a running call, as it is known now.
    pub(super) fn joined(&self, id: CallId) -> Option<Join> {
        self.joiner.joined(id.0)
    }

    /// A call is over. Gives the request that it led to.
    pub(super) fn call_ended(&mut self, id: CallId) -> Option<Join> {
        // What it has sent was not read in time.
        self.hopes.retain(|_, hope| !hope.waits_for(id));
        self.joiner.call_ended(id.0)
    }

    /// A request begins. Gives the call that led to it.
    pub(super) fn request_started(&mut self, id: ReqId, cx: &mut Context<'_>) -> Option<Join> {
        let request = cx.model.request(id)?;
        self.sees(request.pid);
        if self.joiner.is_empty() {
            return None;
        }
        let side = side(request, cx.thresholds);
        let before = self.joiner.totals().ambiguous;
        let join = self.joiner.request_started(id.0, &side);
        let ambiguous = self.joiner.totals().ambiguous > before;
        if !self.several {
            return join;
        }
        let (unread, decided) = self.joiner.seek(id.0, &side, |_| true);
        if self.may_read(unread.len(), cx.now_ns) {
            for call in unread {
                super::ids::ask_sent(CallId(call), cx);
            }
        }
        let join = decided.or(join);
        if join.is_none() {
            self.suspect(id, &side, ambiguous, cx);
            self.expect_ids(id, &side, cx);
        }
        join
    }

    /// A request has ended: of calls whose end no event tells, the last that could be known is this.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &Context<'_>) {
        self.cases.remove(&id);
        self.unread.remove(&id);
        self.hopes.remove(&id);
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
        self.cases.clear();
        self.unread.clear();
        self.hopes.clear();
    }

    /// Forgets calls that the model has forgotten.
    pub(super) fn forget_gone(&mut self, model: &Model) {
        self.joiner
            .forget(|call| model.call(CallId(call)).is_none());
        self.cases.retain(|id, _| model.request(*id).is_some());
        self.unread.retain(|id, _| model.request(*id).is_some());
        self.hopes.retain(|id, _| model.request(*id).is_some());
    }

    pub(super) const fn totals(&self) -> JoinTotals {
        self.joiner.totals()
    }
}

/// A request, as far as joining needs it.
pub(super) fn side(request: &Request, thresholds: &Thresholds) -> RequestSide {
    RequestSide {
        ids: ids(request, thresholds),
        method: request.method.clone(),
        path: request.path.clone(),
    }
}

/// The IDs that came with a request, as far as they are known at once.
fn ids(request: &Request, thresholds: &Thresholds) -> Ids {
    let id = super::ids::of(request, thresholds).filter(|id| !id.truncated);
    let trace = request.trace.context();
    Ids {
        trace: trace.map(|trace| trace.trace_id),
        parent: trace.map(|trace| trace.parent_id),
        request: id.and_then(|id| Some((id.source.header()?.into(), id.value.into()))),
    }
}
