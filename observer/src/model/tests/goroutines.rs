//! Goroutines that requests start.

use super::super::{Fact, GoId, Model, ReqId};
use super::bounds::{assert_bounded, small};
use super::{ROOT, SERVING, WORKER, get};
use crate::testkit::{Created, MS, ModelScene, PID, goroutine, goroutine_end, request_end};

const GO: &str = "main.handle:12";
const GO_TOO: &str = "main.work:20";
const GRANDCHILD: u64 = 41;

fn ids(model: &Model, request: ReqId) -> Vec<u64> {
    let left = model.request(request).unwrap().spawned.iter();
    left.map(|id| model.spawned(*id).unwrap().goid).collect()
}

/// A request that has started a goroutine.
fn working() -> ModelScene {
    let mut scene = ModelScene::new();
    let begun = get(&scene.code);
    scene.take(0, &begun);
    let started = goroutine(&scene.code, WORKER, SERVING, &[GO, "main.serve"]);
    assert_eq!(scene.take(1, &started), []);
    scene
}

#[test]
fn a_goroutine_is_its_request_as_are_those_that_it_starts() {
    let mut scene = working();
    let started = goroutine(&scene.code, GRANDCHILD, WORKER, &[GO_TOO]);
    scene.take(2, &started);
    let request = ReqId(1);
    assert_eq!(ids(&scene.model, request), [WORKER, GRANDCHILD]);
    let (first, second) = (GoId(1), GoId(2));
    let first = scene.model.spawned(first).unwrap();
    assert_eq!((first.request, first.heard_ns), (request, MS));
    assert_eq!((first.gopc, &first.above[..]), (scene.code.pc(GO), &[][..]));
    let second = scene.model.spawned(second).unwrap();
    assert_eq!(second.gopc, scene.code.pc(GO_TOO));
    assert_eq!(&second.above[..], &[scene.code.pc(GO)]);
}

#[test]
fn what_ends_before_its_request_is_forgotten() {
    let mut scene = working();
    assert_eq!(scene.take(5, &goroutine_end(WORKER)), []);
    assert!(ids(&scene.model, ReqId(1)).is_empty());
    assert!(scene.model.spawned(GoId(1)).is_none());
    assert_eq!(scene.take(6, &goroutine_end(WORKER)), []);
}

#[test]
fn what_ends_after_it_is_told_and_then_forgotten() {
    let mut scene = working();
    let ends = request_end(&scene.code, ROOT);
    assert_eq!(scene.take(5, &ends), [Fact::RequestEnded(ReqId(1))]);
    let facts = scene.take(9, &goroutine_end(WORKER));
    assert_eq!(facts, [Fact::GoroutineEnded(GoId(1))]);
    let ended = scene.model.spawned(GoId(1)).unwrap();
    assert_eq!(ended.ended_ns, Some(9 * MS));
    let next = get(&scene.code);
    scene.take(10, &next);
    assert!(scene.model.spawned(GoId(1)).is_none());
}

#[test]
fn what_begins_after_it_is_told() {
    let mut scene = working();
    let ends = request_end(&scene.code, ROOT);
    scene.take(5, &ends);
    let next = get(&scene.code);
    scene.take(6, &next);
    let started = goroutine(&scene.code, GRANDCHILD, WORKER, &[GO_TOO]);
    let facts = scene.take(7, &started);
    assert_eq!(facts, [Fact::GoroutineStarted(GoId(2))]);
    // The connection serves the next request; it is not that one's.
    assert_eq!(ids(&scene.model, ReqId(1)), [WORKER, GRANDCHILD]);
    assert!(ids(&scene.model, ReqId(2)).is_empty());
}

#[test]
fn what_nobody_known_has_started_is_nobodys() {
    let mut scene = working();
    let started = goroutine(&scene.code, GRANDCHILD, 77, &[GO_TOO]);
    assert_eq!(scene.take(3, &started), []);
    assert_eq!(ids(&scene.model, ReqId(1)), [WORKER]);
    assert!(scene.model.spawned(GoId(2)).is_none());
}

#[test]
fn its_own_events_say_that_it_works() {
    let mut scene = working();
    let made = Created {
        goid: WORKER,
        parent_goid: SERVING,
        child: ("context.cancelCtx", 0x2000),
        chain: &[("context.cancelCtx", ROOT)],
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(8, &made);
    assert_eq!(scene.model.spawned(GoId(1)).unwrap().heard_ns, 8 * MS);
}

#[test]
fn they_are_bounded_and_go_with_their_process() {
    let mut scene = ModelScene::with(small());
    let begun = get(&scene.code);
    scene.take(0, &begun);
    for goid in 100..200 {
        let started = goroutine(&scene.code, goid, SERVING, &[GO]);
        scene.take(goid, &started);
    }
    assert_bounded(&scene.model);
    assert_eq!(scene.model.totals().evicted, 96);
    scene.model.forget_process(PID);
    assert_eq!(scene.model.size(), 0);
}
