//! How long a server gives its handlers when it shuts down: the deadline of `Server.Shutdown`.
//!
//! Which context that is, memory says: the one whose `Done` the goroutine in `Shutdown` waits for.

use std::collections::BTreeMap;

use crate::finding::CancelledBy;
use crate::inspect::Inspection;
use crate::model::{Ctx, CtxId, ReqId};

use super::ask::{Answer, Question};
use super::context::Context;
use super::site;
use super::timers::Topic;

/// Waits for handlers until its context dies; the same name in all versions.
const SHUTDOWN: &str = "net/http.(*Server).Shutdown";
/// Contexts that are asked about when requests are cancelled, the youngest first: Shutdown's is made when it begins.
const CANDIDATES: usize = 16;
/// Looks at one process: it may make contexts with deadlines for other ends.
const LOOKS: u32 = 64;
/// Time left to a context below which nobody looks any more, ns.
const SOON_NS: u64 = 10_000_000;

/// Deadlines of shutdowns under way.
#[derive(Debug, Default)]
pub(super) struct Shutdowns {
    /// Processes that have cancelled requests to shut down, with the looks left.
    begun: BTreeMap<u32, u32>,
    /// Contexts that a `Shutdown` waits for, by process.
    known: BTreeMap<CtxId, u32>,
}

impl Shutdowns {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool + Copy) {
        self.begun.retain(|pid, _| !whose(*pid));
        self.known.retain(|_, pid| !whose(*pid));
    }

    /// A request was cancelled. If by a shutdown: until when may it go on?
    pub(super) fn request_cancelled(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let root = cx.model.context(request.root);
        let by = root.and_then(|root| Some(root.cancelled.as_ref()?.by));
        let pid = request.pid;
        if by != Some(CancelledBy::Shutdown) || self.begun.contains_key(&pid) {
            return;
        }
        cx.remember(&mut self.begun, pid, LOOKS);
        let candidates: Vec<_> = cx.model.deadlines_of_nobody(pid).take(CANDIDATES).collect();
        let waits: Vec<_> = candidates
            .iter()
            .filter_map(|ctx| Some((ctx.id, half_of_the_rest(ctx, cx)?)))
            .collect();
        for (id, wait_ns) in waits {
            cx.later(wait_ns, Topic::Shutdown(id));
        }
    }

    /// A context was made, perhaps to shut down by.
    pub(super) fn context_created(&self, id: CtxId, cx: &mut Context<'_>) {
        let wait_ns = cx
            .model
            .context(id)
            .filter(|ctx| self.begun.contains_key(&ctx.pid) && ctx.is_nobodys_deadline())
            .and_then(|ctx| half_of_the_rest(ctx, cx));
        if let Some(wait_ns) = wait_ns {
            cx.later(wait_ns, Topic::Shutdown(id));
        }
    }

    /// Half of the time that was left to a context has passed: does a `Shutdown` wait for it?
    pub(super) fn look(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id).filter(|ctx| ctx.is_nobodys_deadline()) else {
            return;
        };
        let Some(left) = self.begun.get_mut(&ctx.pid).filter(|left| **left > 0) else {
            return;
        };
        *left -= 1;
        let (pid, question) = (
            ctx.pid,
            Question::work(ctx.goid, ctx.g, vec![ctx.ptr], None),
        );
        cx.ask(pid, Topic::Shutdown(id), question);
    }

    /// What the goroutine that made the context does.
    pub(super) fn answer(&mut self, id: CtxId, answer: &Answer, cx: &mut Context<'_>) {
        let Answer::Work(work) = answer else { return };
        let (Some(ctx), Inspection::Alive(goroutine)) = (cx.model.context(id), &work.goroutine)
        else {
            return;
        };
        let waits = work.waits_on.contains(&ctx.ptr);
        let shuts_down = || {
            site::walked(cx.code, ctx.pid, &goroutine.stack, goroutine.stack_state)
                .iter()
                .any(|frame| &*frame.function == SHUTDOWN)
        };
        if waits && shuts_down() {
            let pid = ctx.pid;
            cx.remember(&mut self.known, id, pid);
        } else if let Some(wait_ns) = half_of_the_rest(ctx, cx) {
            // It may look after its connections just now.
            cx.later(wait_ns, Topic::Shutdown(id));
        }
    }

    /// A context died. Gives the process whose shutdown took longer than it was given.
    pub(super) fn expired(&mut self, id: CtxId, cx: &Context<'_>) -> Option<u32> {
        let pid = self.known.remove(&id)?;
        cx.model.context(id)?.died_of_its_deadline().then_some(pid)
    }
}

/// Until half of what is left to a context has passed, ns; `None` where its end is near.
fn half_of_the_rest(ctx: &Ctx, cx: &Context<'_>) -> Option<u64> {
    let left_ns = ctx.deadline_at_ns()?.saturating_sub(cx.now_ns);
    (left_ns > SOON_NS).then_some(left_ns / 2)
}
