//! `http.TimeoutHandler`: its deadline is the request's, its worker a goroutine of its own.

use super::{
    BUILD, CANCEL_CTX, CHILD, HANDLER, ROOT, SERVE, SERVING, WORKER, end, start, timer_fires,
};
use crate::finding::{CancelledBy, Emission, RuleName, Severity, UpdateReason};
use crate::inspect::{Child, Status};
use crate::testkit::{Created, MS, Scene, Seen, deadline};

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

fn timed_out(workers: &[u64], end_ms: u64) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = Created {
        goid: SERVING,
        child: ("context.timerCtx", CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithTimeout", HANDLER_FUNCTION, SERVE],
        deadline: deadline(MS, 1_000_000_000, true),
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(1, &made);
    let children = workers.iter().map(|goid| child(&scene, *goid)).collect();
    scene.children = Some([(SERVING, children)].into());
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
    let mut scene = timed_out(&[], 1_002);
    scene.until(5_000);
    scene.silent();
}

#[test]
fn with_two_workers_none_is_accused() {
    let mut scene = timed_out(&[WORKER, 30], 1_002);
    scene.until(5_000);
    scene.silent();
}

#[test]
fn the_worker_of_the_next_request_on_the_connection_is_not_taken_for_this_ones() {
    // The worker obeyed. Before the grace time is over, its connection serves another request,
    // whose worker is a child of the same goroutine and has every right to be there.
    let mut scene = timed_out(&[], 1_002);
    start(&mut scene, 1_003);
    scene.children = Some([(SERVING, vec![child(&scene, WORKER)])].into());
    scene.until(5_000);
    scene.silent();
}
