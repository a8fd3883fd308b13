//! A call was given up, and the process that it had called worked on.

use super::{
    BACKGROUND, CANCEL_CTX, CHILD, CONN, HANDLER, READER, ROOT, ROUND_TRIP, SERVE, SERVING,
    TIMER_CTX, WORKER,
};
use crate::finding::{
    CancelledBy, Confidence, Emission, Finding, JoinedBy, RuleName, Severity, UpdateReason,
    WorkState,
};
use crate::inspect::ConnState;
use crate::testkit::{
    ReadError, STORE, Scene, Seen, call, call_cancelled, call_done, cancel, cascade, conn_error,
    created_short, request, request_end,
};

/// The transport's own context of the call.
const INNER: u64 = 0x3000;
/// The request's own context in the process that is called.
const BELOW: u64 = 0x7000;
/// Its goroutine.
const BELOW_SERVING: u64 = 20;
const PLACE: &str = "example.com/store/catalog.report:40";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ON: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";

/// The handler calls at 10 ms.
fn calling(scene: &mut Scene, id: &str) {
    let code = &scene.code;
    let serve = request(code, SERVING, ROOT, "GET /report/7").with_id(id);
    scene.take(0, &serve);
    calls(scene, 10, INNER);
}

fn calls(scene: &mut Scene, at_ms: u64, inner: u64) {
    let code = &scene.code;
    let stack = [ROUND_TRIP, HANDLER, SERVE];
    let chain = [(CANCEL_CTX, ROOT)];
    let records = [
        call(code, (SERVING, 1), inner + 2, &chain, &stack),
        created_short(code, SERVING, inner, (CANCEL_CTX, ROOT)),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
}

fn served(scene: &mut Scene, at_ms: u64, id: &str) {
    let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7");
    scene.take(at_ms, &record.with_id(id).of(STORE));
}

/// The caller's client leaves, and with it the call.
fn given_up(scene: &mut Scene, at_ms: u64) {
    super::client_leaves(scene, at_ms);
    let record = cascade(&scene.code, READER, INNER);
    scene.take(at_ms, &record);
}

/// The process below hears of it.
fn heard(scene: &mut Scene, at_ms: u64) {
    let stack = [
        super::CANCEL_FUNC,
        "net/http.(*connReader).handleReadErrorLocked",
        "net/http.(*connReader).backgroundRead",
    ];
    let code = &scene.code;
    let records = [
        conn_error(code, READER, ReadError::Text("EOF")),
        cancel(code, READER, CONN, &stack),
        cascade(code, READER, BELOW),
    ];
    for record in records {
        scene.take(at_ms, &record.of(STORE));
    }
}

fn returned(scene: &mut Scene, at_ms: u64) {
    let record = request_end(&scene.code, BELOW).of(STORE);
    scene.take(at_ms, &record);
}

fn orphans(scene: &Scene) -> Vec<&Finding> {
    let rule = RuleName::OrphanedDownstream;
    let all = scene.findings().into_iter();
    all.filter(|finding| finding.rule == rule).collect()
}

fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.waits(BELOW_SERVING, &["time.Sleep", PLACE, SERVE]);
    scene
}

#[test]
fn code_that_gave_the_call_up_is_named() {
    let mut scene = scene();
    let serve = request(&scene.code, SERVING, ROOT, "GET /report/7").with_id("r-1");
    scene.take(0, &serve);
    let made = super::derived(&scene, 5, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    scene.take(5, &made);
    let chain = [(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)];
    let stack = [ROUND_TRIP, HANDLER, SERVE];
    let code = &scene.code;
    let records = [
        call(code, (SERVING, 1), INNER + 2, &chain, &stack),
        created_short(code, SERVING, INNER, (TIMER_CTX, CHILD)),
    ];
    for record in &records {
        scene.take(10, record);
    }
    served(&mut scene, 12, "r-1");
    let called = cancel(
        &scene.code,
        WORKER,
        CHILD,
        &[super::CANCEL_FUNC, super::BUILD],
    );
    scene.take(300, &called);
    let dies = cascade(&scene.code, WORKER, INNER);
    scene.take(300, &dies);
    scene.until(800);
    super::end(&mut scene, 801);
    scene.until(1_400);
    let [finding] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Code));
    assert_eq!(finding.evidence.cancel_site.as_ref().unwrap().line, 132);
}

#[test]
fn work_below_is_told_at_grace_and_measured_at_its_end() {
    let mut scene = scene();
    calling(&mut scene, "r-1");
    served(&mut scene, 12, "r-1");
    given_up(&mut scene, 300);
    super::end(&mut scene, 310);
    scene.until(799);
    assert!(orphans(&scene).is_empty());
    scene.until(800);
    let [finding] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Error, Confidence::Medium)
    );
    assert_eq!(super::site(finding), ("example.com/shop/api.GetReport", 31));
    assert_eq!(
        finding.message,
        "shop-store still works 500 ms after this call to it was given up: the client left"
    );
    let below = finding.evidence.downstream.as_deref().unwrap();
    assert_eq!(below.process.pid, STORE);
    assert_eq!(below.request.path.as_deref(), Some("/item/7"));
    assert_eq!(below.site.as_ref().unwrap().line, 40);
    assert_eq!(below.joined_by, JoinedBy::RequestId);
    assert_eq!(below.cancelled_by, None);
    returned(&mut scene, 2_012);
    let (_, last) = scene.shown.last().unwrap();
    let Emission::Update(ended, UpdateReason::Ended) = last else {
        panic!("{last:?}");
    };
    assert_eq!(ended.evidence.after_cancel_ns, Some(1_712_000_000));
    assert_eq!(ended.evidence.state, Some(WorkState::Ended));
    assert_eq!(ended.evidence.cancelled_by, Some(CancelledBy::Client));
    let below = ended.evidence.downstream.as_deref().unwrap();
    assert_eq!(below.site.as_ref().unwrap().line, 40);
    assert_eq!(below.request.duration_ns, Some(2_000_000_000));
    assert_eq!(scene.engine.cases(), 0);
    assert_eq!(scene.engine.joins().joined, 1);
}

#[test]
fn who_heard_of_it_is_a_relation_of_the_rule_that_says_so() {
    let mut scene = scene();
    calling(&mut scene, "r-1");
    served(&mut scene, 12, "r-1");
    given_up(&mut scene, 300);
    super::end(&mut scene, 310);
    heard(&mut scene, 301);
    scene.until(1_000);
    let [orphan] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(
        orphan.confidence,
        Confidence::High,
        "its client left right then"
    );
    let all = scene.findings();
    let ignored = all.iter().find(|f| f.rule == RuleName::CancelIgnored);
    let ignored = ignored.expect("the handler below ignores its cancel");
    assert_eq!(ignored.process.pid, STORE);
    let related = |id: u64| {
        let mut states = scene
            .shown
            .iter()
            .rev()
            .map(|(_, emission)| match emission {
                Emission::Finding(finding) | Emission::Update(finding, _) => finding,
            });
        states.find(|f| f.id == id).unwrap().related.clone()
    };
    assert_eq!(related(orphan.id), [ignored.id]);
    assert_eq!(related(ignored.id), [orphan.id]);
}

#[test]
fn a_handler_that_stops_in_time_is_fine() {
    let mut scene = scene();
    calling(&mut scene, "r-1");
    served(&mut scene, 12, "r-1");
    given_up(&mut scene, 300);
    super::end(&mut scene, 310);
    returned(&mut scene, 799);
    scene.until(3_000);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
    assert_eq!(scene.engine.cases(), 0);
}

#[test]
fn a_handler_that_nobody_saw_at_work_may_have_been_held_up() {
    let mut scene = scene();
    calling(&mut scene, "r-1");
    served(&mut scene, 12, "r-1");
    given_up(&mut scene, 300);
    super::end(&mut scene, 310);
    scene.until(790);
    scene.take_late(850, &request_end(&scene.code, BELOW).of(STORE));
    scene.until(2_000);
    scene.silent();
    assert_eq!(scene.engine.cases(), 0);
}

#[test]
fn a_call_that_was_answered_gives_nothing_up() {
    let mut scene = scene();
    calling(&mut scene, "r-1");
    served(&mut scene, 12, "r-1");
    let done = call_done(&scene.code, 30, INNER);
    scene.take(200, &done);
    super::end(&mut scene, 210);
    scene.until(3_000);
    returned(&mut scene, 3_000);
    scene.silent();
}

#[test]
fn other_ids_other_paths_and_two_that_fit_are_nobodys() {
    // The ID below, and how many calls there are.
    for (below, calls_made, ambiguous) in [("r-2", 1, 0), ("", 1, 0), ("r-1", 2, 1)] {
        let mut scene = scene();
        calling(&mut scene, "r-1");
        if calls_made == 2 {
            let code = &scene.code;
            let stack = [ROUND_TRIP, HANDLER];
            let chain = [(CANCEL_CTX, ROOT)];
            let second = call(code, (11, SERVING), 0x9002, &chain, &stack);
            scene.take(11, &second);
        }
        served(&mut scene, 12, below);
        given_up(&mut scene, 300);
        super::end(&mut scene, 310);
        scene.until(3_000);
        assert!(orphans(&scene).is_empty(), "{below} {calls_made}");
        assert_eq!(scene.engine.joins().ambiguous, ambiguous, "{below}");
    }
}

#[test]
fn a_trace_joins_too_and_a_different_one_never() {
    for (trace, found) in [
        (TRACE_ON, 1),
        ("00-5bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01", 0),
    ] {
        let mut scene = scene();
        let serve = request(&scene.code, SERVING, ROOT, "GET /report/7");
        scene.take(0, &serve.with_id("r-1").traced(TRACE));
        calls(&mut scene, 10, INNER);
        let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7");
        scene.take(12, &record.with_id("r-1").traced(trace).of(STORE));
        given_up(&mut scene, 300);
        super::end(&mut scene, 310);
        scene.until(1_000);
        assert_eq!(orphans(&scene).len(), found, "{trace}");
    }
}

#[test]
fn lost_events_and_processes_that_die_accuse_nobody() {
    type Happens = fn(&mut Scene);
    let cases: [(&str, Happens); 3] = [
        ("loss", |scene| {
            scene.engine.loss();
        }),
        ("the caller dies", |scene| {
            scene.engine.process_ended(crate::testkit::PID);
        }),
        ("the callee dies", |scene| scene.engine.process_ended(STORE)),
    ];
    for (what, happens) in cases {
        for at_ms in [100, 400] {
            let mut scene = scene();
            calling(&mut scene, "r-1");
            served(&mut scene, 12, "r-1");
            if at_ms < 300 {
                scene.until(at_ms);
                happens(&mut scene);
                given_up(&mut scene, 300);
            } else {
                given_up(&mut scene, 300);
                scene.until(at_ms);
                happens(&mut scene);
            }
            returned(&mut scene, 2_000);
            scene.until(3_000);
            assert!(orphans(&scene).is_empty(), "{what} at {at_ms}");
            assert_eq!(scene.engine.cases(), 0, "{what} at {at_ms}");
        }
    }
}

#[test]
fn a_hijacked_connection_and_a_handler_that_is_gone_are_left_alone() {
    let mut hijacked = scene();
    hijacked.conn = Some(ConnState {
        hijacked: true,
        ..ConnState::default()
    });
    let mut gone = scene();
    gone.goroutines.insert(BELOW_SERVING, Seen::Gone);
    for mut scene in [hijacked, gone] {
        calling(&mut scene, "r-1");
        served(&mut scene, 12, "r-1");
        given_up(&mut scene, 300);
        super::end(&mut scene, 310);
        scene.until(3_000);
        assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
    }
}

#[test]
fn without_the_transports_context_the_transport_says_it() {
    // Go ≤ 1.22.
    let mut scene = scene();
    let code = &scene.code;
    let records = [
        request(code, SERVING, ROOT, "GET /report/7").with_id("r-1"),
        call(
            code,
            (SERVING, 1),
            INNER + 2,
            &[(CANCEL_CTX, ROOT)],
            &[ROUND_TRIP, HANDLER, SERVE],
        ),
        request(code, BELOW_SERVING, BELOW, "GET /item/7")
            .with_id("r-1")
            .of(STORE),
    ];
    for record in &records {
        scene.take(5, record);
    }
    super::client_leaves(&mut scene, 300);
    let gives_up = call_cancelled(
        &scene.code,
        SERVING,
        INNER + 2,
        "context.deadlineExceededError",
    );
    scene.take(301, &gives_up);
    super::end(&mut scene, 302);
    scene.until(1_000);
    let [finding] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Client));
}

#[test]
fn a_detached_call_belongs_to_its_goroutines_request() {
    let mut scene = scene();
    let code = &scene.code;
    let chain = [(CANCEL_CTX, CHILD), BACKGROUND];
    let records = [
        request(code, SERVING, ROOT, "GET /report/7").with_id("r-1"),
        call(
            code,
            (SERVING, 1),
            INNER + 2,
            &chain,
            &[ROUND_TRIP, HANDLER, SERVE],
        ),
        created_short(code, SERVING, INNER, (CANCEL_CTX, CHILD)),
        request(code, BELOW_SERVING, BELOW, "GET /item/7")
            .with_id("r-1")
            .of(STORE),
        cancel(code, SERVING, CHILD, &[super::CANCEL_FUNC, HANDLER, SERVE]),
        cascade(code, SERVING, INNER),
    ];
    for record in &records {
        scene.take(5, record);
    }
    super::end(&mut scene, 310);
    scene.until(1_000);
    assert_eq!(orphans(&scene).len(), 1, "{:#?}", scene.shown);
}

#[test]
fn two_calls_are_told_apart_by_the_spans_that_they_have_sent() {
    // What the second call has sent: a span of its own, the same, none that was read.
    let own = "00-4bf92f3577b34da6a3ce929d0e0e4736-2222222222222222-01";
    for (second, found) in [(Some(own), 1), (Some(TRACE_ON), 0), (None, 0)] {
        let mut scene = scene();
        scene.sent.insert(INNER + 2, vec![None, Some(TRACE_ON)]);
        if let Some(second) = second {
            scene.sent.insert(0x9002, vec![None, Some(second)]);
        }
        // The other process is known before.
        let before = request(&scene.code, BELOW_SERVING, BELOW, "GET /healthz");
        scene.take(0, &before.of(STORE));
        returned(&mut scene, 1);
        calling(&mut scene, "r-1");
        let code = &scene.code;
        let chain = [(CANCEL_CTX, ROOT)];
        let other = call(code, (11, SERVING), 0x9002, &chain, &[ROUND_TRIP, HANDLER]);
        scene.take(11, &other);
        let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7");
        scene.take(12, &record.traced(TRACE_ON).of(STORE));
        given_up(&mut scene, 300);
        super::end(&mut scene, 310);
        scene.until(1_000);
        let orphans = orphans(&scene);
        assert_eq!(orphans.len(), found, "{second:?}: {:#?}", scene.shown);
        for orphan in orphans {
            let below = orphan.evidence.downstream.as_deref().unwrap();
            assert_eq!(below.joined_by, JoinedBy::ParentId);
            assert_eq!(orphan.confidence, Confidence::High);
        }
    }
}

#[test]
fn with_one_process_nobody_is_asked_what_it_sends() {
    let mut scene = scene();
    let serve = request(&scene.code, SERVING, ROOT, "GET /report/7").with_id("r-1");
    scene.take(0, &serve.traced(TRACE));
    calls(&mut scene, 10, INNER);
    let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7");
    scene.take(12, &record.traced(TRACE_ON));
    assert!(scene.asked.is_empty(), "{:?}", scene.asked);
}
