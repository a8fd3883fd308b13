//! Outgoing calls of gRPC: what they are, and the context that ends with each of them.

use super::super::{Call, CallEnd, CallId, CallKind, CtxId, Fact, Root, Sent, Trace};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, TIMER_CTX, WORKER, get};
use crate::finding::CancelledBy;
use crate::testkit::{
    Created, MS, ModelScene, call, cancel, cancelled_again, cascade, created_by, deadline,
    grpc_call, request_end,
};

const TIMER: u64 = CHILD + 0x1000;
const OWN: [(&str, u64); 1] = [(CANCEL_CTX, ROOT)];
const MAKER: &str = "google.golang.org/grpc.newClientStreamWithParams";
const FINISH: [&str; 2] = [
    "context.WithCancel.func1",
    "google.golang.org/grpc.(*clientStream).finish",
];
const UNARY: [&str; 3] = [
    "google.golang.org/grpc.invoke",
    "google.golang.org/grpc.(*ClientConn).Invoke",
    "example.com/shop/api.Get:42",
];
const STREAMS: [&str; 2] = [
    "google.golang.org/grpc.(*ClientConn).NewStream",
    "example.com/shop/api.Watch:7",
];

fn serving() -> ModelScene {
    let mut scene = ModelScene::new();
    scene.take(1, &get(&scene.code));
    scene
}

fn of(scene: &ModelScene, id: CallId) -> &Call {
    scene.model.call(id).unwrap()
}

fn begins(scene: &mut ModelScene, at_ms: u64, chain: &[(&str, u64)], stack: &[&str]) -> CallId {
    let record = grpc_call(&scene.code, (SERVING, 0), chain, stack, "/shop.Depot/Item");
    let facts = scene.take(at_ms, &record);
    let Some(Fact::CallStarted(id)) = facts.last() else {
        panic!("{facts:?}");
    };
    *id
}

/// The client makes the call's own context.
fn made(scene: &mut ModelScene, at_ms: u64, data: u64) -> CtxId {
    let record = created_by(&scene.code, SERVING, data, (CANCEL_CTX, ROOT), MAKER);
    assert_eq!(scene.take(at_ms, &record), []);
    let last = scene.model.last_call_of(crate::testkit::PID, SERVING);
    last.unwrap().inner.unwrap()
}

#[test]
fn a_unary_call_begins_with_its_method_and_ends_with_its_context() {
    let mut scene = serving();
    let id = begins(&mut scene, 2, &OWN, &UNARY);
    let inner = made(&mut scene, 2, CHILD);
    let call = of(&scene, id);
    assert_eq!(call.kind, CallKind::Grpc);
    assert_eq!(&*call.target, "store:8080/shop.Depot/Item");
    assert!(matches!(call.root, Root::Request(_)));
    let facts = scene.take(9, &cancel(&scene.code, SERVING, CHILD, &FINISH));
    assert!(facts.contains(&Fact::CallEnded(id)), "{facts:?}");
    assert_eq!(of(&scene, id).ended, Some((9 * MS, CallEnd::Done)));
    assert!(!of(&scene, id).failed);
    assert!(scene.model.context(inner).is_none());
}

#[test]
fn a_unary_call_whose_context_dies_fails_on_its_goroutine() {
    for finisher in [SERVING, WORKER] {
        let mut scene = serving();
        let id = begins(&mut scene, 2, &OWN, &UNARY);
        made(&mut scene, 2, CHILD);
        scene.take(5, &request_end(&scene.code, ROOT));
        let facts = scene.take(5, &cascade(&scene.code, SERVING, CHILD));
        assert!(facts.contains(&Fact::CallEnded(id)), "{facts:?}");
        assert_eq!(of(&scene, id).ended, Some((5 * MS, CallEnd::Cancelled)));
        let facts = scene.take(6, &cancelled_again(&scene.code, finisher, CHILD, FINISH));
        let own = finisher == SERVING;
        assert_eq!(facts.contains(&Fact::CallFailed(id)), own, "{facts:?}");
        assert_eq!(of(&scene, id).failed, own);
    }
}

#[test]
fn a_server_that_gives_up_before_the_callers_timer_fires_has_kept_the_same_deadline() {
    for (at_ms, end) in [(401, CallEnd::Done), (402, CallEnd::Cancelled)] {
        let mut scene = serving();
        let timer = Created {
            goid: SERVING,
            child: (TIMER_CTX, TIMER),
            chain: &OWN,
            stack: &["context.WithTimeout", "example.com/shop/api.Get:40"],
            deadline: deadline(2 * MS, 400_000_000, true),
            ..Created::default()
        };
        scene.take(2, &timer.record(&scene.code));
        let chain = [(TIMER_CTX, TIMER), (CANCEL_CTX, ROOT)];
        let id = begins(&mut scene, 2, &chain, &UNARY);
        let record = created_by(&scene.code, SERVING, CHILD, (TIMER_CTX, TIMER), MAKER);
        scene.take(2, &record);
        let inner = of(&scene, id).inner.unwrap();
        let facts = scene.take(at_ms, &cancel(&scene.code, SERVING, CHILD, &FINISH));
        assert!(facts.contains(&Fact::CallEnded(id)), "{facts:?}");
        assert_eq!(of(&scene, id).ended, Some((at_ms * MS, end)));
        let inner = scene.model.context(inner);
        let by = inner.map(|ctx| ctx.cancelled.as_ref().unwrap().origin);
        let deadline = (end == CallEnd::Cancelled).then_some(CancelledBy::Deadline);
        assert_eq!(by, deadline);
    }
}

#[test]
fn a_stream_lasts_while_its_goroutine_calls_on() {
    let mut scene = serving();
    let stream = begins(&mut scene, 2, &OWN, &STREAMS);
    made(&mut scene, 2, CHILD);
    assert_eq!(of(&scene, stream).kind, CallKind::GrpcStream);
    let unary = begins(&mut scene, 3, &OWN, &UNARY);
    made(&mut scene, 3, CHILD + 0x100);
    assert!(of(&scene, stream).is_open());
    scene.take(4, &cancel(&scene.code, SERVING, CHILD + 0x100, &FINISH));
    assert_eq!(of(&scene, unary).ended, Some((4 * MS, CallEnd::Done)));
    // It is let go with its request: nobody was hurt.
    scene.take(5, &request_end(&scene.code, ROOT));
    scene.take(5, &cascade(&scene.code, SERVING, CHILD));
    scene.take(6, &cancelled_again(&scene.code, SERVING, CHILD, FINISH));
    let stream = of(&scene, stream);
    assert_eq!(stream.ended, Some((5 * MS, CallEnd::Cancelled)));
    assert!(!stream.failed);
}

#[test]
fn a_timeout_of_the_service_configuration_is_the_calls_own_context() {
    let mut scene = serving();
    let id = begins(&mut scene, 2, &OWN, &UNARY);
    let timer = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &OWN,
        stack: &["context.WithDeadlineCause", "context.WithTimeout", MAKER],
        deadline: deadline(2 * MS, 400_000_000, true),
        ..Created::default()
    };
    scene.take(2, &timer.record(&scene.code));
    let inner = of(&scene, id).inner.unwrap();
    assert!(scene.model.context(inner).unwrap().internal);
    let fires = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func2",
    ];
    let facts = scene.take(402, &cancel(&scene.code, 90, CHILD, &fires));
    assert!(facts.contains(&Fact::CallEnded(id)), "{facts:?}");
    assert_eq!(of(&scene, id).ended, Some((402 * MS, CallEnd::Cancelled)));
}

#[test]
fn a_context_of_grpcs_client_is_nobody_elses() {
    let mut scene = serving();
    // The hook of calls is off: the last call of the goroutine is one of HTTP.
    let http = call(
        &scene.code,
        (SERVING, 0),
        0x9000,
        &OWN,
        &["example.com/shop/api.Get:42"],
    );
    scene.take(2, &http);
    let record = created_by(&scene.code, SERVING, CHILD, (CANCEL_CTX, ROOT), MAKER);
    assert_eq!(scene.take(3, &record), []);
    let last = scene
        .model
        .last_call_of(crate::testkit::PID, SERVING)
        .unwrap();
    assert_eq!((last.kind, last.inner), (CallKind::Http, None));
}

#[test]
fn what_a_call_sends_is_believed_while_its_own_context_lives() {
    let sent = |read_ms: u64| Sent {
        id: Some(("X-Request-Id".to_owned(), "a-7".into())),
        trace: Trace::None,
        read_ns: read_ms * MS,
    };
    let mut scene = serving();
    let id = begins(&mut scene, 2, &OWN, &UNARY);
    scene.model.set_sent(id, sent(2));
    assert!(of(&scene, id).sent().is_none(), "its end cannot be seen");
    made(&mut scene, 2, CHILD);
    scene.model.set_sent(id, sent(3));
    assert!(of(&scene, id).sent().is_some());
    scene.take(3, &cancel(&scene.code, SERVING, CHILD, &FINISH));
    assert!(
        of(&scene, id).sent().is_none(),
        "it had ended when memory was read"
    );
}
