//! Calls and requests of the model as facts that make sense beside those of other processes.

use crate::correlate::{CallDeadline, CallFact, RequestFact};
use crate::finding::CancelledBy;
use crate::go::Frame;
use crate::model::{Call, CallEnd, Request, Unit};

use super::chain;
use super::context::Context;
use super::{deadline, draft, site};

/// A call, as it stands; `None` where its process is not known any more.
pub(super) fn call(call: &Call, cx: &Context<'_>) -> Option<CallFact> {
    let unit = cx.unit(call.pid)?;
    let stack = site::frames(cx.code, call.pid, &call.pcs);
    let at = site::of_client(&unit, &stack).cloned();
    let caller = site::caller(&unit, &stack)
        .filter(|caller| Some(*caller) != at.as_ref())
        .cloned();
    let owner = call.owner.and_then(|owner| cx.model.request(owner));
    let bound = cx.model.bound_of(cx.model.context_of_call(call));
    let given_up = given_up(call, &unit, cx);
    let (given_up_by, given_up_site) = given_up.unzip();
    Some(CallFact {
        number: call.id.0,
        process: unit.process.clone(),
        request: owner.map(|request| draft::request_info(request, cx.thresholds, cx.now_ns)),
        call: draft::call_evidence(call, cx.thresholds, cx.now_ns),
        given_up_by,
        given_up_site: given_up_site.flatten(),
        deadline: bound.and_then(|ctx| {
            Some(CallDeadline {
                set_ns: ctx.deadline_ns?,
                left_ns: deadline::left_ns(ctx, call.start_ns)?,
                site: deadline::line(&unit, ctx, cx),
            })
        }),
        site: at,
        caller,
        context: chain::of_call(cx, call),
        stack,
        seen_on: None,
        whole: cx.model.is_whole(call.epoch) && draft::is_owner_whole(cx.model, call.owner),
        until_ns: cx.now_ns,
    })
}

/// Who cancelled the context that a call died with, and where code did, the line.
fn given_up(call: &Call, unit: &Unit, cx: &Context<'_>) -> Option<(CancelledBy, Option<Frame>)> {
    if !matches!(call.ended, Some((_, CallEnd::Cancelled))) {
        return None;
    }
    let from = call.inner.or_else(|| cx.model.context_of_call(call));
    let cancel = cx
        .model
        .chain_of(from)
        .find_map(|ctx| ctx.cancelled.as_ref());
    Some(cancel.map_or((CancelledBy::Unknown, None), |cancel| {
        let by = cancel.origin;
        (by, draft::cancel_site(unit, by, cancel, cx))
    }))
}

/// A request, as it stands; `None` where its process is not known any more.
pub(super) fn request(request: &Request, cx: &Context<'_>) -> Option<RequestFact> {
    let unit = cx.unit(request.pid)?;
    let root = cx.model.context(request.root);
    let deadline = deadline::handlers(request, cx).or(root);
    Some(RequestFact {
        process: unit.process.clone(),
        request: draft::request_info(request, cx.thresholds, cx.now_ns),
        cancelled: root
            .and_then(|root| root.cancelled.as_ref())
            .filter(|cancel| cancel.by != CancelledBy::NormalEnd)
            .map(|cancel| (cancel.by, cancel.at_ns)),
        deadline_ns: deadline
            .and_then(|ctx| ctx.deadline_ns)
            .or(request.sent_deadline.ns()),
        sent_deadline: request.sent_deadline.clone(),
        seen_on: None,
        whole: cx.model.is_whole(request.epoch),
        until_ns: cx.now_ns,
    })
}
