//! A use of a detached context as a finding: the line that chose the context, the chain, and how sure that is.

use crate::finding::{Confidence, Evidence, Finding, RuleName, Severity};
use crate::go::{Frame, Stack};
use crate::model::{Call, ContextKind, Ctx, CtxId, Cut, Root, Step, Unit};

use super::context::Context;
use super::detached_context::is_aside;
use super::{chain, draft, passer, site};

/// The context at the top of a detached chain, below the cut: where it was made.
fn top<'a>(ctx: Option<CtxId>, cx: &'a Context<'_>) -> Option<&'a Ctx> {
    let mut top = None;
    let mut next = ctx;
    while let Some(ctx) = next.and_then(|id| cx.model.context(id)) {
        if !matches!(ctx.root, Root::Detached(_) | Root::Unknown) {
            break;
        }
        top = Some(ctx);
        next = ctx.parent;
    }
    top
}

/// `bounded`: the work has a deadline of its own.
fn help(cut: Option<&Cut>, severity: Severity, bounded: bool, site: Option<&Frame>) -> String {
    let what = match cut {
        _ if bounded && severity == Severity::Info => {
            "leave it so if the work is meant to outlive the request, else derive from the request's context"
        }
        Some(Cut::Empty) => "derive from the request's context",
        _ if bounded => "hand the request's context on, or do not wait for the detached work",
        _ => "hand the request's context on, or give the detached work a deadline and let it go",
    };
    match site {
        Some(site) => {
            let file = site.file.rsplit('/').next().unwrap_or(&site.file);
            format!("{what} at {file}:{}", site.line)
        }
        None => what.to_owned(),
    }
}

fn is_bounded(ctx: Option<CtxId>, cx: &Context<'_>) -> bool {
    cx.model.bound_of(ctx).is_some()
}

fn cut_of(root: &Root) -> Option<&Cut> {
    match root {
        Root::Detached(cut) => Some(cut),
        Root::Request(_) | Root::Unknown => None,
    }
}

/// A finding for a call on a detached context: where the context was made, else the call.
pub(super) fn use_by_call(
    call: &Call,
    unit: &Unit,
    severity: Severity,
    cx: &Context<'_>,
) -> Option<Finding> {
    let stack = site::frames(cx.code, call.pid, &call.pcs);
    if is_aside(&stack) {
        return None;
    }
    let made = top(call.ctx, cx);
    let at = made
        .and_then(|made| origin(&made.root, &made.steps, &made.pcs, unit, cx))
        .or_else(|| origin(&call.root, &call.steps, &call.pcs, unit, cx));
    let severity = borrowed(&stack, unit, severity)?;
    let mut finding = draft::blank(
        RuleName::DetachedContext,
        severity,
        confidence(call, cx),
        cx.now_ns,
        unit,
    );
    finding.context = chain::of_call(cx, call);
    finding.evidence = Evidence {
        call: Some(draft::call_evidence(call, cx.thresholds, cx.now_ns)),
        ..Evidence::default()
    };
    let bounded = call.bounded || is_bounded(cx.model.context_of_call(call), cx);
    finding.help = help(cut_of(&call.root), severity, bounded, at.as_ref());
    draft::place(&mut finding, unit, at.as_ref(), stack);
    Some(finding)
}

/// The frame that chose a context that cuts: where that is proved the one of this stack that passed
/// `Background` or `TODO`, or called `WithoutCancel`, or the line that made the value right below; else the direct one.
fn origin(
    root: &Root,
    steps: &[Step],
    pcs: &[u64],
    unit: &Unit,
    cx: &Context<'_>,
) -> Option<Frame> {
    let is_without =
        |step: &&Step| ContextKind::of(step.type_name.as_deref()) == ContextKind::Without;
    let chosen = match root {
        Root::Detached(Cut::Empty) => {
            let passer = steps
                .last()
                .and_then(|end| passer::passer(unit, cx.code, pcs, end.itab));
            let value = value_on_empty(steps, unit);
            match (passer, value) {
                (Some(passer), Some(value)) if value.function != passer.function => Some(passer),
                (passer, value) => value.or(passer),
            }
        }
        Root::Detached(Cut::Without(_)) => steps
            .iter()
            .find(is_without)
            .and_then(|cut| passer::maker(unit, cx.code, pcs, cut.itab)),
        _ => None,
    };
    chosen.or_else(|| {
        let frames = site::frames(cx.code, unit.process.pid, pcs);
        site::of_client(unit, &frames).cloned()
    })
}

/// The line of the service's own that made the value whose parent is `Background` or `TODO`, where only one can have.
fn value_on_empty(steps: &[Step], unit: &Unit) -> Option<Frame> {
    let [.., value, _] = steps else {
        return None;
    };
    let made = site::direct(unit, &value.key.as_ref()?.made)?;
    site::is_own(unit, &made.function).then(|| made.clone())
}

/// What a dependency makes and uses inside itself, with none of the service's code between, is
/// at most an info. Nothing to say where no user code is on the stack at all.
fn borrowed(stack: &[Frame], unit: &Unit, severity: Severity) -> Option<Severity> {
    let direct = site::direct(unit, stack)?;
    Some(if site::is_own(unit, &direct.function) {
        severity
    } else {
        severity.min(Severity::Info)
    })
}

/// Ancestry by goroutine is one inference; by descent it is proof.
fn confidence(call: &Call, cx: &Context<'_>) -> Confidence {
    let serving = call
        .owner
        .and_then(|owner| cx.model.request(owner))
        .is_some_and(|request| request.goid == call.goid);
    if serving {
        Confidence::High
    } else {
        Confidence::Medium
    }
}

/// A finding for a wait on the Done of a detached context.
pub(super) fn use_by_wait(
    ctx: &Ctx,
    unit: &Unit,
    stack: &Stack,
    severity: Severity,
    cx: &Context<'_>,
) -> Option<Finding> {
    let waited = ctx.id;
    let ctx = top(Some(waited), cx).unwrap_or(ctx);
    let at = origin(&ctx.root, &ctx.steps, &ctx.pcs, unit, cx);
    let mut finding = draft::blank(
        RuleName::DetachedContext,
        severity,
        Confidence::High,
        cx.now_ns,
        unit,
    );
    finding.context = chain::of_context(cx, Some(ctx.id));
    let bounded = is_bounded(Some(waited), cx);
    finding.help = help(cut_of(&ctx.root), severity, bounded, at.as_ref());
    draft::place(&mut finding, unit, at.as_ref(), stack.clone());
    Some(finding)
}
