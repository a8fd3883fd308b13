//! Requests to a bare gRPC server: what came with them is read while they run, and joins them to calls.

use std::sync::Arc;

use super::goroutine_leak::{GO, NIL, waits};
use super::{
    CANCEL_CTX, CHILD, READER, ROOT, SERVE, SERVING, TIMER_CTX, WORKER, given_up, orphans,
};
use crate::detect::Question;
use crate::finding::{JoinedBy, RuleName};
use crate::inspect::RequestDetails;
use crate::testkit::{
    Created, MS, PID, STORE, Scene, cascade, created_by, deadline, goroutine, grpc, grpc_call,
    grpc_end, request, stream_context,
};

const MAKER: &str = "google.golang.org/grpc.newClientStreamWithParams";
const SENDS: [&str; 4] = [
    "google.golang.org/grpc.invoke",
    "google.golang.org/grpc.(*ClientConn).Invoke",
    super::BUILD,
    SERVE,
];
const METHOD: &str = "/shop.Depot/Item";
/// The calls' own contexts.
const INNER: u64 = 0x3000;
const OTHER: u64 = 0x9000;
/// The stream below, and its context.
const STREAM: u64 = 0x6000;
const BELOW: u64 = 0x7000;
/// The stream of the handler that calls.
const RELAY: u64 = 0x6800;
const BELOW_SERVING: u64 = 20;

/// Two processes are known, a handler of one calls the other at 10 ms, and that has metadata with this ID.
fn scene(id: &str) -> Scene {
    let mut scene = Scene::new();
    scene.waits(BELOW_SERVING, &["time.Sleep", super::BUILD, SERVE]);
    let before = request(&scene.code, BELOW_SERVING, 0x5000, "GET /healthz");
    scene.take(0, &before.of(STORE));
    let serve = request(&scene.code, SERVING, ROOT, "GET /report/7").with_id("r-1");
    scene.take(5, &serve);
    calls(&mut scene, 10, SERVING, INNER);
    scene.details = Some(Arc::new(RequestDetails {
        headers: vec![Some(Arc::from(id)), None],
        ..RequestDetails::default()
    }));
    scene
}

fn calls(scene: &mut Scene, at_ms: u64, goid: u64, inner: u64) {
    let chain = [(CANCEL_CTX, ROOT)];
    let unary = grpc_call(&scene.code, (goid, SERVING), &chain, &SENDS, METHOD);
    scene.take(at_ms, &unary);
    let made = created_by(&scene.code, goid, inner, chain[0], MAKER);
    scene.take(at_ms, &made);
}

fn served(scene: &mut Scene, at_ms: u64) {
    let code = &scene.code;
    let chain = [(CANCEL_CTX, BELOW)];
    let records = [
        stream_context(code, 30, BELOW),
        grpc(code, BELOW_SERVING, STREAM, &chain, METHOD),
    ];
    for record in records {
        scene.take(at_ms, &record.of(STORE));
    }
}

fn asked(scene: &Scene) -> usize {
    let all = scene.asked.iter();
    all.filter(|ask| ask.pid == STORE && matches!(ask.question, Question::Request(_)))
        .count()
}

#[test]
fn the_id_in_the_metadata_joins_them() {
    let mut scene = scene("r-1");
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER]);
    let [orphan] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    let below = orphan.evidence.downstream.as_deref().unwrap();
    assert_eq!(below.joined_by, JoinedBy::RequestId);
    assert_eq!(below.request.path.as_deref(), Some(METHOD));
    assert_eq!(asked(&scene), 1);
}

/// Somebody between the two, as a proxy that speaks gRPC, has not handed the deadline on.
#[test]
fn a_deadline_that_is_lost_between_two_of_grpc_is_told() {
    let mut scene = scene("r-1");
    let made = Created {
        goid: SERVING,
        child: (TIMER_CTX, CHILD),
        chain: &[(CANCEL_CTX, ROOT)],
        stack: &["context.WithDeadlineCause", "context.WithTimeout", SERVE],
        deadline: deadline(0, 300 * i64::try_from(MS).unwrap(), true),
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(20, &made);
    let ended = cascade(&scene.code, READER, INNER);
    scene.take(20, &ended);
    let chain = [(TIMER_CTX, CHILD), (CANCEL_CTX, ROOT)];
    let unary = grpc_call(&scene.code, (SERVING, SERVING), &chain, &SENDS, METHOD);
    scene.take(20, &unary);
    let made = created_by(&scene.code, SERVING, OTHER, chain[0], MAKER);
    scene.take(20, &made);
    served(&mut scene, 22);
    scene.until(100);
    let lost = RuleName::DeadlineNotForwarded;
    let all = scene.findings().into_iter();
    let [finding] = all.filter(|of| of.rule == lost).collect::<Vec<_>>()[..] else {
        panic!("{:#?}", scene.shown);
    };
    assert_eq!(finding.evidence.call.as_ref().unwrap().kind, "grpc");
    let below = finding.evidence.downstream.as_deref().unwrap();
    assert_eq!(below.request.proto.as_deref(), Some("grpc"));
}

#[test]
fn metadata_that_cannot_be_read_yet_is_read_a_little_later() {
    let mut scene = scene("r-1");
    let details = scene.details.take();
    served(&mut scene, 12);
    scene.until(30);
    scene.details = details;
    given_up(&mut scene, 300, &[INNER]);
    assert_eq!(orphans(&scene).len(), 1, "{:#?}", scene.shown);
    assert_eq!(asked(&scene), 2);
}

#[test]
fn metadata_that_can_never_be_read_is_asked_for_twice() {
    let mut scene = scene("r-1");
    scene.details = None;
    served(&mut scene, 12);
    scene.until(200);
    assert_eq!(asked(&scene), 2);
}

#[test]
fn another_id_joins_nothing() {
    let mut scene = scene("r-2");
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn what_is_answered_soon_costs_nothing() {
    let mut scene = scene("r-1");
    served(&mut scene, 12);
    let ended = grpc_end(BELOW_SERVING, STREAM);
    scene.take(15, &ended.of(STORE));
    scene.until(100);
    assert_eq!(asked(&scene), 0);
}

#[test]
fn a_call_of_the_same_id_that_is_over_by_then_leaves_doubt() {
    let mut scene = scene("r-1");
    calls(&mut scene, 11, 11, OTHER);
    served(&mut scene, 12);
    let dies = cascade(&scene.code, READER, OTHER);
    scene.take(14, &dies);
    given_up(&mut scene, 300, &[INNER]);
    assert_eq!(asked(&scene), 1);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn a_call_that_began_later_is_not_the_requests() {
    let mut scene = scene("r-1");
    let ended = cascade(&scene.code, READER, INNER);
    served(&mut scene, 12);
    scene.take(13, &ended);
    calls(&mut scene, 14, 11, OTHER);
    given_up(&mut scene, 300, &[OTHER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

/// The handler that calls is one of gRPC, too, and calls at 10 ms with the ID that it came with.
fn relay() -> Scene {
    let mut scene = Scene::new();
    for pid in [PID, STORE] {
        scene.engine.process_started(pid);
    }
    scene.waits(BELOW_SERVING, &["time.Sleep", super::BUILD, SERVE]);
    let chain = [(CANCEL_CTX, ROOT)];
    let records = [
        stream_context(&scene.code, 31, ROOT),
        grpc(&scene.code, SERVING, RELAY, &chain, "/shop.Depot/Relay"),
    ];
    for record in records {
        scene.take(5, &record);
    }
    calls(&mut scene, 10, SERVING, INNER);
    scene.sent.insert(0, vec![Some("r-1"), None]);
    scene.details = Some(Arc::new(RequestDetails {
        headers: vec![Some(Arc::from("r-1")), None],
        ..RequestDetails::default()
    }));
    scene
}

fn callers_asked(scene: &Scene) -> usize {
    let all = scene.asked.iter();
    all.filter(|ask| ask.pid == PID && matches!(ask.question, Question::Request(_)))
        .count()
}

#[test]
fn the_request_that_called_is_known_by_its_metadata_when_it_is_over() {
    let mut scene = relay();
    served(&mut scene, 12);
    scene.until(30);
    assert_eq!(callers_asked(&scene), 1);
    let dies = cascade(&scene.code, READER, INNER);
    scene.take(300, &dies);
    scene.take(310, &grpc_end(SERVING, RELAY));
    scene.details = None;
    scene.until(1_000);
    let [orphan] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    let request = orphan.request.as_ref().unwrap();
    assert_eq!(request.id.as_deref(), Some("r-1"));
    assert_eq!(callers_asked(&scene), 1);
}

/// A handler of gRPC that has ended at 20 ms; then its memory is another's.
fn ended(left: impl FnOnce(&mut Scene)) -> Scene {
    let mut scene = relay();
    left(&mut scene);
    scene.take(20, &grpc_end(SERVING, RELAY));
    scene.details = None;
    scene
}

#[test]
fn a_request_that_leaves_a_goroutine_behind_is_told_with_its_id() {
    let mut scene = ended(|scene| {
        let started = goroutine(&scene.code, WORKER, SERVING, &[GO, super::BUILD]);
        scene.take(15, &started);
        waits(scene, WORKER, NIL);
    });
    assert_eq!(callers_asked(&scene), 1);
    scene.until(20_000);
    let mut all = scene.findings().into_iter();
    let leak = all.find(|of| of.rule == RuleName::GoroutineLeak);
    let request = leak.unwrap().request.as_ref().unwrap();
    assert_eq!(request.id.as_deref(), Some("r-1"));
}

#[test]
fn one_that_leaves_nothing_behind_is_not_asked() {
    assert_eq!(callers_asked(&ended(|_| {})), 0);
}

#[test]
fn a_request_whose_call_leads_nowhere_is_not_asked_by_what_it_is_known() {
    let mut scene = relay();
    scene.sent.insert(0, vec![Some("r-2"), None]);
    served(&mut scene, 12);
    scene.until(200);
    assert_eq!(callers_asked(&scene), 0);
}
