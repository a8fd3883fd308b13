//! Outgoing calls: begun, read, over, failed.

use super::super::{Call, CallEnd, CallId, Fact, Root};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, WORKER, get};
use crate::testkit::{
    Created, MS, ModelScene, body_read, call, call_cancelled, cancel, cancelled_again, cascade,
    created_short, request_end,
};

const USER: &str = "example.com/shop/api.Get:42";
const CANCEL_FUNC: &str = "context.WithCancel.func1";
const INNER: u64 = 0x4000;
const BODY: u64 = 0x5000;
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
    assert_eq!(request.calls, [id]);
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
    let stack = [
        "context.WithCancelCause.func1",
        "net/http.(*persistConn).readLoop",
    ];
    let facts = scene.take(7, &cancel(&scene.code, 90, INNER, &stack));
    assert!(matches!(
        facts[..],
        [Fact::ContextCancelled(_), Fact::CancelCalled(_)]
    ));
    assert_eq!(of(&scene, id).ended, Some((7 * MS, CallEnd::Done)));
    // Reading what is left of the body is no harm.
    assert_eq!(scene.take(8, &body_read(SERVING, BODY)), []);
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

#[test]
fn a_body_read_on_a_dead_call_is_told() {
    let (mut scene, id) = with_inner(SERVING);
    assert_eq!(scene.take(4, &body_read(SERVING, BODY)), []);
    assert_eq!(of(&scene, id).body, Some(BODY));
    kill(&mut scene, SERVING);
    assert_eq!(
        scene.take(6, &body_read(SERVING, BODY)),
        [Fact::DeadBodyRead(id)]
    );
    // Also by a goroutine that was handed the body.
    assert_eq!(
        scene.take(7, &body_read(50, BODY)),
        [Fact::DeadBodyRead(id)]
    );
}

#[test]
fn a_body_that_nobody_called_for_is_nobodys() {
    let (mut scene, id) = with_inner(SERVING);
    assert_eq!(scene.take(4, &body_read(77, BODY)), []);
    scene.take(4, &body_read(SERVING, BODY));
    // A second body on the same goroutine without a call in between.
    assert_eq!(scene.take(5, &body_read(SERVING, BODY + 8)), []);
    assert_eq!(of(&scene, id).body, Some(BODY));
}

#[test]
fn the_bodys_address_may_come_again_with_the_next_call() {
    let (mut scene, first) = with_inner(SERVING);
    scene.take(4, &body_read(SERVING, BODY));
    let stack = [
        "context.WithCancelCause.func1",
        "net/http.(*persistConn).readLoop",
    ];
    scene.take(5, &cancel(&scene.code, 90, INNER, &stack));
    let start = call(
        &scene.code,
        (WORKER, SERVING),
        REQUEST,
        &[(CANCEL_CTX, CHILD)],
        &[],
    );
    scene.take(6, &start);
    scene.take(
        6,
        &created_short(&scene.code, WORKER, INNER, (CANCEL_CTX, CHILD)),
    );
    scene.take(7, &cancel(&scene.code, 91, CHILD, &[CANCEL_FUNC, USER]));
    scene.take(7, &cascade(&scene.code, 91, INNER));
    let facts = scene.take(8, &body_read(WORKER, BODY));
    let [Fact::DeadBodyRead(second)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_ne!(first, second);
}

#[test]
fn up_to_1_22_the_calls_context_tells_whether_its_body_is_dead() {
    let (mut scene, id) = calling(SERVING);
    assert_eq!(scene.take(4, &body_read(SERVING, BODY)), []);
    scene.take(
        5,
        &cancel(&scene.code, SERVING, CHILD, &[CANCEL_FUNC, USER]),
    );
    assert_eq!(
        scene.take(6, &body_read(SERVING, BODY)),
        [Fact::DeadBodyRead(id)]
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
    assert_eq!(scene.take(6, &gives_up), [Fact::CallFailed(id)]);
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
    if let crate::testkit::Record::Call(record) = &mut lying {
        record.method_len = u32::MAX;
        record.host_len = u32::MAX;
        record.path_len = u64::MAX;
        record.frames = u32::MAX;
        record.links = u32::MAX;
    }
    let facts = scene.take(5, &lying);
    let [Fact::CallStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert!(of(&scene, id).target.starts_with("GET\0"));
    assert_eq!(of(&scene, id).pcs.len(), 16);
}
