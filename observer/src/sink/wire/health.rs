//! The health figures inside `stats` and `end`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model;

/// How far cancels and deadlines travelled, since the start. A request that was in flight when
/// observing began, or of which events were lost, is in no figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Requests that had a cancel or a deadline, and of which is known whether one was lost: those
    /// that ended, and those found to have lost one. A cancel: the request's context died while its
    /// handler ran, by anything but the server's shutdown, or its client left and Go never noticed.
    /// A deadline: `http.TimeoutHandler` gave it one, or a context with one was derived from its own.
    pub requests: u64,
    /// Those of `requests` whose work went on for longer than the grace time after the cancel, or
    /// made a call without the deadline or past it: what `cancel-ignored`, `cancel-undelivered`,
    /// `detached-context`, `deadline-dropped` and `deadline-inflated` found as warnings or errors,
    /// each request once.
    pub requests_lost: u64,
    /// `requests_lost` / `requests`; null where `requests` is 0.
    pub context_propagation_loss_ratio: Option<f64>,
    /// Requests whose context was cancelled while their work ran, and of which is known whether it
    /// stopped within the grace time.
    pub chains_cancelled: u64,
    /// Those of `chains_cancelled` whose work was seen to stop, within the grace time or after it.
    pub chains_recovered: u64,
    /// From the cancel to that, of `chains_recovered`. Absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_latency: Option<Histogram>,
    /// Time that work went on for after the cancel, or after its client had left, where that was
    /// longer than the grace time, ns: until it stopped, or until now.
    pub wasted_ns: u64,
    /// That by route, the most first; at most 64 routes. Absent where nothing was wasted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wasted_routes: Vec<WastedRoute>,
    /// That of further routes, and of requests whose route is not known. Absent where there is none.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub wasted_other_ns: u64,
}

/// Waste of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WastedRoute {
    /// As in `request`.
    pub route: String,
    /// Time, ns.
    pub wasted_ns: u64,
    /// Requests that it is the sum of.
    pub requests: u64,
}

/// Lengths of time. Quantiles are exact to a quarter of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Four to each doubling, the shortest first; only those that hold any.
    pub steps: Vec<HistogramStep>,
}

/// One step of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistogramStep {
    /// Its end: none of its lengths is longer, ns.
    pub to_ns: u64,
    /// Lengths in it, and in no shorter one.
    pub count: u64,
}

impl Histogram {
    fn of(latency: &model::Latency) -> Option<Self> {
        (latency.count() > 0).then(|| Self {
            count: latency.count(),
            p50_ns: latency.quantile_ns(50),
            p99_ns: latency.quantile_ns(99),
            max_ns: latency.max_ns(),
            steps: latency
                .steps()
                .map(|(to_ns, count)| HistogramStep { to_ns, count })
                .collect(),
        })
    }
}

impl From<&model::Health> for Health {
    fn from(health: &model::Health) -> Self {
        let routes = health.wasted.most_first().into_iter();
        Self {
            requests: health.requests,
            requests_lost: health.lost,
            context_propagation_loss_ratio: health.loss_ratio(),
            chains_cancelled: health.cancelled,
            chains_recovered: health.recovered,
            cancel_latency: Histogram::of(&health.latency),
            wasted_ns: health.wasted.total_ns(),
            wasted_routes: routes
                .map(|(route, wasted_ns, requests)| WastedRoute {
                    route: route.to_owned(),
                    wasted_ns,
                    requests,
                })
                .collect(),
            wasted_other_ns: health.wasted.other_ns,
        }
    }
}
