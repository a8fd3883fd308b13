//! premature-cancel: the context died while work still wanted it.

use super::{
    BUILD, CANCEL_CTX, CANCEL_FUNC, CHILD, HANDLER, READER, ROOT, ROUND_TRIP, SERVE, SERVING,
    WORKER, calls, client_leaves, conn_ends, derived, end, site, start,
};
use crate::finding::{CallOutcome, CancelledBy, Confidence, RuleName, Severity};
use crate::testkit::{
    MS, ReadError, Record, Scene, body_failed, cancel, cancelled_again, cascade, conn_cancelled,
    conn_error_of, created_short, request, request_end, request_end_by,
};

const INNER: u64 = 0x4000;
const CONN: u64 = 0x5000;
/// The reader of the connection to the called service.
const READ_LOOP: u64 = 90;
const AUDIT: &str = "example.com/shop/audit.Record:20";
const GIVES_UP: [&str; 2] = ["context.WithCancelCause.func1", ROUND_TRIP];

fn take_all(scene: &mut Scene, at_ms: u64, records: &[Record]) {
    for record in records {
        scene.take(at_ms, record);
    }
}

/// A call on `goid` in flight on the request's own context.
fn in_flight(goid: u64) -> Scene {
    in_flight_on(goid, (CANCEL_CTX, ROOT))
}

/// The same, on this one.
fn in_flight_on(goid: u64, ctx: (&str, u64)) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let records = [
        calls(&scene, goid, &[ctx], AUDIT),
        created_short(&scene.code, goid, INNER, ctx),
    ];
    take_all(&mut scene, 10, &records);
    scene
}

/// The call's own context dies with its parent, and the round trip gives up.
fn fails(scene: &mut Scene, goid: u64, by: u64, at_ms: u64) {
    let records = [
        cascade(&scene.code, by, INNER),
        cancelled_again(&scene.code, goid, INNER, GIVES_UP),
    ];
    take_all(scene, at_ms, &records);
}

#[test]
fn a_goroutines_call_that_the_handlers_return_killed_is_an_error() {
    let mut scene = in_flight(WORKER);
    end(&mut scene, 100);
    fails(&mut scene, WORKER, SERVING, 101);
    let (at_ms, finding) = scene.only();
    assert_eq!((at_ms, finding.rule), (101, RuleName::PrematureCancel));
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::Error, Confidence::High)
    );
    assert_eq!(site(finding), ("example.com/shop/audit.Record", 20));
    assert_eq!(
        finding.message,
        "call to GET store:8080/item/7 was killed: it was running when the handler returned"
    );
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
    assert_eq!(finding.evidence.cancelled_at_ns, Some(100 * MS));
    let call = finding.evidence.call.as_ref().unwrap();
    assert_eq!(call.outcome, CallOutcome::Cancelled);
    assert_eq!(finding.request.as_ref().unwrap().number, 1);
}

/// No walk goes through a type of the service's own. Package context does: what dies with the request hangs below it.
#[test]
fn behind_a_type_of_unknown_layout_the_cascade_tells_whose_a_call_is() {
    let wrapped = ("example.com/shop/api.requestContext", 0x7000);
    let mut scene = in_flight_on(WORKER, wrapped);
    end(&mut scene, 100);
    fails(&mut scene, WORKER, SERVING, 101);
    let (_, finding) = scene.only();
    assert_eq!(finding.rule, RuleName::PrematureCancel);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
    // What dies later, of something else, does not.
    let mut scene = in_flight_on(WORKER, wrapped);
    end(&mut scene, 100);
    let other = cancel(&scene.code, SERVING, 0x8000, &[CANCEL_FUNC, HANDLER, SERVE]);
    scene.take(100, &other);
    fails(&mut scene, WORKER, SERVING, 101);
    scene.silent();
}

#[test]
fn how_the_handler_ended_is_said() {
    let panics = [CANCEL_FUNC, "runtime.gopanic", HANDLER, SERVE];
    let exits = [CANCEL_FUNC, "runtime.Goexit", HANDLER, SERVE];
    for (stack, clause) in [
        (panics, "the handler panicked"),
        (exits, "the handler left by `runtime.Goexit`"),
    ] {
        let mut scene = in_flight(WORKER);
        // The connection's own context goes first, and the request's with it.
        let records = [
            cancel(&scene.code, SERVING, CONN, &stack),
            cascade(&scene.code, SERVING, ROOT),
        ];
        take_all(&mut scene, 100, &records);
        fails(&mut scene, WORKER, SERVING, 101);
        let finding = scene.only().1;
        assert!(finding.message.ends_with(clause), "{}", finding.message);
        assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
        // The line that panicked.
        assert_eq!(finding.evidence.cancel_site.as_ref().unwrap().line, 31);
    }
    // What is deferred runs after a return and after a panic.
    let mut scene = in_flight(WORKER);
    let deferred = "net/http.(*http2serverConn).runHandler.func1";
    let ended = request_end_by(&scene.code, ROOT, deferred);
    scene.take(100, &ended);
    fails(&mut scene, WORKER, SERVING, 101);
    let finding = scene.only().1;
    assert!(
        finding.message.ends_with("the handler ended"),
        "{}",
        finding.message
    );
}

#[test]
fn a_call_that_begins_after_the_end_is_killed_before_it_begins() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    end(&mut scene, 100);
    let call = calls(&scene, WORKER, &[(CANCEL_CTX, ROOT)], AUDIT);
    scene.take(150, &call);
    let finding = scene.only().1;
    assert_eq!(finding.severity, Severity::Error);
    assert!(
        finding
            .message
            .ends_with("it began 50 ms after the handler returned"),
        "{}",
        finding.message
    );
}

#[test]
fn a_timeout_under_the_dead_context_does_not_hide_it() {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    end(&mut scene, 100);
    let made = derived(&scene, 150, (WORKER, CHILD), &[(CANCEL_CTX, ROOT)], AUDIT);
    let stack = [
        "context.(*timerCtx).cancel",
        "context.(*cancelCtx).propagateCancel",
        "context.WithDeadlineCause",
        AUDIT,
    ];
    let records = [
        made,
        cancel(&scene.code, WORKER, CHILD, &stack),
        calls(&scene, WORKER, &[("context.timerCtx", CHILD)], AUDIT),
    ];
    take_all(&mut scene, 150, &records);
    let finding = scene.only().1;
    assert_eq!(finding.rule, RuleName::PrematureCancel);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
}

#[test]
fn a_goroutine_that_is_merely_alive_is_silent() {
    let mut scene = in_flight(WORKER);
    scene.waits(WORKER, &["runtime.chanrecv1", AUDIT]);
    end(&mut scene, 100);
    scene.until(5_000);
    scene.silent();
}

#[test]
fn a_call_that_the_client_killed_is_as_it_should_be() {
    let mut scene = in_flight(SERVING);
    client_leaves(&mut scene, 100);
    fails(&mut scene, SERVING, READER, 100);
    end(&mut scene, 105);
    scene.until(2_000);
    scene.silent();
}

/// A call on `goid` on a context that the handler made, which `by` cancels.
fn cancelled_by_code(goid: u64, by: u64) -> Scene {
    let mut scene = Scene::new();
    start(&mut scene, 0);
    let made = derived(&scene, 1, (SERVING, CHILD), &[(CANCEL_CTX, ROOT)], HANDLER);
    let records = [
        made,
        calls(&scene, goid, &[("context.timerCtx", CHILD)], BUILD),
        created_short(&scene.code, goid, INNER, ("context.timerCtx", CHILD)),
        cancel(&scene.code, by, CHILD, &[CANCEL_FUNC, HANDLER]),
        cascade(&scene.code, by, INNER),
    ];
    take_all(&mut scene, 10, &records);
    scene
}

#[test]
fn first_answer_wins_is_silent() {
    let mut scene = cancelled_by_code(WORKER, SERVING);
    let gives_up = cancelled_again(&scene.code, WORKER, INNER, GIVES_UP);
    scene.take(11, &gives_up);
    end(&mut scene, 20);
    scene.until(2_000);
    scene.silent();
}

/// The connection is closed for the dead context, and `goid` finds that it cannot read the body.
fn read_fails(scene: &mut Scene, goid: u64, at_ms: u64) {
    let stack = ["io.ReadAll", "example.com/shop/api.render:55", SERVE];
    let lets_go = [
        "context.WithCancelCause.func1",
        "net/http.(*persistConn).readLoop",
    ];
    let records = [
        conn_cancelled(READ_LOOP, CONN),
        cancelled_again(&scene.code, READ_LOOP, INNER, lets_go),
        body_failed(&scene.code, goid, CONN, &stack),
    ];
    take_all(scene, at_ms, &records);
}

#[test]
fn a_body_that_its_reader_cancelled_is_an_error_whoever_called() {
    for caller in [SERVING, WORKER] {
        let mut scene = cancelled_by_code(caller, SERVING);
        read_fails(&mut scene, SERVING, 12);
        let (at_ms, finding) = scene.only();
        assert_eq!(at_ms, 12);
        assert_eq!(
            (finding.rule, finding.severity),
            (RuleName::PrematureCancel, Severity::Error)
        );
        // The work that was killed is the read, the canceller the handler.
        assert_eq!(site(finding), ("example.com/shop/api.render", 55));
        assert_eq!(finding.evidence.cancel_site.as_ref().unwrap().line, 31);
        assert_eq!(
            finding.evidence.call.as_ref().unwrap().outcome,
            CallOutcome::Cancelled
        );
        assert!(
            finding
                .message
                .ends_with("cancelled before its body was read")
        );
    }
}

#[test]
fn a_body_that_the_handlers_return_killed_is_an_error() {
    let mut scene = in_flight(WORKER);
    end(&mut scene, 100);
    let dies = cascade(&scene.code, SERVING, INNER);
    scene.take(100, &dies);
    read_fails(&mut scene, WORKER, 101);
    let finding = scene.only().1;
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::NormalEnd));
    assert_eq!(site(finding), ("example.com/shop/api.render", 55));
}

#[test]
fn a_body_that_somebody_else_killed_is_silent() {
    // Another goroutine of the service stops the reader, and has perhaps made the call.
    for caller in [SERVING, WORKER] {
        let mut scene = cancelled_by_code(caller, WORKER);
        read_fails(&mut scene, SERVING, 12);
        end(&mut scene, 20);
        scene.until(2_000);
        scene.silent();
    }
    // The client.
    let mut scene = in_flight(SERVING);
    client_leaves(&mut scene, 50);
    let dies = cascade(&scene.code, READER, INNER);
    scene.take(50, &dies);
    read_fails(&mut scene, SERVING, 52);
    end(&mut scene, 60);
    scene.until(200);
    scene.silent();
}

#[test]
fn a_cancel_that_no_read_suffers_from_is_silent() {
    let mut scene = cancelled_by_code(SERVING, SERVING);
    let closed = conn_cancelled(READ_LOOP, CONN);
    scene.take(12, &closed);
    end(&mut scene, 20);
    scene.until(2_000);
    scene.silent();
    assert!(scene.asked.is_empty());
}

#[test]
fn a_read_deadline_on_a_healthy_request_is_told_at_once() {
    let mut scene = Scene::new();
    scene.waits(SERVING, &["time.Sleep", BUILD, HANDLER, SERVE]);
    start(&mut scene, 0);
    conn_ends(
        &mut scene,
        50,
        ReadError::Op("internal/poll.DeadlineExceededError"),
    );
    scene.until(200);
    let (at_ms, finding) = scene.only();
    assert_eq!((at_ms, finding.rule), (150, RuleName::PrematureCancel));
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(
        finding.evidence.cancelled_by,
        Some(CancelledBy::ReadDeadline)
    );
    assert_eq!(site(finding).1, 132);
}

/// Memory is read ahead of the events: the goroutine may serve the next request already.
#[test]
fn where_a_handler_was_is_not_said_when_it_had_returned_by_then() {
    let mut scene = Scene::new();
    scene.waits(SERVING, &["time.Sleep", BUILD, HANDLER, SERVE]);
    start(&mut scene, 0);
    timed_out(&mut scene, 50);
    scene.take(60, &request_end(&scene.code, ROOT));
    scene.until(1_000);
    assert!(scene.only().1.site.is_some(), "it ended after the look");
    let mut scene = Scene::new();
    scene.waits(SERVING, &["time.Sleep", BUILD, HANDLER, SERVE]);
    start(&mut scene, 0);
    timed_out(&mut scene, 50);
    scene.take(50, &request_end(&scene.code, ROOT));
    scene.until(1_000);
    assert_eq!(scene.only().1.site, None);
}

fn timed_out(scene: &mut Scene, at_ms: u64) {
    let error = ReadError::Op("internal/poll.DeadlineExceededError");
    conn_ends(scene, at_ms, error);
}

/// A read deadline has passed in a request, which has ended; the next one of the connection begins at 1 s.
fn stillborn() -> Scene {
    const LATER: u64 = ROOT + 0x100;
    let mut scene = Scene::new();
    start(&mut scene, 0);
    timed_out(&mut scene, 50);
    end(&mut scene, 60);
    scene.until(500);
    scene.shown.clear();
    scene.waits(SERVING, &["time.Sleep", BUILD, HANDLER, SERVE]);
    let next = request(&scene.code, SERVING, LATER, "GET /report/8");
    scene.take(1_000, &next);
    scene
}

#[test]
fn a_call_of_a_request_that_was_dead_when_it_began_is_an_error() {
    let mut scene = stillborn();
    let record = calls(&scene, SERVING, &[(CANCEL_CTX, ROOT + 0x100)], AUDIT);
    scene.take(1_010, &record);
    let (at_ms, finding) = scene.only();
    assert_eq!((at_ms, finding.rule), (1_010, RuleName::PrematureCancel));
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(site(finding), ("example.com/shop/audit.Record", 20));
    assert_eq!(finding.request.as_ref().unwrap().number, 2);
    assert_eq!(
        finding.evidence.cancelled_by,
        Some(CancelledBy::ReadDeadline)
    );
    assert!(finding.message.contains("dead before its request began"));
    assert!(finding.help.contains("SetReadDeadline"));
}

#[test]
fn work_of_a_request_that_was_dead_when_it_began_is_no_fault_until_its_client_leaves() {
    let mut scene = stillborn();
    scene.until(5_000);
    scene.silent();
    let response = (ROOT + 0x100 + 1, "192.0.2.7:51322");
    let error = conn_error_of(&scene.code, READER, ReadError::Text("EOF"), response);
    scene.take(5_000, &error);
    scene.until(6_000);
    let (_, finding) = scene.only();
    assert_eq!(finding.rule, RuleName::CancelIgnored);
    assert_eq!(finding.evidence.cancelled_by, Some(CancelledBy::Client));
    assert_eq!(finding.evidence.cancelled_at_ns, Some(5_000 * MS));
}

/// Another goroutine serves another connection.
#[test]
fn a_read_deadline_is_its_connections_own() {
    let mut scene = stillborn();
    let next = request(&scene.code, WORKER, CHILD, "GET /report/9");
    scene.take(1_010, &next);
    let record = calls(&scene, WORKER, &[(CANCEL_CTX, CHILD)], AUDIT);
    scene.take(1_020, &record);
    scene.until(2_000);
    scene.silent();
}

#[test]
fn a_call_that_a_read_deadline_killed_makes_it_an_error() {
    let mut scene = in_flight(SERVING);
    scene.waits(SERVING, &[ROUND_TRIP, AUDIT, SERVE]);
    conn_ends(
        &mut scene,
        50,
        ReadError::Op("internal/poll.DeadlineExceededError"),
    );
    fails(&mut scene, SERVING, READER, 50);
    let last = scene.shown.last().unwrap();
    let (crate::finding::Emission::Finding(finding) | crate::finding::Emission::Update(finding, _)) =
        &last.1;
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.count, 1);
    assert_eq!(site(finding), ("example.com/shop/audit.Record", 20));
}
