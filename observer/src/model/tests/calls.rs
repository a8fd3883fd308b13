//! Outgoing calls: begun, over, failed.

use super::super::{Call, CallEnd, CallId, Fact, FailedRead, Root};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, WORKER, get};
use crate::testkit::{
    Created, MS, ModelScene, Record, body_failed, call, call_cancelled, call_done, cancel,
    cancelled_again, cascade, conn_cancelled, created_short, failed_on, request_end,
};

const USER: &str = "example.com/shop/api.Get:42";
const CANCEL_FUNC: &str = "context.WithCancel.func1";
const INNER: u64 = 0x4000;
const CONN: u64 = 0x5000;
/// The connection's reader.
const READ_LOOP: u64 = 90;
const READS: &str = "example.com/shop/api.render:55";
const LETS_GO: [&str; 2] = [
    "context.WithCancelCause.func1",
    "net/http.(*persistConn).readLoop",
];
const REQUEST: u64 = 0x9000;

/// A running request whose child context a call is made on.
fn calling(goid: u64) -> (ModelScene, CallId) {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    let child = Created {
        goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithCancel", USER],
        ..Created::default()
    };
    scene.take(2, &child.record(&scene.code));
    let start = call(
        &scene.code,
        (goid, SERVING),
        REQUEST,
        &[("context.valueCtx", 0x7000), (CANCEL_CTX, CHILD)],
        &["net/http.(*Transport).RoundTrip", USER],
    );
    let facts = scene.take(3, &start);
    let [Fact::CallStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    (scene, id)
}

fn of(scene: &ModelScene, id: CallId) -> &Call {
    scene.model.call(id).unwrap()
}

fn with_inner(goid: u64) -> (ModelScene, CallId) {
    let (mut scene, id) = calling(goid);
    scene.take(
        3,
        &created_short(&scene.code, goid, INNER, (CANCEL_CTX, CHILD)),
    );
    (scene, id)
}

/// The child dies by its CancelFunc, and the call's own context with it.
fn kill(scene: &mut ModelScene, goid: u64) {
    scene.take(5, &cancel(&scene.code, goid, CHILD, &[CANCEL_FUNC, USER]));
    scene.take(5, &cascade(&scene.code, goid, INNER));
}

#[test]
fn a_call_knows_its_target_its_context_and_its_request() {
    let (scene, id) = calling(WORKER);
    let call = of(&scene, id);
    assert_eq!(&*call.target, "GET store:8080/item/7");
    assert!(matches!(call.root, Root::Request(_)));
    assert_eq!(call.steps.len(), 1);
    assert_eq!((call.start_ns, call.goid), (3 * MS, WORKER));
    assert!(call.is_open() && !call.failed);
    let request = scene.model.running().next().unwrap();
    assert_eq!(call.owner, Some(request.id));
    assert_eq!(*request.calls, [id]);
    assert_eq!(
        scene
            .model
            .last_call_of(crate::testkit::PID, WORKER)
            .unwrap()
            .id,
        id
    );
}

#[test]
fn the_transports_cancel_ends_a_call() {
    let (mut scene, id) = with_inner(SERVING);
    let inner = of(&scene, id).inner.unwrap();
    let facts = scene.take(7, &call_done(&scene.code, READ_LOOP, INNER));
    assert!(matches!(
        facts[..],
        [
            Fact::CallEnded(_),
            Fact::ContextCancelled(_),
            Fact::CancelCalled(_)
        ]
    ));
    assert_eq!(of(&scene, id).ended, Some((7 * MS, CallEnd::Done)));
    assert!(scene.model.context(inner).is_none());
}

/// The call is done, its context's CancelFunc called, and its request returns; gives what is left of the
/// call and of its context.
fn left_after_the_end(mut scene: ModelScene, id: CallId) -> (bool, bool) {
    scene.take(7, &call_done(&scene.code, READ_LOOP, INNER));
    let freed = cancel(&scene.code, SERVING, CHILD, &[CANCEL_FUNC, USER]);
    scene.take(8, &freed);
    let ctx = of(&scene, id).ctx.unwrap();
    let request = scene.model.running().next().unwrap();
    let (request, root) = (request.id, request.root);
    scene.take(9, &request_end(&scene.code, ROOT));
    assert!(
        scene
            .model
            .request(request)
            .is_some_and(|of| of.ended.is_some())
    );
    assert!(scene.model.context(root).is_some());
    // Whatever is concluded from the end can look at all of it.
    assert!(scene.model.call(id).is_some() && scene.model.context(ctx).is_some());
    scene.take(10, &request_end(&scene.code, 0x7777));
    (
        scene.model.call(id).is_some(),
        scene.model.context(ctx).is_some(),
    )
}

#[test]
fn what_was_made_for_a_plain_request_goes_with_its_end() {
    let (scene, id) = with_inner(SERVING);
    assert_eq!(left_after_the_end(scene, id), (false, false));
}

#[test]
fn what_may_be_asked_about_stays_after_the_end() {
    let (mut scene, id) = with_inner(SERVING);
    scene.take(4, &cancel(&scene.code, 99, ROOT, &[CANCEL_FUNC, USER]));
    assert_eq!(left_after_the_end(scene, id), (true, true), "cancelled");

    let (mut scene, id) = with_inner(SERVING);
    let detached = call(
        &scene.code,
        (WORKER, SERVING),
        REQUEST,
        &[("context.withoutCancelCtx", 0x7000), (CANCEL_CTX, CHILD)],
        &["net/http.(*Transport).RoundTrip", USER],
    );
    scene.take(4, &detached);
    let inner = 0x4100;
    let made = created_short(&scene.code, WORKER, inner, (CANCEL_CTX, CHILD));
    scene.take(4, &made);
    scene.take(5, &call_done(&scene.code, READ_LOOP, inner));
    assert_eq!(left_after_the_end(scene, id), (true, true), "detached");
}

#[test]
fn a_cancel_just_after_the_body_was_read_leaves_the_call_done() {
    let (mut scene, id) = with_inner(SERVING);
    kill(&mut scene, SERVING);
    assert_eq!(of(&scene, id).ended, Some((5 * MS, CallEnd::Cancelled)));
    // The reader has kept the connection.
    let lets_go = cancelled_again(&scene.code, READ_LOOP, INNER, LETS_GO);
    assert_eq!(scene.take(6, &lets_go), []);
    assert_eq!(of(&scene, id).ended, Some((6 * MS, CallEnd::Done)));
}

#[test]
fn a_cascade_cancels_a_call_and_its_round_trip_says_so() {
    let (mut scene, id) = with_inner(SERVING);
    kill(&mut scene, 99);
    assert_eq!(of(&scene, id).ended, Some((5 * MS, CallEnd::Cancelled)));
    assert!(!of(&scene, id).failed);
    let again = [
        "context.WithCancelCause.func1",
        "net/http.(*Transport).roundTrip",
    ];
    // From another goroutine it says nothing of the round trip.
    let elsewhere = cancelled_again(&scene.code, 99, INNER, again);
    assert_eq!(scene.take(6, &elsewhere), []);
    let facts = scene.take(6, &cancelled_again(&scene.code, SERVING, INNER, again));
    assert_eq!(facts, [Fact::CallFailed(id)]);
    assert!(of(&scene, id).failed);
    let again = cancelled_again(&scene.code, SERVING, INNER, again);
    assert_eq!(scene.take(7, &again), []);
}

fn reads(scene: &ModelScene, goid: u64) -> Record {
    body_failed(&scene.code, goid, CONN, &["io.ReadAll", READS])
}

fn failed_read(scene: &ModelScene, goid: u64) -> FailedRead {
    FailedRead {
        goid,
        pcs: scene.code.pcs(&["io.ReadAll", READS]).into(),
    }
}

#[test]
fn a_body_that_died_belongs_to_the_call_that_its_connection_answered() {
    // Whether the reader fails before or after the connection's reader has named the call.
    for early in [true, false] {
        let (mut scene, id) = with_inner(WORKER);
        kill(&mut scene, SERVING);
        assert_eq!(scene.take(6, &conn_cancelled(READ_LOOP, CONN)), []);
        let read = reads(&scene, SERVING);
        let names = cancelled_again(&scene.code, READ_LOOP, INNER, LETS_GO);
        let (first, last) = if early {
            (&read, &names)
        } else {
            (&names, &read)
        };
        assert_eq!(scene.take(6, first), []);
        assert_eq!(scene.take(6, last), [Fact::BodyFailed(id)]);
        assert_eq!(
            of(&scene, id).failed_read,
            Some(failed_read(&scene, SERVING))
        );
        assert!(!of(&scene, id).failed);
        // Once.
        assert_eq!(scene.take(7, &reads(&scene, 50)), []);
        assert_eq!(scene.take(7, &names), []);
    }
}

#[test]
fn an_earlier_call_than_the_goroutines_last_is_known_by_its_connection() {
    let (mut scene, first) = with_inner(SERVING);
    let start = call(
        &scene.code,
        (SERVING, 0),
        REQUEST + 8,
        &[(CANCEL_CTX, CHILD)],
        &[],
    );
    scene.take(4, &start);
    let inner = INNER + 0x100;
    scene.take(
        4,
        &created_short(&scene.code, SERVING, inner, (CANCEL_CTX, CHILD)),
    );
    kill(&mut scene, SERVING);
    scene.take(6, &conn_cancelled(READ_LOOP, CONN));
    let names = cancelled_again(&scene.code, READ_LOOP, INNER, LETS_GO);
    scene.take(6, &names);
    let facts = scene.take(7, &reads(&scene, SERVING));
    assert_eq!(facts, [Fact::BodyFailed(first)]);
}

#[test]
fn a_body_of_an_unknown_connection_is_nobodys() {
    let (mut scene, id) = with_inner(SERVING);
    kill(&mut scene, SERVING);
    assert_eq!(scene.take(6, &reads(&scene, SERVING)), []);
    let names = cancelled_again(&scene.code, READ_LOOP, INNER, LETS_GO);
    assert_eq!(scene.take(6, &names), []);
    assert_eq!(of(&scene, id).failed_read, None);
}

#[test]
fn a_round_trip_that_fails_is_no_body() {
    let (mut scene, id) = with_inner(SERVING);
    kill(&mut scene, 99);
    scene.take(6, &conn_cancelled(SERVING, CONN));
    let asks = failed_on(
        &scene.code,
        SERVING,
        CONN,
        &["net/http.(*persistConn).mapRoundTripError", USER],
    );
    assert_eq!(scene.take(6, &asks), []);
    let gives_up = [
        "context.WithCancelCause.func1",
        "net/http.(*Transport).roundTrip",
    ];
    let gives_up = cancelled_again(&scene.code, SERVING, INNER, gives_up);
    assert_eq!(scene.take(6, &gives_up), [Fact::CallFailed(id)]);
    assert_eq!(of(&scene, id).failed_read, None);
}

#[test]
fn the_connections_address_may_come_again() {
    let (mut scene, first) = with_inner(SERVING);
    kill(&mut scene, 99);
    // The caller itself closed a connection while it waited for the answer.
    scene.take(6, &conn_cancelled(SERVING, CONN));
    let inner = INNER + 0x100;
    let start = call(
        &scene.code,
        (SERVING, 0),
        REQUEST + 8,
        &[(CANCEL_CTX, CHILD)],
        &[],
    );
    let facts = scene.take(7, &start);
    let [Fact::CallStarted(second)] = facts[..] else {
        panic!("{facts:?}");
    };
    scene.take(
        7,
        &created_short(&scene.code, SERVING, inner, (CANCEL_CTX, CHILD)),
    );
    scene.take(8, &cascade(&scene.code, 99, inner));
    scene.take(8, &conn_cancelled(READ_LOOP, CONN));
    scene.take(8, &reads(&scene, SERVING));
    let names = cancelled_again(&scene.code, READ_LOOP, inner, LETS_GO);
    assert_eq!(scene.take(8, &names), [Fact::BodyFailed(second)]);
    assert_eq!(of(&scene, first).failed_read, None);
}

#[test]
fn up_to_1_22_the_call_is_given_up_before_its_connection() {
    let (mut scene, id) = calling(WORKER);
    let stack = [CANCEL_FUNC, USER];
    scene.take(5, &cancel(&scene.code, SERVING, CHILD, &stack));
    let gives_up = call_cancelled(&scene.code, READ_LOOP, REQUEST, "errors.errorString");
    assert_eq!(scene.take(6, &gives_up), [Fact::CallEnded(id)]);
    assert_eq!(scene.take(6, &conn_cancelled(READ_LOOP, CONN)), []);
    let facts = scene.take(6, &reads(&scene, SERVING));
    assert_eq!(facts, [Fact::BodyFailed(id)]);
    assert_eq!(
        of(&scene, id).failed_read,
        Some(failed_read(&scene, SERVING))
    );
}

#[test]
fn up_to_1_22_the_transport_says_that_it_gives_up() {
    let (mut scene, id) = calling(SERVING);
    let done = call_cancelled(&scene.code, SERVING, REQUEST, "");
    assert_eq!(scene.take(4, &done), []);
    let other = call_cancelled(&scene.code, SERVING, REQUEST + 8, "errors.errorString");
    assert_eq!(scene.take(5, &other), []);
    let gives_up = call_cancelled(&scene.code, SERVING, REQUEST, "errors.errorString");
    assert_eq!(
        scene.take(6, &gives_up),
        [Fact::CallEnded(id), Fact::CallFailed(id)]
    );
    assert_eq!(of(&scene, id).ended, Some((6 * MS, CallEnd::Cancelled)));
    assert_eq!(scene.take(7, &gives_up), []);
}

#[test]
fn a_goroutine_is_in_one_call_at_a_time() {
    let (mut scene, first) = calling(SERVING);
    let start = call(
        &scene.code,
        (SERVING, 0),
        REQUEST + 8,
        &[(CANCEL_CTX, CHILD)],
        &[],
    );
    scene.take(9, &start);
    assert_eq!(of(&scene, first).ended, Some((9 * MS, CallEnd::Unknown)));
}

#[test]
fn a_call_after_its_request_has_its_root_still() {
    let (mut scene, _) = calling(SERVING);
    let number = scene.model.running().next().unwrap().id;
    scene.take(4, &request_end(&scene.code, ROOT));
    let late = call(
        &scene.code,
        (WORKER, SERVING),
        REQUEST,
        &[(CANCEL_CTX, ROOT)],
        &[],
    );
    let facts = scene.take(5, &late);
    let [Fact::CallStarted(late)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(of(&scene, late).root, Root::Request(number));
}

#[test]
fn lengths_that_lie_are_cut() {
    let (mut scene, _) = calling(SERVING);
    let mut lying = call(
        &scene.code,
        (SERVING, 0),
        REQUEST,
        &[(CANCEL_CTX, CHILD)],
        &[],
    );
    if let Record::Call(record) = &mut lying {
        record.method_len = u32::MAX;
        record.host_len = u32::MAX;
        record.path_len = u32::MAX;
        record.frames = u32::MAX;
        record.links = u32::MAX;
    }
    let facts = scene.take(5, &lying);
    let [Fact::CallEnded(_), Fact::CallStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert!(of(&scene, id).target.starts_with("GET\0"));
    assert_eq!(of(&scene, id).pcs.len(), 16);
}
