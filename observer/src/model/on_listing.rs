//! Goroutines whose beginnings nobody tells: looks through all of them, now and then, and who started whom.
//!
//! The goroutine that serves a connection's requests says nothing of which of them it was that started another. Of one
//! that came between two looks it is one of those served between them: for certain where there was only one.

use crate::inspect::{Kin, Listing};

use super::On;
use super::ids::ReqId;
use super::request::Request;
use super::spawned::{Spawned, Told};

/// A goroutine whose parent came in the same look is found in another round: so many generations.
const ROUNDS: usize = 8;

/// What a goroutine serves, or has served last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    /// The request.
    request: ReqId,
    /// When it began, monotonic ns.
    began_ns: u64,
    /// Until when it may have served another one before, monotonic ns; `None`: never.
    other_until_ns: Option<u64>,
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
    /// Whether there were any.
    are_taken: bool,
    /// When the last one began, monotonic ns: who began before was found, or is told of as late.
    begun_ns: u64,
    /// When something was lost last, monotonic ns.
    lost_ns: Option<u64>,
}

impl Listings {
    /// Whether there were any.
    pub(super) const fn are_taken(&self) -> bool {
        self.are_taken
    }

    /// Something was lost at `now_ns`.
    pub(super) const fn lose(&mut self, now_ns: u64) {
        self.lost_ns = Some(now_ns);
    }
}

impl On<'_> {
    /// A request begins on a goroutine; what that has served before is still in the tables.
    pub(super) fn service(&self, goid: u64, request: ReqId) -> Service {
        let now_ns = self.model.now_ns;
        let other_until_ns = match self.process.served.get(&goid) {
            Some(before) => {
                let before = self.model.requests.get(before.request);
                Some(before.and_then(Request::ended_ns).unwrap_or(now_ns))
            }
            None => self.is_older(goid).then_some(now_ns),
        };
        Service {
            request,
            began_ns: now_ns,
            other_until_ns,
        }
    }

    /// Takes in what a look has found that was over at `ended_ns`. All that happened before must be known.
    pub(super) fn listed(&mut self, listing: &Listing, ended_ns: u64) {
        for goid in &listing.gone {
            self.is_over(*goid);
        }
        let listings = &self.process.listings;
        let since_ns = listings.begun_ns;
        if listings.lost_ns.is_none_or(|lost_ns| lost_ns < since_ns) {
            let between = (since_ns, ended_ns);
            let came = listing.came.iter().map(|kin| (*kin, Some(between)));
            let late = listing.late.iter().map(|kin| (*kin, None));
            let mut open: Vec<_> = came.chain(late).collect();
            for _ in 0..ROUNDS {
                let before = open.len();
                open.retain(|(kin, between)| !self.came(kin, *between));
                if open.is_empty() || open.len() == before {
                    break;
                }
            }
        }
        self.process.listings.are_taken = true;
        self.process.listings.begun_ns = listing.begun_ns;
        // A case that has begun just now asks for its request a little later.
        while let Some(oldest) = self.process.ended_last.front().copied() {
            let request = self.model.requests.get(oldest);
            let ended_ns = request.and_then(Request::ended_ns);
            if ended_ns.is_some_and(|ended_ns| ended_ns >= since_ns) {
                break;
            }
            self.process.ended_last.pop_front();
            self.forget_request(oldest);
        }
    }

    /// Whether it is known whose one is that came between two moments, monotonic ns; `None`: at some time before.
    fn came(&mut self, kin: &Kin, between: Option<(u64, u64)>) -> bool {
        let parent = &kin.parent_goid;
        let creator = self.process.spawned.get(parent);
        let (request, above, told) = if let Some(service) = self.process.served.get(parent) {
            let request = self.model.requests.get(service.request);
            let is_sure = between.is_some_and(|(since_ns, until_ns)| {
                let other = |other_until_ns| other_until_ns >= since_ns;
                service.began_ns <= until_ns && !service.other_until_ns.is_some_and(other)
            });
            let over_ns = request.and_then(Request::ended_ns);
            if between.is_some_and(|(since_ns, _)| over_ns.is_some_and(|ns| ns < since_ns)) {
                // It was not a handler that started it.
                return false;
            }
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
