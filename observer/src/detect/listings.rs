//! Looks through the goroutines of processes that tell of no beginnings: what requests have left behind is found there.

use std::collections::BTreeMap;

use crate::inspect::Listing;
use crate::model::Fact;

use super::ask::{Answer, Question};
use super::context::Context;
use super::timers::Topic;

/// What happened before a look is known so much later, ns: memory is read ahead of the events.
const SETTLED_NS: u64 = 100_000_000;

/// The processes that are looked through.
#[derive(Debug, Default)]
pub(super) struct Listings {
    watched: BTreeMap<u64, Watched>,
    next: u64,
}

/// One of them.
#[derive(Debug)]
struct Watched {
    pid: u32,
    /// What the last look has found, and when that was over, ns, until it is settled.
    found: Option<(Listing, u64)>,
}

impl Listings {
    /// A process is observed from now on. Gives what it is looked through under.
    pub(super) fn begin(&mut self, pid: u32) -> Topic {
        self.forget(pid);
        self.next += 1;
        self.watched.insert(self.next, Watched { pid, found: None });
        Topic::Listing(self.next)
    }

    /// A process is no more.
    pub(super) fn forget(&mut self, pid: u32) {
        self.watched.retain(|_, watched| watched.pid != pid);
    }

    /// Time to look.
    pub(super) fn look(&self, number: u64, cx: &mut Context<'_>) {
        let Some(watched) = self.watched.get(&number) else {
            return;
        };
        let unit = cx.unit(watched.pid);
        if unit.is_some_and(|unit| unit.is_looked_through) {
            cx.ask(watched.pid, Topic::Listing(number), Question::Listing);
        }
    }

    /// What was found.
    pub(super) fn answer(&mut self, number: u64, answer: &Answer, cx: &mut Context<'_>) {
        let Some(watched) = self.watched.get_mut(&number) else {
            return;
        };
        cx.later(cx.thresholds.leaks.interval_ns(), Topic::Listing(number));
        if let Answer::Listing(Some(listing)) = answer {
            watched.found = Some((listing.clone(), cx.now_ns));
            cx.later(SETTLED_NS, Topic::Listed(number));
        }
    }

    /// All that happened before the look is known by now. Gives who was left behind, and who is no more.
    pub(super) fn settled(&mut self, number: u64, cx: &mut Context<'_>) -> Vec<Fact> {
        let mut facts = Vec::new();
        let watched = self.watched.get_mut(&number);
        let found = watched.and_then(|watched| Some((watched.pid, watched.found.take()?)));
        if let Some((pid, (listing, ended_ns))) = found {
            let found = (&listing, ended_ns);
            cx.model.listed(pid, found, cx.code, &mut facts);
        }
        facts
    }
}
