//! Listings through the goroutines of processes that tell of no beginnings: what requests have left behind is found there.

use std::collections::BTreeMap;

use crate::model::Fact;

use super::ask::{Answer, Question};
use super::context::Context;
use super::timers::Topic;

/// The processes that are looked through.
#[derive(Debug, Default)]
pub(super) struct Listings {
    watched: BTreeMap<u64, u32>,
    next: u64,
}

impl Listings {
    /// A process is observed from now on. Gives what it is looked through under.
    pub(super) fn begin(&mut self, pid: u32) -> Topic {
        self.forget(pid);
        self.next += 1;
        self.watched.insert(self.next, pid);
        Topic::Listing(self.next)
    }

    /// A process is no more.
    pub(super) fn forget(&mut self, pid: u32) {
        self.watched.retain(|_, watched| *watched != pid);
    }

    /// Time to look.
    pub(super) fn look(&self, number: u64, cx: &mut Context<'_>) {
        let Some(pid) = self.watched.get(&number).copied() else {
            return;
        };
        if cx.unit(pid).is_some_and(|unit| unit.is_looked_through) {
            cx.ask(pid, Topic::Listing(number), Question::Listing);
        }
    }

    /// What was found. Gives who was left behind, and who is no more.
    pub(super) fn answer(&self, number: u64, answer: &Answer, cx: &mut Context<'_>) -> Vec<Fact> {
        let mut facts = Vec::new();
        let Some(pid) = self.watched.get(&number).copied() else {
            return facts;
        };
        cx.later(cx.thresholds.leaks.interval_ns(), Topic::Listing(number));
        if let Answer::Listing(Some(listing)) = answer {
            cx.model
                .listed(pid, listing, cx.now_ns, cx.code, &mut facts);
        }
        facts
    }
}
