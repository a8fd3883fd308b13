//! Calls that send an ID which came with no request: what they have sent joins them.

use super::{CANCEL_CTX, HANDLER, ROOT, ROUND_TRIP, SERVE, SERVING, given_up, orphans};
use crate::finding::JoinedBy;
use crate::testkit::{PID, STORE, Scene, call, call_done, created_short, request};

/// The transport's own contexts of two calls; their requests are two words above.
const INNER: u64 = 0x3000;
const OTHER: u64 = 0x9000;
const OTHER_GOID: u64 = 11;
const BELOW: u64 = 0x7000;
const BELOW_SERVING: u64 = 20;
const PLACE: &str = "example.com/store/catalog.report:40";

/// Two goroutines of a handler whose request had no ID call at 10 ms, and have sent these.
fn scene(sent: [&'static str; 2]) -> Scene {
    let mut scene = Scene::new();
    for pid in [PID, STORE] {
        scene.engine.process_started(pid);
    }
    scene.waits(BELOW_SERVING, &["time.Sleep", PLACE, SERVE]);
    let serve = request(&scene.code, SERVING, ROOT, "GET /report/7");
    scene.take(5, &serve);
    let calls = [(SERVING, 1, INNER), (OTHER_GOID, SERVING, OTHER)];
    for ((goid, parent, inner), id) in calls.into_iter().zip(sent) {
        scene.sent.insert(inner + 2, vec![Some(id), None]);
        let code = &scene.code;
        let chain = [(CANCEL_CTX, ROOT)];
        let stack = [ROUND_TRIP, HANDLER, SERVE];
        let records = [
            call(code, (goid, parent), inner + 2, &chain, &stack),
            created_short(code, goid, inner, chain[0]),
        ];
        for record in &records {
            scene.take(10, record);
        }
    }
    scene
}

fn served(scene: &mut Scene, id: &str) {
    let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7").with_id(id);
    scene.take(12, &record.of(STORE));
}

#[test]
fn the_call_that_has_sent_the_id_is_the_requests() {
    let mut scene = scene(["made-1", "made-2"]);
    served(&mut scene, "made-2");
    given_up(&mut scene, 300, &[INNER, OTHER]);
    let [orphan] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    let below = orphan.evidence.downstream.as_deref().unwrap();
    assert_eq!(below.joined_by, JoinedBy::RequestId);
    assert_eq!(scene.engine.joins().joined, 1);
}

#[test]
fn no_call_or_two_that_have_sent_it_join_nothing() {
    for sent in [["made-1", "made-2"], ["made-3", "made-3"]] {
        let mut scene = scene(sent);
        served(&mut scene, "made-3");
        given_up(&mut scene, 300, &[INNER, OTHER]);
        assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
    }
}

#[test]
fn a_call_that_is_over_may_have_sent_it() {
    let mut scene = scene(["made-1", "made-2"]);
    served(&mut scene, "made-2");
    let done = call_done(&scene.code, SERVING, INNER);
    scene.take(13, &done);
    given_up(&mut scene, 300, &[OTHER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}
