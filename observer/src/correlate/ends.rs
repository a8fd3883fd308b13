//! The connections that calls and requests were seen on, and which of them are the two ends of one.
//!
//! HTTP/1 only, and one host: its addresses mean something else on another, and its clock says what was read first.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::clocks::HostIndex;
use super::{CallFact, RequestFact};

/// A connection, as it was read from a process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenOn {
    /// Who has connected. IPv4 is never written as IPv6.
    pub client: SocketAddr,
    /// To whom.
    pub server: SocketAddr,
    /// Network namespace of the process: addresses mean something within it.
    pub netns: u64,
    /// Not before this it was read, ns.
    pub from_ns: u64,
    /// Nor after this, ns.
    pub until_ns: u64,
}

impl SeenOn {
    /// Moves its times, ns.
    pub(super) const fn shift(&mut self, by_ns: i64) {
        self.from_ns = self.from_ns.saturating_add_signed(by_ns);
        self.until_ns = self.until_ns.saturating_add_signed(by_ns);
    }
}

/// Which host, which namespace, and both ends.
type Place = (HostIndex, u64, SocketAddr, SocketAddr);

fn place(host: HostIndex, on: &SeenOn) -> Place {
    (host, on.netns, on.client, on.server)
}

/// Pairs of numbers: of a call and of the request that it led to. Those that fit several are in none.
pub(super) fn join<'a>(
    calls: impl Iterator<Item = (usize, HostIndex, &'a CallFact)>,
    requests: impl Iterator<Item = (usize, HostIndex, &'a RequestFact)>,
) -> Vec<(usize, usize)> {
    let mut by_place: HashMap<Place, Vec<(usize, &CallFact)>> = HashMap::new();
    for (number, host, call) in calls {
        if let Some(on) = &call.seen_on {
            let there = by_place.entry(place(host, on)).or_default();
            there.push((number, call));
        }
    }
    let mut pairs = Vec::new();
    for (number, host, request) in requests {
        let Some(on) = &request.seen_on else { continue };
        let there = by_place.get(&place(host, on)).into_iter().flatten();
        let mut mine = there.filter(|(_, call)| belong(call, request));
        if let (Some((call, _)), None) = (mine.next(), mine.next()) {
            pairs.push((*call, number));
        }
    }
    let mut times: HashMap<usize, u32> = HashMap::new();
    for (call, _) in &pairs {
        *times.entry(*call).or_default() += 1;
    }
    pairs.retain(|(call, _)| times.get(call) == Some(&1));
    pairs
}

/// Whether the call waited on the request's connection after the request had begun, and the request had not begun its
/// answer after that: until it does, the connection is its caller's.
fn belong(call: &CallFact, request: &RequestFact) -> bool {
    let (Some(waits), Some(unanswered)) = (&call.seen_on, &request.seen_on) else {
        return false;
    };
    let start_ns = request.request.start_ns;
    let in_order = call.call.start_ns <= start_ns
        && start_ns <= waits.from_ns
        && waits.until_ns <= unanswered.from_ns;
    let both_ran = waits.until_ns <= call.over_ns()
        && request
            .ended_ns()
            .is_none_or(|ended_ns| unanswered.until_ns <= ended_ns);
    // Between the two ends of one connection nobody can make one span of another.
    let side = request.side();
    let span = side.ids.trace.zip(side.ids.parent);
    let another = matches!((call.span(), span), (Some(sent), Some(_)) if sent != span);
    in_order && both_ran && !another && call.side().fits(&side)
}
