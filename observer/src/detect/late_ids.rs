//! Requests that are known by more once they have run for a while, where a call that may be theirs runs in a process that is
//! observed: those to a gRPC server of its own, whose IDs no probe reads, and those of which a call may have made the ID.

use std::collections::BTreeMap;

use crate::correlate::{CallSide, Join, RequestSide};
use crate::model::{CallId, CtxId, Protocol, ReqId, Request};

use super::ask::{Answer, Question};
use super::context::Context;
use super::ids;
use super::joins::{AGAIN_NS, Joins, LOOKS, SOON_NS, side};
use super::timers::Topic;

/// A request, and the calls that ran when it began.
#[derive(Debug)]
pub(super) struct Unread {
    calls: Vec<(u64, CallSide)>,
    looks: u32,
}

/// By the request.
pub(super) type AllUnread = BTreeMap<ReqId, Unread>;

impl Joins {
    /// A request has begun: will it have to be read?
    pub(super) fn expect_ids(&mut self, id: ReqId, known: &RequestSide, cx: &mut Context<'_>) {
        let request = cx.model.request(id);
        let is_grpc = request.is_some_and(|request| matches!(request.protocol, Protocol::Grpc(_)));
        if !is_grpc && known.ids.request.is_none() {
            return;
        }
        let calls = self.joiner.rivals(known);
        if calls
            .iter()
            .any(|(_, of)| is_grpc || of.ids.request.is_none())
        {
            cx.remember(&mut self.unread, id, Unread { calls, looks: 0 });
            cx.later(SOON_NS, Topic::LateIds(id));
        }
    }

    /// It still runs, it seems: what came with it? Gives the call that led to it, where that is known already.
    pub(super) fn read_ids(&mut self, id: ReqId, cx: &mut Context<'_>) -> Option<Join> {
        let request = cx.model.request(id);
        let runs =
            request.filter(|request| request.ended.is_none() && cx.model.is_whole(request.epoch));
        let Some(request) = runs.filter(|_| self.may_read(1, cx.now_ns)) else {
            self.unread.remove(&id);
            return None;
        };
        let known = side(request, cx.thresholds);
        if known.ids.request.is_some() {
            let unread = self.unread.remove(&id)?;
            return self.hope(id, &known, unread.unnamed(), cx);
        }
        if let Some(unread) = self.unread.get_mut(&id) {
            unread.looks += 1;
            let question = Question::Request(cx.reading(request));
            cx.ask(request.pid, Topic::LateIds(id), question);
        }
        None
    }

    /// What came with it. Gives the call that led to it.
    pub(super) fn ids_answer(
        &mut self,
        id: ReqId,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Option<Join> {
        let looks = self.unread.get(&id)?.looks;
        if !ids::keep_answer(id, answer, cx) {
            if looks < LOOKS {
                cx.later(AGAIN_NS, Topic::LateIds(id));
            } else {
                self.unread.remove(&id);
            }
            return None;
        }
        let unread = self.unread.remove(&id)?;
        let side = side(cx.model.request(id)?, cx.thresholds);
        // One that is over by now may have been its own.
        let over = |(call, of): &(u64, CallSide)| {
            !self.joiner.runs(*call) && of.ids.share(&side.ids) && of.fits(&side)
        };
        if unread.calls.iter().any(over) {
            return None;
        }
        let may = |call: u64| unread.calls.iter().any(|(one, _)| *one == call);
        let join = self.joiner.request_started_among(id.0, &side, may);
        let (calls, decided) = self.joiner.seek(id.0, &side, may);
        if self.may_read(calls.len(), cx.now_ns) {
            for call in calls {
                ids::ask_sent(CallId(call), cx);
            }
        }
        decided
            .or(join)
            .or_else(|| self.hope(id, &side, unread.unnamed(), cx))
    }

    /// A call has led to a request: by what is the one known that it was made for? When something is told of the two, that
    /// may have ended long ago.
    pub(super) fn ask_caller(&mut self, join: Join, cx: &mut Context<'_>) {
        let owner = cx.model.call(CallId(join.call)).and_then(|call| call.owner);
        let owner = owner.and_then(|id| cx.model.request(id));
        if let Some(request) = owner.filter(|request| request.ended.is_none()) {
            self.ask_own(request.id, cx);
        }
    }

    /// A request has just ended and leaves something behind: when that is told of, its memory is another's.
    pub(super) fn ask_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let open = |id: &CtxId| {
            let ctx = cx.model.context(*id);
            ctx.is_some_and(|ctx| {
                !ctx.internal && ctx.cancelled.is_none() && ctx.cancel_called_ns.is_none()
            })
        };
        let leaves =
            |request: &Request| !request.spawned.is_empty() || request.contexts.iter().any(open);
        if cx.model.request(id).is_some_and(leaves) {
            self.ask_own(id, cx);
        }
    }

    /// What came with a request of gRPC, which no probe reads, and nobody has asked for yet.
    fn ask_own(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let is_unread = matches!(request.protocol, Protocol::Grpc(_)) && request.details.is_none();
        let is_whole = cx.model.is_whole(request.epoch);
        if is_unread && is_whole && self.may_read(1, cx.now_ns) {
            let question = Question::Request(cx.reading(request));
            cx.ask(request.pid, Topic::OwnIds(id), question);
        }
    }
}

impl Unread {
    /// Calls that came with no ID of which it is known.
    fn unnamed(&self) -> impl Iterator<Item = u64> + '_ {
        let unnamed = |(_, of): &&(u64, CallSide)| of.ids.request.is_none();
        self.calls.iter().filter(unnamed).map(|(call, _)| *call)
    }
}
