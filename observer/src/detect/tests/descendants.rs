//! cancel-ignored and premature-cancel: which goroutine of a request works on, and where it was started; and when the last of
//! them has stopped.

use observer_common::hook::HookId;

use super::{
    BACKGROUND, CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, WORKER, calls, client_leaves,
    derived, end, site, start,
};
use crate::finding::{
    Confidence, Emission, Finding, GoroutineEvidence, RuleName, Severity, UpdateReason, WorkState,
};
use crate::testkit::{
    MS, Scene, Seen, cancelled_again, goroutine, goroutine_end, request_end_by, sql, sql_returned,
};

const GO: &str = "example.com/shop/report.(*Builder).Build:140";
const WORKS: &str = "example.com/shop/report.load:7";
const QUERY: &str = "database/sql.(*DB).queryDC";
const DB: u64 = 0x9000;
const WAITS: [&str; 3] = ["runtime.chanrecv1", HANDLER, SERVE];
const JOINS: [&str; 3] = ["sync.(*WaitGroup).Wait", HANDLER, SERVE];
/// A goroutine that `WORKER` has started.
const BELOW: u64 = 13;

/// A request whose handler waits so.
fn waiting(handler: &[&str]) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.waits(SERVING, handler);
    scene
}

/// The hooks tell of a goroutine that `creator` starts.
fn begins(scene: &mut Scene, goid: u64, creator: u64, place: &str) {
    let record = goroutine(&scene.code, goid, creator, &[place, HANDLER, SERVE]);
    scene.take(5, &record);
}

/// Memory says that the handler has started it.
fn started(scene: &mut Scene, goid: u64, place: &str) {
    let gopc = scene.code.pc(place);
    scene.started.insert(goid, (gopc, SERVING));
}

fn is_seen(scene: &mut Scene, goid: u64, stack: &[&str], reason: &'static str) {
    let seen = Seen::Waits(scene.code.pcs(stack), reason);
    scene.goroutines.insert(goid, seen);
}

/// A query of `goid` on a context.
fn asks(scene: &mut Scene, goid: u64, chain: &[(&str, u64)]) {
    let stack = ["database/sql.(*DB).query", WORKS];
    let parent = if goid == WORKER { SERVING } else { WORKER };
    let what = (HookId::SqlQuery, DB);
    let record = sql(&scene.code, (goid, parent), what, chain, &stack, "SELECT 1");
    scene.take(10, &record);
    is_seen(scene, goid, &[QUERY, WORKS], "chan receive");
}

fn goroutine_of(finding: &Finding) -> &GoroutineEvidence {
    finding.evidence.goroutine.as_ref().expect("no goroutine")
}

fn line(goroutine: &GoroutineEvidence) -> Option<u32> {
    goroutine.started_at.as_ref().map(|frame| frame.line)
}

fn last(scene: &Scene) -> &Finding {
    match &scene.shown.last().expect("nothing was shown").1 {
        Emission::Finding(finding) | Emission::Update(finding, _) => finding,
    }
}

#[test]
fn the_goroutine_that_a_handler_waits_for_is_named() {
    for handler in [WAITS, JOINS] {
        let mut scene = waiting(&handler);
        begins(&mut scene, WORKER, SERVING, GO);
        is_seen(&mut scene, WORKER, &["time.Sleep", WORKS], "sleep");
        client_leaves(&mut scene, 100);
        scene.until(700);
        let (at_ms, finding) = scene.only();
        assert_eq!(at_ms, 600);
        assert_eq!(site(finding).1, 31, "the site is the handler's");
        assert_eq!(
            finding.message,
            "handler still works 500 ms after the client left, as does the goroutine started at code.go:140"
        );
        let goroutine = goroutine_of(finding);
        assert_eq!((goroutine.goid, line(goroutine)), (WORKER, Some(140)));
        assert_eq!(goroutine.state, Some(WorkState::Waiting));
        assert_eq!(goroutine.wait_reason.as_deref(), Some("sleep"));
    }
}

#[test]
fn the_one_at_work_is_named_and_not_who_waits_for_it() {
    let mut scene = waiting(&JOINS);
    begins(&mut scene, WORKER, SERVING, GO);
    begins(&mut scene, BELOW, WORKER, "example.com/shop/report.load:9");
    begins(
        &mut scene,
        BELOW + 1,
        WORKER,
        "example.com/shop/report.load:9",
    );
    is_seen(
        &mut scene,
        WORKER,
        &["sync.(*WaitGroup).Wait", WORKS],
        "semacquire",
    );
    scene.goroutines.insert(BELOW, Seen::Runs);
    scene.goroutines.insert(BELOW + 1, Seen::Runs);
    client_leaves(&mut scene, 100);
    scene.until(700);
    let goroutine = goroutine_of(scene.only().1);
    assert_eq!((goroutine.goid, line(goroutine)), (BELOW, Some(9)));
    assert_eq!(goroutine.others, 1);
}

/// One that only waits, one that hears of the cancel, plumbing's, and one on a context of its own.
#[test]
fn who_is_not_at_work_for_the_request_is_not_named() {
    let silent = |prepare: &dyn Fn(&mut Scene)| {
        let mut scene = waiting(&WAITS);
        prepare(&mut scene);
        client_leaves(&mut scene, 100);
        scene.until(700);
        let (_, finding) = scene.only();
        assert_eq!(finding.evidence.goroutine, None);
        assert_eq!(
            finding.message,
            "handler still works 500 ms after the client left"
        );
    };
    let sleeps = |scene: &mut Scene| is_seen(scene, WORKER, &["time.Sleep", WORKS], "sleep");
    silent(&|scene| {
        begins(scene, WORKER, SERVING, GO);
        is_seen(scene, WORKER, &["runtime.chanrecv1", WORKS], "chan receive");
    });
    silent(&|scene| {
        begins(scene, WORKER, SERVING, GO);
        sleeps(scene);
        scene.waits_on = vec![ROOT];
    });
    silent(&|scene| {
        begins(
            scene,
            WORKER,
            SERVING,
            "google.golang.org/grpc.newClientStream:1",
        );
        sleeps(scene);
    });
    silent(&|scene| {
        begins(scene, WORKER, SERVING, GO);
        let own = derived(scene, 6, (WORKER, CHILD), &[BACKGROUND], WORKS);
        scene.take(6, &own);
        sleeps(scene);
    });
    silent(&|scene| begins(scene, WORKER, SERVING, GO));
}

/// A request whose client leaves at 100 ms, and its handler right after; its goroutine is in a query.
fn left_in_query(chain: &[(&str, u64)], followed: bool) -> Scene {
    let mut scene = waiting(&WAITS);
    if followed {
        begins(&mut scene, WORKER, SERVING, GO);
    } else {
        started(&mut scene, WORKER, GO);
    }
    asks(&mut scene, WORKER, chain);
    client_leaves(&mut scene, 100);
    end(&mut scene, 102);
    scene
}

#[test]
fn b_a_query_that_outlives_its_cancelled_request_is_an_error_of_its_goroutine() {
    for followed in [true, false] {
        let mut scene = left_in_query(&[(CANCEL_CTX, ROOT)], followed);
        scene.until(599);
        scene.silent();
        scene.until(700);
        let (at_ms, finding) = scene.only();
        assert_eq!((at_ms, finding.rule), (600, RuleName::CancelIgnored));
        assert_eq!(
            (finding.severity, finding.confidence),
            (Severity::Error, Confidence::High)
        );
        assert_eq!(site(finding), ("example.com/shop/report.load", 7));
        assert_eq!(
            finding.message,
            "goroutine started at code.go:140 still works 500 ms after the client left"
        );
        assert_eq!(goroutine_of(finding).goid, WORKER);
        assert_eq!(finding.evidence.call.as_ref().unwrap().kind, "sql");
        assert_eq!(
            finding.evidence.wait_reason.as_deref(),
            Some("chan receive")
        );
        let health = scene.engine.health();
        assert_eq!((health.cancelled, health.recovered, health.lost), (1, 0, 1));

        scene.until(2_100);
        let back = sql_returned(&scene.code, WORKER, DB, "");
        scene.take(2_100, &back);
        let Some((at_ms, Emission::Update(ended, UpdateReason::Ended))) = scene.shown.last() else {
            panic!("{:#?}", scene.shown);
        };
        assert_eq!(*at_ms, 2_100);
        assert_eq!(
            ended.message,
            "goroutine started at code.go:140 worked 2 s after the client left"
        );
        assert_eq!(ended.evidence.state, Some(WorkState::Ended));
        let health = scene.engine.health();
        assert_eq!(health.wasted.total_ns(), 2_000 * MS);
        // Followed, it is the goroutine's end that counts.
        assert_eq!(health.recovered, u64::from(!followed));
        let gone = goroutine_end(WORKER);
        scene.take(2_600, &gone);
        let health = scene.engine.health();
        assert_eq!((health.cancelled, health.recovered), (1, 1));
        let latest_ms = if followed { 2_500 } else { 2_000 };
        assert_eq!(health.latency.max_ns(), latest_ms * MS);
    }
}

#[test]
fn c_the_scope_of_a_context_derived_from_the_dead_one_is_a_warning() {
    let mut scene = waiting(&WAITS);
    started(&mut scene, WORKER, GO);
    let chain = [(CANCEL_CTX, ROOT)];
    let made = derived(&scene, 10, (WORKER, CHILD), &chain, WORKS);
    scene.take(10, &made);
    is_seen(&mut scene, WORKER, &["time.Sleep", WORKS], "sleep");
    client_leaves(&mut scene, 100);
    let dies = crate::testkit::cascade(&scene.code, super::READER, CHILD);
    scene.take(100, &dies);
    end(&mut scene, 102);
    scene.until(700);
    let (_, finding) = scene.only();
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::Medium)
    );
    assert_eq!(site(finding).1, 7);
    let func = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func3",
    ];
    let called = cancelled_again(&scene.code, WORKER, CHILD, func);
    scene.take(1_600, &called);
    assert_eq!(last(&scene).evidence.after_cancel_ns, Some(1_500 * MS));
    assert_eq!(scene.engine.health().latency.max_ns(), 1_500 * MS);
}

fn never_ignored(scene: &Scene) {
    let found = scene.findings();
    let mut rules = found.iter().map(|finding| finding.rule);
    assert!(
        rules.all(|rule| rule != RuleName::CancelIgnored),
        "{:#?}",
        scene.shown
    );
}

#[test]
fn what_may_go_on_behind_a_cancelled_request_is_silent() {
    // In a query of its own.
    let mut scene = left_in_query(&[BACKGROUND], true);
    scene.until(5_000);
    never_ignored(&scene);
    // A job that the handler has started.
    let mut scene = waiting(&WAITS);
    begins(&mut scene, WORKER, SERVING, GO);
    is_seen(&mut scene, WORKER, &["time.Sleep", WORKS], "sleep");
    client_leaves(&mut scene, 100);
    end(&mut scene, 102);
    scene.until(5_000);
    scene.silent();
    // Somebody else's, who works on the request's context.
    let mut scene = left_in_query(&[(CANCEL_CTX, ROOT)], false);
    scene.started.clear();
    scene.until(5_000);
    scene.silent();
    // Gone, or about to leave.
    for waits_on in [vec![ROOT], Vec::new()] {
        let mut scene = left_in_query(&[(CANCEL_CTX, ROOT)], true);
        if waits_on.is_empty() {
            scene.goroutines.insert(WORKER, Seen::Gone);
        }
        scene.waits_on = waits_on;
        scene.until(5_000);
        scene.silent();
    }
    // Its request ended as it should.
    let mut scene = waiting(&WAITS);
    begins(&mut scene, WORKER, SERVING, GO);
    asks(&mut scene, WORKER, &[(CANCEL_CTX, ROOT)]);
    end(&mut scene, 102);
    scene.until(5_000);
    never_ignored(&scene);
}

#[test]
fn lost_events_leave_nothing_to_be_told() {
    let mut scene = left_in_query(&[(CANCEL_CTX, ROOT)], true);
    scene.engine.loss();
    scene.until(5_000);
    scene.silent();
    let health = scene.engine.health();
    assert_eq!((health.cancelled, health.recovered), (1, 0));
}

#[test]
fn a_chain_is_over_with_its_last_goroutine_and_plumbing_is_none_of_it() {
    let mut scene = waiting(&WAITS);
    begins(&mut scene, WORKER, SERVING, GO);
    begins(&mut scene, BELOW, WORKER, GO);
    begins(
        &mut scene,
        BELOW + 1,
        SERVING,
        "net/http.(*Transport).dialConn:1",
    );
    client_leaves(&mut scene, 100);
    end(&mut scene, 103);
    assert_eq!(scene.engine.health().recovered, 0);
    let gone = [goroutine_end(BELOW), goroutine_end(WORKER)];
    scene.take(400, &gone[0]);
    assert_eq!(scene.engine.health().recovered, 0);
    scene.take(900, &gone[1]);
    let health = scene.engine.health();
    assert_eq!((health.cancelled, health.recovered), (1, 1));
    assert_eq!(health.latency.max_ns(), 800 * MS);
    assert_eq!(health.wasted.total_ns(), 0, "that it lived proves no waste");
}

#[test]
fn whose_call_was_killed_is_told_with_its_go_statement() {
    for (followed, line_of, message) in [
        (
            true,
            Some(140),
            "call to GET store:8080/item/7 by the goroutine started at code.go:140 was killed: it began 100 ms after the handler returned",
        ),
        (
            false,
            None,
            "call to GET store:8080/item/7 was killed: it began 100 ms after the handler returned",
        ),
    ] {
        let mut scene = waiting(&WAITS);
        if followed {
            begins(&mut scene, WORKER, SERVING, GO);
        }
        let made = derived(&scene, 6, (WORKER, CHILD), &[(CANCEL_CTX, ROOT)], WORKS);
        scene.take(6, &made);
        let ended = request_end_by(&scene.code, ROOT, "net/http.(*conn).serve");
        scene.take(100, &ended);
        let call = calls(&scene, WORKER, &[(CANCEL_CTX, ROOT)], WORKS);
        scene.take(200, &call);
        let found = scene.findings();
        let finding = found
            .iter()
            .find(|finding| finding.rule == RuleName::PrematureCancel);
        let finding = finding.expect("no premature-cancel");
        assert_eq!(finding.message, message);
        let goroutine = goroutine_of(finding);
        assert_eq!((goroutine.goid, line(goroutine)), (WORKER, line_of));
    }
}
