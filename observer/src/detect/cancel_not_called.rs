//! # cancel-not-called
//!
//! Nobody called the cancel function.
//!
//! ## What it finds
//!
//! `context.WithCancel`, `WithTimeout` and `WithDeadline` return a cancel function. This one was
//! not called by the end of the request plus the grace time: the context was freed by its timer
//! or by its parent, or it still lives.
//!
//! `at` is the line of the `With…` call. Repeats of one line are one finding, with the number of
//! contexts of that line that live now.
//!
//! ## Why it matters
//!
//! Until it is cancelled, a context keeps its timer, its place in the parent's list of children
//! and everything that its values refer to. With a timeout of a minute and 500 requests a second
//! that is 30000 contexts that nobody needs. Under a parent that never ends it is a leak.
//! `go vet` (lostcancel) sees the cases that lie within one function; this rule sees the others.
//!
//! ## Example
//!
//! ```go
//! func (c *Client) Item(ctx context.Context, id string) (*Item, error) {
//! 	// Overwritten by the next call.
//! 	ctx, c.cancel = context.WithTimeout(ctx, time.Minute)
//! 	return c.get(ctx, "/items/"+id)
//! }
//! ```
//!
//! One of the test programs, observed in one terminal and asked in another:
//!
//! ```sh
//! (cd tests/targets && go run ./rules4 -listen 127.0.0.1:8080) &
//! sudo observer run --port 8080
//! curl -H 'X-Request-Id: doc-1' http://127.0.0.1:8080/notcalled/timeout
//! ```
//!
//! ```text
//! warning[cancel-not-called]: cancel function of WithTimeout never called; only
//!     its parent freed it
//!   request  GET /notcalled/timeout   id doc-1 (X-Request-Id)
//!   at       main.(*service).dropsTimeout   notcalled.go:46   0 not yet freed
//!   via      http.(*conn).serve
//!   context  request → WithTimeout 5 s (notcalled.go:46)
//!   time     0 start ───────────── 21.3 ms handler ended
//!   help     call the cancel function when the work is done: `defer cancel()` on
//!            the next line
//! ```
//!
//! ## How to fix
//!
//! Call it when the work is over, also when it succeeded:
//!
//! ```go
//! ctx, cancel := context.WithTimeout(ctx, time.Minute)
//! defer cancel()
//! return c.get(ctx, "/items/"+id)
//! ```
//!
//! If the result is read later (a response body, rows), hand `cancel` on and call it in `Close`:
//! a `defer` in this function would cut the reader off (see `premature-cancel`).
//!
//! In a loop, `defer cancel()` waits until the function returns: move the body of the loop into a
//! function of its own, or call `cancel` at the end of each turn.
//!
//! ## How sure
//!
//! High, warning: every call of a cancel function is seen, and this context's own was not among
//! them. The harm is not measured, so it is never an error.
//!
//! ## When silent
//!
//! - contexts made directly by the standard library or by libraries for themselves (a transport
//!   makes one for each connection);
//! - contexts of `context.AfterFunc`;
//! - contexts that do not descend from a request, until the third of one line, or until the timer
//!   of one had to free it and its request, if it was made in one, has ended; for a minute, while
//!   cancel functions of the same line are called;
//! - such contexts while they live, for their first minute (120 times the grace time): until then
//!   they may lie in a session or a queue where somebody calls the function later. A
//!   `WithCancel(context.Background())` that is dropped is reported only then;
//! - contexts whose function is still running on the goroutine that made them, for it may have a
//!   `defer cancel()`. One that runs a loop is reported all the same once timers have freed three
//!   of one line, nobody has called any of that line, and it has made the next;
//! - requests of which events were lost: they are unknown, and counted as such.

use std::collections::BTreeMap;

use crate::finding::{CancelledBy, Confidence, Evidence, Fingerprint, RuleName, Severity};
use crate::go::Frame;
use crate::inspect::Inspection;
use crate::model::{Cancel, ContextKind, Ctx, CtxId, Model, ReqId, Root, Unit};

use super::ask::{Answer, Question};
use super::chain;
use super::context::Context;
use super::draft;
use super::old_contexts::OldContexts;
use super::site;
use super::timers::Topic;

const HELP: &str =
    "call the cancel function when the work is done: `defer cancel()` on the next line";
const HELP_LOOP: &str = "call the cancel function in each turn: a `defer` runs only when the function returns, so move the body of the loop into one";
/// Occurrences of one line before a context that is not a request's is worth a word.
const THIRD: u64 = 3;
/// Between two looks at a goroutine that may still call it, ns.
const AGAIN_NS: u64 = 1_000_000_000;
/// Looks before giving up: the goroutine is somebody's long work.
const LOOKS: u32 = 60;
/// Age at which a context that does not descend from a request is looked at, in grace times.
const AGE_IN_GRACES: u64 = 120;
/// Goroutines of one line that may be in a loop.
const LOOPS: usize = 64;
/// Lines whose counts are kept.
const LINES: usize = 4096;
/// Contexts remembered as judged; of one that had to make room, a second verdict would be counted.
const JUDGED: usize = 16_384;

/// The rule.
#[derive(Debug, Default)]
pub(super) struct CancelNotCalled {
    /// By process and line.
    lines: BTreeMap<(u32, Fingerprint), Line>,
    looks: BTreeMap<CtxId, u32>,
    /// Those that do not descend from a request, and whether it was reported: they are looked at
    /// when their timer fires and when they are old.
    judged: BTreeMap<CtxId, bool>,
    old: OldContexts,
}

#[derive(Debug, Default)]
struct Line {
    /// Contexts of this line whose CancelFunc was not called in time.
    missed: u64,
    /// Contexts of this line whose CancelFunc was called.
    called: u64,
    /// By goroutine that is still in the function of this line.
    loops: BTreeMap<u64, Turns>,
}

/// Contexts that one goroutine made at one line without leaving its function, and that only their timers freed.
#[derive(Debug, Default)]
struct Turns {
    /// How many.
    count: u64,
    /// When the newest was made, ns.
    newest_ns: u64,
}

impl Line {
    /// Notes a context whose maker is still in its function; whether the line goes on making them without a cancel.
    fn turns(&mut self, ctx: &Ctx) -> bool {
        if self.loops.len() >= LOOPS && !self.loops.contains_key(&ctx.goid) {
            return false;
        }
        let turns = self.loops.entry(ctx.goid).or_default();
        if turns.count == 0 || ctx.created_ns > turns.newest_ns {
            turns.newest_ns = ctx.created_ns;
            turns.count += 1;
        }
        self.called == 0 && turns.count >= THIRD && ctx.created_ns < turns.newest_ns
    }
}

impl CancelNotCalled {
    /// Forgets a process, which the model has forgotten.
    pub(super) fn forget(&mut self, pid: u32, model: &Model) {
        self.lines.retain(|(of, _), _| *of != pid);
        self.looks.retain(|ctx, _| model.context(*ctx).is_some());
        self.judged.retain(|ctx, _| model.context(*ctx).is_some());
    }

    /// The handler has returned: its contexts' cancel functions are due.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let due: Vec<CtxId> = request
            .contexts
            .iter()
            .filter(|id| cx.model.context(**id).is_some_and(is_due))
            .copied()
            .collect();
        for ctx in due {
            cx.later(cx.thresholds.grace_ns, Topic::NotCalled(ctx));
        }
    }

    /// A context of no request: nothing will say that it is done with, so it is looked at when it is old.
    pub(super) fn context_created(&mut self, id: CtxId, cx: &mut Context<'_>) {
        if cx.model.context(id).is_some_and(is_nobodys) {
            self.old.expect(cx);
        }
    }

    /// It is time to look for such.
    pub(super) fn search(&mut self, cx: &mut Context<'_>) {
        let age_ns = cx.thresholds.grace_ns.saturating_mul(AGE_IN_GRACES);
        for id in self.old.search(age_ns, is_nobodys, cx) {
            self.look(id, cx);
        }
    }

    /// A context that does not descend from a request was freed by its timer, or one of no request
    /// by its parent.
    pub(super) fn context_cancelled(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let freed = match ctx.cancelled.as_ref().map(|cancel| cancel.by) {
            Some(CancelledBy::Deadline) => !descends(ctx),
            Some(CancelledBy::Parent) => ctx.owner.is_none(),
            _ => false,
        };
        if freed && is_due(ctx) {
            cx.later(cx.thresholds.grace_ns, Topic::NotCalled(id));
        }
    }

    /// Somebody called it: then its line is one that calls.
    pub(super) fn cancel_called(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        self.looks.remove(&id);
        if descends(ctx) {
            return;
        }
        let Some(unit) = cx.unit(ctx.pid) else { return };
        let frames = site::frames(cx.code, ctx.pid, &ctx.pcs);
        if let Some(line) = made_at(&unit, &frames)
            && let Some(line) = self.line(&unit, line)
        {
            line.called += 1;
        }
    }

    fn line(&mut self, unit: &Unit, at: &Frame) -> Option<&mut Line> {
        let key = Fingerprint::of(RuleName::CancelNotCalled, &unit.process.module, Some(at));
        let key = (unit.process.pid, key);
        if self.lines.len() >= LINES && !self.lines.contains_key(&key) {
            return None;
        }
        Some(self.lines.entry(key).or_default())
    }

    /// Grace is over: was it called?
    pub(super) fn look(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let Some(unit) = cx.unit(ctx.pid) else { return };
        let frames = site::frames(cx.code, ctx.pid, &ctx.pcs);
        let silent = ctx.cancel_called_ns.is_some()
            || !cx.model.is_whole(ctx.epoch)
            || !draft::is_owner_whole(cx.model, ctx.owner);
        let at = made_at(&unit, &frames).filter(|_| !silent);
        let Some(at) = at else {
            self.looks.remove(&id);
            return;
        };
        if !descends(ctx) {
            // Its request's end or its timer brings the look that counts.
            if is_early(ctx, cx) || self.judged.get(&id) == Some(&true) {
                return;
            }
            // Alive, it may lie where somebody will call it later: a session, a job in a queue. So
            // may one whose timer was faster than the queue.
            let age_ns = cx.now_ns.saturating_sub(ctx.created_ns);
            let ripe_ns = cx.thresholds.grace_ns.saturating_mul(AGE_IN_GRACES);
            let calls = self.line(&unit, at).is_some_and(|line| line.called > 0);
            if (ctx.cancelled.is_none() || calls) && age_ns < ripe_ns {
                cx.later(ripe_ns.saturating_sub(age_ns), Topic::NotCalled(id));
                return;
            }
        }
        let question = Question::Children {
            parent_goid: ctx.goid,
        };
        cx.ask(ctx.pid, Topic::NotCalled(id), question);
    }

    /// Who is still there that may call it: first the goroutines that its maker started, then
    /// the maker itself.
    pub(super) fn answer(&mut self, id: CtxId, answer: &Answer, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        if ctx.cancel_called_ns.is_some() {
            return;
        }
        match answer {
            Answer::Children(Some(children)) => {
                // Goroutines of the standard library and of plumbing call nobody's CancelFunc.
                let pid = ctx.pid;
                let unit = cx.unit(pid);
                let by_user = children.iter().any(|child| {
                    let frames = cx.code.frames(pid, child.gopc);
                    unit.as_deref().is_none_or(|unit| {
                        frames
                            .first()
                            .is_none_or(|frame| site::is_user(unit, &frame.function))
                    })
                });
                if by_user {
                    self.again(id, cx);
                } else {
                    self.ask_maker(id, cx);
                }
            }
            // Go ≤ 1.20 keeps no parents: only what descends from a request is certain enough.
            Answer::Children(None) if descends(ctx) => {
                self.ask_maker(id, cx);
            }
            Answer::Work(work) => match &work.goroutine {
                Inspection::Gone => self.conclude(id, false, cx),
                Inspection::Alive(goroutine) if !goroutine.stack.is_empty() => {
                    let stack =
                        site::walked(cx.code, ctx.pid, &goroutine.stack, goroutine.stack_state);
                    let made = site::frames(cx.code, ctx.pid, &ctx.pcs);
                    let maker = site::maker(&made).map(|frame| frame.function.clone());
                    let inside = stack
                        .iter()
                        .any(|frame| Some(&frame.function) == maker.as_ref());
                    if !inside {
                        self.conclude(id, false, cx);
                    } else if self.is_turn(id, cx) {
                        self.conclude(id, true, cx);
                    } else {
                        self.again(id, cx);
                    }
                }
                _ => self.again(id, cx),
            },
            _ => {}
        }
    }

    fn ask_maker(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        // The handler itself has returned: it cannot call any more.
        let handler = ctx
            .owner
            .and_then(|owner| cx.model.request(owner))
            .is_some_and(|request| request.goid == ctx.goid && request.ended.is_some());
        if handler {
            self.conclude(id, false, cx);
            return;
        }
        let question = Question::work(ctx.goid, ctx.g, Vec::new(), None);
        cx.ask(ctx.pid, Topic::NotCalled(id), question);
    }

    /// Whether the function that made it goes round: its timer freed it, and the line has made later ones on the
    /// same goroutine without a cancel of any.
    fn is_turn(&mut self, id: CtxId, cx: &Context<'_>) -> bool {
        let freed = |ctx: &&Ctx| !descends(ctx) && ctx.died_of_its_deadline();
        let Some(ctx) = cx.model.context(id).filter(freed) else {
            return false;
        };
        let Some(unit) = cx.unit(ctx.pid) else {
            return false;
        };
        let frames = site::frames(cx.code, ctx.pid, &ctx.pcs);
        made_at(&unit, &frames)
            .and_then(|at| self.line(&unit, at))
            .is_some_and(|line| line.turns(ctx))
    }

    fn again(&mut self, id: CtxId, cx: &mut Context<'_>) {
        let looks = self.looks.remove(&id).unwrap_or_default() + 1;
        if looks > LOOKS {
            return;
        }
        cx.remember(&mut self.looks, id, looks);
        cx.later(AGAIN_NS, Topic::NotCalled(id));
    }

    /// Nobody is left to call it, or who may still has begun the next turns of a loop (`turns`) without.
    fn conclude(&mut self, id: CtxId, turns: bool, cx: &mut Context<'_>) {
        self.looks.remove(&id);
        let Some(ctx) = cx.model.context(id) else {
            return;
        };
        let Some(unit) = cx.unit(ctx.pid) else { return };
        let frames = site::frames(cx.code, ctx.pid, &ctx.pcs);
        let Some(at) = made_at(&unit, &frames).cloned() else {
            return;
        };
        let before = self.judged.get(&id).copied();
        if before == Some(true) {
            return;
        }
        let Some(line) = self.line(&unit, &at) else {
            return;
        };
        line.missed += u64::from(before.is_none());
        let live = line.missed;
        let told = descends(ctx)
            || ctx.died_of_its_deadline()
            || (line.missed >= THIRD && line.called == 0);
        if !descends(ctx) {
            self.judged.insert(id, told);
            if self.judged.len() > JUDGED {
                self.judged.pop_first();
            }
        }
        if !told {
            return;
        }
        let mut finding = draft::blank(
            RuleName::CancelNotCalled,
            Severity::Warning,
            Confidence::High,
            cx.now_ns,
            &unit,
        );
        finding.request = draft::request_of(cx, ctx.owner);
        finding.context = chain::of_context(cx, Some(id));
        let freed_by = ctx.cancelled.as_ref();
        let by = freed_by.map(Cancel::root_by);
        finding.evidence = Evidence {
            cancelled_by: by,
            cancel_site: freed_by
                .zip(by)
                .and_then(|(cancel, by)| draft::cancel_site(&unit, by, cancel, cx)),
            cancelled_at_ns: freed_by.map(|cancel| cancel.at_ns),
            deadline_ns: ctx.deadline_ns,
            live: Some(alive(cx, ctx).min(live)),
            ..Evidence::default()
        };
        let made_by = site::made_by(&frames);
        let function = made_by.as_deref().unwrap_or("WithCancel");
        finding.message = match freed_by.map(|cancel| cancel.by) {
            Some(_) if turns => format!(
                "cancel function of {function} not called in the loop that makes it; only its timer freed it"
            ),
            Some(CancelledBy::Deadline) => {
                format!("cancel function of {function} never called; only its timer freed it")
            }
            Some(_) => {
                format!("cancel function of {function} never called; only its parent freed it")
            }
            None => format!("cancel function of {function} never called; it is still alive"),
        };
        finding.help = if turns { HELP_LOOP } else { HELP }.to_owned();
        draft::place(&mut finding, &unit, Some(&at), frames);
        cx.report(finding);
    }
}

/// A context that somebody got a CancelFunc for, which was not called yet.
fn is_due(ctx: &Ctx) -> bool {
    let kind = ContextKind::of(ctx.type_name.as_deref());
    !ctx.internal
        && !ctx.is_root
        && ctx.cancel_called_ns.is_none()
        && matches!(kind, ContextKind::Cancel | ContextKind::Timer)
}

/// It is due, and no request's end will ask for it.
fn is_nobodys(ctx: &Ctx) -> bool {
    ctx.owner.is_none() && is_due(ctx)
}

/// A request's end ends it: its CancelFunc is due then.
const fn descends(ctx: &Ctx) -> bool {
    matches!(ctx.root, Root::Request(_))
}

/// Its timer has freed it, and grace since then, or since the end of the request that it was made
/// in, is not over.
fn is_early(ctx: &Ctx, cx: &Context<'_>) -> bool {
    let Some(cancel) = ctx.cancelled.as_ref() else {
        return false;
    };
    if !ctx.died_of_its_deadline() {
        return false;
    }
    let since_ns = match ctx.owner.and_then(|owner| cx.model.request(owner)) {
        Some(request) => match request.ended {
            Some((ended_ns, _)) => cancel.at_ns.max(ended_ns),
            None => return true,
        },
        None => cancel.at_ns,
    };
    cx.now_ns < since_ns.saturating_add(cx.thresholds.grace_ns)
}

/// The line of the `With…` call, if it is user code's.
fn made_at<'a>(unit: &Unit, frames: &'a [Frame]) -> Option<&'a Frame> {
    site::maker(frames).filter(|frame| site::is_user(unit, &frame.function))
}

/// Contexts of the same line that are alive now.
fn alive(cx: &Context<'_>, like: &Ctx) -> u64 {
    cx.model.alive_like(like)
}
