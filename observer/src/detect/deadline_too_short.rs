//! # deadline-too-short
//!
//! A short deadline was set deep in the code.
//!
//! ## What it finds
//!
//! A `WithTimeout` or `WithDeadline` of less than 100 ms (`--short-deadline`) more than five
//! frames below the handler (`--short-deadline-depth`): so deep in the code that whoever reads the
//! handler does not know of it. Frames of the standard library do not count, inlined ones do.
//!
//! `at` is the line that set it, `asked_ns` what it allowed. `deadline_ns` and `deadline_site` are
//! the deadline above it, `remaining_ns` what was left of that.
//!
//! ## Why it matters
//!
//! A collection of garbage, a busy neighbour or a lost packet takes longer than 50 ms now and then.
//! A request that has two seconds fails after 50 ms, and the logs say "context deadline exceeded",
//! not which.
//!
//! ## Example
//!
//! ```go
//! func (c *Cache) get(ctx context.Context, key string) ([]byte, error) {
//! 	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
//! 	defer cancel()
//! 	return c.conn.Get(ctx, key)
//! }
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./deadlines -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/short/deep
//! ```
//!
//! ```text
//! info[deadline-too-short]: deadline of 50 ms is set 6 frames below the handler
//!   request  GET /short/deep   id doc-1 (X-Request-Id)
//!   at       main.(*service).asksDeep.func1   short.go:28
//!   via      http.(*conn).serve > … > main.ranking > main.counter
//!            > main.pipeline
//!   budget   context deadline 50 ms   2 s left   of 2 s set at main.go:59
//!   context  request → WithTimeout 2 s (main.go:59)
//!            → WithTimeout 50 ms (short.go:28)
//!   help     let the caller say how long it can wait, or take the miss for an
//!            answer
//! ```
//!
//! ## How to fix
//!
//! Where a miss is as good as an answer, nothing: that is what short deadlines are for. Else let
//! the caller say how long it can wait:
//!
//! ```go
//! func (c *Cache) get(ctx context.Context, key string) ([]byte, error) {
//! 	return c.conn.Get(ctx, key) // the request's deadline holds
//! }
//! ```
//!
//! ## How sure
//!
//! High that it is as short and as deep as it says. Info, once for each line. Warning when it does
//! harm: of at least 20 uses, 20 % or more fired while ten times as much was left of the deadline
//! above.
//!
//! ## When silent
//!
//! - contexts that are not a request's;
//! - contexts that the standard library or plumbing makes.

use std::collections::BTreeMap;

use crate::finding::{Confidence, Finding, RuleName, Severity, Timer};
use crate::go::{Frame, Stack};
use crate::model::{Ctx, CtxId, ReqId, Unit};

use super::chain;
use super::context::Context;
use super::deadline::spent;
use super::{deadline, draft, site};

/// Lines of which uses are counted.
const LINES: usize = 4096;
/// Uses before anything can be said of a line.
const ENOUGH: u32 = 20;
/// Of so many uses one may fire.
const ONE_IN: u32 = 5;
/// A deadline has fired too early when so many times as much was left above it.
const TIMES_LEFT: i64 = 10;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct DeadlineTooShort {
    /// Uses by process and return address of the line.
    lines: BTreeMap<(u32, u64), Uses>,
}

/// What became of the uses of a line.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    made: u32,
    early: u32,
}

/// A short deadline, deep in the code.
struct Short<'a> {
    ctx: &'a Ctx,
    owner: ReqId,
    unit: std::sync::Arc<Unit>,
    stack: Stack,
    depth: usize,
    line: (u32, u64),
}

impl DeadlineTooShort {
    /// Forgets what belongs to processes that `whose` names.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.lines.retain(|(pid, _), _| !whose(*pid));
    }

    /// A context was made.
    pub(super) fn context_created(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(short) = short(id, cx) else { return };
        let uses = self.lines.entry(short.line).or_default();
        uses.made = uses.made.saturating_add(1);
        if self.lines.len() > LINES {
            self.lines.pop_first();
        }
        let mut finding = found(&short, Severity::Info, cx);
        finding.message = format!(
            "deadline of {} is set {} frames below the handler",
            spent(short.ctx.deadline_ns.unwrap_or(0)),
            short.depth
        );
        cx.report(finding);
    }

    /// A context died: did its deadline pass although there was time?
    pub(super) fn context_cancelled(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let fired = cx.model.context(id).is_some_and(Ctx::died_of_its_deadline);
        if !fired {
            return;
        }
        let Some(short) = short(id, cx) else { return };
        let Some(left_ns) =
            above(short.ctx, cx).and_then(|over| deadline::left_ns(over, cx.now_ns))
        else {
            return;
        };
        let allowed_ns = short.ctx.deadline_ns.unwrap_or(0);
        if left_ns < allowed_ns.saturating_mul(TIMES_LEFT) {
            return;
        }
        let Some(uses) = self.lines.get_mut(&short.line) else {
            return;
        };
        uses.early = uses.early.saturating_add(1);
        let Uses { made, early } = *uses;
        if made < ENOUGH || early.saturating_mul(ONE_IN) < made {
            return;
        }
        let mut finding = found(&short, Severity::Warning, cx);
        finding.evidence.remaining_ns = Some(left_ns);
        finding.message = format!(
            "deadline of {} fired in {early} of {made} uses, this time with {} left above",
            spent(allowed_ns),
            spent(left_ns)
        );
        let owner = short.owner;
        cx.report_grown(finding, owner);
    }
}

/// The context, if its deadline is short and was set deep in the code of a request.
fn short<'a>(id: CtxId, cx: &'a Context<'_>) -> Option<Short<'a>> {
    let deadlines = &cx.thresholds.deadlines;
    let ctx = cx.model.context(id)?;
    let allowed_ns = ctx.deadline_ns?;
    let is_short = u64::try_from(allowed_ns).is_ok_and(|ns| ns < deadlines.short_ns);
    if !is_short || ctx.internal || !cx.model.is_whole(ctx.epoch) {
        return None;
    }
    let owner = ctx.owner?;
    if !draft::is_owner_whole(cx.model, ctx.owner) {
        return None;
    }
    let unit = cx.unit(ctx.pid)?;
    let stack = site::frames(cx.code, ctx.pid, &ctx.pcs);
    let maker = site::maker(&stack).filter(|maker| site::is_user(&unit, &maker.function))?;
    let depth = depth(&unit, &stack);
    let pc = ctx.pcs.iter().find(|pc| {
        let frames = cx.code.frames(ctx.pid, **pc);
        frames.iter().any(|frame| frame == maker)
    })?;
    let is_deep = u32::try_from(depth).is_ok_and(|depth| depth > deadlines.short_depth);
    is_deep.then_some(Short {
        ctx,
        owner,
        line: (ctx.pid, *pc),
        unit,
        depth,
        stack,
    })
}

/// Frames below the handler, the standard library's left out. Of a goroutine that was started for
/// the request, and of a stack that is deeper than what is seen of it, all there are.
fn depth(unit: &Unit, stack: &[Frame]) -> usize {
    let handler = stack
        .iter()
        .position(|frame| deadline::hands_on(&frame.function));
    let seen = stack.get(..handler.unwrap_or(stack.len())).unwrap_or(&[]);
    let count = seen
        .iter()
        .filter(|frame| !site::is_std(unit, &frame.function) && !frame.function.ends_with("-fm"))
        .count();
    // The last of them is the handler itself.
    count.saturating_sub(usize::from(handler.is_some()))
}

/// The context whose deadline holds above this one.
fn above<'a>(ctx: &Ctx, cx: &'a Context<'_>) -> Option<&'a Ctx> {
    cx.model.bound_of(ctx.parent.filter(|_| !ctx.is_cut()))
}

fn found(short: &Short<'_>, severity: Severity, cx: &Context<'_>) -> Finding {
    let Short {
        ctx, unit, stack, ..
    } = short;
    let severity = deadline::at_most(unit, stack, severity).unwrap_or(Severity::Info);
    let mut finding = draft::blank(
        RuleName::DeadlineTooShort,
        severity,
        Confidence::High,
        cx.now_ns,
        unit,
    );
    let over = above(ctx, cx);
    finding.context = chain::of_context(cx, Some(ctx.id));
    finding.request = draft::request_of(cx, ctx.owner);
    finding.evidence.asked_ns = ctx.deadline_ns;
    finding.evidence.deadline_ns = over.and_then(|over| over.deadline_ns);
    finding.evidence.remaining_ns = over.and_then(|over| deadline::left_ns(over, cx.now_ns));
    finding.evidence.deadline_site = over.and_then(|over| deadline::line(unit, over, cx));
    finding.evidence.timer = Some(Timer::Context);
    finding.help = "let the caller say how long it can wait, or take the miss for an answer".into();
    let at = site::direct(unit, stack).cloned();
    draft::place(&mut finding, unit, at.as_ref(), stack.clone());
    finding
}
