//! Which `go` statement a goroutine goes back to, and whose it is.

use crate::go::Frame;
use crate::model::{Spawned, Unit};

use super::context::Context;
use super::plumbing::{hands_on, runs_for_caller};
use super::site;

/// The `go` statement of a goroutine that somebody answers for.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Its line; of a library's function that runs what it is handed, the line that calls it.
    pub(super) site: Frame,
    /// First frame of the service's own code above, where that is another.
    pub(super) caller: Option<Frame>,
}

/// `None` where the standard library or plumbing started it, or one that it descends from: it is not the request's
/// then, though a request came first.
pub(super) fn of(spawned: &Spawned, unit: &Unit, cx: &Context<'_>) -> Option<Origin> {
    let started_at = |gopc: &u64| cx.code.frames(spawned.pid, *gopc).first().cloned();
    let carries = |gopc: &u64| {
        started_at(gopc).is_some_and(|frame| {
            let function = &frame.function;
            site::is_user(unit, function) || runs_for_caller(function) || hands_on(function)
        })
    };
    if !spawned.above.iter().all(carries) {
        return None;
    }
    let statement = started_at(&spawned.gopc)?;
    let stack = site::frames(cx.code, spawned.pid, &spawned.pcs);
    let at = if site::is_user(unit, &statement.function) {
        statement
    } else if runs_for_caller(&statement.function) {
        site::direct(unit, &stack)?.clone()
    } else {
        return None;
    };
    let above = stack.iter().skip_while(|frame| **frame != at);
    let own = |frame: &&Frame| site::is_own(unit, &frame.function);
    let caller = above.into_iter().find(own).filter(|own| **own != at);
    Some(Origin {
        caller: caller.cloned(),
        site: at,
    })
}
