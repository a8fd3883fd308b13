//! Goroutines whose beginnings nobody tells: whose are those that a look finds?

use super::super::{Fact, GoId, Older, ReqId, Told};
use super::bounds::{assert_bounded, small};
use super::{CANCEL_CTX, CHILD, ROOT, SERVING, WORKER, get};
use crate::inspect::Listing;
use crate::testkit::{Created, ModelScene, PID, listing, request, request_end};

const GRANDCHILD: u64 = 41;
const CAME: [(u64, u64); 1] = [(WORKER, SERVING)];

/// A request of the connection from one time to another, ms.
fn serves(scene: &mut ModelScene, from_ms: u64, to_ms: u64) {
    begins(scene, from_ms);
    let ends = request_end(&scene.code, ROOT);
    scene.take(to_ms, &ends);
}

fn begins(scene: &mut ModelScene, at_ms: u64) {
    let begun = get(&scene.code);
    scene.take(at_ms, &begun);
}

/// Observed from the beginning of the connection on, and looked through at 0 ms.
fn looked_through() -> ModelScene {
    let mut scene = ModelScene::new();
    scene.looks(0, &Listing::default());
    scene
}

fn first(scene: &ModelScene) -> Option<(u64, ReqId, Told)> {
    let found = scene.model.spawned(GoId(1))?;
    Some((found.goid, found.request, found.told))
}

#[test]
fn one_that_came_while_one_request_was_served_is_that_ones() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 5);
    let facts = scene.looks(10, &listing(&CAME, &[]));
    assert_eq!(facts, [Fact::GoroutineStarted(GoId(1))]);
    assert_eq!(first(&scene), Some((WORKER, ReqId(1), Told::Look)));
    // What it does is not told of as the request's: it may have worked before.
    assert!(scene.model.spawned_at(PID, WORKER).is_none());
    assert!(!scene.model.follows_goroutines(PID));
    assert_eq!(scene.model.totals().spawned, 0);
    assert_eq!(scene.model.outliving(), 1);
}

#[test]
fn of_a_running_request_it_is_a_fact_only_when_that_has_ended() {
    let mut scene = looked_through();
    begins(&mut scene, 1);
    assert_eq!(scene.looks(10, &listing(&CAME, &[])), []);
    assert_eq!(first(&scene), Some((WORKER, ReqId(1), Told::Look)));
    let ends = request_end(&scene.code, ROOT);
    assert_eq!(scene.take(11, &ends), [Fact::RequestEnded(ReqId(1))]);
    let request = scene.model.request(ReqId(1)).unwrap();
    assert_eq!(request.spawned[..], [GoId(1)]);
}

#[test]
fn of_several_requests_it_is_the_last_ones_and_doubtful() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 2);
    serves(&mut scene, 3, 4);
    scene.looks(10, &listing(&CAME, &[]));
    assert_eq!(first(&scene), Some((WORKER, ReqId(2), Told::Doubtful)));
}

#[test]
fn one_that_went_on_after_the_look_before_is_one_of_them() {
    let mut scene = looked_through();
    begins(&mut scene, 1);
    scene.looks(5, &Listing::default());
    let ends = request_end(&scene.code, ROOT);
    scene.take(6, &ends);
    serves(&mut scene, 7, 8);
    scene.looks(10, &listing(&CAME, &[]));
    assert_eq!(first(&scene), Some((WORKER, ReqId(2), Told::Doubtful)));
}

#[test]
fn one_that_ended_before_the_look_before_is_not() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 2);
    scene.looks(5, &Listing::default());
    serves(&mut scene, 6, 7);
    scene.looks(10, &listing(&CAME, &[]));
    assert_eq!(first(&scene), Some((WORKER, ReqId(2), Told::Look)));

    let mut scene = looked_through();
    serves(&mut scene, 1, 2);
    scene.looks(5, &Listing::default());
    assert_eq!(scene.looks(10, &listing(&CAME, &[])), [], "no handler's");
    assert_eq!(first(&scene), None);
}

#[test]
fn where_another_one_has_begun_before_the_look_is_taken_in_it_is_doubtful() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 2);
    serves(&mut scene, 11, 12);
    scene.looks(10, &listing(&CAME, &[]));
    assert_eq!(first(&scene), Some((WORKER, ReqId(2), Told::Doubtful)));
    // The next look has that one alone.
    scene.looks(20, &listing(&[(GRANDCHILD, SERVING)], &[]));
    let second = scene.model.spawned(GoId(2)).unwrap();
    assert_eq!((second.request, second.told), (ReqId(2), Told::Look));
}

#[test]
fn of_a_connection_that_was_there_before_the_first_look_is_doubtful() {
    let mut scene = ModelScene::new();
    scene.code.older = Older::UpTo(SERVING);
    serves(&mut scene, 1, 2);
    scene.looks(10, &listing(&CAME, &[]));
    assert_eq!(first(&scene), Some((WORKER, ReqId(1), Told::Doubtful)));
    serves(&mut scene, 11, 12);
    scene.looks(20, &listing(&[(GRANDCHILD, SERVING)], &[]));
    let second = scene.model.spawned(GoId(2)).unwrap();
    assert_eq!((second.request, second.told), (ReqId(2), Told::Look));
}

#[test]
fn those_that_it_has_started_are_found_with_it_and_after_it() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 5);
    let both = [(GRANDCHILD, WORKER), (WORKER, SERVING)];
    scene.looks(10, &listing(&both, &[]));
    let goids: Vec<u64> = (1..=2)
        .map(|id| scene.model.spawned(GoId(id)).unwrap().goid)
        .collect();
    assert_eq!(goids, [WORKER, GRANDCHILD]);
    scene.looks(20, &listing(&[(99, GRANDCHILD), (98, 1)], &[]));
    let third = scene.model.spawned(GoId(3)).unwrap();
    assert_eq!((third.goid, third.request), (99, ReqId(1)));
    assert_eq!((third.above.len(), third.told), (2, Told::Look));
    assert!(scene.model.spawned(GoId(4)).is_none(), "nobody's");
}

#[test]
fn one_that_is_told_of_late_is_doubtful() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 5);
    scene.looks(10, &Listing::default());
    let late = Listing {
        late: listing(&CAME, &[]).came,
        ..Listing::default()
    };
    scene.looks(20, &late);
    assert_eq!(first(&scene), Some((WORKER, ReqId(1), Told::Doubtful)));
}

#[test]
fn where_something_was_lost_nobody_knows_whose_it_is() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 2);
    scene.model.loss();
    serves(&mut scene, 3, 4);
    assert_eq!(scene.looks(10, &listing(&CAME, &[])), []);
    assert_eq!(first(&scene), None);
    serves(&mut scene, 11, 12);
    scene.looks(20, &listing(&[(GRANDCHILD, SERVING)], &[]));
    assert_eq!(first(&scene), Some((GRANDCHILD, ReqId(3), Told::Look)));
}

#[test]
fn its_end_is_a_fact_and_then_it_is_forgotten() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 5);
    scene.looks(10, &listing(&CAME, &[]));
    let facts = scene.looks(20, &listing(&[], &[WORKER, 77]));
    assert_eq!(facts, [Fact::GoroutineEnded(GoId(1))]);
    assert!(first(&scene).is_some());
    assert_eq!(scene.model.totals().spawned_ended, 0);
    scene.looks(30, &Listing::default());
    assert_eq!(first(&scene), None);
}

#[test]
fn what_it_derives_is_not_the_requests_by_a_look_alone() {
    let mut scene = looked_through();
    serves(&mut scene, 1, 5);
    scene.looks(10, &listing(&CAME, &[]));
    let made = Created {
        goid: WORKER,
        parent_goid: SERVING,
        child: (CANCEL_CTX, CHILD),
        chain: &[],
        ..Created::default()
    };
    let made = made.record(&scene.code);
    scene.take(11, &made);
    let request = scene.model.request(ReqId(1)).unwrap();
    assert!(request.contexts.is_empty());
}

#[test]
fn the_last_request_of_each_connection_waits_for_a_look() {
    let mut scene = ModelScene::with(small());
    scene.looks(0, &Listing::default());
    for number in 0..5 {
        let (goid, root) = (200 + number, 0x9000 + number * 0x100);
        let begun = request(&scene.code, goid, root, "GET /report/7");
        scene.take(number * 2 + 1, &begun);
        let ends = request_end(&scene.code, root);
        scene.take(number * 2 + 2, &ends);
    }
    assert_bounded(&scene.model);
    let known = |scene: &ModelScene| -> Vec<u64> {
        let all = 1..=5;
        all.filter(|id| scene.model.request(ReqId(*id)).is_some())
            .collect()
    };
    assert_eq!(known(&scene), [1, 2, 3, 4, 5]);
    scene.looks(20, &listing(&[(90, 200)], &[]));
    assert_eq!(first(&scene), Some((90, ReqId(1), Told::Look)));
    // What has ended before the look before this one is let go.
    scene.looks(30, &Listing::default());
    scene.looks(40, &Listing::default());
    assert_eq!(known(&scene), [4, 5]);

    let mut scene = ModelScene::with(small());
    for _ in 0..5 {
        serves(&mut scene, 1, 2);
    }
    assert_eq!(known(&scene), [4, 5], "nobody looks");
    scene.looks(20, &Listing::default());
    for _ in 0..5 {
        serves(&mut scene, 21, 22);
    }
    let left: Vec<u64> = (6..=10)
        .filter(|id| scene.model.request(ReqId(*id)).is_some())
        .collect();
    assert_eq!(left, [9, 10], "all but the last are no last ones");
}
