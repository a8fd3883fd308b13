//! Things to look at later, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::{CallId, ConnId, CtxId, GoId, ReqId};

/// Why to look again, or why something was asked: also names the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    /// The request has more headers than the probe looks through.
    LargeHeaders(ReqId),
    /// The request works on after its cancel.
    Overrun(ReqId),
    /// A TimeoutHandler's deadline is near: who works inside?
    TimeoutSoon(CtxId),
    /// The handler inside a TimeoutHandler works on: who is it?
    TimeoutWorker(ReqId),
    /// A derived context is dead and its maker works on.
    Derived(CtxId),
    /// The request has ended; has the CancelFunc been called?
    NotCalled(CtxId),
    /// Which contexts of no request have grown old?
    OldContexts,
    /// Is this the context of `Server.Shutdown`?
    Shutdown(CtxId),
    /// A detached call: describe its request.
    Detached(CallId),
    /// The request was cancelled; does the call of a goroutine that it started go on?
    LeftBehind(CallId),
    /// A request cancelled too early: describe it.
    Premature(ReqId),
    /// The peer of a connection has closed: is anybody at work for it?
    PeerClosed(ConnId),
    /// Who is at the other end of requests? By number of the question.
    Peers(u64),
    /// The request's peer has closed and its handler works on.
    Undelivered(ReqId),
    /// The deadline has passed that a call has more than.
    Inflated(CallId),
    /// The deadline has passed that a call does not have.
    Dropped(CallId),
    /// The deadline has passed that a detached call has lost.
    PastDeadline(CallId),
    /// By what ID is a suspicious request known?
    ContextId(ReqId),
    /// Under which keys do contexts of a suspicious request hold values?
    Keys(ReqId),
    /// What IDs does an outgoing call carry?
    Sent(CallId),
    /// What IDs came with a request that no probe reads?
    LateIds(ReqId),
    /// What IDs came with a request that has called another one, or has left something behind, and that no probe reads?
    OwnIds(ReqId),
    /// No ID says whose a request is: who waits for it?
    SameConnection(ReqId),
    /// Over which connection does a call wait that may be the request's?
    CallEnds(ReqId, CallId),
    /// Over which connection did a request come?
    RequestEnds(ReqId),
    /// What happened before the two ends of a connection were read is known by now.
    Settled(ReqId),
    /// The request works on for a call that was given up.
    Orphaned(ReqId),
    /// Where is the handler that does not know its caller's deadline?
    NotForwarded(ReqId),
    /// A call has ended, and how is settled.
    Tell(CallId),
    /// A call that is told of: on which connection does it wait?
    CallOn(CallId),
    /// A request that is told of: over which connection did it come?
    RequestOn(ReqId),
    /// A write to the client failed: by a deadline?
    WriteFailed(ReqId),
    /// The handler works on after its request's cancel: what does this goroutine of it do?
    Beside(ReqId, u64),
    /// The request was cancelled and its handler has returned: who still works on it?
    LeftBy(ReqId),
    /// Does this goroutine?
    Behind(ReqId, u64),
    /// A goroutine has outlived its request: does it wait?
    Leak(GoId),
    /// Does anything refer to what goroutines of a process wait on?
    References(u32),
    /// Which goroutines of a process are new? By number of the watch.
    Listing(u64),
    /// What happened before such a look is known by now.
    Listed(u64),
    /// How many goroutines does a process have? By number of the watch.
    Count(u64),
    /// What do those do that have become so many? By number of the watch.
    Crowds(u64),
}

impl Topic {
    /// What is asked does not depend on events: it stands where some were lost.
    pub(super) const fn needs_no_events(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Crowds(_) | Self::Listing(_))
    }
}

/// Timers, bounded.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u64, Topic)>>,
    sequence: u64,
    dropped: u64,
}

/// Timers at once; each waiting one stands for a request or a context that ended lately.
const LIMIT: usize = 262_144;

impl Timers {
    /// Sets one. Equal times fire in the order in which they were set.
    pub(super) fn set(&mut self, at_ns: u64, topic: Topic) {
        if self.heap.len() >= LIMIT {
            self.dropped += 1;
            return;
        }
        self.sequence += 1;
        self.heap.push(Reverse((at_ns, self.sequence, topic)));
    }

    /// The next that is due.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<(u64, Topic)> {
        let Reverse((at_ns, _, _)) = self.heap.peek()?;
        if *at_ns > now_ns {
            return None;
        }
        self.heap
            .pop()
            .map(|Reverse((at_ns, _, topic))| (at_ns, topic))
    }

    /// Time of the next one.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ns, _, _))| *at_ns)
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::{Timers, Topic};
    use crate::model::{CtxId, ReqId};

    #[test]
    fn timers_fire_by_time_and_then_in_the_order_in_which_they_were_set() {
        let mut timers = Timers::default();
        let set = [
            (7, Topic::NotCalled(CtxId(9))),
            (5, Topic::Derived(CtxId(2))),
            (7, Topic::Overrun(ReqId(1))),
            (9, Topic::Premature(ReqId(3))),
        ];
        for (at_ns, topic) in set {
            timers.set(at_ns, topic);
        }
        assert_eq!(timers.next_ns(), Some(5));
        assert_eq!(timers.due(4), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.due(8)).collect();
        assert_eq!(due, [set[1], set[0], set[2]]);
        assert_eq!(timers.next_ns(), Some(9));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut timers = Timers::default();
        for at_ns in 0..=super::LIMIT as u64 {
            timers.set(at_ns, Topic::Overrun(ReqId(at_ns)));
        }
        assert_eq!(timers.dropped(), 1);
        assert_eq!(timers.due(u64::MAX).map(|(at_ns, _)| at_ns), Some(0));
    }
}
