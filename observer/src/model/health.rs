//! Figures about how far cancels and deadlines travelled: counted here, judged elsewhere.

use std::collections::BTreeMap;

use super::latency::Latency;

/// Routes whose waste is kept apart; what others wasted is counted together.
pub const WASTED_ROUTES: usize = 64;

/// Totals since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Requests that had a cancel or a deadline, and of which is known whether one was lost.
    pub requests: u64,
    /// Those that lost one.
    pub lost: u64,
    /// Chains cancelled while their work ran, of which is known whether it went on beyond grace.
    pub cancelled: u64,
    /// Those whose work was seen to stop.
    pub recovered: u64,
    /// From their cancel to that.
    pub latency: Latency,
    /// What went on beyond grace.
    pub wasted: Wasted,
}

impl Health {
    /// Part of the requests that lost a cancel or a deadline, 0 to 1; `None` where none had one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of two counts needs no more than 52 bits of them"
    )]
    pub fn loss_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.lost as f64 / self.requests as f64)
    }
}

/// Time that work went on for although nobody wanted it, by route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wasted {
    /// Time, ns, and requests, of the first `WASTED_ROUTES` routes.
    pub routes: BTreeMap<String, (u64, u64)>,
    /// Time of all others, and of requests whose route is not known, ns.
    pub other_ns: u64,
}

impl Wasted {
    /// Counts one request's.
    pub fn add(&mut self, route: Option<String>, ns: u64) {
        let has_room = self.routes.len() < WASTED_ROUTES;
        match route {
            Some(route) if has_room || self.routes.contains_key(&route) => {
                let (wasted_ns, requests) = self.routes.entry(route).or_default();
                *wasted_ns = wasted_ns.saturating_add(ns);
                *requests += 1;
            }
            _ => self.other_ns = self.other_ns.saturating_add(ns),
        }
    }

    /// Of all routes, ns.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        let named = self.routes.values().map(|(ns, _)| *ns);
        named.fold(self.other_ns, u64::saturating_add)
    }

    /// Routes with time, ns, and requests: the most time first.
    #[must_use]
    pub fn most_first(&self) -> Vec<(&str, u64, u64)> {
        let routes = self.routes.iter();
        let mut all: Vec<_> = routes
            .map(|(route, (ns, requests))| (route.as_str(), *ns, *requests))
            .collect();
        all.sort_by_key(|(_, ns, _)| std::cmp::Reverse(*ns));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{WASTED_ROUTES, Wasted};

    #[test]
    fn past_the_limit_waste_is_counted_together() {
        let mut wasted = Wasted::default();
        for route in 0..WASTED_ROUTES + 3 {
            wasted.add(Some(format!("/{route}")), 10);
        }
        wasted.add(Some("/5".into()), 7);
        wasted.add(None, 1);
        assert_eq!(wasted.routes.len(), WASTED_ROUTES);
        assert_eq!(wasted.most_first()[..2], [("/5", 17, 2), ("/0", 10, 1)]);
        assert_eq!(wasted.other_ns, 31);
        assert_eq!(wasted.total_ns(), 10 * (WASTED_ROUTES as u64 + 3) + 8);
    }
}
