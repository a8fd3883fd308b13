//! Goroutines whose beginnings nobody tells: looks through all of them, now and then, and who started whom.
//!
//! The goroutine that serves a connection's requests says nothing of which of them it was that started another. Of one
//! that came between two looks it is one of those served between them: for certain where there was only one.

use crate::inspect::{Kin, Listing};

use super::On;
use super::ids::ReqId;
use super::spawned::{Spawned, Told};

/// A goroutine whose parent came in the same look is found in another round: so many generations.
const ROUNDS: usize = 8;

/// What a goroutine serves, or has served last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    request: ReqId,
    /// The looks that there had been when it began, or while it went on.
    looks: u64,
    /// Another one was served since the last of them.
    among_others: bool,
}

impl Service {
    /// The request that it serves, or has served last.
    pub(super) const fn request(&self) -> ReqId {
        self.request
    }
}

/// The looks through a process.
#[derive(Debug, Default)]
pub(super) struct Listings {
    /// How many there were.
    count: u64,
    /// When the last but one was, monotonic ns.
    before_ns: u64,
    /// When the last was, monotonic ns.
    last_ns: u64,
    /// Something was lost since: who knows what was served.
    are_blind: bool,
}

impl Listings {
    /// Whether there were any.
    pub(super) const fn are_taken(&self) -> bool {
        self.count > 0
    }

    /// Something was lost.
    pub(super) const fn lose(&mut self) {
        self.are_blind = true;
    }
}

impl On<'_> {
    /// A request begins on a goroutine; it is not in the tables yet.
    pub(super) fn service(&self, goid: u64, request: ReqId) -> Service {
        let looks = self.process.listings.count;
        let among_others = match self.process.served.get(&goid) {
            Some(before) => before.looks == looks,
            // Of what it did before observing began, the first look knows nothing.
            None => looks == 0 && self.is_older(goid),
        };
        Service {
            request,
            looks,
            among_others,
        }
    }

    /// Takes in what a look has found.
    pub(super) fn listed(&mut self, listing: &Listing) {
        for goid in &listing.gone {
            self.is_over(*goid);
        }
        if !self.process.listings.are_blind {
            let came = listing.came.iter().map(|kin| (*kin, false));
            let late = listing.late.iter().map(|kin| (*kin, true));
            let mut open: Vec<(Kin, bool)> = came.chain(late).collect();
            for _ in 0..ROUNDS {
                let before = open.len();
                open.retain(|(kin, is_late)| !self.came(kin, *is_late));
                if open.is_empty() || open.len() == before {
                    break;
                }
            }
        }
        self.looked();
    }

    /// Whether it is known whose one is.
    fn came(&mut self, kin: &Kin, is_late: bool) -> bool {
        let parent = &kin.parent_goid;
        let creator = self.process.spawned.get(parent);
        let (request, above, told) = if let Some(service) = self.process.served.get(parent) {
            if service.looks != self.process.listings.count && !is_late {
                // It was not a handler that started it.
                return false;
            }
            let is_sure = !is_late && !service.among_others;
            let told = if is_sure { Told::Look } else { Told::Doubtful };
            (service.request, [].into(), told)
        } else if let Some(creator) = creator.and_then(|id| self.model.spawned.get(*id)) {
            (creator.request, creator.line_of_descent(), creator.told)
        } else {
            return false;
        };
        if self.model.requests.get(request).is_none() {
            return false;
        }
        let pid = self.pid;
        self.began(|id| Spawned {
            id,
            pid,
            goid: kin.goid,
            g: kin.g_addr,
            request,
            gopc: kin.gopc,
            above,
            pcs: [].into(),
            told,
            ended_ns: None,
            heard_ns: 0,
        });
        true
    }

    /// What begins or goes on from now on is told by the next look.
    fn looked(&mut self) {
        let listings = &mut self.process.listings;
        listings.count += 1;
        listings.are_blind = false;
        listings.before_ns = listings.last_ns;
        listings.last_ns = self.model.now_ns;
        for (goid, request) in &self.process.serving {
            if let Some(service) = self.process.served.get_mut(goid)
                && service.request == *request
            {
                service.looks = listings.count;
                service.among_others = false;
            }
        }
        let before_ns = listings.before_ns;
        while let Some(oldest) = self.process.ended_last.front().copied() {
            let ended_ns = self.model.requests.get(oldest).and_then(|of| of.ended_ns());
            if ended_ns.is_some_and(|ended_ns| ended_ns >= before_ns) {
                break;
            }
            self.process.ended_last.pop_front();
            self.forget_request(oldest);
        }
    }

    /// Lets go of a request that has ended a while ago, unless a look may still find what it has left behind: its
    /// goroutine has served no other since.
    pub(super) fn let_go(&mut self, id: ReqId) {
        let goid = self.model.requests.get(id).map(|request| request.goid);
        let service = goid.and_then(|goid| self.process.served.get(&goid));
        let is_last = service.is_some_and(|service| service.request == id);
        if !(is_last && self.process.listings.are_taken()) {
            self.forget_request(id);
            return;
        }
        self.process.ended_last.push_back(id);
        if self.process.ended_last.len() > self.model.limits.ended_last
            && let Some(oldest) = self.process.ended_last.pop_front()
        {
            self.forget_request(oldest);
        }
    }
}
