//! A write of an answer that failed: whether a write deadline cut short what the request's contexts allowed, and where
//! that is told.
//!
//! The handler's own write cancels the request. What the handler leaves in the buffer `net/http` writes once it has
//! returned: then the request has ended as any other, and none of its lines is to be seen.

use std::sync::Arc;

use crate::finding::{CancelledBy, Confidence, Finding, RuleName, Severity};
use crate::go::{Frame, Stack};
use crate::inspect::ConnState;
use crate::model::{Ctx, Request, Root, Unit};

use super::chain;
use super::context::Context;
use super::deadline::{Budget, spent};
use super::{busy, deadline, draft, io_deadline, site};

/// Such a write.
#[derive(Debug)]
pub(super) struct FailedWrite<'a> {
    request: &'a Request,
    at_ns: u64,
    /// Return addresses of the handler's write; `None`: it had returned.
    pcs: Option<Arc<[u64]>>,
}

impl<'a> FailedWrite<'a> {
    /// The write that cancelled a request, or that failed when its handler had returned. The caller knows that one did.
    pub(super) fn of(request: &'a Request, cx: &'a Context<'_>) -> Option<Self> {
        let cancel = cx.model.context(request.root)?.cancelled.as_ref()?;
        let returned = cancel.by == CancelledBy::NormalEnd;
        (cancel.by_write || returned).then(|| Self {
            request,
            at_ns: cancel.at_ns,
            pcs: (!returned).then(|| Arc::clone(&cancel.pcs)),
        })
    }

    /// Whether a deadline of the request's had not passed.
    pub(super) fn had_time(&self, cx: &Context<'_>) -> bool {
        self.longest(None, cx).is_some()
    }

    /// What is to be said of it, where a write deadline was why.
    pub(super) fn tell(&self, conn: &ConnState, unit: &Unit, cx: &Context<'_>) -> Option<Finding> {
        let passed = io_deadline::of_writes(self.request, conn, self.at_ns);
        // A handler frees its contexts before it returns, whatever is left to write: then those count that the deadline
        // has found.
        let then_ns = match self.pcs {
            Some(_) => self.at_ns,
            None => passed.at_ns.unwrap_or(self.at_ns),
        };
        let (over, left_ns) = self.longest(Some(then_ns), cx)?;
        // It passed before anybody wrote.
        let since_ns = passed
            .at_ns
            .map_or(0, |at_ns| self.at_ns.saturating_sub(at_ns));
        let spare_ns = left_ns.saturating_add_unsigned(since_ns);
        let tolerance_ns = cx
            .thresholds
            .deadlines
            .tolerance_ns(passed.asked_ns.unwrap_or(0));
        if spare_ns <= tolerance_ns {
            return None;
        }
        let confidence = if passed.certain {
            Confidence::High
        } else {
            Confidence::Medium
        };
        let rule = RuleName::TimeoutMismatch;
        let mut finding = draft::blank(rule, Severity::Warning, confidence, cx.now_ns, unit);
        finding.context = chain::of_context(cx, Some(over.id));
        finding.request = Some(draft::request_info(self.request, cx.thresholds, cx.now_ns));
        if self.pcs.is_some() {
            finding.evidence.cancelled_by = Some(CancelledBy::WriteDeadline);
            finding.evidence.cancelled_at_ns = Some(self.at_ns);
        }
        finding.evidence.timer_site = passed.site(unit, cx);
        finding.evidence.server = io_deadline::limits(conn);
        let budget = Budget {
            timer: passed.timer,
            asked_ns: passed.asked_ns,
            left_ns: spare_ns,
            over: over.into(),
        };
        budget.put(&mut finding, unit, cx);
        let of = passed
            .asked_ns
            .map_or_else(String::new, |ns| format!(" of {}", spent(ns)));
        finding.message = format!(
            "{}{of} fired with {} of the context's deadline left",
            passed.timer.name(),
            spent(spare_ns)
        );
        finding.help = "give the route a write deadline that is longer than its context's".into();
        self.place(&mut finding, over, unit, cx);
        Some(finding)
    }

    /// The context of the handler whose deadline is furthest beyond the write; of those in force at that time, if one is
    /// given.
    fn longest<'b>(&self, then_ns: Option<u64>, cx: &'b Context<'_>) -> Option<(&'b Ctx, i64)> {
        let in_force = |ctx: &&Ctx| {
            let over = ctx.cancelled.as_ref().map(|cancel| cancel.at_ns);
            then_ns.is_none_or(|then_ns| {
                ctx.created_ns <= then_ns && over.is_none_or(|over_ns| over_ns >= then_ns)
            })
        };
        self.request
            .contexts
            .iter()
            .filter_map(|id| cx.model.context(*id))
            .filter(|ctx| ctx.root == Root::Request(self.request.id) && !ctx.internal)
            .filter(in_force)
            .filter(|ctx| !deadline::is_client_timeout(ctx, cx))
            .filter_map(|ctx| Some((ctx, deadline::left_ns(ctx, self.at_ns)?)))
            .max_by_key(|(_, left_ns)| *left_ns)
            .filter(|(_, left_ns)| *left_ns > cx.thresholds.deadlines.tolerance_ns(0))
    }

    /// At the line of the write; where that is not to be seen, at the handler.
    fn place(&self, finding: &mut Finding, over: &Ctx, unit: &Unit, cx: &Context<'_>) {
        let pid = self.request.pid;
        let stack = match &self.pcs {
            Some(pcs) => site::frames(cx.code, pid, pcs),
            None => Stack::default(),
        };
        let made = || {
            let made = site::frames(cx.code, pid, &over.pcs);
            site::direct(unit, &made).cloned()
        };
        let at = site::direct(unit, &stack)
            .cloned()
            .or_else(|| self.handler(unit, cx))
            .or_else(made);
        draft::place(finding, unit, at.as_ref(), stack);
    }

    /// The handler's declaration, from the longest stack of its goroutine.
    fn handler(&self, unit: &Unit, cx: &Context<'_>) -> Option<Frame> {
        let goid = self.request.goid;
        let contexts = self.request.contexts.iter();
        let contexts = contexts.filter_map(|id| cx.model.context(*id));
        let calls = self.request.calls.iter();
        let calls = calls.filter_map(|id| cx.model.call(*id));
        contexts
            .filter(|ctx| ctx.goid == goid)
            .map(|ctx| &ctx.pcs)
            .chain(calls.filter(|call| call.goid == goid).map(|call| &call.pcs))
            .max_by_key(|pcs| pcs.len())
            .and_then(|pcs| busy::handler(unit, cx.code, pcs))
    }
}
