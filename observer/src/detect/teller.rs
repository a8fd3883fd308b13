//! Tells of every request and every call, for those who join what several processes did.

use std::collections::BTreeMap;

use crate::correlate::{CallFact, RequestFact, Told};
use crate::finding::CallOutcome;
use crate::model::{Call, CallEnd, CallId, ReqId, Request};

use super::context::Context;
use super::fact_ends::FactEnds;
use super::tell;
use super::timers::Topic;

/// How a call ended may be corrected for so long, ns.
const SETTLES_NS: u64 = 100_000_000;

/// What is told, where anybody listens.
#[derive(Debug, Default)]
pub(super) struct Teller {
    listens: bool,
    /// Calls that began and were not told of.
    open: BTreeMap<CallId, ()>,
    told: Vec<Told>,
    pub(super) ends: FactEnds,
}

impl Teller {
    /// Somebody listens from now on.
    pub(super) const fn listen(&mut self) {
        self.listens = true;
    }

    pub(super) fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    pub(super) fn call_started(&mut self, id: CallId, cx: &mut Context<'_>) {
        if self.listens {
            cx.remember(&mut self.open, id, ());
            FactEnds::call_started(id, cx);
        }
    }

    pub(super) fn request_started(&self, id: ReqId, cx: &mut Context<'_>) {
        if self.listens {
            FactEnds::request_started(id, cx);
        }
    }

    pub(super) fn call_ended(&self, id: CallId, cx: &mut Context<'_>) {
        if self.listens {
            cx.later(SETTLES_NS, Topic::Tell(id));
        }
    }

    /// A call has ended a while ago, unless it has gone on since; or its request has.
    pub(super) fn call(&mut self, id: CallId, cx: &Context<'_>) {
        let call = cx.model.call(id);
        let goes_on = call.is_some_and(|call| call.is_open() && !is_left(call, cx));
        if goes_on || self.open.remove(&id).is_none() {
            return;
        }
        let Some(mut fact) = call.and_then(|call| self.call_fact(call, cx)) else {
            return;
        };
        if call.is_some_and(Call::is_open) {
            fact.call.outcome = CallOutcome::Unknown;
            fact.call.duration_ns = None;
        }
        self.told.push(Told::Call(Box::new(fact)));
    }

    /// A handler has returned. Calls that are done may be forgotten with it; of the others, the end may come from another
    /// goroutine in a moment, or not be told at all.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        if !self.listens {
            return;
        }
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let mut left = Vec::new();
        for id in &request.calls {
            let Some(call) = cx.model.call(*id) else {
                continue;
            };
            if call.is_open() && call.inner.is_none() {
                left.push(*id);
            }
            let done = matches!(call.ended, Some((_, CallEnd::Done)));
            if done && self.open.remove(id).is_some() {
                let fact = self.call_fact(call, cx);
                self.told
                    .extend(fact.map(|fact| Told::Call(Box::new(fact))));
            }
        }
        let request = self.request_fact(request, cx);
        self.told
            .extend(request.map(|request| Told::Request(Box::new(request))));
        for id in left {
            cx.later(SETTLES_NS, Topic::Tell(id));
        }
    }

    /// What still runs, at the end.
    pub(super) fn rest(&mut self, cx: &Context<'_>) {
        if !self.listens {
            return;
        }
        for id in std::mem::take(&mut self.open).into_keys() {
            let call = cx.model.call(id);
            let call = call.and_then(|call| self.call_fact(call, cx));
            self.told
                .extend(call.map(|call| Told::Call(Box::new(call))));
        }
        for request in cx.model.running() {
            let fact = self.request_fact(request, cx);
            self.told
                .extend(fact.map(|fact| Told::Request(Box::new(fact))));
        }
    }

    fn call_fact(&mut self, call: &Call, cx: &Context<'_>) -> Option<CallFact> {
        let seen_on = self.ends.of_call(call, cx);
        let fact = tell::call(call, cx)?;
        Some(CallFact { seen_on, ..fact })
    }

    fn request_fact(&mut self, request: &Request, cx: &Context<'_>) -> Option<RequestFact> {
        let seen_on = self.ends.of_request(request);
        let fact = tell::request(request, cx)?;
        Some(RequestFact { seen_on, ..fact })
    }
}

/// Its request has been over for a while, and nothing of the transport's says that the call goes on.
fn is_left(call: &Call, cx: &Context<'_>) -> bool {
    let over = |owner| {
        cx.model.request(owner).is_none_or(|owner| {
            let ended = owner.ended.as_ref();
            ended.is_some_and(|(at_ns, _)| at_ns + SETTLES_NS <= cx.now_ns)
        })
    };
    call.inner.is_none() && call.owner.is_some_and(over)
}
