//! Which goroutines wait on what nobody can get at any more, as searches of the memory have shown.

use rustc_hash::FxHashSet;

use crate::inspect::{Member, Status, is_for_coroutine, is_for_others};

/// What came of searching for references to what goroutines wait on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Searches {
    /// The memory was searched.
    Made(Searched),
    /// It was not, and why.
    NotMade(String),
}

/// Two searches of which the second confirms the first, or one that has found a reference for every wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// How long they took together, ns.
    pub took_ns: u64,
    /// Time between the two, ns; `None` where one was enough.
    pub apart_ns: Option<u64>,
    /// Goroutines in a wait for which none of them has found a reference.
    pub lost: FxHashSet<u64>,
    /// Waits that may be as lost, but were too many to be looked at as closely.
    pub beyond: u64,
}

impl Searches {
    /// Whether nobody can end the wait of a goroutine that does this now, as far as searches tell.
    pub(super) fn has_lost(&self, goid: u64, status: Status) -> bool {
        let waits = matches!(status, Status::Waiting | Status::Leaked);
        matches!(self, Self::Made(searched) if waits && searched.lost.contains(&goid))
    }
}

/// Whether it waits for another goroutine, and does not name what it waits on: nobody can search for that.
pub(super) fn is_unnamed(member: &Member) -> bool {
    let seen = &member.goroutine;
    let reason = match (&seen.status, &seen.wait_reason) {
        (Status::Waiting | Status::Leaked, Some(reason)) => reason,
        _ => return false,
    };
    (is_for_others(reason) || is_for_coroutine(reason)) && !member.names_what_it_waits_on()
}
