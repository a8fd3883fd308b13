//! detached-context: a call that goes on past the deadline that it has lost.

use super::super::client_leaves;
use super::*;
use crate::finding::{CallOutcome, UpdateReason};
use crate::testkit::{call_done, created_short};

const RULE: RuleName = RuleName::DetachedContext;
const SITS: [&str; 4] = [
    "net/http.(*persistConn).roundTrip",
    ROUND_TRIP,
    BUILD,
    SERVE,
];
const WITHOUT_CANCEL: [(&str, u64); 2] = [WITHOUT, (TIMER_CTX, CHILD)];

/// A call on this chain in a handler whose middleware allows a second from 1 ms on; it sits there.
fn called(chain: &[(&str, u64)]) -> Scene {
    let mut scene = under_middleware(SECOND);
    scene.details = Some(details());
    scene.waits(SERVING, &SITS);
    calls_at(&mut scene, 5, SERVING, chain, &UNDER_MIDDLEWARE);
    assert_eq!(scene.only().1.severity, Severity::Warning);
    scene
}

/// The call that was made last is over.
fn done(scene: &mut Scene, at_ms: u64) {
    let made = created_short(&scene.code, SERVING, GRANDCHILD, BACKGROUND);
    let done = call_done(&scene.code, 40, GRANDCHILD);
    scene.take(at_ms - 1, &made);
    scene.take(at_ms, &done);
}

#[test]
fn it_is_an_error_once_grace_is_over() {
    for chain in [&[BACKGROUND][..], &WITHOUT_CANCEL] {
        let mut scene = called(chain);
        scene.until(2_000);
        let [
            _,
            (at_ms, Emission::Update(finding, UpdateReason::Severity)),
        ] = &scene.shown[..]
        else {
            panic!("{:#?}", scene.shown);
        };
        // Allowed until 1001 ms; then the grace time.
        assert_eq!((*at_ms, finding.rule), (1_501, RULE));
        assert_eq!((finding.severity, finding.count), (Severity::Error, 1));
        assert_eq!(
            finding.message,
            "call to GET store:8080/item/7 on a detached context goes on 500 ms past the request's deadline"
        );
        assert_eq!(finding.evidence.remaining_ns, Some(996_000_000));
        assert_eq!(finding.evidence.deadline_site.as_ref().unwrap().line, 57);
        let call = finding.evidence.call.as_ref().unwrap();
        assert_eq!(call.outcome, CallOutcome::Running);
    }
}

#[test]
fn its_end_is_told_when_the_handler_has_returned() {
    let mut scene = called(&[BACKGROUND]);
    done(&mut scene, 1_701);
    end(&mut scene, 1_800);
    let Some((1_800, Emission::Update(finding, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        finding.message,
        "call to GET store:8080/item/7 on a detached context went on 700 ms past the request's deadline"
    );
    assert_eq!(
        finding.evidence.call.as_ref().unwrap().outcome,
        CallOutcome::Done
    );
    assert_eq!(scene.shown.len(), 3);
}

#[test]
fn an_end_that_nobody_saw_is_given_no_time() {
    let mut scene = called(&[BACKGROUND]);
    end(&mut scene, 1_800);
    let finding = last(&scene, RULE);
    assert!(
        finding
            .message
            .ends_with(" went on past the request's deadline"),
        "{}",
        finding.message
    );
}

/// Nothing more is said of the call.
fn stays(scene: &mut Scene) {
    scene.until(3_000);
    assert_eq!(last(scene, RULE).severity, Severity::Warning);
}

#[test]
fn within_grace_it_stays_a_warning() {
    let mut scene = called(&[BACKGROUND]);
    done(&mut scene, 1_450);
    stays(&mut scene);
    // Where the end of the call is not seen, its goroutine tells.
    let mut scene = called(&[BACKGROUND]);
    scene.waits(SERVING, &["time.Sleep", HANDLER, SERVE]);
    stays(&mut scene);
}

#[test]
fn of_a_request_that_was_cancelled_the_cancel_is_told() {
    let mut scene = called(&[BACKGROUND]);
    client_leaves(&mut scene, 1_200);
    scene.until(3_000);
    end(&mut scene, 3_100);
    let told: Vec<_> = scene.shown.iter().skip(1).collect();
    let [
        (1_700, Emission::Update(running, UpdateReason::Severity)),
        (3_100, Emission::Update(over, UpdateReason::Ended)),
    ] = told[..]
    else {
        panic!("{told:#?}");
    };
    for finding in [running, over] {
        assert!(
            finding.message.ends_with("after the client left"),
            "{}",
            finding.message
        );
    }
}

#[test]
fn a_cancel_that_follows_takes_the_case_over() {
    let mut scene = called(&[BACKGROUND]);
    client_leaves(&mut scene, 1_600);
    done(&mut scene, 2_900);
    end(&mut scene, 3_100);
    scene.until(5_000);
    let ends =
        |shown: &&(u64, Emission)| matches!(shown.1, Emission::Update(_, UpdateReason::Ended));
    assert_eq!(scene.shown.iter().filter(ends).count(), 1);
    let finding = last(&scene, RULE);
    assert_eq!(
        finding.message,
        "handler worked on a detached context 1.5 s after the client left"
    );
}

#[test]
fn what_the_caller_sent_counts_as_well() {
    let mut scene = Scene::told(Deadlines::default(), &["X-Timeout-Ms"]);
    scene.details = Some(details());
    scene.waits(SERVING, &SITS);
    let serve = crate::testkit::request(&scene.code, SERVING, ROOT, "GET /report/7");
    scene.take(0, &serve.waits("1000"));
    let stack = [BUILD, HANDLER, SERVE];
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &stack);
    scene.until(1_490);
    scene.only();
    scene.until(1_510);
    assert_eq!(last(&scene, RULE).severity, Severity::Error);
}

/// The handlers of two connections, whose callers wait for a second, wait for a goroutine each that calls.
fn both_wait() -> Scene {
    let mut scene = Scene::told(Deadlines::default(), &["X-Timeout-Ms"]);
    scene.details = Some(details());
    for (serving, worker, root) in [(20, 21, 0x5000), (SERVING, WORKER, ROOT)] {
        let serve = crate::testkit::request(&scene.code, serving, root, "GET /report/7");
        scene.take(0, &serve.waits("1000"));
        scene.waits(serving, &["runtime.chanrecv1", HANDLER, SERVE]);
        scene.waits(worker, &[ROUND_TRIP, BUILD]);
        let stack = ["net/http.(*Client).do", BUILD];
        let of = (worker, serving);
        let record = call(&scene.code, of, 0x9000, &[BACKGROUND], &stack);
        scene.take(5, &record);
    }
    assert_eq!(last(&scene, RULE).severity, Severity::Warning);
    scene
}

#[test]
fn what_a_handler_waits_for_is_its_own_until_it_returns() {
    let mut scene = both_wait();
    scene.until(1_510);
    assert_eq!(last(&scene, RULE).severity, Severity::Error);
    let mut scene = both_wait();
    end(&mut scene, 1_450);
    stays(&mut scene);
}

#[test]
fn an_info_stays_one() {
    let mut scene = under_middleware(SECOND);
    scene.details = Some(details());
    let library = "github.com/x/y.Do:4";
    scene.waits(SERVING, &[ROUND_TRIP, library, HANDLER, SERVE]);
    let stack = [library, HANDLER, HANDLER_FUNC, MIDDLEWARE, SERVE];
    calls_at(&mut scene, 5, SERVING, &[BACKGROUND], &stack);
    scene.until(3_000);
    assert_eq!(scene.only().1.severity, Severity::Info);
}
