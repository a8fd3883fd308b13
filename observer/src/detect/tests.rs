//! Rules on hand-made events and made-up memory, each as its documentation says.

mod busy;
mod cancel_ignored;
mod cancel_not_called;
mod cancel_undelivered;
mod chain;
mod chaos;
mod deadline_not_forwarded;
mod deadlines;
mod derived;
mod descendants;
mod detached_context;
mod detached_help;
mod detached_use;
mod goroutine_leak;
mod goroutine_surge;
mod grpc_calls;
mod health;
mod ids;
mod large_headers;
mod late_ids;
mod leaks_by_age;
mod listings;
mod loss;
mod made_ids;
mod orphaned_downstream;
mod premature_cancel;
mod references;
mod same_connection;
mod sessions;
mod spawned;
mod sql;
mod telling;
mod timeout_handler;
mod waits;
mod worker_loops;

use crate::finding::{Finding, RuleName};
use crate::testkit::{
    Created, MS, ReadError, Record, Scene, call, cancel, cascade, conn_error, deadline, request,
    request_end,
};

/// Serving goroutine.
const SERVING: u64 = 10;
/// A goroutine started for the request.
const WORKER: u64 = 11;
/// The connection's background reader.
const READER: u64 = 12;
/// Address of the request's own context.
const ROOT: u64 = 0x1000;
/// Address of a context made for it.
const CHILD: u64 = 0x2000;
/// The connection's own context.
const CONN: u64 = 0x800;

const CANCEL_CTX: &str = "context.cancelCtx";
const TIMER_CTX: &str = "context.timerCtx";
const BACKGROUND: (&str, u64) = ("context.backgroundCtx", 8);
const CANCEL_FUNC: &str = "context.WithCancel.func1";
const SERVE: &str = "net/http.serverHandler.ServeHTTP";
const ROUND_TRIP: &str = "net/http.(*Transport).roundTrip";
const HANDLER: &str = "example.com/shop/api.GetReport:31";
const BUILD: &str = "example.com/shop/report.(*Builder).Build:132";

fn start(scene: &mut Scene, at_ms: u64) {
    let record = request(&scene.code, SERVING, ROOT, "GET /report/7");
    scene.take(at_ms, &record);
}

fn end(scene: &mut Scene, at_ms: u64) {
    let record = request_end(&scene.code, ROOT);
    scene.take(at_ms, &record);
}

/// The client leaves: the background read cancels the connection's context.
fn client_leaves(scene: &mut Scene, at_ms: u64) {
    conn_ends(scene, at_ms, ReadError::Text("EOF"));
}

/// The caller's client leaves, and with it its calls.
fn given_up(scene: &mut Scene, at_ms: u64, inner: &[u64]) {
    client_leaves(scene, at_ms);
    for inner in inner {
        let record = cascade(&scene.code, READER, *inner);
        scene.take(at_ms, &record);
    }
    end(scene, at_ms + 10);
    scene.until(at_ms + 700);
}

fn orphans(scene: &Scene) -> Vec<&Finding> {
    let all = scene.findings().into_iter();
    all.filter(|finding| finding.rule == RuleName::OrphanedDownstream)
        .collect()
}

fn conn_ends(scene: &mut Scene, at_ms: u64, error: ReadError) {
    let stack = [
        CANCEL_FUNC,
        "net/http.(*connReader).handleReadErrorLocked",
        "net/http.(*connReader).backgroundRead",
    ];
    let code = &scene.code;
    let records = [
        conn_error(code, READER, error),
        cancel(code, READER, CONN, &stack),
        cascade(code, READER, ROOT),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
}

/// A creation on the serving goroutine under `chain` by `WithTimeout` or `WithCancel` at `place`.
fn derived(
    scene: &Scene,
    at_ms: u64,
    (goid, data): (u64, u64),
    chain: &[(&str, u64)],
    place: &str,
) -> Record {
    let left_ns = 1_000_000_000;
    let made = Created {
        goid,
        parent_goid: if goid == SERVING { 0 } else { SERVING },
        child: (TIMER_CTX, data),
        chain,
        stack: &[
            "context.WithDeadlineCause",
            "context.WithTimeout",
            place,
            SERVE,
        ],
        deadline: deadline(at_ms * MS, left_ns, true),
        ..Created::default()
    };
    made.record(&scene.code)
}

/// The timer of a context fires.
fn timer_fires(scene: &Scene, ctx: u64) -> Record {
    let stack = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func2",
        "time.goFunc",
    ];
    cancel(&scene.code, 60, ctx, &stack)
}

/// A call on the serving goroutine, made at `place`.
fn calls(scene: &Scene, goid: u64, chain: &[(&str, u64)], place: &str) -> Record {
    let stack = [
        "net/http.(*Transport).RoundTrip",
        "net/http.(*Client).Do",
        place,
        SERVE,
    ];
    let parent = if goid == SERVING { 0 } else { SERVING };
    call(&scene.code, (goid, parent), 0x9000 + goid, chain, &stack)
}

fn site(finding: &Finding) -> (&str, u32) {
    let site = finding.site.as_ref().unwrap();
    (&site.function, site.line)
}
