//! `http.TimeoutHandler`: its deadline is the request's, its worker a goroutine of its own.

use super::{
    BUILD, CANCEL_CTX, CHILD, HANDLER, READER, ROOT, SERVE, SERVING, WORKER, client_leaves, end,
    start, timer_fires,
};
use crate::detect::Question;
use crate::finding::{CancelledBy, Emission, RuleName, Severity, UpdateReason};
use crate::inspect::{Child, Status};
use crate::testkit::{Created, MS, Record, Scene, Seen, cascade, deadline, request, request_end};

const HANDLER_FUNCTION: &str = "net/http.(*timeoutHandler).ServeHTTP:100";
const WORK: [&str; 4] = [
    "runtime.chanrecv1",
    BUILD,
    HANDLER,
    "net/http.(*timeoutHandler).ServeHTTP.func1",
];

fn child(scene: &Scene, goid: u64) -> Child {
    Child {
        goid,
        g_addr: 0,
        status: Status::Waiting,
        gopc: scene.code.pc(HANDLER_FUNCTION),
        startpc: 0,
    }
}

/// The TimeoutHandler makes the context of its worker, 1 s long.
fn timeout(scene: &Scene, at_ms: u64) -> Record {
    timeout_of(scene, at_ms, SERVING, ROOT)
}

fn timeout_of(scene: &Scene, at_ms: u64, goid: u64, root: u64) -> Record {
    let made = Created {
        goid,
        child: ("context.timerCtx", root - ROOT + CHILD),
        chain: &[(CANCEL_CTX, root)],
        stack: &["context.WithTimeout", HANDLER_FUNCTION, SERVE],
        deadline: deadline(at_ms * MS, 1_000_000_000, true),
        ..Created::default()
    };
    made.record(&scene.code)
}

/// The TimeoutHandler's workers that the serving goroutine has started and that live.
fn left(scene: &mut Scene, workers: &[u64]) {
    let children = workers.iter().map(|goid| child(scene, *goid)).collect();
    scene.children = Some([(SERVING, children)].into());
}

/// Requests come on one connection, one each 1100 ms, and time out after 1000 ms. Each finds
/// `workers[n]`, its own included, and the next begins before anything is known of the deadline.
fn connection(workers: &[&[u64]]) -> Scene {
    let mut scene = Scene::new();
    for worker in workers.iter().copied().flatten() {
        scene.waits(*worker, &WORK);
    }
    for (at_ms, workers) in (0..).step_by(1_100).zip(workers) {
        start(&mut scene, at_ms);
        let made = timeout(&scene, at_ms + 1);
        scene.take(at_ms + 1, &made);
        scene.until(at_ms + 500);
        left(&mut scene, workers);
        scene.until(at_ms + 1_000);
        let fires = timer_fires(&scene, CHILD);
        scene.take(at_ms + 1_001, &fires);
        end(&mut scene, at_ms + 1_002);
    }
    scene
}

fn timed_out(workers: &[u64], end_ms: u64) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = timeout(&scene, 1);
    scene.take(1, &made);
    left(&mut scene, workers);
    scene.waits(WORKER, &WORK);
    let fires = timer_fires(&scene, CHILD);
    scene.take(1_001, &fires);
    // The TimeoutHandler answers 503 and returns.
    end(&mut scene, end_ms);
    scene
}

#[test]
fn a_worker_that_goes_on_is_the_handler_that_ignores_its_cancel() {
    let mut scene = timed_out(&[WORKER], 1_002);
    scene.until(1_500);
    scene.silent();
    scene.until(1_600);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 1_501);
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::CancelIgnored, Severity::Error)
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Deadline));
    assert_eq!(finding.site.as_ref().unwrap().line, 132);
    // No event tells its end; it is looked for.
    scene.until(3_000);
    scene.goroutines.insert(WORKER, Seen::Gone);
    scene.until(3_400);
    let Some((_, Emission::Update(ended, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert!(
        ended.message.starts_with("handler worked 2."),
        "{}",
        ended.message
    );
}

#[test]
fn a_worker_may_end_after_its_request_has() {
    // The 503 takes its time: the worker is shown before the request ends.
    let mut scene = timed_out(&[WORKER], 2_000);
    assert_eq!(scene.shown.len(), 1);
    scene.until(3_000);
    assert_eq!(scene.shown.len(), 1);
    scene.goroutines.insert(WORKER, Seen::Gone);
    scene.until(3_400);
    assert!(matches!(
        scene.shown.last(),
        Some((_, Emission::Update(_, UpdateReason::Ended)))
    ));
}

#[test]
fn a_worker_that_stops_within_grace_is_silent() {
    let mut scene = timed_out(&[WORKER], 1_002);
    scene.goroutines.insert(WORKER, Seen::Gone);
    scene.until(5_000);
    scene.silent();
    assert_eq!(unknown(&scene), 0);
}

/// The client leaves after 100 ms: the TimeoutHandler returns, long before its deadline.
fn abandoned(workers: &[u64]) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = timeout(&scene, 1);
    scene.take(1, &made);
    left(&mut scene, workers);
    scene.waits(WORKER, &WORK);
    client_leaves(&mut scene, 100);
    let dies = cascade(&scene.code, READER, CHILD);
    scene.take(100, &dies);
    end(&mut scene, 101);
    scene
}

#[test]
fn a_worker_whose_client_has_left_is_the_handler_that_ignores_its_cancel() {
    let mut scene = abandoned(&[WORKER]);
    scene.until(599);
    scene.silent();
    scene.until(700);
    let (at_ms, finding) = scene.only();
    assert!((600..=626).contains(&at_ms), "{at_ms}");
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::CancelIgnored, Severity::Error)
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(finding.evidence.cancelled_at_ns, Some(100 * MS));
    scene.until(1_700);
    scene.goroutines.insert(WORKER, Seen::Gone);
    scene.until(2_100);
    let Some((_, Emission::Update(ended, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert!(ended.evidence.after_cancel_ns >= Some(1_600 * MS));
    assert_eq!(unknown(&scene), 0);
    // One chain was cancelled, and it stopped when its worker did.
    let health = scene.engine.health();
    assert_eq!((health.cancelled, health.recovered), (1, 1));
    assert!(health.wasted.total_ns() >= 1_600 * MS);
}

#[test]
fn a_worker_that_heeds_its_clients_leaving_is_silent() {
    let mut scene = abandoned(&[]);
    scene.until(5_000);
    scene.silent();
    assert_eq!(unknown(&scene), 0);
    assert!(accused(&scene).is_empty());
}

#[test]
fn what_an_abandoned_request_left_is_unknown_where_it_cannot_be_told() {
    for workers in [Some(&[WORKER, 30][..]), None] {
        let mut scene = abandoned(workers.unwrap_or_default());
        if workers.is_none() {
            scene.children = None;
        }
        scene.until(5_000);
        scene.silent();
        assert_eq!(unknown(&scene), 1);
    }
}

#[test]
fn a_timeout_handler_that_has_not_gone_is_looked_at_itself() {
    let mut scene = Scene::new();
    scene.waits(SERVING, &[BUILD, HANDLER, SERVE]);
    start(&mut scene, 0);
    let made = timeout(&scene, 1);
    scene.take(1, &made);
    left(&mut scene, &[WORKER]);
    client_leaves(&mut scene, 100);
    let dies = cascade(&scene.code, READER, CHILD);
    scene.take(100, &dies);
    scene.until(900);
    assert_eq!(scene.only().1.request.as_ref().unwrap().goid, SERVING);
    assert!(accused(&scene).is_empty());
}

#[test]
fn with_two_workers_none_is_accused_and_the_request_is_unknown() {
    let mut scene = timed_out(&[WORKER, 30], 1_002);
    scene.until(5_000);
    scene.silent();
    assert_eq!(unknown(&scene), 1);
}

#[test]
fn where_go_keeps_no_parents_the_request_is_unknown() {
    let mut scene = Scene::new();
    scene.children = None;
    start(&mut scene, 0);
    let made = timeout(&scene, 1);
    scene.take(1, &made);
    scene.waits(WORKER, &WORK);
    let fires = timer_fires(&scene, CHILD);
    scene.take(1_001, &fires);
    end(&mut scene, 1_002);
    scene.until(5_000);
    scene.silent();
    assert_eq!(unknown(&scene), 1);
}

#[test]
fn requests_that_time_out_about_together_are_looked_at_together() {
    let mut scene = Scene::new();
    for (at_ms, goid, root) in [(1, SERVING, ROOT), (9, 40, 0x5000), (20, 41, 0x7000)] {
        let begun = request(&scene.code, goid, root, "GET /report/7");
        scene.take(at_ms, &begun);
        let made = timeout_of(&scene, at_ms, goid, root);
        scene.take(at_ms, &made);
    }
    let looks = |scene: &Scene| {
        let children =
            |ask: &&crate::detect::Ask| matches!(ask.question, Question::Children { .. });
        scene.asked.iter().filter(children).count()
    };
    // Fifty milliseconds before the first deadline, and some more.
    scene.until(974);
    assert_eq!(looks(&scene), 0);
    scene.until(975);
    assert_eq!(looks(&scene), 3);
}

fn unknown(scene: &Scene) -> u64 {
    scene.engine.totals().unknown
}

/// Goroutines that were looked at as workers.
fn accused(scene: &Scene) -> Vec<u64> {
    let mut goids: Vec<u64> = scene
        .asked
        .iter()
        .filter_map(|ask| match &ask.question {
            Question::Work { goid, .. } if *goid != SERVING => Some(*goid),
            _ => None,
        })
        .collect();
    goids.sort_unstable();
    goids.dedup();
    goids
}

#[test]
fn workers_left_behind_on_a_busy_connection_are_told_apart() {
    let mut scene = connection(&[&[WORKER], &[WORKER, 30], &[31, WORKER, 30]]);
    // The next request is at work before the last grace time is over.
    start(&mut scene, 3_300);
    left(&mut scene, &[WORKER, 30, 31, 32]);
    scene.until(5_000);
    assert_eq!(accused(&scene), [WORKER, 30, 31]);
    assert_eq!(unknown(&scene), 0);
    assert_eq!(scene.findings()[0].rule, RuleName::CancelIgnored);
}

#[test]
fn workers_of_unseen_requests_make_the_first_request_unknown_and_not_the_next() {
    let mut scene = connection(&[&[30, WORKER], &[31, 30, WORKER]]);
    scene.until(5_000);
    assert_eq!(accused(&scene), [31]);
    assert_eq!(unknown(&scene), 1);
}

#[test]
fn a_worker_that_was_looked_for_too_late_is_unknown_where_the_connection_serves_again() {
    // The observer lags: the questions are answered once the next request is at work.
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = timeout(&scene, 1);
    scene.take(1, &made);
    let next = request(&scene.code, SERVING, ROOT, "GET /report/8");
    let records = [
        (1_001, timer_fires(&scene, CHILD)),
        (1_002, request_end(&scene.code, ROOT)),
        (1_003, next),
    ];
    for (at_ms, record) in &records {
        let (event, at_ns) = (record.event(), at_ms * MS);
        scene.engine.event(event, at_ns, &scene.code);
    }
    left(&mut scene, &[WORKER]);
    scene.until(5_000);
    scene.silent();
    assert!(accused(&scene).is_empty());
    assert_eq!(unknown(&scene), 1);
}

#[test]
fn the_worker_of_the_next_request_on_the_connection_is_not_taken_for_this_ones() {
    // The worker obeyed. Before the grace time is over, its connection serves another request,
    // whose worker is a child of the same goroutine and has every right to be there.
    let mut scene = timed_out(&[WORKER], 1_002);
    scene.goroutines.insert(WORKER, Seen::Gone);
    start(&mut scene, 1_003);
    left(&mut scene, &[30]);
    scene.waits(30, &WORK);
    scene.until(5_000);
    scene.silent();
    assert_eq!(accused(&scene), [WORKER]);
    assert_eq!(unknown(&scene), 0);
}
