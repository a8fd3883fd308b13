//! How far cancels and deadlines travel, in figures: which requests lost one, how long work took to
//! stop, what it wasted. What is not known for certain is in no figure.
//!
//! `docs/health.md` defines each. Takes what the rules conclude; it must not judge anew.

use std::collections::{BTreeMap, VecDeque};

use crate::finding::{CancelledBy, Finding, Phase, RuleName, Severity};
use crate::model::{Ending, Health, Model, ReqId, Request, Root};

use super::context::{Context, Thresholds};
use super::overrun::Over;
use super::{descendants, draft};

/// Ended requests remembered, because what they left behind may be found to work on.
const ENDED: usize = 16_384;

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Counting {
    figures: Health,
    /// Running requests about which something is known.
    open: BTreeMap<ReqId, Open>,
    /// Ended requests that were counted; whether as having lost something.
    ended: Ended,
    /// Work that goes on beyond grace.
    working: BTreeMap<ReqId, Working>,
    /// Cancelled requests whose handlers have returned, and whose other goroutines work on.
    left: BTreeMap<ReqId, Left>,
}

/// What a handler has left.
#[derive(Debug, Clone, Copy)]
struct Left {
    pid: u32,
    cancelled_ns: u64,
}

/// Ended requests by number. They end nearly in the order in which they began, so a new one's place is
/// near the end.
#[derive(Debug, Default)]
struct Ended(VecDeque<(ReqId, bool)>);

impl Ended {
    /// Remembers one; gives what was known of it before. Beyond the bound the lowest number goes.
    fn insert(&mut self, id: ReqId, lost: bool) -> Option<bool> {
        let younger = self.0.iter().rev().take_while(|(of, _)| *of > id).count();
        let place = self.0.len().saturating_sub(younger);
        if let Some((of, before)) = place.checked_sub(1).and_then(|last| self.0.get_mut(last))
            && *of == id
        {
            return Some(std::mem::replace(before, lost));
        }
        self.0.insert(place, (id, lost));
        if self.0.len() > ENDED {
            self.0.pop_front();
        }
        None
    }
}

/// A running request.
#[derive(Debug, Clone, Copy)]
struct Open {
    pid: u32,
    cancelled_ns: Option<u64>,
    lost: bool,
}

/// Work that nobody wants.
#[derive(Debug, Clone, Copy)]
struct Working {
    pid: u32,
    goid: u64,
    /// Since when nobody does: the cancel, or the peer's close before it.
    since_ns: u64,
    /// The cancel, if Go had one.
    cancelled_ns: Option<u64>,
}

impl Counting {
    /// A request's context was cancelled while its handler ran.
    pub(super) fn request_cancelled(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let cancel = cx.model.context(request.root);
        let Some(cancel) = cancel.and_then(|ctx| ctx.cancelled.as_ref()) else {
            return;
        };
        // A server that shuts down lets its requests finish.
        if cancel.by == CancelledBy::Shutdown || !cx.model.is_whole(request.epoch) {
            return;
        }
        let known = self.open.get(&id);
        let open = Open {
            pid: request.pid,
            cancelled_ns: Some(cancel.at_ns),
            lost: known.is_some_and(|known| known.lost),
        };
        cx.remember(&mut self.open, id, open);
    }

    /// A request works on beyond grace, or has stopped to.
    pub(super) fn overran(&mut self, over: &Over, cx: &mut Context<'_>) {
        if over.by == CancelledBy::Shutdown {
            return;
        }
        if !over.again {
            self.lost(over.request, cx.model, cx.forgotten);
            self.figures.cancelled += 1;
            let before = self.working.get(&over.request);
            let since_ns = before.map_or(u64::MAX, |before| before.since_ns);
            let working = Working {
                pid: over.pid,
                goid: over.goid,
                since_ns: since_ns.min(over.cancelled_ns),
                cancelled_ns: Some(over.cancelled_ns),
            };
            cx.remember(&mut self.working, over.request, working);
        }
        let request = cx.model.request(over.request);
        let is_handler = request.is_some_and(|request| request.goid == over.goid);
        // A handler's end is its request's.
        if over.ended && !is_handler {
            self.stopped(over.request, cx.now_ns, cx);
        }
    }

    /// A rule has concluded something.
    pub(super) fn found(
        &mut self,
        finding: &Finding,
        phase: Phase,
        (model, thresholds): (&Model, &Thresholds),
        forgotten: &mut u64,
    ) {
        let is_new = matches!(phase, Phase::Whole | Phase::Running(_));
        let Some(request) = finding.request.as_ref().filter(|_| is_new) else {
            return;
        };
        let evidence = &finding.evidence;
        let is_loss = finding.severity >= Severity::Warning
            && match finding.rule {
                RuleName::CancelIgnored => evidence.cancelled_by != Some(CancelledBy::Shutdown),
                // Work that outlived a cancel was told as such already.
                RuleName::DetachedContext => evidence.deadline_ns.is_some(),
                RuleName::CancelUndelivered
                | RuleName::DeadlineDropped
                | RuleName::DeadlineInflated => true,
                // Its caller's cancel is its own: whether it came here, this process's findings tell.
                RuleName::OrphanedDownstream
                | RuleName::GoroutineLeak
                | RuleName::GoroutineSurge
                | RuleName::CancelNotCalled
                | RuleName::PrematureCancel
                | RuleName::TimeoutMismatch
                | RuleName::DeadlineNotForwarded
                | RuleName::DeadlineTooShort => false,
            };
        if !is_loss {
            return;
        }
        let id = ReqId(request.number);
        self.lost(id, model, forgotten);
        if finding.rule != RuleName::CancelUndelivered {
            return;
        }
        let after_ns = evidence.after_close_ns.unwrap_or_default();
        if phase == Phase::Whole {
            let route = route(id, model, thresholds);
            self.figures.wasted.add(route, after_ns);
        } else {
            let since_ns = finding.time_ns.saturating_sub(after_ns);
            let working = self.working.entry(id).or_insert(Working {
                pid: finding.process.pid,
                goid: request.goid,
                since_ns,
                cancelled_ns: None,
            });
            working.since_ns = working.since_ns.min(since_ns);
        }
    }

    /// A handler has returned.
    pub(super) fn request_ended(&mut self, id: ReqId, cx: &mut Context<'_>) {
        let open = self.open.remove(&id);
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let Some((ended_ns, Ending::Normal)) = request.ended else {
            self.working.remove(&id);
            return;
        };
        if !cx.model.is_whole(request.epoch) {
            self.working.remove(&id);
            return;
        }
        let lost = open.is_some_and(|open| open.lost);
        let cancelled_ns = open.and_then(|open| open.cancelled_ns);
        let after_ns = cancelled_ns.map(|at_ns| ended_ns.saturating_sub(at_ns));
        let is_late = after_ns.is_some_and(|ns| ns > cx.thresholds.grace_ns);
        let working = self.working.get(&id).copied();
        // What `http.TimeoutHandler` left behind stops unseen.
        let stopped = !is_late && request.timeout.is_none();
        let had = cancelled_ns.is_some() || has_deadline(request, cx.model);
        let goid = request.goid;
        if let Some(cancelled_ns) = cancelled_ns.filter(|_| stopped) {
            self.figures.cancelled += 1;
            self.returned(id, cancelled_ns, ended_ns, cx);
        }
        // Nobody could tell what a handler did that was so late, and was not found: hijacked, unseen.
        if !lost && had && !is_late {
            self.figures.requests += 1;
            self.ended.insert(id, false);
        } else if lost {
            self.ended.insert(id, true);
        }
        if working.is_some_and(|working| working.goid == goid) {
            self.stopped(id, ended_ns, cx);
        }
    }

    /// A goroutine works on for a request whose handler has returned.
    pub(super) fn works_on(&mut self, id: ReqId, goid: u64, cx: &mut Context<'_>) {
        let Some(request) = cx.model.request(id) else {
            return;
        };
        let cancel = cx.model.context(request.root);
        let cancel = cancel.and_then(|root| root.cancelled.as_ref());
        let (Some(cancel), Some(ended_ns)) = (cancel, request.ended_ns()) else {
            return;
        };
        // What a late handler wasted is counted by then.
        let late = ended_ns.saturating_sub(cancel.at_ns) > cx.thresholds.grace_ns;
        let working = Working {
            pid: request.pid,
            goid,
            since_ns: if late { ended_ns } else { cancel.at_ns },
            cancelled_ns: None,
        };
        cx.remember(&mut self.working, id, working);
    }

    /// Something that a request's other goroutines did is over: was it the last?
    pub(super) fn work_stopped(&mut self, id: ReqId, cx: &Context<'_>) {
        let Some(left) = self.left.get(&id).copied() else {
            return;
        };
        let request = cx.model.request(id);
        if request.is_some_and(|request| descendants::go_on(request, cx)) {
            return;
        }
        self.left.remove(&id);
        if request.is_some() {
            self.recovered(left.cancelled_ns, cx.now_ns);
        }
    }

    /// Nothing of a cancelled request is at work any more.
    fn recovered(&mut self, cancelled_ns: u64, at_ns: u64) {
        self.figures.recovered += 1;
        let after_ns = at_ns.saturating_sub(cancelled_ns);
        self.figures.latency.add(after_ns);
    }

    /// The handler of a cancelled request, or what worked in its place, has stopped.
    fn returned(&mut self, id: ReqId, cancelled_ns: u64, at_ns: u64, cx: &mut Context<'_>) {
        let request = cx.model.request(id);
        match request.filter(|request| descendants::go_on(request, cx)) {
            Some(request) => {
                let pid = request.pid;
                cx.remember(&mut self.left, id, Left { pid, cancelled_ns });
            }
            None => self.recovered(cancelled_ns, at_ns),
        }
    }

    /// The work of a request has stopped.
    pub(super) fn stopped(&mut self, id: ReqId, at_ns: u64, cx: &mut Context<'_>) {
        let Some(working) = self.working.remove(&id) else {
            return;
        };
        if let Some(cancelled_ns) = working.cancelled_ns {
            self.returned(id, cancelled_ns, at_ns, cx);
        }
        let ns = at_ns.saturating_sub(working.since_ns);
        let route = route(id, cx.model, cx.thresholds);
        self.figures.wasted.add(route, ns);
    }

    /// A request lost a cancel or a deadline: counted once, whoever says it how often.
    fn lost(&mut self, id: ReqId, model: &Model, forgotten: &mut u64) {
        let running = model.request(id).filter(|request| request.ended.is_none());
        let before = match running {
            Some(request) => {
                let open = self.open.entry(id).or_insert(Open {
                    pid: request.pid,
                    cancelled_ns: None,
                    lost: false,
                });
                let before = std::mem::replace(&mut open.lost, true);
                if self.open.len() > ENDED {
                    self.open.pop_first();
                    *forgotten += 1;
                }
                before.then_some(true)
            }
            None => self.ended.insert(id, true),
        };
        self.figures.requests += u64::from(before.is_none());
        self.figures.lost += u64::from(before != Some(true));
    }

    /// Forgets what belongs to processes that `whose` names: what became of it is not known.
    pub(super) fn forget(&mut self, whose: impl Fn(u32) -> bool) {
        self.open.retain(|_, open| !whose(open.pid));
        self.working.retain(|_, working| !whose(working.pid));
        self.left.retain(|_, left| !whose(left.pid));
    }

    /// The figures, with what goes on wasting until `now_ns`.
    pub(super) fn figures(&self, now_ns: u64, model: &Model, thresholds: &Thresholds) -> Health {
        let mut figures = self.figures.clone();
        for (id, working) in &self.working {
            let ns = now_ns.saturating_sub(working.since_ns);
            figures.wasted.add(route(*id, model, thresholds), ns);
        }
        figures
    }
}

/// `http.TimeoutHandler` gave it one, or a context with one descends from its own.
fn has_deadline(request: &Request, model: &Model) -> bool {
    let descends = |root: &Root| *root == Root::Request(request.id);
    let mut contexts = request.contexts.iter().filter_map(|id| model.context(*id));
    request.timeout.is_some()
        || contexts.any(|ctx| !ctx.internal && ctx.deadline_ns.is_some() && descends(&ctx.root))
}

fn route(id: ReqId, model: &Model, thresholds: &Thresholds) -> Option<String> {
    draft::route(model.request(id)?, thresholds)
}
