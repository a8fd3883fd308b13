//! How long a server gives its handlers when it shuts down: the deadline of `Server.Shutdown`.
//!
//! Which context that is, memory says: the one whose `Done` the goroutine in `Shutdown` waits for.

use std::collections::BTreeMap;

use crate::inspect::Inspection;
use crate::model::CtxId;

use super::ask::{Answer, Question};
use super::context::Context;
use super::site;
use super::timers::Topic;

/// Waits for handlers until its context dies; the same name in all versions.
const SHUTDOWN: &str = "net/http.(*Server).Shutdown";
/// Contexts that are asked about, the youngest first: Shutdown's is made when it begins.
const CANDIDATES: usize = 16;

/// Deadlines of shutdowns under way.
#[derive(Debug, Default)]
pub(super) struct Shutdowns {
    /// Contexts that a `Shutdown` waits for, by process.
    known: BTreeMap<CtxId, u32>,
}

impl Shutdowns {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.known.retain(|_, pid| !whose(*pid));
    }

    /// Work goes on after a shutdown began: until when may it?
    pub(super) fn began(&self, pid: u32, cx: &mut Context<'_>) {
        if self.known.values().any(|of| *of == pid) {
            return;
        }
        let questions: Vec<_> = cx
            .model
            .deadlines_of_nobody(pid)
            .take(CANDIDATES)
            .map(|ctx| {
                let question = Question::work(ctx.goid, ctx.g, vec![ctx.ptr], None);
                (ctx.id, question)
            })
            .collect();
        for (id, question) in questions {
            cx.ask(pid, Topic::Shutdown(id), question);
        }
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
        }
    }

    /// A context died. Gives the process whose shutdown took longer than it was given.
    pub(super) fn expired(&mut self, id: CtxId, cx: &Context<'_>) -> Option<u32> {
        let pid = self.known.remove(&id)?;
        cx.model.context(id)?.died_of_its_deadline().then_some(pid)
    }
}
