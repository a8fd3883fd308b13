//! detached-context: goroutines that a handler starts and waits for, without any deadline.

use super::{
    BACKGROUND, CANCEL_FUNC, CONN, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, WORKER,
    client_leaves, end, site, start,
};
use crate::finding::{CancelledBy, Emission, Finding, RuleName, Severity};
use crate::model::Older;
use crate::testkit::{Scene, call, cancel, cascade, goroutine, request, request_end};

/// A handler on another connection, and its goroutine.
const OTHER: u64 = 20;
const OTHER_WORKER: u64 = 21;
const OTHER_ROOT: u64 = 0x5000;
const FETCH: &str = "example.com/shop/api.GetReport.func1:35";
const WAITS: [&str; 3] = ["runtime.chanrecv1", HANDLER, SERVE];
const SITS: [&str; 3] = ["net/http.(*persistConn).roundTrip", ROUND_TRIP, FETCH];

fn calls(scene: &mut Scene, at_ms: u64, goid: u64, parent: u64) {
    let stack = [ROUND_TRIP, "net/http.(*Client).Do", FETCH];
    let record = call(
        &scene.code,
        (goid, parent),
        0x9000 + goid,
        &[BACKGROUND],
        &stack,
    );
    scene.take(at_ms, &record);
}

/// The handlers of two connections wait so, and a goroutine of each calls.
fn both(waits: &[&str]) -> Scene {
    let mut scene = Scene::new();
    let other = request(&scene.code, OTHER, 0x5000, "GET /report/7");
    scene.take(0, &other);
    start(&mut scene, 1);
    for goid in [SERVING, OTHER] {
        scene.waits(goid, waits);
    }
    for goid in [WORKER, OTHER_WORKER] {
        scene.waits(goid, &SITS);
    }
    calls(&mut scene, 5, OTHER_WORKER, OTHER);
    assert_eq!(newest(&scene).severity, Severity::Info);
    calls(&mut scene, 6, WORKER, SERVING);
    scene
}

fn newest(scene: &Scene) -> &Finding {
    let Some((_, Emission::Finding(finding) | Emission::Update(finding, _))) = scene.shown.last()
    else {
        panic!("nothing was shown");
    };
    finding
}

#[test]
fn work_that_handlers_of_several_connections_wait_for_is_a_warning() {
    let scene = both(&WAITS);
    let finding = newest(&scene);
    assert_eq!(
        (finding.rule, finding.severity, finding.count),
        (RuleName::DetachedContext, Severity::Warning, 2)
    );
    assert_eq!(site(finding), ("example.com/shop/api.GetReport.func1", 35));
}

#[test]
fn where_the_handler_does_something_else_it_may_be_anybodys() {
    for stack in [
        ["time.Sleep", HANDLER, SERVE],
        [
            "runtime.chanrecv1",
            "net/http.(*persistConn).roundTrip",
            HANDLER,
        ],
    ] {
        let scene = both(&stack);
        assert_eq!(newest(&scene).severity, Severity::Info, "{stack:?}");
    }
}

/// The next request of a connection, with a goroutine that is first seen then, calling.
fn keeps_alive(scene: &mut Scene) {
    start(scene, 0);
    end(scene, 1);
    let next = request(&scene.code, SERVING, OTHER_ROOT, "GET /report/8");
    scene.take(2, &next);
}

#[test]
fn what_an_earlier_request_of_the_connection_may_have_left_is_nobodys() {
    let mut scene = Scene::new();
    keeps_alive(&mut scene);
    calls(&mut scene, 5, WORKER, SERVING);
    scene.silent();
    // Nor is it the work of a handler later, once it has been seen between two requests.
    let ended = request_end(&scene.code, OTHER_ROOT);
    scene.take(6, &ended);
    calls(&mut scene, 7, OTHER_WORKER, SERVING);
    let next = request(&scene.code, SERVING, ROOT, "GET /report/9");
    scene.take(8, &next);
    calls(&mut scene, 9, OTHER_WORKER, SERVING);
    scene.silent();
}

#[test]
fn what_has_called_before_its_connection_was_seen_to_serve_is_nobodys() {
    let mut scene = Scene::new();
    calls(&mut scene, 1, WORKER, SERVING);
    start(&mut scene, 2);
    calls(&mut scene, 3, WORKER, SERVING);
    scene.silent();
}

#[test]
fn a_connection_that_is_older_than_the_observing_may_have_served_others() {
    for (older, is_told) in [
        (Older::UpTo(SERVING), false),
        (Older::UpTo(SERVING - 1), true),
        (Older::These([1, SERVING].into()), false),
        (Older::These([1, SERVING + 1].into()), true),
    ] {
        let mut scene = Scene::new();
        scene.code.older = older;
        start(&mut scene, 0);
        calls(&mut scene, 3, WORKER, SERVING);
        assert_eq!(!scene.shown.is_empty(), is_told);
    }
}

#[test]
fn a_goroutine_of_a_later_request_is_known_where_its_beginning_was_seen() {
    let mut scene = Scene::new();
    keeps_alive(&mut scene);
    let begun = goroutine(&scene.code, WORKER, SERVING, &[FETCH, SERVE]);
    scene.take(3, &begun);
    calls(&mut scene, 5, WORKER, SERVING);
    assert_eq!(newest(&scene).severity, Severity::Info);
    assert_eq!(
        newest(&scene).request.as_ref().unwrap().path.as_deref(),
        Some("/report/8")
    );
}

#[test]
fn the_worker_of_a_timeout_handler_is_its_requests_on_any_connection() {
    let mut scene = Scene::new();
    keeps_alive(&mut scene);
    let stack = [
        ROUND_TRIP,
        "net/http.(*Client).Do",
        FETCH,
        "net/http.(*timeoutHandler).ServeHTTP.func1",
    ];
    let record = call(
        &scene.code,
        (WORKER, SERVING),
        0x9000,
        &[BACKGROUND],
        &stack,
    );
    scene.take(5, &record);
    assert_eq!(newest(&scene).severity, Severity::Warning);
}

#[test]
fn of_one_connection_alone_it_may_be_made_ready_for_all() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    scene.waits(SERVING, &WAITS);
    for (n, goid) in [WORKER, OTHER_WORKER].into_iter().enumerate() {
        calls(&mut scene, 5 + n as u64, goid, SERVING);
    }
    scene.engine.finish(1_000_000_000);
    scene.until(100);
    assert_eq!(
        (newest(&scene).severity, newest(&scene).count),
        (Severity::Info, 2)
    );
}

#[test]
fn a_call_that_outlives_the_cancel_of_a_handler_that_left_is_an_error() {
    let mut scene = both(&WAITS);
    client_leaves(&mut scene, 100);
    end(&mut scene, 102);
    scene.until(599);
    assert_eq!(newest(&scene).severity, Severity::Warning);
    scene.until(700);
    let finding = newest(&scene);
    assert_eq!((finding.severity, finding.count), (Severity::Error, 2));
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(
        finding.message,
        "call to GET store:8080/item/7 on a detached context goes on 500 ms after the client left"
    );
}

#[test]
fn a_call_that_is_over_by_then_or_whose_request_ended_normally_stays_a_warning() {
    let mut scene = both(&WAITS);
    client_leaves(&mut scene, 100);
    end(&mut scene, 102);
    scene.waits(WORKER, &["time.Sleep", FETCH]);
    scene.until(2_000);
    assert_eq!(newest(&scene).severity, Severity::Warning);
    let mut scene = both(&WAITS);
    end(&mut scene, 102);
    scene.until(2_000);
    assert_eq!(newest(&scene).severity, Severity::Warning);
}

/// Rules of the errors shown, each with its site's line.
fn errors(scene: &Scene) -> Vec<(RuleName, u32)> {
    scene
        .shown
        .iter()
        .map(|(_, Emission::Finding(finding) | Emission::Update(finding, _))| finding)
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| (finding.rule, site(finding).1))
        .collect()
}

#[test]
fn a_call_that_its_handler_waits_for_past_the_cancel_is_an_error_beside_the_handlers() {
    let mut scene = both(&WAITS);
    client_leaves(&mut scene, 100);
    scene.until(599);
    assert_eq!(errors(&scene), []);
    scene.until(700);
    let mut all = errors(&scene);
    all.sort_unstable();
    all.dedup();
    assert_eq!(
        all,
        [
            (RuleName::CancelIgnored, 31),
            (RuleName::DetachedContext, 35)
        ]
    );
    let related = scene.shown.iter().any(
        |(_, Emission::Finding(finding) | Emission::Update(finding, _))| {
            finding.severity == Severity::Error && !finding.related.is_empty()
        },
    );
    assert!(related);
}

#[test]
fn at_shutdown_a_handler_may_wait_for_its_calls() {
    let mut scene = both(&WAITS);
    let stack = [CANCEL_FUNC, "main.main"];
    let records = [
        cancel(&scene.code, 1, CONN, &stack),
        cascade(&scene.code, 1, ROOT),
    ];
    for record in &records {
        scene.take(100, record);
    }
    scene.until(2_000);
    assert_eq!(errors(&scene), []);
}
