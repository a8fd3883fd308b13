//! cancel-ignored, (b) and (c): a derived context is dead and its goroutine works on.

use super::cancel_ignored::waiting;
use super::{
    CANCEL_CTX, CHILD, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, TIMER_CTX, calls, client_leaves,
    derived, end, site, timer_fires,
};
use crate::detect::{Ask, Question};
use crate::finding::{
    CallOutcome, CancelledBy, Confidence, Emission, RuleName, Severity, UpdateReason,
};
use crate::testkit::{Scene, cancelled_again};

/// A context with a timeout made by the handler, which has fired.
fn fired(place: &str) -> Scene {
    let mut scene = waiting();
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], place);
    scene.take(1, &made);
    let fires = timer_fires(&scene, CHILD);
    scene.take(1_001, &fires);
    scene
}

#[test]
fn b_a_call_on_the_dead_context_is_an_error() {
    let mut scene = waiting();
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(1, &made);
    let call = calls(&scene, SERVING, &[(TIMER_CTX, CHILD)], HANDLER);
    scene.take(2, &call);
    scene.waits(
        SERVING,
        &[
            "net/http.(*persistConn).roundTrip",
            ROUND_TRIP,
            HANDLER,
            SERVE,
        ],
    );
    let fires = timer_fires(&scene, CHILD);
    scene.take(1_001, &fires);
    scene.until(1_500);
    scene.silent();
    scene.until(1_600);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 1_501);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Error, Confidence::High)
    );
    assert_eq!(
        finding.message,
        "call still waits 500 ms after the deadline passed"
    );
    let evidence = &finding.evidence;
    assert_eq!(evidence.cancelled_by, Some(CancelledBy::Deadline));
    assert_eq!(evidence.deadline_ns, Some(1_000 * 1_000_000));
    assert_eq!(
        evidence.call.as_ref().unwrap().target,
        "GET store:8080/item/7"
    );
    assert_eq!(
        evidence.call.as_ref().unwrap().outcome,
        CallOutcome::Running
    );
    // The request's end is the work's.
    end(&mut scene, 3_001);
    let Some((_, Emission::Update(ended, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(ended.message, "call waited 2 s after the deadline passed");
}

#[test]
fn a_call_that_does_not_hear_of_the_dead_context_is_another_rules() {
    let mut scene = waiting();
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(1, &made);
    let without = ("context.withoutCancelCtx", 0x7000);
    let chain = [without, (TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)];
    let call = calls(&scene, SERVING, &chain, HANDLER);
    scene.take(2, &call);
    scene.waits(SERVING, &[ROUND_TRIP, HANDLER, SERVE]);
    let fires = timer_fires(&scene, CHILD);
    scene.take(1_001, &fires);
    scene.until(3_000);
    let found = scene.findings();
    assert!(
        found
            .iter()
            .all(|finding| finding.rule == RuleName::DetachedContext),
        "{found:#?}"
    );
}

#[test]
fn c_work_without_a_call_is_a_warning() {
    let mut scene = fired(HANDLER);
    scene.until(2_000);
    let (at_ms, finding) = scene.only();
    assert_eq!(at_ms, 1_501);
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::Medium)
    );
    assert_eq!(site(finding).1, 132);
    let func = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func3",
    ];
    let called = cancelled_again(&scene.code, SERVING, CHILD, func);
    scene.take(2_501, &called);
    let Some((_, Emission::Update(ended, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        ended.message,
        "work went on 1.5 s after the deadline passed"
    );
}

#[test]
fn c_is_silent_when_the_cancel_func_is_called_within_grace() {
    let mut scene = fired(HANDLER);
    let func = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func3",
    ];
    let called = cancelled_again(&scene.code, SERVING, CHILD, func);
    scene.take(1_500, &called);
    scene.until(3_000);
    scene.silent();
}

#[test]
fn c_is_silent_when_something_on_a_live_context_has_begun_since() {
    let mut scene = fired(HANDLER);
    let fallback = calls(&scene, SERVING, &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(1_100, &fallback);
    scene.until(3_000);
    scene.silent();
    let mut scene = fired(HANDLER);
    let next = derived(
        &scene,
        1_100,
        (SERVING, 0x3000),
        &[(CANCEL_CTX, ROOT)],
        HANDLER,
    );
    scene.take(1_100, &next);
    scene.until(1_990);
    scene.silent();
}

#[test]
fn c_is_silent_when_the_function_that_made_it_has_returned() {
    let mut scene = fired("example.com/shop/cache.Get:9");
    scene.until(3_000);
    scene.silent();
    let looked = |ask: &Ask| matches!(ask.question, Question::Work { .. });
    assert!(scene.asked.iter().all(looked));
}

#[test]
fn c_is_silent_when_the_root_is_dead_too() {
    // (a) speaks then, once.
    let mut scene = fired(HANDLER);
    client_leaves(&mut scene, 1_100);
    scene.until(1_590);
    scene.silent();
    scene.until(1_700);
    assert_eq!(
        scene.only().1.evidence.cancelled_by,
        Some(CancelledBy::Client)
    );
}

#[test]
fn work_past_its_own_deadline_and_then_its_clients_ends_once_with_its_own_figures() {
    let mut scene = fired(HANDLER);
    scene.until(1_600);
    client_leaves(&mut scene, 1_700);
    scene.until(2_400);
    let func = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func3",
    ];
    let called = cancelled_again(&scene.code, SERVING, CHILD, func);
    scene.take(2_500, &called);
    end(&mut scene, 2_501);
    scene.until(9_000);
    let said: Vec<_> = scene
        .shown
        .iter()
        .map(|(_, emission)| match emission {
            Emission::Finding(finding) => (None, &*finding.message),
            Emission::Update(finding, reason) => (Some(*reason), &*finding.message),
        })
        .collect();
    assert_eq!(
        said,
        [
            (None, "work went on 500 ms after the deadline passed"),
            (
                Some(UpdateReason::Severity),
                "handler still works 500 ms after the client left"
            ),
            (
                Some(UpdateReason::Ended),
                "handler worked 801 ms after the client left"
            ),
        ]
    );
}
