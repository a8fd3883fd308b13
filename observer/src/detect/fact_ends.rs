//! Over which connections calls wait and requests came, for those who join what several observers told: of calls and
//! requests that no ID joins, and that run for a while.
//!
//! A call is read before the request that it may have led to: what is proved is said in `correlate::ends`.

use std::collections::BTreeMap;

use crate::correlate::SeenOn;
use crate::model::{Call, CallId, CallKind, Protocol, ReqId, Request, Trace};

use super::ask::{Answer, Question};
use super::context::Context;
use super::timers::Topic;
use super::{ids, joins};

/// A call is read once more so long after it was read first, ns: the later one counts, which finds more requests begun.
const CALL_AGAIN_NS: u64 = 25_000_000;
/// A request is read so long after its beginning, ns: by then its caller has been.
const REQUEST_NS: u64 = 40_000_000;
/// And once more so long after that, ns.
const REQUEST_AGAIN_NS: u64 = 80_000_000;

/// What was asked, or told.
#[derive(Debug)]
struct Look {
    looks: u32,
    asked_ns: u64,
    /// Round trips of the call then.
    attempts: Option<u32>,
    on: Option<SeenOn>,
}

impl Look {
    /// One more, after the one before: what that has found holds until there is better, but not of another round trip.
    fn after(before: Option<Self>, attempts: Option<u32>, asked_ns: u64) -> Self {
        let looks = before.as_ref().map_or(0, |look| look.looks) + 1;
        let same = before.filter(|look| look.attempts == attempts);
        Self {
            looks,
            asked_ns,
            attempts,
            on: same.and_then(|look| look.on),
        }
    }
}

/// What was read of those that run.
#[derive(Debug, Default)]
pub(super) struct FactEnds {
    calls: BTreeMap<CallId, Look>,
    requests: BTreeMap<ReqId, Look>,
}

impl FactEnds {
    /// A call begins.
    pub(super) fn call_started(id: CallId, cx: &mut Context<'_>) {
        let call = cx.model.call(id);
        if call.is_some_and(|call| call.kind == CallKind::Http) {
            cx.later(joins::SOON_NS, Topic::CallOn(id));
        }
    }

    /// A request begins.
    pub(super) fn request_started(id: ReqId, cx: &mut Context<'_>) {
        let request = cx.model.request(id);
        if request.is_some_and(|request| request.protocol == Protocol::Http) {
            cx.later(REQUEST_NS, Topic::RequestOn(id));
        }
    }

    /// It still runs, it seems. `may` says whether one more may be read now.
    pub(super) fn look_at_call(
        &mut self,
        id: CallId,
        may: impl FnOnce(u64) -> bool,
        cx: &mut Context<'_>,
    ) {
        let call = cx.model.call(id).filter(|call| call.is_open());
        // Of what nobody has read yet, it is known by then what it sends.
        let Some(call) = call.filter(|call| sends_id(call) != Some(true) && may(cx.now_ns)) else {
            return;
        };
        let question = Question::CallEnds {
            goid: call.goid,
            g: call.g,
        };
        let attempts = call.attempts();
        let look = Look::after(self.calls.remove(&id), attempts, cx.now_ns);
        let pid = call.pid;
        cx.remember(&mut self.calls, id, look);
        cx.ask(pid, Topic::CallOn(id), question);
    }

    /// The same of a request.
    pub(super) fn look_at_request(
        &mut self,
        id: ReqId,
        may: impl FnOnce(u64) -> bool,
        cx: &mut Context<'_>,
    ) {
        let request = cx.model.request(id);
        let request = request.filter(|request| request.ended.is_none());
        let unnamed = |request: &&Request| {
            request.trace == Trace::None && ids::of(request, cx.thresholds).is_none()
        };
        let Some(request) = request.filter(|request| unnamed(request) && may(cx.now_ns)) else {
            return;
        };
        let question = Question::RequestEnds(Context::reading_of_conn(request));
        let look = Look::after(self.requests.remove(&id), None, cx.now_ns);
        let pid = request.pid;
        cx.remember(&mut self.requests, id, look);
        cx.ask(pid, Topic::RequestOn(id), question);
    }

    /// On which connection a call waits.
    pub(super) fn call_answer(&mut self, id: CallId, answer: &Answer, cx: &mut Context<'_>) {
        let (Some(look), Some(call)) = (self.calls.get_mut(&id), cx.model.call(id)) else {
            return;
        };
        look.on = seen_on(answer, look.asked_ns, call.pid, cx).or(look.on);
        if look.looks < joins::LOOKS {
            cx.later(CALL_AGAIN_NS, Topic::CallOn(id));
        }
    }

    /// Over which connection a request came; nothing where its answer has begun: the earlier reading stands.
    pub(super) fn request_answer(&mut self, id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
        let (Some(look), Some(request)) = (self.requests.get_mut(&id), cx.model.request(id)) else {
            return;
        };
        look.on = seen_on(answer, look.asked_ns, request.pid, cx).or(look.on);
        if look.looks < joins::LOOKS {
            cx.later(REQUEST_AGAIN_NS, Topic::RequestOn(id));
        }
    }

    /// What is told of a call without an ID. It may have gone on to another connection since.
    pub(super) fn of_call(&mut self, call: &Call, cx: &Context<'_>) -> Option<SeenOn> {
        let look = self.calls.remove(&call.id)?;
        let stayed = look.attempts == call.attempts();
        look.on.filter(|_| stayed && !has_id(call, cx))
    }

    /// What is told of a request.
    pub(super) fn of_request(&mut self, request: &Request) -> Option<SeenOn> {
        self.requests.remove(&request.id)?.on
    }
}

/// Whether an ID is known by which a call can be joined: one that it sends, or, where nobody knows what it sends, that of
/// its request.
fn has_id(call: &Call, cx: &Context<'_>) -> bool {
    if let Some(sends) = sends_id(call) {
        return sends;
    }
    let owner = call.owner.and_then(|owner| cx.model.request(owner));
    owner.is_some_and(|owner| {
        owner.trace.context().is_some() || ids::of(owner, cx.thresholds).is_some()
    })
}

/// The same of what it sends; `None` where nobody has read that.
fn sends_id(call: &Call) -> Option<bool> {
    let sent = call.sent()?;
    Some(sent.id.is_some() || sent.trace.context().is_some())
}

/// Something that was asked at `asked_ns` and is answered now.
fn seen_on(answer: &Answer, asked_ns: u64, pid: u32, cx: &Context<'_>) -> Option<SeenOn> {
    let Answer::Ends(Some(ends)) = answer else {
        return None;
    };
    let netns = cx.unit(pid).map_or(0, |unit| unit.netns);
    (netns != 0).then_some(SeenOn {
        client: ends.client,
        server: ends.server,
        netns,
        from_ns: asked_ns,
        until_ns: cx.now_ns,
    })
}
