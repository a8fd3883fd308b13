//! A call and its request that no ID joins: the connection that both are on does.

use super::{CANCEL_CTX, HANDLER, READER, ROOT, ROUND_TRIP, SERVE, SERVING, given_up, orphans};
use std::collections::BTreeMap;

use crate::correlate::Told;
use crate::detect::Question;
use crate::finding::{Confidence, JoinedBy};
use crate::testkit::{
    PID, STORE, Scene, call, call_done, cascade, created_short, request, request_end,
};

/// The transport's own context of the call.
const INNER: u64 = 0x3000;
/// That of another call, by another goroutine.
const OTHER: u64 = 0x9000;
const OTHER_GOID: u64 = 11;
/// The request's own context in the process that is called.
const BELOW: u64 = 0x7000;
const BELOW_SERVING: u64 = 20;
const PORT: u16 = 51_322;
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111111111111111-01";
const PLACE: &str = "example.com/store/catalog.report:40";

/// Two processes are observed, and a handler of one calls the other at 10 ms: neither has done anything before. Both ends
/// are on one connection.
fn scene() -> Scene {
    let mut scene = Scene::new();
    for pid in [PID, STORE] {
        scene.engine.process_started(pid);
    }
    scene.waits(BELOW_SERVING, &["time.Sleep", PLACE, SERVE]);
    scene.ends.0.insert(SERVING, PORT);
    scene.ends.1.insert(BELOW + 2, PORT);
    let serve = request(&scene.code, SERVING, ROOT, "GET /report/7");
    scene.take(5, &serve);
    calls(&mut scene, 10, (SERVING, 1), INNER);
    scene
}

fn calls(scene: &mut Scene, at_ms: u64, goroutine: (u64, u64), inner: u64) {
    let code = &scene.code;
    let stack = [ROUND_TRIP, HANDLER, SERVE];
    let records = [
        call(code, goroutine, inner + 2, &[(CANCEL_CTX, ROOT)], &stack),
        created_short(code, goroutine.0, inner, (CANCEL_CTX, ROOT)),
    ];
    for record in &records {
        scene.take(at_ms, record);
    }
}

fn served(scene: &mut Scene, at_ms: u64) {
    let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7");
    scene.take(at_ms, &record.of(STORE));
}

fn returned(scene: &mut Scene, at_ms: u64) {
    let record = request_end(&scene.code, BELOW).of(STORE);
    scene.take(at_ms, &record);
}

fn asked(scene: &Scene) -> usize {
    let ends = |question: &Question| {
        matches!(
            question,
            Question::CallEnds { .. } | Question::RequestEnds(_)
        )
    };
    let all = scene.asked.iter();
    all.filter(|ask| ends(&ask.question)).count()
}

#[test]
fn a_request_on_the_connection_that_a_call_waits_on_is_the_calls() {
    let mut scene = scene();
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER]);
    let [orphan] = orphans(&scene)[..] else {
        panic!("{:#?}", scene.shown);
    };
    let below = orphan.evidence.downstream.as_deref().unwrap();
    assert_eq!(below.joined_by, JoinedBy::Sockets);
    assert_eq!(orphan.confidence, Confidence::Medium);
    assert_eq!(asked(&scene), 2);
    assert_eq!(scene.engine.joins().joined, 1);
}

#[test]
fn who_only_tells_of_calls_and_requests_says_on_which_connection_they_were() {
    let mut scene = scene();
    scene.engine.tell_all();
    // Both again: before that nobody listened.
    calls(&mut scene, 20, (OTHER_GOID, SERVING), OTHER);
    scene.ends.0.insert(OTHER_GOID, PORT);
    served(&mut scene, 22);
    scene.until(150);
    returned(&mut scene, 200);
    let code = &scene.code;
    let done = call_done(code, OTHER_GOID, OTHER);
    scene.take(210, &done);
    scene.until(500);
    let mut told = BTreeMap::new();
    for one in scene.engine.take_told() {
        let (what, on) = match one {
            Told::Call(fact) => ("call", fact.seen_on),
            Told::Request(fact) => ("request", fact.seen_on),
        };
        told.insert(what, on);
    }
    let [Some(Some(waits)), Some(Some(came))] =
        ["call", "request"].map(|what| told.get(what).copied())
    else {
        panic!("{told:?}");
    };
    assert_eq!((waits.client.port(), waits.server), (PORT, came.server));
    assert_eq!(came.client, waits.client);
    assert!(waits.until_ns <= came.from_ns, "{waits:?} {came:?}");
}

#[test]
fn who_tells_of_what_has_an_id_reads_no_connection() {
    let mut scene = Scene::new();
    scene.engine.tell_all();
    scene.ends.0.insert(SERVING, PORT);
    let serve = request(&scene.code, SERVING, ROOT, "GET /report/7").with_id("r-1");
    scene.take(5, &serve);
    scene.sent.insert(INNER + 2, vec![Some("r-1"), None]);
    calls(&mut scene, 10, (SERVING, 1), INNER);
    scene.until(300);
    assert_eq!(asked(&scene), 0);
}

/// What it sends may be read too late, or not at all.
#[test]
fn a_call_of_a_request_with_an_id_tells_its_connection_only_where_it_sends_none() {
    for (sent, tells) in [(None, false), (Some(vec![None, None]), true)] {
        let mut scene = Scene::new();
        scene.engine.tell_all();
        scene.ends.0.insert(SERVING, PORT);
        let serve = request(&scene.code, SERVING, ROOT, "GET /report/7").with_id("r-1");
        scene.take(5, &serve);
        if let Some(sent) = sent {
            scene.sent.insert(INNER + 2, sent);
        }
        calls(&mut scene, 10, (SERVING, 1), INNER);
        scene.until(300);
        assert_eq!(asked(&scene), 2);
        let done = call_done(&scene.code, SERVING, INNER);
        scene.take(310, &done);
        scene.until(500);
        let told = scene.engine.take_told();
        let on = told.iter().find_map(|one| match one {
            Told::Call(fact) => Some(fact.seen_on.is_some()),
            Told::Request(_) => None,
        });
        assert_eq!(on, Some(tells), "{told:?}");
    }
}

#[test]
fn of_two_calls_that_nothing_else_tells_apart_it_is_the_one() {
    let mut scene = scene();
    scene.ends.0.insert(OTHER_GOID, PORT + 1);
    calls(&mut scene, 11, (OTHER_GOID, SERVING), OTHER);
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER, OTHER]);
    assert_eq!(orphans(&scene).len(), 1, "{:#?}", scene.shown);
    assert_eq!(asked(&scene), 3);
}

#[test]
fn another_connection_is_looked_at_twice_and_joins_nothing() {
    let mut scene = scene();
    scene.ends.0.insert(SERVING, PORT + 1);
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
    assert_eq!(asked(&scene), 4);
    assert_eq!(scene.engine.joins().joined, 0);
}

#[test]
fn a_caller_that_was_not_waiting_yet_is_found_at_the_second_look() {
    let mut scene = scene();
    scene.ends.0.clear();
    served(&mut scene, 12);
    scene.until(20);
    scene.ends.0.insert(SERVING, PORT);
    given_up(&mut scene, 300, &[INNER]);
    assert_eq!(orphans(&scene).len(), 1, "{:#?}", scene.shown);
}

#[test]
fn nothing_follows_from_a_request_that_has_begun_its_answer() {
    let mut scene = scene();
    scene.ends.1.clear();
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn what_is_answered_soon_costs_nothing() {
    let mut scene = scene();
    served(&mut scene, 12);
    returned(&mut scene, 15);
    scene.until(100);
    assert_eq!(asked(&scene), 0);
    assert_eq!(scene.engine.cases(), 0);
}

#[test]
fn a_call_that_began_later_is_not_asked() {
    let mut scene = scene();
    let done = call_done(&scene.code, SERVING, INNER);
    scene.take(11, &done);
    served(&mut scene, 12);
    calls(&mut scene, 13, (SERVING, 1), OTHER);
    given_up(&mut scene, 300, &[OTHER]);
    assert_eq!(asked(&scene), 0);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn a_call_that_was_over_before_it_was_read_joins_nothing() {
    let mut scene = scene();
    served(&mut scene, 12);
    // Its end is older than the reading, and told after it.
    scene.until(17);
    let dies = cascade(&scene.code, READER, INNER);
    super::client_leaves(&mut scene, 17);
    scene.take(17, &dies);
    super::end(&mut scene, 18);
    scene.until(1_000);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn addresses_of_another_network_are_other_addresses() {
    let mut scene = scene();
    scene.code.store_netns = Some(99);
    served(&mut scene, 12);
    given_up(&mut scene, 300, &[INNER]);
    assert_eq!(asked(&scene), 0);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn what_the_call_has_sent_says_no() {
    let mut scene = scene();
    scene.sent.insert(INNER + 2, vec![None, Some(TRACE)]);
    let record = request(&scene.code, BELOW_SERVING, BELOW, "GET /item/7");
    let other = TRACE.replace("1111", "2222");
    scene.take(12, &record.traced(&other).of(STORE));
    given_up(&mut scene, 300, &[INNER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}

#[test]
fn a_loss_leaves_nothing_to_wait_for() {
    let mut scene = scene();
    served(&mut scene, 12);
    assert_ne!(scene.engine.cases(), 0);
    scene.engine.loss();
    assert_eq!(scene.engine.cases(), 0);
    given_up(&mut scene, 300, &[INNER]);
    assert!(orphans(&scene).is_empty(), "{:#?}", scene.shown);
}
