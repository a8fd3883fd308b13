//! Joins a call and a request that no ID joins, where both processes' memory says that they are the two ends of one
//! connection. HTTP/1 only: it carries one call at a time.
//!
//! What is proved: the caller waits for an answer on this connection, and *after that was read* the request that came
//! over it has not begun its answer. Until it does, the connection is its caller's and nobody else's.

use std::collections::BTreeMap;

use crate::correlate::{Join, RequestSide};
use crate::inspect::Ends;
use crate::model::{Call, CallId, CallKind, Protocol, ReqId, Request};

use super::ask::{Answer, Question};
use super::context::Context;
use super::joins::{AGAIN_NS, Joins, LOOKS, SOON_NS, side};
use super::timers::Topic;

/// Callers that are asked for a request: those whose calls began last before it.
const NEAREST: usize = 4;
/// After so long what happened before an answer is known, ns.
const SETTLES_NS: u64 = 1_000_000;

/// A request whose caller is looked for.
#[derive(Debug)]
pub(super) struct Case {
    pid: u32,
    /// It was counted as ambiguous.
    ambiguous: bool,
    looks: u32,
    /// Callers that have not answered yet.
    awaited: usize,
    found: Vec<Waits>,
}

/// A call waited for its answer.
#[derive(Debug, Clone, Copy)]
struct Waits {
    call: CallId,
    /// Which of its round trips.
    attempt: Option<u32>,
    over: Ends,
    read_ns: u64,
}

/// By the request.
pub(super) type Cases = BTreeMap<ReqId, Case>;

impl Joins {
    /// A request has begun, and no ID says whose it is.
    pub(super) fn suspect(
        &mut self,
        id: ReqId,
        side: &RequestSide,
        ambiguous: bool,
        cx: &mut Context<'_>,
    ) {
        let is_http = |request: &&Request| request.protocol == Protocol::Http;
        let Some(request) = cx.model.request(id).filter(is_http) else {
            return;
        };
        if self.joiner.candidates(side).is_empty() {
            return;
        }
        let case = Case {
            pid: request.pid,
            ambiguous,
            looks: 0,
            awaited: 0,
            found: Vec::new(),
        };
        cx.remember(&mut self.cases, id, case);
        cx.later(SOON_NS, Topic::SameConnection(id));
    }

    /// The request still runs, it seems: who may be waiting for it, and over which connection?
    pub(super) fn look(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let calls = match cx.model.request(id) {
            Some(request) if runs(request, cx) => self.nearest(request, cx),
            _ => Vec::new(),
        };
        if calls.is_empty() || !self.may_read(calls.len() + 1, cx.now_ns) {
            self.cases.remove(&id);
            return;
        }
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        case.looks += 1;
        case.awaited = calls.len();
        case.found.clear();
        for (call, pid, question) in calls {
            cx.ask(pid, Topic::CallEnds(id, call), question);
        }
    }

    fn nearest(&self, request: &Request, cx: &Context<'_>) -> Vec<(CallId, u32, Question)> {
        let netns = |pid| cx.unit(pid).map_or(0, |unit| unit.netns);
        let here = netns(request.pid);
        let fits = |call: &&Call| {
            call.kind == CallKind::Http
                && call.is_open()
                && call.start_ns <= request.start_ns
                && cx.model.is_whole(call.epoch)
                && here != 0
                && netns(call.pid) == here
        };
        let candidates = self.joiner.candidates(&side(request, cx.thresholds));
        let calls = candidates.into_iter();
        let calls = calls.filter_map(|call| cx.model.call(CallId(call)));
        let mut calls: Vec<&Call> = calls.filter(fits).collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.start_ns));
        let nearest = calls.into_iter().take(NEAREST).map(|call| {
            let question = Question::CallEnds {
                goid: call.goid,
                g: call.g,
            };
            (call.id, call.pid, question)
        });
        nearest.collect()
    }

    /// Over which connection a caller waits.
    pub(super) fn call_answer(
        &mut self,
        id: ReqId,
        call: CallId,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        case.awaited = case.awaited.saturating_sub(1);
        if let (Answer::Ends(Some(over)), Some(found)) = (answer, cx.model.call(call)) {
            case.found.push(Waits {
                call,
                attempt: found.attempts(),
                over: *over,
                read_ns: cx.now_ns,
            });
        }
        if case.awaited > 0 {
            return;
        }
        let request = cx.model.request(id);
        match request.filter(|request| !case.found.is_empty() && runs(request, cx)) {
            Some(request) => {
                let question = Question::RequestEnds(Context::reading_of_conn(request));
                cx.ask(case.pid, Topic::RequestEnds(id), question);
            }
            None => self.look_again(id, cx),
        }
    }

    /// Over which connection the request came.
    pub(super) fn request_answer(&mut self, id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(case) = self.cases.get_mut(&id) else {
            return;
        };
        let Answer::Ends(Some(ends)) = answer else {
            self.cases.remove(&id);
            return;
        };
        case.found.retain(|waits| waits.over == *ends);
        if case.found.len() == 1 {
            cx.later(SETTLES_NS, Topic::Settled(id));
        } else {
            self.look_again(id, cx);
        }
    }

    fn look_again(&mut self, id: ReqId, cx: &mut Context<'_>) {
        if self.cases.get(&id).is_some_and(|case| case.looks < LOOKS) {
            cx.later(AGAIN_NS, Topic::SameConnection(id));
        } else {
            self.cases.remove(&id);
        }
    }

    /// All is known that happened before both sides were read: did both run?
    pub(super) fn settled(&mut self, id: ReqId, cx: &Context<'_>) -> Option<Join> {
        let case = self.cases.remove(&id)?;
        let [waits] = case.found[..] else { return None };
        let call = cx.model.call(waits.call)?;
        let waited = call
            .ended
            .is_none_or(|(ended_ns, _)| ended_ns > waits.read_ns);
        let request = cx.model.request(id).filter(|request| runs(request, cx))?;
        if !waited || call.attempts() != waits.attempt || !cx.model.is_whole(call.epoch) {
            return None;
        }
        let side = side(request, cx.thresholds);
        // What the call was seen to send is not known to the joiner in full.
        let sent = call.sent().and_then(|sent| sent.id.as_ref());
        let came = side.ids.request.as_ref();
        let differ = matches!((sent, came), (Some((name, sent)), Some((header, came)))
            if **name == **header && sent != came);
        if differ {
            return None;
        }
        self.joiner
            .share_connection(waits.call.0, (id.0, &side), case.ambiguous)
    }
}

fn runs(request: &Request, cx: &Context<'_>) -> bool {
    request.ended.is_none() && cx.model.is_whole(request.epoch)
}
