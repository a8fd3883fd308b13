//! goroutine-leak where nobody tells of goroutines' beginnings: looks find them.

use super::goroutine_leak::{GO, NIL, first, waits};
use super::{ROOT, SERVING, WORKER, end, site, start};
use crate::detect::{Ask, Question};
use crate::finding::{RuleName, Severity};
use crate::inspect::Listing;
use crate::testkit::{PID, Scene, Seen, hijacked, listing, request, request_end};

/// A process that is looked through from 0 ms on: every five seconds.
fn looked_through() -> Scene {
    let mut scene = Scene::new();
    scene.code.is_looked_through = true;
    scene.engine.process_started(PID);
    scene
}

/// What the next look finds, by the same `go` statement.
fn finds(scene: &mut Scene, came: &[(u64, u64)], gone: &[u64]) {
    let mut found = listing(came, gone);
    let gopc = scene.code.pc(GO);
    for one in &mut found.came {
        one.gopc = gopc;
    }
    scene.listings.push_back(found);
}

/// A request at 6 s, between the first look and the second, that leaves one behind which waits so.
fn left(reason: &'static str) -> Scene {
    let mut scene = looked_through();
    scene.listings.push_back(Listing::default());
    finds(&mut scene, &[(WORKER, SERVING)], &[]);
    waits(&mut scene, WORKER, reason);
    start(&mut scene, 6_000);
    end(&mut scene, 6_100);
    scene
}

#[test]
fn one_that_nothing_wakes_is_told_with_its_request() {
    let mut scene = left(NIL);
    scene.until(11_099);
    scene.silent();
    scene.until(60_000);
    let (at_ms, finding) = scene.only();
    assert!((11_100..16_000).contains(&at_ms), "{at_ms}");
    assert_eq!(
        (finding.rule, finding.severity),
        (RuleName::GoroutineLeak, Severity::Error)
    );
    let function = "example.com/shop/report.(*Builder).Build";
    assert_eq!(site(finding), (function, 140));
    assert_eq!(finding.request.as_ref().unwrap().number, 1);
    assert_eq!(finding.evidence.live, Some(1));
}

#[test]
fn of_several_requests_none_is_named() {
    let mut scene = looked_through();
    scene.listings.push_back(Listing::default());
    finds(&mut scene, &[(WORKER, SERVING)], &[]);
    waits(&mut scene, WORKER, NIL);
    for at_ms in [6_000, 7_000] {
        start(&mut scene, at_ms);
        end(&mut scene, at_ms + 100);
    }
    scene.until(60_000);
    let (at_ms, finding) = scene.only();
    assert!((12_100..17_000).contains(&at_ms), "after the last: {at_ms}");
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(finding.request, None);
    assert!(
        finding.help.ends_with("--goroutines tells)"),
        "{}",
        finding.help
    );
}

#[test]
fn one_that_began_before_the_look_and_is_told_of_after_it_is_one_of_them() {
    let mut scene = left(NIL);
    scene.until(10_000);
    let looks = |ask: &&Ask| ask.question == Question::Listing;
    assert_eq!(scene.asked.iter().filter(looks).count(), 2);
    start(&mut scene, 9_990);
    end(&mut scene, 9_995);
    scene.until(60_000);
    assert_eq!(scene.only().1.request, None);
}

#[test]
fn one_that_is_gone_at_the_first_look_at_it_is_no_loss() {
    let mut scene = left(NIL);
    scene.goroutines.insert(WORKER, Seen::Gone);
    scene.until(60_000);
    scene.silent();
    assert_eq!(scene.engine.totals().evicted, 0);
    assert_eq!(scene.engine.goroutines().waiting.len(), 0);
}

#[test]
fn whose_connection_was_taken_over_is_silent() {
    let mut scene = looked_through();
    scene.listings.push_back(Listing::default());
    finds(&mut scene, &[(WORKER, SERVING)], &[]);
    waits(&mut scene, WORKER, NIL);
    start(&mut scene, 6_000);
    scene.take(6_050, &hijacked(SERVING, ROOT + 1, "192.0.2.7:51322"));
    end(&mut scene, 6_100);
    scene.until(60_000);
    scene.silent();
}

/// Requests of one line, one a look, each with one that waits; gives the time after the last, ms.
fn line(scene: &mut Scene, requests: u64) -> u64 {
    for number in 0..requests {
        let (serving, root) = (SERVING + number * 2, ROOT + number * 0x100);
        let begun = request(&scene.code, serving, root, "GET /report/7");
        let at_ms = 1_000 + number * 5_000;
        scene.take(at_ms, &begun);
        finds(scene, &[(100 + number, serving)], &[]);
        waits(scene, 100 + number, "chan receive");
        let ended = request_end(&scene.code, root);
        scene.take(at_ms + 100, &ended);
    }
    1_000 + requests * 5_000
}

#[test]
fn by_age_they_are_told_after_twice_the_time() {
    let mut scene = looked_through();
    line(&mut scene, 3);
    scene.until(71_000);
    scene.silent();
    scene.until(120_000);
    let (at_ms, finding) = first(&scene);
    assert!((71_000..82_000).contains(&at_ms), "{at_ms}");
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn a_line_whose_goroutines_were_seen_for_long_and_are_gone_is_silent_by_age() {
    for (alive_ms, told) in [(5_000, true), (45_000, false)] {
        let mut scene = looked_through();
        let now_ms = line(&mut scene, 4);
        scene.until(now_ms + alive_ms);
        scene.goroutines.insert(100, Seen::Gone);
        finds(&mut scene, &[], &[100]);
        scene.until(200_000);
        assert_eq!(scene.findings().len(), usize::from(told), "{alive_ms}");
    }
}

#[test]
fn where_beginnings_are_told_nobody_looks() {
    let mut scene = looked_through();
    scene.code.is_looked_through = false;
    start(&mut scene, 6_000);
    end(&mut scene, 6_100);
    scene.until(60_000);
    let looks = |question: &Question| matches!(question, Question::Listing);
    assert!(!scene.asked.iter().any(|ask| looks(&ask.question)));
}
