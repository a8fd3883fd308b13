//! Which ID a request is known by, and where it came from.

use std::sync::Arc;

use observer_common::layout::TRACE_HEADER;

use crate::finding::{IdSource, SentIds};
use crate::inspect::RequestDetails;
use crate::model::{Call, CallId, CallKind, Model, ReqId, Request, Sent, Trace};

use super::ask::{Answer, Question};
use super::context::{Context, Thresholds};
use super::keys;
use super::timers::Topic;

/// Bytes of an ID that are kept: several times what the longest kinds in use have.
const MAX_ID: usize = 256;
/// Newest contexts, and calls, of a request in whose chains an ID is looked for.
const CHAINS: usize = 16;
/// Newest calls of a suspicious request that are asked what they carry.
const CALLS: usize = 4;

/// A request's ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    /// Its value, or the beginning of it.
    pub(super) value: String,
    /// Where it was found.
    pub(super) source: IdSource,
    /// There is more of the value.
    pub(super) truncated: bool,
}

impl Id {
    /// `cut`: `value` is only a beginning.
    fn new(value: &str, cut: bool, source: IdSource) -> Self {
        let kept = value.floor_char_boundary(MAX_ID);
        Self {
            value: value.get(..kept).unwrap_or(value).to_owned(),
            source,
            truncated: cut || kept < value.len(),
        }
    }
}

/// Keeps what memory said of a request.
pub(super) fn keep(id: ReqId, details: &Arc<RequestDetails>, cx: &mut Context<'_>) {
    let trace = cx.thresholds.id_headers.len();
    // The trace header is asked for after all ID headers.
    let trace = details.headers.get(trace).and_then(Option::as_deref);
    cx.model.set_details(id, Arc::clone(details), trace);
}

/// Keeps what memory said of a request, where it said anything. Gives whether it did.
pub(super) fn keep_answer(id: ReqId, answer: &Answer, cx: &mut Context<'_>) -> bool {
    let Answer::Request {
        request: Some(details),
        ..
    } = answer
    else {
        return false;
    };
    keep(id, details, cx);
    true
}

/// Asks about a suspicious request; before that, by which IDs it and its calls are known, where no header told, and
/// what its contexts hold.
pub(super) fn ask(id: ReqId, topic: Topic, question: Question, cx: &mut Context<'_>) {
    let Some(request) = cx.model.request(id) else {
        return;
    };
    let pid = request.pid;
    if request.ended.is_none() && of(request, cx.thresholds).is_none() {
        let values = values(request, cx.model);
        let request = cx.reading(request);
        if !values.is_empty() {
            let question = Question::ContextId { request, values };
            cx.ask(pid, Topic::ContextId(id), question);
        }
    }
    let calls = cx.model.request(id).into_iter();
    let calls = calls.flat_map(|request| request.calls.iter().rev().take(CALLS));
    for call in calls.copied().collect::<Vec<_>>() {
        ask_sent(call, cx);
    }
    keys::ask(id, cx);
    cx.ask(pid, topic, question);
}

/// Values that were seen in chains which were made for a request, those of the newest chain first.
fn values(request: &Request, model: &Model) -> Vec<u64> {
    let contexts = request.contexts.iter().rev();
    let contexts = contexts.filter_map(|id| model.context(*id).map(|ctx| &ctx.steps));
    let calls = request.calls.iter().rev();
    let calls = calls.filter_map(|id| model.call(*id).map(|call| &call.steps));
    let steps = contexts.take(CHAINS).chain(calls.take(CHAINS)).flatten();
    let mut values = Vec::new();
    for step in steps {
        if step.holds_value() && !values.contains(&step.data) {
            values.push(step.data);
        }
    }
    values
}

/// What a middleware keeps for a request.
pub(super) fn context_answer(id: ReqId, answer: &Answer, cx: &mut Context<'_>) {
    if let Answer::ContextId(Some(found)) = answer {
        cx.model.set_context_id(id, found.clone());
    }
}

/// Asks what an outgoing call tells its callee, while it is on its way and nobody has asked. The answer comes to the
/// model, see [`Call::sent`](crate::model::Call::sent).
pub(super) fn ask_sent(id: CallId, cx: &mut Context<'_>) {
    let carries = |call: &Call| call.kind == CallKind::Http || call.kind.is_grpc();
    let open = |call: &&Call| carries(call) && call.is_open();
    let Some(call) = cx.model.call(id).filter(open) else {
        return;
    };
    if call.sent().is_some() || !cx.model.is_whole(call.epoch) {
        return;
    }
    let mut headers: Vec<String> = probed(&cx.thresholds.id_headers)
        .map(str::to_owned)
        .collect();
    headers.push(TRACE_HEADER.to_owned());
    let question = Question::Sent {
        request: call.handle,
        ctx: call.ctx_data,
        stream: call.kind.is_grpc().then_some(call.ctx_itab),
        headers,
    };
    cx.ask(call.pid, Topic::Sent(id), question);
}

/// What a call's memory said.
pub(super) fn sent_answer(id: CallId, answer: &Answer, cx: &mut Context<'_>) {
    let Answer::Sent(Some(values)) = answer else {
        return;
    };
    let values = values.iter().map(Option::as_deref);
    let mut values = values.map(|value| value.filter(|value| !value.is_empty()));
    let names: Vec<&str> = probed(&cx.thresholds.id_headers).collect();
    // All of them are taken: the trace header's value is the next.
    let found: Vec<_> = values.by_ref().take(names.len()).collect();
    let id_of = |(name, value): (&&str, Option<&str>)| {
        let value = value?;
        let kept = value.get(..value.floor_char_boundary(MAX_ID));
        Some(((*name).to_owned(), Arc::from(kept.unwrap_or(value))))
    };
    let sent = Sent {
        id: names.iter().zip(found).find_map(id_of),
        trace: values.next().flatten().map_or(Trace::None, Trace::of),
        read_ns: cx.now_ns,
    };
    cx.model.set_sent(id, sent);
}

/// For the reader of a finding; `None` where nothing was sent that can be believed.
pub(super) fn sent_ids(sent: &Sent) -> Option<SentIds> {
    let trace = sent.trace.context();
    let ids = SentIds {
        id: sent
            .id
            .as_ref()
            .map(|(name, value)| (name.clone(), value.to_string())),
        trace_id: trace.map(|trace| trace.trace_id.to_string()),
        parent_id: trace.map(|trace| trace.parent_id.to_string()),
    };
    (ids != SentIds::default()).then_some(ids)
}

/// The ID of a request: the first of the configured headers that it came with. Without one, what the service made:
/// the header of its answer tells, or a context.
pub(super) fn of(request: &Request, thresholds: &Thresholds) -> Option<Id> {
    // Most requests without an ID are not suspicious: nobody has looked further.
    let untold = request.id_value.is_none() && request.trace == Trace::None;
    if untold && request.details.is_none() && request.context_id.is_none() {
        return None;
    }
    let names = || thresholds.id_headers.iter().enumerate();
    let found = |value: Option<&str>, source| Some(Id::new(value?, false, source));
    let details = request.details.as_ref();
    let answered = |place: usize| {
        let value = details?.response.get(place)?.as_deref();
        value.filter(|value| !value.is_empty())
    };
    let context = || {
        let found = request.context_id.as_ref()?;
        let source = IdSource::Context(found.package.to_string());
        Some(Id::new(&found.value, false, source))
    };
    names()
        .find_map(|(place, name)| incoming(request, place, name, thresholds))
        .or_else(|| {
            // Nobody answers with the trace that the caller sent.
            names()
                .filter(|(_, name)| *name != TRACE_HEADER)
                .find_map(|(place, name)| found(answered(place), IdSource::Response(name.clone())))
        })
        .or_else(context)
        // The service has put it into the header of its own request.
        .or_else(|| {
            names().find_map(|(place, name)| found(in_memory(request, place), header(name)))
        })
}

fn header(name: &str) -> IdSource {
    IdSource::Header(name.to_owned())
}

/// What the request came with in the configured header at `place`.
fn incoming(request: &Request, place: usize, name: &str, thresholds: &Thresholds) -> Option<Id> {
    if name == TRACE_HEADER {
        let trace = request.trace.context()?.trace_id.to_string();
        return Some(Id::new(&trace, false, header(name)));
    }
    let row = usize::try_from(request.id_row).unwrap_or(0);
    if let Some(begin) = &request.id_value
        && probed(&thresholds.id_headers).nth(row.wrapping_sub(1)) == Some(name)
    {
        // A cut may have gone through a character.
        let sure = begin.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let whole = in_memory(request, place).filter(|whole| whole.starts_with(sure));
        let id = whole.map(|whole| Id::new(whole, false, header(name)));
        return id.or_else(|| Some(Id::new(begin, request.id_cut, header(name))));
    }
    let value = in_memory(request, place).filter(|_| request.ids_open)?;
    Some(Id::new(value, false, header(name)))
}

/// What memory said of the configured header at `place`.
fn in_memory(request: &Request, place: usize) -> Option<&str> {
    let value = request.details.as_ref()?.headers.get(place)?.as_deref();
    value.filter(|value| !value.is_empty())
}

/// The ID headers that probes look for, in the order of their rows: the trace header has a row of its own.
pub fn probed(names: &[String]) -> impl Iterator<Item = &str> {
    names
        .iter()
        .map(String::as_str)
        .filter(|name| *name != TRACE_HEADER)
}
