//! Chains of contexts as findings show them: each link with its name, and with the line that made it where that is proved.
//!
//! A hook sees cancelable contexts being made. The others were made in between, by whom only the code can tell: where one
//! line alone can have.

use crate::finding::{ContextLink, Trust};
use crate::go::{Frame, TypeName};
use crate::model::{Call, Code, ContextKind, Ctx, CtxId, Step};

use super::context::Context;
use super::{passer, site};

/// Links shown of one chain.
const MAX_LINKS: usize = 32;

/// The chain of a call, leaf first.
pub(super) fn of_call(cx: &Context<'_>, call: &Call) -> Vec<ContextLink> {
    let links = step_links(cx.code, call.pid, &call.steps, &call.pcs);
    continued(links, cx, call.ctx)
}

/// The chain of a context, leaf first.
pub(super) fn of_context(cx: &Context<'_>, ctx: Option<CtxId>) -> Vec<ContextLink> {
    continued(Vec::new(), cx, ctx)
}

fn continued(
    mut links: Vec<ContextLink>,
    cx: &Context<'_>,
    ctx: Option<CtxId>,
) -> Vec<ContextLink> {
    let mut next = ctx;
    while let Some(ctx) = next.and_then(|id| cx.model.context(id)) {
        if links.len() >= MAX_LINKS {
            break;
        }
        links.push(node_link(cx.code, ctx));
        links.extend(step_links(cx.code, ctx.pid, &ctx.steps, &ctx.pcs));
        next = ctx.parent;
    }
    links
}

/// What lies above something that was made with this stack, up to the next context of the model.
fn step_links(code: &dyn Code, pid: u32, steps: &[Step], pcs: &[u64]) -> Vec<ContextLink> {
    let unit = code.unit(pid);
    let cuts = steps
        .iter()
        .filter(|step| kind(step) == ContextKind::Without);
    let one_cuts = cuts.count() == 1;
    let made = |step: &Step| -> Option<Frame> {
        let unit = unit.as_deref()?;
        match (&step.key, kind(step)) {
            (Some(key), _) => site::direct(unit, &key.made).cloned(),
            (None, ContextKind::Without) if one_cuts => passer::made(unit, code, pcs, step.itab),
            (None, _) => None,
        }
    };
    let link = |step: &Step| ContextLink {
        site: made(step),
        ..step_link(step)
    };
    steps.iter().map(link).collect()
}

fn kind(step: &Step) -> ContextKind {
    ContextKind::of(step.type_name.as_deref())
}

fn step_link(step: &Step) -> ContextLink {
    let name = step.type_name.as_deref();
    let (label, trust) = match kind(step) {
        ContextKind::Empty => (empty_label(name), Trust::Root),
        ContextKind::Through => (value_label(step), Trust::Known),
        ContextKind::Without => ("WithoutCancel".to_owned(), Trust::Cuts),
        ContextKind::Cancel | ContextKind::Timer | ContextKind::AfterFunc => {
            ("made before observing".to_owned(), Trust::Unknown)
        }
        ContextKind::Opaque => (
            name.map_or_else(|| "unknown type".to_owned(), ToString::to_string),
            Trust::Unknown,
        ),
    };
    ContextLink {
        type_name: name.cloned(),
        label,
        site: None,
        deadline_ns: None,
        trust,
    }
}

/// A value is told from others by its key.
fn value_label(step: &Step) -> String {
    match &step.key {
        Some(key) => format!("WithValue({})", key.type_name),
        None => "WithValue".to_owned(),
    }
}

/// Before Go 1.21 both are an `emptyCtx`, told apart only by address.
fn empty_label(name: Option<&TypeName>) -> String {
    match name.map(|name| &*name.name) {
        Some("todoCtx") => "context.TODO",
        Some("backgroundCtx") => "context.Background",
        _ => "context.Background or TODO",
    }
    .to_owned()
}

fn node_link(code: &dyn Code, ctx: &Ctx) -> ContextLink {
    let frames = site::frames(code, ctx.pid, &ctx.pcs);
    let (label, trust) = if ctx.is_root {
        ("request".to_owned(), Trust::Root)
    } else if ctx.internal {
        let owner = frames.first().map_or("net/http", |frame| frame.package());
        (format!("{owner} call"), Trust::Known)
    } else {
        let made_by = site::made_by(&frames);
        (
            made_by.map_or_else(|| "WithCancel".to_owned(), |name| name.to_string()),
            Trust::Known,
        )
    };
    let site = code
        .unit(ctx.pid)
        .and_then(|unit| site::direct(&unit, &frames).cloned());
    ContextLink {
        type_name: ctx.type_name.as_deref().cloned(),
        label,
        site,
        deadline_ns: ctx.deadline_ns,
        trust,
    }
}
