//! A wait that lasts, as several looks at a goroutine saw it.
//!
//! Two looks may see two waits at one place: what proves that they saw one is in `waits`.

use crate::inspect::{
    Goroutine, StackState, Status, ends_by_itself, is_for_lock, is_for_others, is_for_work,
};
use crate::picture::Noted;

/// What Go's dumps say of a goroutine in a system call.
const IN_CALL: &str = "syscall";
/// First Go 1.N in which every channel that a timer feeds says so: before, `asynctimerchan=1` may be set.
const TIMERS_TELL_SINCE: u32 = 27;

/// A wait, as looks saw it.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    /// Why it waits, in the words of Go's dumps.
    pub(super) reason: String,
    /// Return addresses, innermost first.
    pub(super) stack: Vec<u64>,
    /// How much of the stack that is.
    pub(super) stack_state: StackState,
    noted: Noted,
    /// Channels that it waits on.
    channels: Vec<u64>,
    /// How often it had stopped running, modulo 256.
    stops: u8,
    /// In a system call: how often its thread had given up its processor.
    sleeps: Option<u64>,
    /// Somebody woke it since, and it waits at the same place again.
    pub(super) was_woken: bool,
    /// Since when every look has found it waiting there, ns; earlier where that is proved.
    pub(super) since_ns: u64,
    /// For how long it had been in this very wait at the last look, at least, ns; `None` where nothing is proved.
    pub(super) at_least_ns: Option<u64>,
    /// It wakes by itself, and waits at the same place again.
    pub(super) loops: bool,
    /// Nothing ends it.
    pub(super) is_for_ever: bool,
}

impl Wait {
    /// Whether somebody else in the process must end it, and nobody has.
    pub(super) fn is_for_others(&self) -> bool {
        is_for_others(&self.reason) && !self.loops
    }

    /// Whether it is where a worker waits for what comes next, and nothing has come.
    pub(super) fn is_for_work(&self) -> bool {
        self.is_for_others() && !self.was_woken && is_for_work(&self.reason)
    }

    /// The wait that a look found, which may be the one that the look before has found; `None` where it does not wait.
    /// `proved_ns`: since when it has been in it at least, if that is proved. Of Go 1.`minor`.
    pub(super) fn seen(
        goroutine: &Goroutine,
        before: Option<Self>,
        proved_ns: Option<u64>,
        now_ns: u64,
        minor: u32,
    ) -> Option<Self> {
        let reason = match goroutine.status {
            Status::Waiting | Status::Leaked => goroutine.wait_reason.as_deref()?,
            Status::Syscall if goroutine.sleeps.is_some() => IN_CALL,
            _ => return None,
        };
        let noted = Noted::of(goroutine);
        let timers_tell = minor >= TIMERS_TELL_SINCE;
        let at_same_place = |before: &Self| {
            before.reason == reason
                && before.stack == goroutine.stack
                && before.sleeps == goroutine.sleeps
        };
        let before = before.filter(at_same_place);
        // Timers' channels are made anew for each wait; any other channel is made once.
        let renews = |before: &Self| before.channels != goroutine.waiting_channels;
        let has_stopped = |before: &Self| before.stops != goroutine.stops;
        let ticks = |before: &Self| goroutine.waits_on_timer && has_stopped(before);
        let loops = ends_by_itself(reason)
            || before
                .as_ref()
                .is_some_and(|wait| wait.loops || renews(wait) || ticks(wait));
        // A note that is gone, or another one, is that of another wait: somebody woke it. So it is where it has stopped
        // again, and no timer can have woken it.
        let by_others = goroutine.waits_on_others
            || timers_tell && !goroutine.waiting_channels.is_empty()
            || is_for_lock(reason);
        let woke = |before: &Self| {
            matches!(before.noted, Noted::At(_)) && before.noted != noted
                || by_others && has_stopped(before)
        };
        let before = before.filter(|before| loops || !woke(before));
        let was_woken = before
            .as_ref()
            .is_some_and(|before| before.was_woken || has_stopped(before));
        let since_ns = before.map_or(now_ns, |wait| wait.since_ns);
        // One call it is, for its thread has not woken.
        let in_call_ns = goroutine.sleeps.map(|_| since_ns);
        let proved_ns = proved_ns.or(in_call_ns);
        Some(Self {
            reason: reason.to_owned(),
            stack: goroutine.stack.clone(),
            stack_state: goroutine.stack_state,
            noted,
            channels: goroutine.waiting_channels.clone(),
            stops: goroutine.stops,
            sleeps: goroutine.sleeps,
            was_woken,
            since_ns: since_ns.min(proved_ns.unwrap_or(now_ns)),
            at_least_ns: proved_ns.map(|since_ns| now_ns.saturating_sub(since_ns)),
            loops,
            is_for_ever: goroutine.waits_for_ever(),
        })
    }
}
