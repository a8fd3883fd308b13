//! Deadlines of contexts: wished, in force, and how far up a chain one holds.

use std::sync::Arc;

use observer_common::event::{ContextCreated, DeadlineAsked};

use super::chain::links;
use super::code::ContextKind;
use super::context::{Ctx, Root, Step};
use super::instant::Instant;
use super::process::Asked;
use super::{Call, CtxId, Model, On};

/// Make a deadline from the clock as it stands.
const FRESH: [&str; 2] = ["context.WithTimeout", "context.WithTimeoutCause"];
/// Return addresses of a creation that can be package `context`'s own.
const OWN_FRAMES: usize = 4;

/// Whether cancellation and deadlines stop at one of these.
fn cuts(steps: &[Step]) -> bool {
    steps
        .iter()
        .any(|step| ContextKind::of(step.type_name.as_deref()) == ContextKind::Without)
}

impl Ctx {
    /// When its own deadline passes, monotonic ns; one in the past counts as now.
    #[must_use]
    pub fn deadline_at_ns(&self) -> Option<u64> {
        Some(self.created_ns.saturating_add_signed(self.deadline_ns?))
    }

    /// It lives, has a deadline, and is no request's.
    #[must_use]
    pub const fn is_nobodys_deadline(&self) -> bool {
        let lives = self.cancelled.is_none() && self.deadline_ns.is_some();
        lives && self.owner.is_none() && !matches!(self.root, Root::Request(_))
    }

    /// Its parent's deadline and cancel do not reach it.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        cuts(&self.steps)
    }
}

impl Model {
    /// From a context upwards, as far as deadlines come down to it.
    pub fn chain_of(&self, id: Option<CtxId>) -> impl Iterator<Item = &Ctx> {
        let mut next = id;
        std::iter::from_fn(move || {
            let ctx = self.context(next?)?;
            next = ctx.parent.filter(|_| !ctx.is_cut());
            Some(ctx)
        })
    }

    /// The context whose deadline holds for this one: the nearest that has its own, because a later
    /// one makes no timer.
    #[must_use]
    pub fn bound_of(&self, id: Option<CtxId>) -> Option<&Ctx> {
        self.chain_of(id).find(|ctx| ctx.deadline_ns.is_some())
    }

    /// The context that a call runs on, unless it hears nothing of it.
    #[must_use]
    pub fn context_of_call(&self, call: &Call) -> Option<CtxId> {
        call.ctx.filter(|_| !cuts(&call.steps))
    }
}

impl On<'_> {
    pub(super) fn deadline_asked(&mut self, record: &DeadlineAsked) {
        let asked = Asked {
            parent: record.parent.data,
            deadline: Instant::new(record.deadline),
        };
        self.process.asked.insert(record.header.goid, asked);
    }

    /// The deadline that was asked for with this creation, if one was.
    pub(super) fn asked_for(&mut self, record: &ContextCreated) -> Option<Instant> {
        let asked = self.process.asked.remove(&record.header.goid)?;
        let parent = links(&record.chain, record.links).first()?;
        (parent.data == asked.parent).then_some(asked.deadline)
    }

    /// Learns the process's clock from a deadline that was made a moment ago.
    pub(super) fn learn_clock(&mut self, instant: Instant, pcs: &Arc<[u64]>) {
        if self.process.start_ns.is_some() {
            return;
        }
        let fresh = pcs.iter().take(OWN_FRAMES).any(|pc| {
            let frames = self.code.frames(self.pid, *pc);
            frames.iter().any(|frame| FRESH.contains(&&*frame.function))
        });
        if fresh {
            self.process.start_ns = instant.start_ns(self.model.realtime_minus_monotonic_ns);
        }
    }

    /// Time left until an instant, ns.
    pub(super) fn time_left(&self, instant: Instant) -> Option<i64> {
        instant.left_ns(
            self.model.now_ns,
            self.process.start_ns,
            self.model.realtime_minus_monotonic_ns,
        )
    }
}
