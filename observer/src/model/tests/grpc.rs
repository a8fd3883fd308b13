//! Requests of gRPC.

use super::super::{Ending, Fact, Protocol, ReqId, Root};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, TIMER_CTX, WORKER, get};
use crate::finding::CancelledBy;
use crate::testkit::{
    Created, MS, ModelScene, cancel, cascade, deadline, grpc, grpc_end, request_end, stream_context,
};

const STREAM: u64 = 0x5000;
const METADATA: u64 = 0x5100;
const VALUE_CTX: &str = "context.valueCtx";
/// The reader of the connection.
const TRANSPORT: u64 = 40;
const CANCEL_FUNC: &str = "context.WithCancel.func1";
const SERVER: &str = "google.golang.org/grpc/internal/transport.(*http2Server)";

fn at(function: &str) -> String {
    format!("{SERVER}.{function}")
}

fn begins(scene: &mut ModelScene, at_ms: u64, goid: u64, own: &str) -> Vec<Fact> {
    let chain = [(VALUE_CTX, METADATA), (own, ROOT), (VALUE_CTX, 0x700)];
    let start = grpc(&scene.code, goid, STREAM, &chain, "/shop.Depot/Echo");
    scene.take(at_ms, &start)
}

/// A stream that runs, without a deadline.
fn running() -> (ModelScene, ReqId) {
    let mut scene = ModelScene::new();
    let made = stream_context(&scene.code, TRANSPORT, ROOT);
    assert_eq!(scene.take(1, &made), []);
    let facts = begins(&mut scene, 2, SERVING, CANCEL_CTX);
    let [Fact::RequestStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    (scene, id)
}

/// A stream whose caller has a deadline.
fn bounded() -> (ModelScene, ReqId) {
    let mut scene = ModelScene::new();
    let reader = at("operateHeaders");
    let made = Created {
        goid: TRANSPORT,
        child: (TIMER_CTX, ROOT),
        chain: &[(VALUE_CTX, 0x700), ("context.backgroundCtx", 0x600)],
        stack: &["context.WithDeadlineCause", "context.WithTimeout", &reader],
        deadline: deadline(MS, 400_000_000, true),
        ..Created::default()
    };
    scene.take(1, &made.record(&scene.code));
    let facts = begins(&mut scene, 2, SERVING, TIMER_CTX);
    let [Fact::RequestStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    (scene, id)
}

fn who(scene: &ModelScene, id: ReqId) -> Option<CancelledBy> {
    let root = scene.model.request(id)?.root;
    Some(scene.model.context(root)?.cancelled.as_ref()?.by)
}

#[test]
fn a_stream_is_joined_by_its_context_and_ends_with_its_status() {
    let (mut scene, id) = running();
    let request = scene.model.request(id).unwrap();
    assert_eq!(request.method.as_deref(), Some("POST"));
    assert_eq!(request.path.as_deref(), Some("/shop.Depot/Echo"));
    assert!(matches!(request.protocol, Protocol::Grpc(leaf) if leaf.data == METADATA));
    assert_eq!((request.goid, request.ctx_data), (SERVING, ROOT));
    assert_eq!(request.timeout, None);
    assert_eq!(
        scene.take(9, &grpc_end(SERVING, STREAM)),
        [Fact::RequestEnded(id)]
    );
    let request = scene.model.request(id).unwrap();
    assert_eq!(request.ended, Some((9 * MS, Ending::Normal)));
    // Its context is cancelled next, and says nothing new.
    assert_eq!(scene.take(9, &request_end(&scene.code, ROOT)), []);
    assert_eq!(who(&scene, id), Some(CancelledBy::NormalEnd));
}

#[test]
fn what_a_handler_makes_descends_from_its_stream() {
    let (mut scene, id) = running();
    for (goid, parent_goid) in [(SERVING, 0), (WORKER, SERVING)] {
        let child = Created {
            goid,
            parent_goid,
            child: (TIMER_CTX, CHILD + goid),
            chain: &[(VALUE_CTX, METADATA), (CANCEL_CTX, ROOT)],
            stack: &["context.WithTimeout", "example.com/shop.Echo:42"],
            ..Created::default()
        };
        let facts = scene.take(3, &child.record(&scene.code));
        let [Fact::ContextCreated(ctx)] = facts[..] else {
            panic!("{facts:?}");
        };
        let ctx = scene.model.context(ctx).unwrap();
        assert_eq!((&ctx.root, ctx.owner), (&Root::Request(id), Some(id)));
    }
}

#[test]
fn a_deadline_of_the_caller_is_the_requests_own() {
    let (mut scene, id) = bounded();
    let request = scene.model.request(id).unwrap();
    let (root, timeout) = (request.root, request.timeout);
    assert_eq!(timeout, Some(root));
    let left = scene.model.context(root).unwrap().deadline_ns;
    assert!(left.is_some_and(|left| left > 300_000_000), "{left:?}");
    // Without its end, the cancel by which the transport frees it tells.
    let stack = [
        "context.(*timerCtx).cancel",
        "context.WithDeadlineCause.func3",
        &at("operateHeaders.func3"),
        &at("finishStream"),
        &at("writeStatus"),
    ];
    let facts = scene.take(9, &cancel(&scene.code, SERVING, ROOT, &stack));
    assert_eq!(facts, [Fact::RequestEnded(id)]);
    assert_eq!(who(&scene, id), Some(CancelledBy::NormalEnd));
}

#[test]
fn who_cancels_a_stream_is_in_the_frames_of_its_transport() {
    use CancelledBy::{Client, Code, Deadline, ServerClose, Unknown};
    let freed = at("operateHeaders.func3");
    let close = at("closeStream");
    for (frames, by) in [
        (
            vec![close.clone(), at("handleRSTStream"), at("HandleStreams")],
            Client,
        ),
        (
            vec![freed.clone(), close.clone(), at("handleRSTStream")],
            Client,
        ),
        (
            vec![freed.clone(), close.clone(), at("operateHeaders.func2")],
            Deadline,
        ),
        (
            vec![freed, close.clone(), at("handleData"), at("HandleStreams")],
            ServerClose,
        ),
        (vec![at("Close"), at("HandleStreams")], Unknown),
        (vec![at("Close"), at("keepalive")], ServerClose),
        (
            vec![
                at("Close"),
                "google.golang.org/grpc.(*Server).Stop".to_owned(),
            ],
            ServerClose,
        ),
        (
            vec![
                close,
                at("WriteHeader"),
                "example.com/shop.Echo:7".to_owned(),
            ],
            Code,
        ),
    ] {
        let (mut scene, id) = running();
        let stack: Vec<&str> = std::iter::once(CANCEL_FUNC)
            .chain(frames.iter().map(String::as_str))
            .collect();
        let facts = scene.take(5, &cancel(&scene.code, TRANSPORT, ROOT, &stack));
        assert_eq!(facts[0], Fact::RequestCancelled(id), "{frames:?}");
        assert_eq!(who(&scene, id), Some(by), "{frames:?}");
        let end = scene.take(8, &grpc_end(SERVING, STREAM));
        assert_eq!(end, [Fact::RequestEnded(id)], "{frames:?}");
        assert_eq!(who(&scene, id), Some(by), "{frames:?}");
    }
}

#[test]
fn a_client_may_leave_before_there_is_a_goroutine() {
    let mut scene = ModelScene::new();
    scene.take(1, &stream_context(&scene.code, TRANSPORT, ROOT));
    let stack = [CANCEL_FUNC, &at("closeStream"), &at("handleRSTStream")];
    scene.take(2, &cancel(&scene.code, TRANSPORT, ROOT, &stack));
    let facts = begins(&mut scene, 3, SERVING, CANCEL_CTX);
    let [Fact::RequestStarted(id), Fact::RequestCancelled(same)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_eq!(id, same);
    assert_eq!(who(&scene, id), Some(CancelledBy::Client));
}

#[test]
fn a_stream_from_before_observing_is_known_from_its_start() {
    let mut scene = ModelScene::new();
    let facts = begins(&mut scene, 3, SERVING, CANCEL_CTX);
    let [Fact::RequestStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    let stack = [CANCEL_FUNC, &at("closeStream"), &at("handleRSTStream")];
    let facts = scene.take(4, &cancel(&scene.code, TRANSPORT, ROOT, &stack));
    assert_eq!(facts, [Fact::RequestCancelled(id)]);
}

#[test]
fn a_worker_that_serves_one_stream_after_the_other_is_not_mistaken() {
    let (mut scene, first) = running();
    scene.take(4, &grpc_end(SERVING, STREAM));
    let next = [(VALUE_CTX, 0x9100), (CANCEL_CTX, 0x9000)];
    let start = grpc(&scene.code, SERVING, 0x9200, &next, "/shop.Depot/Next");
    let facts = scene.take(5, &start);
    let [Fact::RequestStarted(second)] = facts[..] else {
        panic!("{facts:?}");
    };
    assert_ne!(first, second);
    let first = scene.model.request(first).unwrap();
    assert_eq!(first.ended, Some((4 * MS, Ending::Normal)));
    assert!(scene.model.is_whole(first.epoch));
}

#[test]
fn through_net_http_it_is_one_request() {
    let mut scene = ModelScene::new();
    let facts = scene.take(1, &get(&scene.code));
    let [Fact::RequestStarted(id)] = facts[..] else {
        panic!("{facts:?}");
    };
    let handler =
        "google.golang.org/grpc/internal/transport.(*serverHandlerTransport).HandleStreams";
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithDeadlineCause", "context.WithTimeout", handler],
        deadline: deadline(MS, 400_000_000, true),
        ..Created::default()
    };
    scene.take(2, &made.record(&scene.code));
    let chain = [
        (VALUE_CTX, METADATA),
        (TIMER_CTX, CHILD),
        (CANCEL_CTX, ROOT),
    ];
    let start = grpc(&scene.code, WORKER, STREAM, &chain, "/shop.Depot/Echo");
    assert_eq!(scene.take(3, &start), []);
    assert_eq!(scene.model.totals().requests, 1);
    let request = scene.model.request(id).unwrap();
    assert_eq!(request.protocol, Protocol::GrpcOverHttp);
    assert_eq!(request.goid, WORKER);
    assert_eq!(request.path.as_deref(), Some("/shop.Depot/Echo"));
    assert!(request.timeout.is_some());
    // The client leaves: net/http has done with the request, its gRPC handler has not.
    let stack = [
        CANCEL_FUNC,
        "net/http.(*http2serverConn).processResetStream",
    ];
    let facts = scene.take(4, &cancel(&scene.code, TRANSPORT, ROOT, &stack));
    assert_eq!(facts, [Fact::RequestCancelled(id)]);
    scene.take(4, &cascade(&scene.code, TRANSPORT, CHILD));
    assert_eq!(scene.take(5, &request_end(&scene.code, ROOT)), []);
    assert_eq!(
        scene.take(9, &grpc_end(WORKER, STREAM)),
        [Fact::RequestEnded(id)]
    );
    assert_eq!(who(&scene, id), Some(CancelledBy::Client));
}
