//! What a rule works with: the model, time, questions, timers, and a place for findings.

use std::collections::BTreeMap;

use crate::finding::{CaseId, Finding, Phase};
use crate::model::{Code, CtxId, DeadlineHeader, Model, Protocol, ReqId, Request, Unit};

use super::ask::{Ask, Question, Reading};
use super::deadline::Deadlines;
use super::goroutine_surge::SurgeLimits;
use super::ids;
use super::leak_cases::LeakTimes;
use super::timers::{Timers, Topic};
use super::waits::Waits;

/// Values that the user can set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Thresholds {
    /// How long work may go on after a cancel, a close or a request's end, ns.
    pub grace_ns: u64,
    /// Canonical names of request ID headers, best first.
    pub id_headers: Vec<String>,
    /// Headers in which callers say how long they wait, best first; absent in older recordings.
    #[serde(default)]
    pub deadline_headers: Vec<DeadlineHeader>,
    /// Never show a path.
    pub redact_path: bool,
    /// When a goroutine that has outlived its request is a leak; absent in older recordings.
    #[serde(default)]
    pub leaks: LeakTimes,
    /// When goroutines have become too many; absent in older recordings.
    #[serde(default)]
    pub surges: SurgeLimits,
    /// What deadlines are measured by; absent in older recordings.
    #[serde(default)]
    pub deadlines: Deadlines,
}

/// Everything a rule may use.
pub(super) struct Context<'a> {
    pub(super) model: &'a mut Model,
    pub(super) code: &'a dyn Code,
    pub(super) thresholds: &'a Thresholds,
    pub(super) now_ns: u64,
    pub(super) timers: &'a mut Timers,
    pub(super) asks: &'a mut Asks,
    pub(super) waits: &'a Waits,
    pub(super) found: &'a mut Vec<(Finding, Phase)>,
    /// Cases and questions that had to make room.
    pub(super) forgotten: &'a mut u64,
}

/// Questions on their way: of which process each is asked, and what for.
#[derive(Debug, Default)]
pub(super) struct Asks {
    pub(super) open: Vec<Ask>,
    pub(super) waiting: BTreeMap<u64, (u32, Topic)>,
    next: u64,
}

/// Questions without answer that are remembered: answers come at once or never.
const WAITING: usize = 16_384;

/// Cases that a rule remembers at once; the oldest then goes without its end being told.
const CASES: usize = 16_384;

/// Work of a request as a case.
impl From<ReqId> for CaseId {
    fn from(request: ReqId) -> Self {
        Self(request.0 << 1)
    }
}

/// Work on one derived context as a case: beside its request's own.
impl From<CtxId> for CaseId {
    fn from(ctx: CtxId) -> Self {
        Self((ctx.0 << 1) | 1)
    }
}

impl Context<'_> {
    /// Remembers a case.
    pub(super) fn remember<K: Ord, V>(&mut self, cases: &mut BTreeMap<K, V>, key: K, case: V) {
        cases.insert(key, case);
        if cases.len() > CASES {
            cases.pop_first();
            *self.forgotten += 1;
        }
    }

    /// Asks; the answer comes to the topic's rule.
    pub(super) fn ask(&mut self, pid: u32, topic: Topic, question: Question) {
        self.asks.next += 1;
        let id = self.asks.next;
        if self.asks.waiting.len() >= WAITING {
            self.asks.waiting.pop_first();
            *self.forgotten += 1;
        }
        self.asks.waiting.insert(id, (pid, topic));
        self.asks.open.push(Ask { id, pid, question });
    }

    /// Looks again after `wait_ns`.
    pub(super) fn later(&mut self, wait_ns: u64, topic: Topic) {
        self.timers.set(self.now_ns.saturating_add(wait_ns), topic);
    }

    /// Reports something complete.
    pub(super) fn report(&mut self, finding: Finding) {
        self.found.push((finding.identified(), Phase::Whole));
    }

    /// Reports something whose end will be reported as the same case.
    pub(super) fn report_running(&mut self, finding: Finding, case: impl Into<CaseId>) {
        self.found
            .push((finding.identified(), Phase::Running(case.into())));
    }

    /// Reports that something reported before has grown worse and runs on.
    pub(super) fn report_grown(&mut self, finding: Finding, case: impl Into<CaseId>) {
        self.found
            .push((finding.identified(), Phase::Grew(case.into())));
    }

    /// Reports the end.
    pub(super) fn report_ended(&mut self, finding: Finding, case: impl Into<CaseId>) {
        self.found
            .push((finding.identified(), Phase::Ended(case.into())));
    }

    /// The process of something, if it is still known.
    pub(super) fn unit(&self, pid: u32) -> Option<std::sync::Arc<Unit>> {
        self.code.unit(pid)
    }

    /// Asks what the handler of a request does.
    pub(super) fn ask_handler(&mut self, id: ReqId, topic: Topic) {
        let Some(request) = self.model.request(id) else {
            return;
        };
        let reading = Some(self.reading(request));
        let question = Question::work(request.goid, request.g, Vec::new(), reading);
        ids::ask(id, topic, question, self);
    }

    /// What to read of a request's memory.
    pub(super) fn reading(&self, request: &Request) -> Reading {
        Reading {
            headers: self.thresholds.id_headers.clone(),
            ..Self::reading_of_conn(request)
        }
    }

    /// The same where nobody asks for headers.
    pub(super) const fn reading_of_conn(request: &Request) -> Reading {
        Reading {
            request: request.request,
            ctx: request.ctx_data,
            writer: request.writer,
            headers: Vec::new(),
            stream: match request.protocol {
                Protocol::Grpc(link) => Some((link.itab, link.data)),
                Protocol::Http | Protocol::GrpcOverHttp => None,
            },
        }
    }
}
