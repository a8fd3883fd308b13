//! A wait that lasts, as several looks at a goroutine saw it.
//!
//! The runtime notes since when a goroutine waits at collections only, so two looks may see two waits at one place.

use crate::inspect::{Goroutine, Status};

/// Go's reasons of waits that end by themselves.
const BY_THEMSELVES: [&str; 2] = ["sleep", "IO wait"];

/// A wait, as looks saw it.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    /// Why it waits, in the runtime's words.
    pub(super) reason: String,
    /// Return addresses, innermost first.
    pub(super) stack: Vec<u64>,
    /// A moment at which it was known to wait already, from the runtime; none is kept by it between two collections.
    noted_ns: Option<u64>,
    /// Channels that it waits on.
    channels: Vec<u64>,
    /// Since when it is known to wait, ns; of a loop, since when it is known to be in that.
    pub(super) since_ns: u64,
    /// It wakes by itself, and waits at the same place again.
    pub(super) loops: bool,
}

impl Wait {
    /// The wait that a look found, which may be the one that the look before has found; `None` where it does not wait.
    pub(super) fn seen(
        goroutine: &Goroutine,
        before: Option<Self>,
        not_before_ns: u64,
        now_ns: u64,
    ) -> Option<Self> {
        if !matches!(goroutine.status, Status::Waiting | Status::Leaked) {
            return None;
        }
        let reason = goroutine.wait_reason.as_deref()?;
        let noted_ns = goroutine.wait_since_ns;
        let at_same_place =
            |before: &Self| before.reason == reason && before.stack == goroutine.stack;
        let before = before.filter(at_same_place);
        // Timers' channels are made anew for each wait; any other channel is made once.
        let renews = |before: &Self| before.channels != goroutine.waiting_channels;
        let loops = BY_THEMSELVES.contains(&reason)
            || before
                .as_ref()
                .is_some_and(|wait| wait.loops || renews(wait));
        // A moment that is gone, or another one, is that of another wait: somebody woke it.
        let woke = |before: &Self| before.noted_ns.is_some() && before.noted_ns != noted_ns;
        let before = before.filter(|before| loops || !woke(before));
        let since_ns = before.map_or(now_ns, |wait| wait.since_ns);
        let noted = noted_ns.unwrap_or(now_ns).max(not_before_ns);
        Some(Self {
            reason: reason.to_owned(),
            stack: goroutine.stack.clone(),
            noted_ns,
            channels: goroutine.waiting_channels.clone(),
            since_ns: since_ns.min(noted),
            loops,
        })
    }
}
