//! detached-context: at the use, never at creation.

use super::{
    BACKGROUND, BUILD, CANCEL_CTX, CANCEL_FUNC, CHILD, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING,
    TIMER_CTX, WORKER, calls, client_leaves, derived, end, site, start,
};
use crate::finding::{
    CallOutcome, CancelledBy, Confidence, Emission, Finding, RuleName, Severity, Trust,
    UpdateReason, WorkState,
};
use crate::testkit::{Created, MS, Scene, call_done, cancel, cascade, created_short, deadline};

const WITHOUT: (&str, u64) = ("context.withoutCancelCtx", 0x7000);
const IN_CALL: [&str; 4] = [
    "net/http.(*persistConn).roundTrip",
    ROUND_TRIP,
    BUILD,
    SERVE,
];

pub(super) fn serving() -> Scene {
    let mut scene = Scene::new();
    scene.waits(SERVING, &IN_CALL);
    start(&mut scene, 0);
    scene
}

/// A call in the handler on this chain.
fn used(chain: &[(&str, u64)]) -> Scene {
    let mut scene = serving();
    let call = calls(&scene, SERVING, chain, BUILD);
    scene.take(5, &call);
    scene
}

#[test]
fn background_passed_to_a_call_is_a_warning_at_the_call() {
    let scene = used(&[("context.valueCtx", 0x7100), BACKGROUND]);
    let (at_ms, finding) = scene.only();
    assert_eq!((at_ms, finding.rule), (5, RuleName::DetachedContext));
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Warning, Confidence::High)
    );
    assert_eq!(
        site(finding),
        ("example.com/shop/report.(*Builder).Build", 132)
    );
    assert_eq!(
        finding.message,
        "call to GET store:8080/item/7 does not descend from its request"
    );
    let links: Vec<_> = finding
        .context
        .iter()
        .map(|link| (&*link.label, link.trust))
        .collect();
    assert_eq!(
        links,
        [
            ("WithValue", Trust::Known),
            ("context.Background", Trust::Root)
        ]
    );
    assert_eq!(finding.request.as_ref().unwrap().number, 1);
    assert!(finding.help.contains("code.go:132"), "{}", finding.help);
}

#[test]
fn a_context_made_without_parent_is_the_site() {
    let mut scene = serving();
    let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HANDLER);
    scene.take(1, &made);
    scene.until(3_000);
    // Making it harms nobody.
    scene.silent();
    let call = calls(&scene, SERVING, &[(TIMER_CTX, CHILD)], BUILD);
    scene.take(3_001, &call);
    let finding = scene.only().1;
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(site(finding), ("example.com/shop/api.GetReport", 31));
}

#[test]
fn a_call_on_the_requests_own_context_or_below_is_silent() {
    let mut scene = used(&[("context.valueCtx", 0x7100), (CANCEL_CTX, ROOT)]);
    let made = derived(&scene, 6, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(6, &made);
    // Beside a sibling WithTimeout, and on it.
    for chain in [[(CANCEL_CTX, ROOT)], [(TIMER_CTX, CHILD)]] {
        let call = calls(&scene, SERVING, &chain, BUILD);
        scene.take(7, &call);
    }
    scene.silent();
    assert!(scene.asked.is_empty());
}

#[test]
fn unknown_is_not_detached() {
    for unknown in [("main.custom", 0x7000), (CANCEL_CTX, 0x7000)] {
        let scene = used(&[unknown, BACKGROUND]);
        scene.silent();
    }
}

#[test]
fn what_after_func_may_cancel_is_info_until_it_goes_on() {
    let with_after_func = |chain: &[(&str, u64)]| {
        let mut scene = serving();
        let waits = Created {
            goid: SERVING,
            child: ("context.afterFuncCtx", CHILD),
            chain,
            stack: &["context.AfterFunc", HANDLER, SERVE],
            ..Created::default()
        };
        let waits = waits.record(&scene.code);
        scene.take(1, &waits);
        let call = calls(&scene, SERVING, &[BACKGROUND], BUILD);
        scene.take(5, &call);
        scene
    };
    // A dial waits so for a context of its own.
    let scene = with_after_func(&[BACKGROUND]);
    assert_eq!(scene.only().1.severity, Severity::Warning);
    let mut scene = with_after_func(&[(CANCEL_CTX, ROOT)]);
    assert_eq!(scene.only().1.severity, Severity::Info);
    client_leaves(&mut scene, 10);
    scene.until(600);
    let Some((_, Emission::Update(finding, UpdateReason::Severity))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(finding.severity, Severity::Error);
}

/// The handler has stopped waiting for the request's end before memory can be asked.
#[test]
fn how_bad_a_call_is_is_decided_as_it_begins() {
    let mut scene = serving();
    let waits = Created {
        goid: SERVING,
        child: ("context.afterFuncCtx", CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.AfterFunc", HANDLER, SERVE],
        ..Created::default()
    };
    scene.take(1, &waits.record(&scene.code));
    let call = calls(&scene, SERVING, &[BACKGROUND], BUILD);
    let stops = cancel(&scene.code, SERVING, CHILD, &["context.AfterFunc.func1"]);
    scene.take_at_once(5, &[&call, &stops]);
    assert_eq!(scene.only().1.severity, Severity::Info);
}

#[test]
fn without_cancel_is_info_and_a_warning_when_the_request_is_bounded() {
    let scene = used(&[WITHOUT, (CANCEL_CTX, ROOT)]);
    assert_eq!(scene.only().1.severity, Severity::Info);

    // Inside a TimeoutHandler the request has a deadline.
    let mut scene = serving();
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &[
            "context.WithTimeout",
            "net/http.(*timeoutHandler).ServeHTTP:100",
        ],
        deadline: deadline(MS, 1_000_000_000, true),
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(1, &made);
    let call = calls(&scene, SERVING, &[WITHOUT, (TIMER_CTX, CHILD)], BUILD);
    scene.take(2, &call);
    assert_eq!(scene.only().1.severity, Severity::Warning);

    // An audit record is written also for a client that has left.
    let mut scene = serving();
    client_leaves(&mut scene, 1);
    let call = calls(&scene, SERVING, &[WITHOUT, (CANCEL_CTX, ROOT)], BUILD);
    scene.take(2, &call);
    assert_eq!(scene.only().1.severity, Severity::Info);
}

#[test]
fn work_that_outlives_the_cancel_is_an_error_and_no_second_finding() {
    let mut scene = used(&[BACKGROUND]);
    client_leaves(&mut scene, 100);
    scene.until(700);
    let [
        _,
        (at_ms, Emission::Update(finding, UpdateReason::Severity)),
    ] = &scene.shown[..]
    else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(*at_ms, 600);
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::DetachedContext, Severity::Error)
    );
    assert_eq!(
        finding.message,
        "handler still works on a detached context 500 ms after the client left"
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(finding.count, 1);
    end(&mut scene, 2_100);
    let Some((_, Emission::Update(finding, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(finding.evidence.after_cancel_ns, Some(2_000 * MS));
    assert_eq!(finding.evidence.state, Some(WorkState::Ended));
    // Nothing told when the call was over.
    assert_eq!(
        call_end(finding),
        (CallOutcome::Unknown, None),
        "{finding:#?}"
    );
    assert_eq!(finding.count, 1);
    assert_eq!(scene.findings().len(), 1);
}

fn call_end(finding: &Finding) -> (CallOutcome, Option<u64>) {
    let call = finding.evidence.call.as_ref().unwrap();
    (call.outcome, call.duration_ns)
}

#[test]
fn the_end_of_the_work_tells_the_end_of_its_call() {
    let mut scene = used(&[BACKGROUND]);
    client_leaves(&mut scene, 100);
    scene.until(700);
    let Some((_, Emission::Update(finding, _))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    let started_ns = finding.evidence.call.as_ref().unwrap().start_ns;
    assert_eq!(
        call_end(finding),
        (CallOutcome::Running, Some(600 * MS - started_ns))
    );
    let made = created_short(&scene.code, SERVING, CHILD, BACKGROUND);
    let done = call_done(&scene.code, 40, CHILD);
    scene.take(1_500, &made);
    scene.take(1_501, &done);
    end(&mut scene, 2_100);
    let Some((_, Emission::Update(finding, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        call_end(finding),
        (CallOutcome::Done, Some(1_501 * MS - started_ns))
    );
}

#[test]
fn a_call_whose_goroutine_went_on_to_its_deferred_cancel_was_not_cancelled() {
    let mut scene = used(&[(TIMER_CTX, CHILD), BACKGROUND]);
    client_leaves(&mut scene, 100);
    scene.until(700);
    // The answer is there and read; the connection's reader has not been scheduled yet, which ends the call's own.
    let own = 0x4100;
    let made = created_short(&scene.code, SERVING, own, (TIMER_CTX, CHILD));
    let deferred = cancel(&scene.code, SERVING, CHILD, &[CANCEL_FUNC, HANDLER]);
    let falls = cascade(&scene.code, SERVING, own);
    scene.take(701, &made);
    scene.take(1_500, &deferred);
    scene.take(1_500, &falls);
    end(&mut scene, 1_501);
    let Some((_, Emission::Update(finding, UpdateReason::Ended))) = scene.shown.last() else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(call_end(finding), (CallOutcome::Unknown, None));
}

#[test]
fn a_wait_on_the_done_of_a_detached_context_is_a_use() {
    let mut scene = serving();
    scene.waits(SERVING, &["runtime.selectgo", BUILD, SERVE]);
    let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HANDLER);
    scene.take(1, &made);
    scene.waits_on = vec![CHILD];
    client_leaves(&mut scene, 100);
    scene.until(700);
    let finding = scene.only().1;
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::DetachedContext, Severity::Error)
    );
    assert_eq!(site(finding), ("example.com/shop/api.GetReport", 31));
    assert_eq!(
        finding.evidence.waiting_on.as_deref(),
        Some("Done of a detached context")
    );
}

#[test]
fn a_wait_on_something_else_is_cancel_ignoreds() {
    let mut scene = serving();
    scene.waits(SERVING, &["runtime.chanrecv1", BUILD, SERVE]);
    let made = derived(&scene, 1, (SERVING, CHILD), &[BACKGROUND], HANDLER);
    scene.take(1, &made);
    client_leaves(&mut scene, 100);
    scene.until(700);
    assert_eq!(scene.only().1.rule, RuleName::CancelIgnored);
}

#[test]
fn an_unknown_chain_that_outlived_the_cancel_is_detached_after_all() {
    let mut scene = used(&[("main.custom", 0x7000)]);
    scene.silent();
    client_leaves(&mut scene, 100);
    scene.until(700);
    let finding = scene.only().1;
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::DetachedContext, Severity::Error)
    );
}

#[test]
fn a_spawned_goroutine_is_info() {
    let mut scene = serving();
    let made = derived(&scene, 1, (WORKER, CHILD), &[BACKGROUND], BUILD);
    scene.take(1, &made);
    let call = calls(&scene, WORKER, &[(TIMER_CTX, CHILD)], BUILD);
    scene.take(2, &call);
    let finding = scene.only().1;
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Info, Confidence::Medium)
    );

    // Without a deadline too: a poller that `sync.Once` started looks the same from here.
    let mut scene = serving();
    let call = calls(&scene, WORKER, &[BACKGROUND], BUILD);
    scene.take(2, &call);
    assert_eq!(scene.only().1.severity, Severity::Info);
}

#[test]
fn work_that_starts_after_the_response_is_silent() {
    let mut scene = serving();
    let made = derived(
        &scene,
        1,
        (WORKER, CHILD),
        &[WITHOUT, (CANCEL_CTX, ROOT)],
        BUILD,
    );
    scene.take(1, &made);
    end(&mut scene, 2);
    let call = calls(&scene, WORKER, &[BACKGROUND], BUILD);
    scene.take(3, &call);
    scene.silent();
}

#[test]
fn what_is_made_ready_for_all_or_exported_is_silent() {
    let exports = "go.opentelemetry.io/otel/sdk/trace.(*simpleSpanProcessor).OnEnd";
    for once in ["sync.(*Once).doSlow", "sync.(*Pool).Get", exports] {
        let mut scene = serving();
        let stack = [ROUND_TRIP, BUILD, once, HANDLER, SERVE];
        let call = crate::testkit::call(&scene.code, (SERVING, 0), 1, &[BACKGROUND], &stack);
        scene.take(2, &call);
        scene.silent();
    }
}

#[test]
fn what_a_library_does_inside_itself_is_info_at_most() {
    let mut scene = serving();
    let library = "github.com/acme/sdk.(*Client).refresh:7";
    let stack = [ROUND_TRIP, library, HANDLER, SERVE];
    let call = crate::testkit::call(&scene.code, (SERVING, 0), 1, &[BACKGROUND], &stack);
    scene.take(2, &call);
    let finding = scene.only().1;
    assert_eq!(finding.severity, Severity::Info);
    assert_eq!(finding.caller.as_ref().unwrap().line, 31);
    // Plumbing is looked through; the standard library alone is nobody.
    let mut scene = serving();
    let plumbing = "golang.org/x/sync/errgroup.(*Group).Go.func1";
    let stack = [ROUND_TRIP, plumbing, HANDLER, SERVE];
    let call = crate::testkit::call(&scene.code, (SERVING, 0), 1, &[BACKGROUND], &stack);
    scene.take(2, &call);
    assert_eq!(site(scene.only().1).1, 31);
    let mut scene = serving();
    let stack = [
        ROUND_TRIP,
        "net/http/httputil.(*ReverseProxy).ServeHTTP",
        SERVE,
    ];
    let call = crate::testkit::call(&scene.code, (SERVING, 0), 1, &[BACKGROUND], &stack);
    scene.take(2, &call);
    scene.silent();
}

#[test]
fn a_call_of_nobodys_request_is_silent() {
    let mut scene = Scene::new();
    let call = calls(&scene, 99, &[BACKGROUND], BUILD);
    scene.take(1, &call);
    scene.silent();
}

#[test]
fn repeats_of_one_line_are_one_finding() {
    let mut scene = serving();
    for number in 0..4 {
        let call = calls(&scene, SERVING, &[BACKGROUND], BUILD);
        scene.take(10 + number, &call);
    }
    assert_eq!(scene.shown.len(), 1);
    scene.engine.finish(20_000 * MS);
    let last = scene.engine.take_emitted();
    let [Emission::Update(finding, UpdateReason::Count)] = &last[..] else {
        panic!("{last:#?}");
    };
    assert_eq!(finding.count, 4);
}

#[test]
fn the_earlier_of_two_related_findings_hears_of_the_later() {
    let mut scene = used(&[BACKGROUND]);
    let made = derived(&scene, 6, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(6, &made);
    end(&mut scene, 100);
    scene.until(3_000);
    let [
        (_, Emission::Finding(early)),
        (_, Emission::Finding(late)),
        (_, Emission::Update(told, UpdateReason::Related)),
    ] = &scene.shown[..]
    else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(late.rule, RuleName::CancelNotCalled);
    assert_eq!(
        (&late.related, &told.related),
        (&vec![early.id], &vec![late.id])
    );
    assert_eq!((told.id, told.count), (early.id, 1));
}
