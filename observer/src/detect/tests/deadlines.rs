//! The rules about deadlines: what each compares, and where each is silent.

mod dropped;
mod inflated;
mod mismatch;
mod past;
mod too_short;

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, TIMER_CTX,
    WORKER, client_leaves, end, site, start, timer_fires,
};
use crate::detect::Deadlines;
use crate::finding::{CancelledBy, Emission, Finding, RuleName, Severity, Timer};
use crate::inspect::{ConnState, ErrorKind, RequestDetails, ServerTimeouts};
use crate::testkit::{
    Created, MS, ReadError, Record, Scene, asked, call, cancel, cascade, conn_error, deadline,
    dial, grpc, request_end, stream_context,
};

const GRANDCHILD: u64 = 0x3000;
const WITHOUT: (&str, u64) = ("context.withoutCancelCtx", 0x7000);
const MIDDLEWARE: &str = "example.com/shop/api.limited.ServeHTTP:57";
const HANDLER_FUNC: &str = "net/http.HandlerFunc.ServeHTTP";
const TIMEOUT_HANDLER: &str = "net/http.(*timeoutHandler).ServeHTTP";
const TIMEOUT_WORKER: &str = "net/http.(*timeoutHandler).ServeHTTP.func1";
const SECOND: u64 = 1_000;

/// Stack of a handler under the service's middleware.
const UNDER_MIDDLEWARE: [&str; 5] = [BUILD, HANDLER, HANDLER_FUNC, MIDDLEWARE, SERVE];

/// What a `WithTimeout` of `asked_ms` under `parent` makes, with this stack above it.
struct Timeout<'a> {
    goid: u64,
    data: u64,
    chain: &'a [(&'a str, u64)],
    asked_ms: u64,
    stack: &'a [&'a str],
    /// The parent's deadline is sooner: no timer is made.
    clamped: bool,
}

/// A handler's own, of two seconds.
impl Default for Timeout<'_> {
    fn default() -> Self {
        Self {
            goid: SERVING,
            data: CHILD,
            chain: &[(CANCEL_CTX, ROOT)],
            asked_ms: 2 * SECOND,
            stack: &[HANDLER, SERVE],
            clamped: false,
        }
    }
}

impl Timeout<'_> {
    fn make(&self, scene: &mut Scene, at_ms: u64) {
        let until = deadline(at_ms * MS, i64::try_from(self.asked_ms * MS).unwrap(), true);
        let asks = asked(&scene.code, self.goid, self.chain[0], until);
        scene.take(at_ms, &asks);
        let mut stack = vec!["context.WithDeadlineCause", "context.WithTimeout"];
        stack.extend(self.stack);
        let made = Created {
            goid: self.goid,
            parent_goid: if self.goid == SERVING { 0 } else { SERVING },
            child: if self.clamped {
                (CANCEL_CTX, self.data)
            } else {
                (TIMER_CTX, self.data)
            },
            chain: self.chain,
            stack: &stack,
            deadline: if self.clamped { [0; 2] } else { until },
            ..Created::default()
        };
        let record = made.record(&scene.code);
        scene.take(at_ms, &record);
    }
}

/// A request whose middleware allows `ms`.
fn under_middleware(ms: u64) -> Scene {
    limited(Scene::new(), ms)
}

fn limited(mut scene: Scene, ms: u64) -> Scene {
    start(&mut scene, 0);
    let budget = Timeout {
        asked_ms: ms,
        stack: &[MIDDLEWARE, SERVE],
        ..Timeout::default()
    };
    budget.make(&mut scene, 1);
    scene
}

fn calls_at(scene: &mut Scene, at_ms: u64, goid: u64, chain: &[(&str, u64)], above: &[&str]) {
    let mut stack = vec!["net/http.(*Client).do"];
    stack.extend(above);
    let parent = if goid == SERVING { 0 } else { SERVING };
    let record = call(&scene.code, (goid, parent), 0x9000, chain, &stack);
    scene.take(at_ms, &record);
}

fn of_rule(scene: &Scene, rule: RuleName) -> Vec<&Finding> {
    let mut found = scene.findings();
    found.retain(|finding| finding.rule == rule);
    found
}

fn only(scene: &Scene, rule: RuleName) -> &Finding {
    match of_rule(scene, rule)[..] {
        [finding] => finding,
        ref other => panic!("not one {rule}: {other:#?}"),
    }
}

/// The newest state of the only finding of a rule.
fn last(scene: &Scene, rule: RuleName) -> &Finding {
    let last = scene.shown.iter().rev().find_map(|(_, shown)| match shown {
        Emission::Finding(finding) | Emission::Update(finding, _) if finding.rule == rule => {
            Some(&**finding)
        }
        _ => None,
    });
    last.unwrap_or_else(|| panic!("no {rule}"))
}

const fn about(ns: i64, ms: i64) -> bool {
    ns <= ms * 1_000_000 && ns > (ms - 20) * 1_000_000
}

fn details() -> std::sync::Arc<RequestDetails> {
    std::sync::Arc::new(RequestDetails::default())
}
