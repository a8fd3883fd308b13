//! Tells of every request and every call, for those who join what several processes did.

use std::collections::BTreeMap;

use crate::correlate::Told;
use crate::finding::CallOutcome;
use crate::model::{CallEnd, CallId, ReqId};

use super::context::Context;
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
        }
    }

    pub(super) fn call_ended(&self, id: CallId, cx: &mut Context<'_>) {
        if self.listens {
            cx.later(SETTLES_NS, Topic::Tell(id));
        }
    }

    /// A call has ended a while ago.
    pub(super) fn call(&mut self, id: CallId, cx: &Context<'_>) {
        if self.open.remove(&id).is_none() {
            return;
        }
        let call = cx.model.call(id).and_then(|call| tell::call(call, cx));
        self.told
            .extend(call.map(|call| Told::Call(Box::new(call))));
    }

    /// A handler has returned, and with it calls whose end Go does not tell (up to 1.22). Those that
    /// are done may be forgotten with it.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &Context<'_>) {
        if !self.listens {
            return;
        }
        let Some(request) = cx.model.request(id) else {
            return;
        };
        for id in &request.calls {
            let Some(call) = cx.model.call(*id) else {
                continue;
            };
            let done = matches!(call.ended, Some((_, CallEnd::Done)));
            let endless = call.is_open() && call.inner.is_none();
            if !(done || endless) || self.open.remove(id).is_none() {
                continue;
            }
            let Some(mut fact) = tell::call(call, cx) else {
                continue;
            };
            if endless {
                fact.call.outcome = CallOutcome::Unknown;
                fact.call.duration_ns = None;
            }
            self.told.push(Told::Call(Box::new(fact)));
        }
        let request = tell::request(request, cx);
        self.told
            .extend(request.map(|request| Told::Request(Box::new(request))));
    }

    /// What still runs, at the end.
    pub(super) fn rest(&mut self, cx: &Context<'_>) {
        if !self.listens {
            return;
        }
        for id in std::mem::take(&mut self.open).into_keys() {
            let call = cx.model.call(id).and_then(|call| tell::call(call, cx));
            self.told
                .extend(call.map(|call| Told::Call(Box::new(call))));
        }
        let running = cx.model.running().filter_map(|one| tell::request(one, cx));
        self.told
            .extend(running.map(|request| Told::Request(Box::new(request))));
    }
}
